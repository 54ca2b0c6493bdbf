"""The directory listings."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from typing_extensions import override

from hhvm_packaging.apt.undo import Notice
from hhvm_packaging.publishing import listings
from hhvm_packaging.store.buckets import CACHE_BRIEFLY, Bucket, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.apt.suite import Suite

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Links(HTMLParser):
    """Keeps the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str | None] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name == "href"]


class Downloads(Bucket):
    """A bucket in memory."""

    def __init__(self, *keys: str) -> None:
        self.name = "downloads"
        self.objects = dict.fromkeys(keys, b"content")
        self.writes: list[str] = []

    def entries(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return iter([
            Entry(key, len(content), NOON)
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix) and key > after
        ])

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def put(self, key: str, content: bytes, content_type: str = "", *, cache: str | None = None) -> None:
        assert (content_type, cache) == ("text/html; charset=utf-8", CACHE_BRIEFLY)
        self.objects[key] = content
        self.writes.append(key)

    def delete(self, key: str) -> None:
        del self.objects[key]

    def links(self, listing: str) -> list[str | None]:
        """The targets of a listing's links."""
        parser = Links()
        parser.feed(self.objects[listing].decode())
        return parser.targets


POOL = "debian/pool/main/h/hhvm/"


@pytest.fixture
def downloads() -> Downloads:
    return Downloads(
        "conf/hhvm.gpg.key",
        "debian/dists/bookworm/InRelease",
        "debian/dists/bookworm/main/binary-amd64/Packages",
        "debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/0123",
        f"{POOL}hhvm_1.0.0-1~bookworm_amd64.deb",
    )


def test_every_directory_has_a_listing(downloads: Downloads) -> None:
    written = listings.update_indices(downloads, lambda _: None).written
    assert {key.removesuffix("index.html") for key in written} == {
        "",
        "conf/",
        "debian/",
        "debian/dists/",
        "debian/dists/bookworm/",
        "debian/dists/bookworm/main/",
        "debian/dists/bookworm/main/binary-amd64/",
        "debian/pool/",
        "debian/pool/main/",
        "debian/pool/main/h/",
        POOL,
    }


def test_an_empty_bucket_has_an_empty_listing() -> None:
    downloads = Downloads()
    assert listings.update_indices(downloads, lambda _: None).written == ("index.html",)
    assert downloads.links("index.html") == []


def test_a_listing_links_its_directories_then_its_files_then_nothing(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    assert downloads.links("index.html") == ["conf/", "debian/"]
    assert downloads.links("debian/dists/bookworm/index.html") == ["../", "main/", "InRelease"]


def test_by_hash_is_not_listed(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    assert downloads.links("debian/dists/bookworm/main/binary-amd64/index.html") == ["../", "Packages"]


def test_a_listing_does_not_list_itself(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    listings.update_indices(downloads, lambda _: None)
    assert not [key for key in downloads.objects if "index.html" in str(downloads.objects[key])]


def test_nothing_is_written_where_nothing_changed(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    assert listings.update_indices(downloads, lambda _: None) == listings.Updated(written=(), removed=())


def test_only_listings_that_changed_are_written(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    downloads.objects["conf/new.key"] = b"content"
    assert listings.update_indices(downloads, lambda _: None).written == ("conf/index.html",)


def test_the_listing_of_a_vanished_directory_is_removed(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    del downloads.objects["conf/hhvm.gpg.key"]
    assert listings.update_indices(downloads, lambda _: None).removed == ("conf/index.html",)
    assert downloads.links("index.html") == ["debian/"]


@pytest.mark.parametrize(
    "name", ["a+b~1.deb", "javascript:alert(1)", "a b?c#d%e.deb", '"><script>.deb', "\u00e9.deb"]
)
def test_any_name_is_shown_and_linked_as_it_is(name: str) -> None:
    downloads = Downloads(name)
    listings.update_indices(downloads, lambda _: None)
    (link,) = downloads.links("index.html")
    assert link is not None
    assert unquote(link) == name
    assert not re.search(r"[^A-Za-z0-9_.~%/-]", link)
    assert b"<script" not in downloads.objects["index.html"]


def test_a_file_has_its_size_and_its_time_in_utc() -> None:
    modified = NOON.astimezone(timezone(timedelta(hours=9)))
    page = listings.render("source/", [listings.Row("hhvm.tar.gz", 3 * 1024 * 1024, modified)])
    assert "3.0 MiB" in page
    assert "2026-03-01 12:00" in page


def test_a_directory_is_as_new_as_the_newest_file_under_it() -> None:
    rows = listings.tree([
        Entry("source/old", 1, NOON),
        Entry("source/nightlies/new", 1, NOON + timedelta(days=2)),
        Entry("source/other", 1, NOON + timedelta(days=1)),
    ])
    assert rows[""] == [listings.Row("source/", None, NOON + timedelta(days=2))]


def test_a_listing_is_readable_on_a_phone_and_runs_nothing(downloads: Downloads) -> None:
    listings.update_indices(downloads, lambda _: None)
    page = downloads.objects["index.html"].decode()
    assert 'name="viewport"' in page
    assert "<script" not in page


def test_a_suites_page_tells_its_users_what_was_withdrawn_and_how_to_go_back(downloads: Downloads) -> None:
    asked: list[str] = []

    def read_notice(suite: Suite) -> Notice:
        asked.append(str(suite))
        return Notice(("hhvm 1.0.1-1~bookworm amd64",), "apt-get install --allow-downgrades hhvm=1.0.0&")

    listings.update_indices(downloads, read_notice)
    page = downloads.objects["debian/dists/bookworm/index.html"].decode()
    assert "Withdrawn: hhvm 1.0.1-1~bookworm amd64." in page
    assert "<pre>apt-get install --allow-downgrades hhvm=1.0.0&amp;</pre>" in page
    assert "Withdrawn" not in downloads.objects["debian/index.html"].decode()
    assert asked == ["debian bookworm"]
