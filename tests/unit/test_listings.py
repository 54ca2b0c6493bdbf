"""The directory listings."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from typing_extensions import override

from hhvm_packaging.apt.release_file import File
from hhvm_packaging.apt.undo import Notice
from hhvm_packaging.publishing import listings
from hhvm_packaging.store.buckets import CACHE_BRIEFLY, Bucket, Conflict, Entry, Head

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
    """A bucket in memory, which counts what is asked of it."""

    def __init__(self, *keys: str) -> None:
        self.name = "downloads"
        self.objects = dict.fromkeys(keys, b"content")
        self.writes: list[str] = []
        self.requests: list[str] = []
        self.faster: dict[str, bytes] = {}
        """What another publisher writes just before we write, by key."""
        self.attested: dict[str, str] = {}

    def entries(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        self.requests.append(f"LIST {prefix}")
        return iter([
            Entry(key, len(content), NOON)
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix) and key > after
        ])

    def head(self, key: str) -> Head | None:
        self.requests.append(f"HEAD {key}")
        content = self.objects.get(key)
        return None if content is None else Head(len(content), "etag", self.attested.get(key), NOON)

    def computes_checksums(self) -> bool:
        return bool(self.attested)

    def get(self, key: str) -> bytes | None:
        self.requests.append(f"GET {key}")
        return self.objects.get(key)

    def get_with_etag(self, key: str) -> tuple[bytes | None, str | None]:
        content = self.get(key)
        return content, None if content is None else str(hash(content))

    def put(self, key: str, content: bytes, content_type: str = "", *, cache: str | None = None) -> None:
        assert (content_type, cache) == ("text/html; charset=utf-8", CACHE_BRIEFLY)
        self.requests.append(f"PUT {key}")
        self.objects[key] = content
        self.writes.append(key)

    def replace(
        self, key: str, content: bytes, content_type: str, *, etag: str | None, cache: str | None = None
    ) -> str:
        if key in self.faster:
            self.objects[key] = self.faster.pop(key)
        there = self.objects.get(key)
        if etag != (None if there is None else str(hash(there))):
            raise Conflict(key)
        self.put(key, content, content_type, cache=cache)
        return str(hash(content))

    def delete(self, key: str) -> None:
        del self.objects[key]

    def links(self, listing: str) -> list[str | None]:
        """The targets of a listing's links."""
        parser = Links()
        parser.feed(self.objects[listing].decode())
        return parser.targets


def rebuild(downloads: Downloads) -> listings.Updated:
    """Write all listings, where no suite has a notice and no index names anything."""
    return listings.rebuild(downloads, {}, lambda _: None)


def update(downloads: Downloads, *changed: str) -> listings.Updated:
    """Update the listings after these files changed."""
    return listings.update(downloads, dict.fromkeys(changed), lambda _: None)


