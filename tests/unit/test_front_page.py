"""The front page and the feed of releases, as text: what they say is in tests/integration/test_pages.py."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree  # ruff: ignore[suspicious-xml-etree-import] - our own text

from typing_extensions import override

from hhvm_packaging.publishing import front_page
from hhvm_packaging.publishing.apt_source import AptSource
from hhvm_packaging.publishing.front_page import Offer, Tarball
from hhvm_packaging.publishing.listings import Row
from hhvm_packaging.settings import Settings

ATOM = "{http://www.w3.org/2005/Atom}"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VOID = ("link", "meta")
KEYRING = "/usr/share/keyrings/hhvm-archive-keyring.asc"


class Balanced(HTMLParser):
    """Fails where a tag is not closed, or closed twice."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.open += [] if tag in VOID else [tag]

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def offer(
    *,
    release: str = "1.0.1-1~bookworm",
    nightly: str = "",
    withdrawn: tuple[tuple[str, str, str], ...] = (),
    expires: datetime | None = None,
    has_keyring: bool = False,
) -> Offer:
    return Offer(
        title="Debian 12 (bookworm)",
        source=AptSource("https://dl.hhvm.com/debian", ("bookworm",)),
        versions=frozenset({"1.0.1"}),
        release=release,
        nightly=nightly,
        has_keyring=has_keyring,
        withdrawn=withdrawn,
        downgrade="apt-get install --allow-downgrades hhvm=1.0.0-1~bookworm" if withdrawn else "",
        signers={"ABCD" * 10: expires},
    )


def tarball(version: str = "1.0.1", withdrawn: tuple[str, ...] = ()) -> Tarball:
    url = f"https://dl.hhvm.com/source/hhvm-{version}.tar.gz"
    row = Row(f"hhvm-{version}.tar.gz", 3 * 1024**2, NOON, "0" * 64)
    return Tarball(version, url, f"{url}.sig", row, ("Debian 12 (bookworm)",), withdrawn)


def test_it_has_the_versions_of_each_distribution() -> None:
    page = front_page.render([offer(nightly="2026.03.01-1~bookworm")], [], [], Settings())
    Balanced(page)
    assert '<th scope="row">Debian 12 (bookworm)</th><td>1.0.1-1~bookworm</td>' in page
    assert "<td>2026.03.01-1~bookworm</td>" in page


def test_it_says_what_to_put_into_sources_list_in_both_formats() -> None:
    page = front_page.render([offer()], [], [], Settings())
    assert (
        "sudo tee /etc/apt/sources.list.d/hhvm.sources &lt;&lt;'END'\nTypes: deb\n"
        "URIs: https://dl.hhvm.com/debian\nSuites: bookworm\nComponents: main\n"
        f"Signed-By: {KEYRING}\nEND\n"
    ) in page
    assert f"deb [signed-by={KEYRING}] https://dl.hhvm.com/debian bookworm main" in page


def test_it_says_to_install_the_keyring_package_where_there_is_one() -> None:
    assert "sudo apt-get install hhvm</pre>" in front_page.render([offer()], [], [], Settings())
    page = front_page.render([offer(has_keyring=True)], [], [], Settings())
    Balanced(page)
    assert "sudo apt-get install hhvm-archive-keyring hhvm</pre>" in page


def test_it_has_the_keys_fingerprint_and_expiry() -> None:
    assert "does not expire" in front_page.render([offer()], [], [], Settings())
    page = front_page.render([offer(expires=NOON)], [], [], Settings())
    assert f"<code>{'ABCD' * 10}</code>" in page
    assert "expires on 2026-03-01" in page


def test_it_says_how_to_verify_the_source_of_the_newest_release_that_is_not_withdrawn() -> None:
    page = front_page.render([offer()], [tarball("1.0.2", ("Debian",)), tarball()], [], Settings())
    Balanced(page)
    assert "gpgv --keyring ./hhvm.gpg hhvm-1.0.1.tar.gz.sig hhvm-1.0.1.tar.gz" in page
    assert "hhvm-1.0.2" not in page


def test_it_names_what_was_withdrawn_and_how_to_go_back() -> None:
    page = front_page.render([offer(withdrawn=(("hhvm", "1.0.2-1~bookworm", "amd64"),))], [], [], Settings())
    Balanced(page)
    assert "Debian 12 (bookworm): hhvm 1.0.2-1~bookworm." in page
    assert "--allow-downgrades hhvm=1.0.0-1~bookworm" in page
    assert "Withdrawn" not in front_page.render([offer()], [], [], Settings())


def test_what_is_not_ours_is_escaped() -> None:
    page = front_page.render(
        [offer(release="<script>", withdrawn=(("a", "<b>", "amd64"),))], [], [], Settings()
    )
    assert "<script>" not in page
    assert "<b>" not in page


def test_before_the_first_publish_it_says_so() -> None:
    page = front_page.render([], [], [], Settings())
    Balanced(page)
    assert "No package is published yet" in page


def test_the_feed_has_what_atom_requires() -> None:
    feed = ElementTree.fromstring(front_page.render_feed([tarball(), tarball("1.0.0")], Settings()))  # ruff: ignore[suspicious-xml-element-tree-usage] - our own text
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            assert element.findtext(f"{ATOM}{name}"), name
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "HHVM"
    assert [entry.findtext(f"{ATOM}title") for entry in feed.findall(f"{ATOM}entry")] == [
        "HHVM 1.0.1",
        "HHVM 1.0.0",
    ]


def test_the_feed_says_which_distributions_have_packages_and_what_the_source_is() -> None:
    feed = front_page.render_feed([tarball()], Settings())
    assert "Packages for Debian 12 (bookworm). The source is https://dl.hhvm.com/source/" in feed
    withdrawn = front_page.render_feed([tarball(withdrawn=("Debian 13 (trixie)",))], Settings())
    assert "Withdrawn from Debian 13 (trixie)." in withdrawn
