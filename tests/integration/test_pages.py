"""The pages for people in downloads, after a publish and after an undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.publishing import listings, pages
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from testing.built import Bench, bench
from testing.debs import Deb
from testing.s3 import recorded, writes

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

POOL = "debian/pool/main/h/hhvm/"


def publish(bench: Bench, version: str) -> PublishPlan:
    """Publish a version with its source, as a run of hhvm_publish_release does before its pages."""
    plan = bench.build(version)
    bench.update(plan)
    release = Release(version, nightly=False)
    for key in (keys.public_signature(release), keys.public_tarball(release)):
        bench.store.downloads.put(key, version.encode())
    return plan


def page(bench: Bench, directory: str = "") -> str:
    return (bench.store.downloads.get(keys.listing(directory)) or b"").decode()


def test_a_publish_updates_the_pages_of_what_it_changed_and_lists_nothing(bench: Bench) -> None:
    publish(bench, "1.0.0")
    pages.rebuild_pages(bench.store, bench.settings)
    plan = publish(bench, "1.0.1")
    with recorded(bench.store.downloads.s3) as requests:
        pages.update_pages(plan, bench.store, bench.settings)
    assert not [request for request in requests if request.startswith("List")]
    written = {request.split()[1] for request in writes(requests)}
    assert {"index.html", "releases.atom", f"{POOL}index.html", "source/index.html"} <= written
    assert not [key for key in written if key.startswith(("ubuntu/", "conf/"))]
    assert pages.rebuild_pages(bench.store, bench.settings) == listings.Updated(())


def test_a_file_of_an_index_has_its_digest_in_the_listing(bench: Bench) -> None:
    pages.update_pages(publish(bench, "1.0.0"), bench.store, bench.settings)
    deb = Deb("1.0.0-1~bookworm")
    row = (listings.parse(page(bench, POOL).encode()) or {})[deb.name]
    assert (row.size, row.sha256) == (deb.artifact.size, deb.artifact.sha256)
    suite = listings.parse(page(bench, "debian/dists/bookworm/main/binary-amd64/").encode()) or {}
    assert suite["Packages.xz"].sha256 == bench.suite("bookworm").digests()["main/binary-amd64/Packages.xz"]


def test_the_front_page_says_what_is_published_now_and_who_signed_it(bench: Bench) -> None:
    pages.update_pages(publish(bench, "1.0.0"), bench.store, bench.settings)
    assert '<th scope="row">Debian 12 (bookworm)</th><td>1.0.0-1~bookworm</td><td>none</td>' in page(bench)
    assert bench.signer.fingerprint in page(bench)
    assert "hhvm-1.0.0.tar.gz" in page(bench)
    assert b"<title>HHVM 1.0.0</title>" in (bench.store.downloads.get(keys.FEED) or b"")


def test_an_undo_tells_readers_of_the_front_page_the_feed_and_the_suite(bench: Bench) -> None:
    publish(bench, "1.0.0")
    plan = publish(bench, "1.0.1").model_copy(update={"action": "undo"})
    pages.update_pages(plan, bench.store, bench.settings)
    bench.update(plan)
    pages.update_pages(plan, bench.store, bench.settings)
    assert "Debian 12 (bookworm): hhvm 1.0.1-1~bookworm." in page(bench)
    assert "hhvm-1.0.0.tar.gz" in page(bench)
    assert "Withdrawn: hhvm 1.0.1-1~bookworm amd64." in page(bench, "debian/dists/bookworm/")
    feed = (bench.store.downloads.get(keys.FEED) or b"").decode()
    assert "<title>HHVM 1.0.1 was withdrawn</title>" in feed


def test_a_suite_that_is_broken_keeps_no_page_from_being_written(bench: Bench) -> None:
    plan = publish(bench, "1.0.0")
    bench.store.downloads.put("debian/dists/trixie/InRelease", b"no Release")
    pages.rebuild_pages(bench.store, bench.settings)
    assert "Debian 12 (bookworm)" in page(bench)
    assert "Debian 13 (trixie)" not in page(bench)
    assert plan.distros