POOL = "debian/pool/main/h/hhvm/"
PARENTS_OF_POOL = [
    "debian/",
    "debian/pool/",
    "debian/pool/main/",
    "debian/pool/main/h/",
    POOL,
]


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
    written = rebuild(downloads).written
    assert {key.removesuffix("index.html") for key in written} == {
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


def test_what_is_not_ours_has_no_listing() -> None:
    assert rebuild(Downloads("homebrew-bottles/hhvm.bottle.tar.gz")) == listings.Updated(())


def test_a_listing_links_its_directories_then_its_files_then_nothing(downloads: Downloads) -> None:
    rebuild(downloads)
    assert downloads.links("debian/index.html") == ["../", "dists/", "pool/"]
    assert downloads.links("debian/dists/bookworm/index.html") == ["../", "main/", "InRelease"]


def test_by_hash_is_not_listed(downloads: Downloads) -> None:
    rebuild(downloads)
    assert downloads.links("debian/dists/bookworm/main/binary-amd64/index.html") == ["../", "Packages"]


def test_a_listing_does_not_list_itself(downloads: Downloads) -> None:
    rebuild(downloads)
    rebuild(downloads)
    assert not [key for key in downloads.objects if "index.html" in str(downloads.objects[key])]


def test_nothing_is_written_where_nothing_changed(downloads: Downloads) -> None:
    rebuild(downloads)
    assert rebuild(downloads) == listings.Updated(written=(), removed=())


def test_only_listings_that_changed_are_written(downloads: Downloads) -> None:
    rebuild(downloads)
    downloads.objects["conf/new.key"] = b"content"
    assert rebuild(downloads).written == ("conf/index.html",)


def test_the_listing_of_a_vanished_directory_is_removed(downloads: Downloads) -> None:
    rebuild(downloads)
    del downloads.objects["debian/dists/bookworm/InRelease"]
    del downloads.objects["debian/dists/bookworm/main/binary-amd64/Packages"]
    assert rebuild(downloads).removed == (
        "debian/dists/bookworm/index.html",
        "debian/dists/bookworm/main/binary-amd64/index.html",
        "debian/dists/bookworm/main/index.html",
        "debian/dists/index.html",
    )
    assert downloads.links("debian/index.html") == ["../", "pool/"]


@pytest.mark.parametrize(
    "name", ["a+b~1.deb", "javascript:alert(1)", "a b?c#d%e.deb", '"><script>.deb', "\u00e9.deb"]
)
def test_any_name_is_shown_and_linked_as_it_is(name: str) -> None:
    downloads = Downloads(f"source/{name}")
    rebuild(downloads)
    _, link = downloads.links("source/index.html")
    assert link is not None
    assert unquote(link) == name
    assert not re.search(r"[^A-Za-z0-9_.~%/-]", link)
    assert b"<script" not in downloads.objects["source/index.html"]
    assert set(listings.parse(downloads.objects["source/index.html"]) or ()) == {name}


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
    rebuild(downloads)
    page = downloads.objects["conf/index.html"].decode()
    assert 'name="viewport"' in page
    assert "<script" not in page


def test_a_suites_page_tells_its_users_what_was_withdrawn_and_how_to_go_back(downloads: Downloads) -> None:
    asked: list[str] = []

    def read_notice(suite: Suite) -> Notice:
        asked.append(str(suite))
        return Notice(("hhvm 1.0.1-1~bookworm amd64",), "apt-get install --allow-downgrades hhvm=1.0.0&")

    listings.rebuild(downloads, {}, read_notice)
    page = downloads.objects["debian/dists/bookworm/index.html"].decode()
    assert "Withdrawn: hhvm 1.0.1-1~bookworm amd64." in page
    assert "<pre>apt-get install --allow-downgrades hhvm=1.0.0&amp;</pre>" in page
    assert "Withdrawn" not in downloads.objects["debian/index.html"].decode()
    assert asked == ["debian bookworm"]


# After a publish


def test_an_update_reads_and_writes_the_directories_of_what_changed_and_their_parents(
    downloads: Downloads,
) -> None:
    rebuild(downloads)
    new = f"{POOL}hhvm_1.0.1-1~bookworm_amd64.deb"
    downloads.objects[new] = b"content"
    downloads.requests.clear()
    assert update(downloads, new).written == (f"{POOL}index.html",)
    assert {request for request in downloads.requests if request.split()[0] != "PUT"} == {
        f"HEAD {new}",
        *(f"GET {directory}index.html" for directory in PARENTS_OF_POOL),
    }


def test_what_an_update_costs_does_not_depend_on_what_is_there() -> None:
    def count(others: int) -> int:
        downloads = Downloads(*(f"{POOL}hhvm_1.0.{patch}_amd64.deb" for patch in range(others)))
        rebuild(downloads)
        downloads.objects[f"{POOL}new.deb"] = b"content"
        downloads.requests.clear()
        update(downloads, f"{POOL}new.deb")
        return len(downloads.requests)

    assert count(3) == count(300)


def test_an_update_gives_the_same_listings_as_writing_all_anew(downloads: Downloads) -> None:
    rebuild(downloads)
    new = ["debian/dists/trixie/InRelease", f"{POOL}a&b.deb", "source/hhvm-1.0.0.tar.gz"]
    downloads.objects |= dict.fromkeys(new, b"new")
    update(downloads, *new)
    assert rebuild(downloads) == listings.Updated(())


def test_a_file_that_was_not_published_after_all_is_not_listed(downloads: Downloads) -> None:
    rebuild(downloads)
    assert update(downloads, f"{POOL}never.deb", "source/never.tar.gz") == listings.Updated(())


def test_a_file_that_is_gone_leaves_its_listing(downloads: Downloads) -> None:
    downloads.objects["conf/old.key"] = b"content"
    rebuild(downloads)
    del downloads.objects["conf/old.key"]
    update(downloads, "conf/old.key")
    assert downloads.links("conf/index.html") == ["../", "hhvm.gpg.key"]


def test_a_listing_of_an_older_revision_is_made_anew(downloads: Downloads) -> None:
    downloads.objects["conf/index.html"] = b'<tr><td><a href="old">old</a></td></tr>'
    update(downloads, "conf/hhvm.gpg.key")
    assert downloads.links("conf/index.html") == ["../", "hhvm.gpg.key"]


def test_two_publishers_of_one_directory_lose_no_row(downloads: Downloads) -> None:
    rebuild(downloads)
    other = dict(downloads.objects)
    other[f"{POOL}other.deb"] = b"content"
    theirs = Downloads(*other)
    rebuild(theirs)
    downloads.faster[f"{POOL}index.html"] = theirs.objects[f"{POOL}index.html"]
    downloads.objects[f"{POOL}ours.deb"] = b"content"
    update(downloads, f"{POOL}ours.deb")
    assert {"other.deb", "ours.deb"} <= set(downloads.links(f"{POOL}index.html"))


# Digests


def test_a_file_has_the_digest_that_the_store_computed_else_that_of_the_index() -> None:
    downloads = Downloads("conf/a", "conf/b", "conf/c", "conf/d")
    downloads.attested["conf/a"] = "a" * 64
    named = {
        "conf/a": File("0" * 64, 7),
        "conf/b": File("b" * 64, 7),
        "conf/c": File("c" * 64, 8),
        "conf/d": None,
    }
    listings.update(downloads, named, lambda _: None)
    rows = listings.parse(downloads.objects["conf/index.html"]) or {}
    assert [row.sha256[:1] for row in rows.values()] == ["a", "b", "", ""]


def test_writing_all_anew_keeps_a_digest_while_the_file_is_the_same() -> None:
    downloads = Downloads("conf/a", "conf/b")
    digests = {"conf/a": File("a" * 64, 7), "conf/b": File("b" * 64, 7)}
    listings.rebuild(downloads, digests, lambda _: None)
    downloads.objects["conf/b"] = b"something else"
    rebuild(downloads)
    rows = listings.parse(downloads.objects["conf/index.html"]) or {}
    assert (rows["a"].sha256, rows["b"].sha256) == ("a" * 64, "")


def test_the_store_is_asked_only_for_digests_that_nothing_else_has() -> None:
    downloads = Downloads("conf/a", "conf/b")
    downloads.attested = {"conf/a": "a" * 64, "conf/b": "b" * 64}
    listings.rebuild(downloads, {"conf/a": File("a" * 64, 7)}, lambda _: None)
    assert [request for request in downloads.requests if "HEAD" in request] == ["HEAD conf/b"]
    downloads.requests.clear()
    rebuild(downloads)
    assert not [request for request in downloads.requests if "HEAD" in request]
