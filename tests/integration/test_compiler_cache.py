"""Which compiler cache a build begins with, and which ones are ignored, and why."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import sha256
from hhvm_packaging.building import compiler_cache
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact, Input
from testing.built import BOOKWORM, bench

__all__ = ["bench"]

if TYPE_CHECKING:
    from typing import Any

    import pytest

    from testing.built import Bench

NEXT = "1.0.1"


def cache_of(bench: Bench, version: str, **changes: Any) -> str:
    """Have the build of a version leave a compiler cache. Returns its key."""
    release = Release.find(version)
    assert release
    manifest = PackageManifest.read(bench.store, release, BOOKWORM)
    assert manifest
    manifest = manifest.model_copy(update={"packaging_ref": "worktree", **changes})
    content = f"the cache of {version}".encode()
    made = Artifact(name=compiler_cache.FILE, size=len(content), sha256=sha256(content), md5="")
    manifest = manifest.model_copy(update={"artifacts": (*manifest.artifacts, made)})
    bench.store.scratch.put(keys.output(manifest.directory, made.name), content)
    manifest.write(bench.store, release, etag=PackageManifest.etag(bench.store, release, BOOKWORM))
    return keys.output(manifest.directory, made.name)


def publish(bench: Bench, version: str, **changes: Any) -> str:
    """Publish a version whose build left a compiler cache. Returns the cache's key."""
    bench.update(bench.build(version))
    return cache_of(bench, version, **changes)


def choose(
    bench: Bench, version: str = NEXT, now: datetime.datetime | None = None, **settings: Any
) -> Input | None:
    """The cache that the build of a version begins with."""
    release = Release.find(version)
    assert release
    distro = bench.build("9.9.9").distro(BOOKWORM)
    wanted = bench.settings.model_copy(update=settings)
    return compiler_cache.choose(release, distro, bench.store, wanted, now)


def test_a_build_begins_with_the_cache_of_the_newest_version_that_users_are_offered(bench: Bench) -> None:
    publish(bench, "1.0.0")
    newest = publish(bench, "1.10.0")
    publish(bench, "1.9.0")
    chosen = choose(bench)
    assert chosen == Input(key=newest, name="ccache.tar", sha256=sha256(b"the cache of 1.10.0"))


def test_what_is_built_and_not_published_leaves_no_cache_for_others(bench: Bench) -> None:
    bench.build("1.0.0")
    cache_of(bench, "1.0.0")
    assert choose(bench) is None


def test_a_release_never_begins_with_the_cache_of_a_nightly_nor_a_nightly_with_that_of_a_release(
    bench: Bench,
) -> None:
    release, nightly = publish(bench, "1.0.0"), publish(bench, "2026.11.22")
    chosen = [choose(bench), choose(bench, "2026.11.23")]
    assert [cache.key for cache in chosen if cache] == [release, nightly]


def test_a_cache_of_files_that_are_not_allowed_any_more_is_ignored_and_the_log_says_why(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    publish(bench, "1.0.0", packaging_ref="refs/heads/mine", packaging_revision="0" * 40)
    assert choose(bench) is None
    assert f"{BOOKWORM}: the compiler cache of 1.0.0-1~bookworm is ignored" in caplog.text
    assert "0" * 40 in caplog.text


def test_a_cache_that_is_too_old_is_ignored_and_the_log_says_why(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    publish(bench, "1.0.0")
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    assert choose(bench, now=later) is None
    assert "of 1.0.0-1~bookworm is ignored: it is 30 days old, and ccache_days is 30" in caplog.text


def test_a_cache_can_be_switched_off(bench: Bench) -> None:
    publish(bench, "1.0.0")
    assert choose(bench, ccache_size=0) is None


def test_an_instance_gets_a_copy_from_where_only_caches_that_users_packages_had_are(bench: Bench) -> None:
    made = publish(bench, "1.0.0")
    chosen = choose(bench, workers="ec2")
    assert chosen
    assert chosen.key == keys.compiler_cache(BOOKWORM, chosen.sha256) != made
    assert sha256(bench.store.scratch.get(chosen.key) or b"") == chosen.sha256
    # The next build needs no other copy.
    bench.store.scratch.delete(made)
    assert choose(bench, workers="ec2") == chosen


def test_a_cache_that_is_gone_is_ignored_and_the_log_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    key = publish(bench, "1.0.0")
    bench.store.scratch.delete(key)
    assert choose(bench, workers="ec2") is None
    assert f"there is no compiler cache: s3://{bench.store.scratch.name}/{key} is gone" in caplog.text
