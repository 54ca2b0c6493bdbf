"""Somebody exchanges a source tarball after it was signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.planning import plans
from hhvm_packaging.planning.source_tarball import SourceError
from hhvm_packaging.publishing.steps import PublishReleaseSource
from hhvm_packaging.store import keys
from tests.integration.test_resuming import NIGHTLY, RELEASE, Bench, bench

if TYPE_CHECKING:
    from typing import Any

__all__ = ["bench"]

SOURCE, EVIL = b"the source", b"the evil!!"
STRANGER = signing_key.make("Mallory")


@pytest.fixture
def step(bench: Bench) -> PublishReleaseSource:
    """Publishing the source of a release that is built and signed."""
    plan = bench.plan()
    bench.make_source(plan, SOURCE)
    bench.sign(plan)
    bench.make_packages(plan)
    return PublishReleaseSource(
        plans.plan_publish(bench.request(), bench.store, bench.settings), bench.store, bench.settings
    )


def swap(bench: Bench, bucket: str, key: str, content: bytes = EVIL) -> None:
    """Put other bytes in an object's place, with metadata that say it is the first."""
    there: Any = getattr(bench.store, bucket)
    there.s3.put_object(Bucket=there.name, Key=key, Body=content, Metadata=sha256_of(SOURCE))


def sha256_of(content: bytes) -> dict[str, str]:
    from testing.debs import digest

    return {"sha256": digest("sha256", content)}


def test_a_tarball_that_was_exchanged_after_it_was_signed_is_not_published(
    bench: Bench, step: PublishReleaseSource
) -> None:
    swap(bench, "scratch", keys.tarball(RELEASE))
    with pytest.raises(SourceError, match=r"is not published\. Clear `sign_source_tarball`"):
        step.job(AttemptId.new())
    assert not list(bench.store.downloads.keys("source/"))


def test_a_tarball_that_is_exchanged_between_the_check_and_the_copy_gets_no_tag(
    bench: Bench, step: PublishReleaseSource
) -> None:
    def exchange(**_: object) -> None:
        swap(bench, "scratch", keys.tarball(RELEASE))

    bench.store.downloads.s3.meta.events.register_first("before-call.s3.CopyObject", exchange)
    with pytest.raises(SourceError, match=r"is published, but .*SHA-256.*Delete s3://"):
        step.job(AttemptId.new())


def test_a_signature_of_a_stranger_is_not_published(bench: Bench, step: PublishReleaseSource) -> None:
    with Signer(STRANGER[0]) as mallory:
        signature = mallory.detach(SOURCE)
    bench.store.scratch.put(keys.tarball_signature(RELEASE), signature)
    with pytest.raises(SourceError, match="its signature is not good"):
        step.job(AttemptId.new())
    assert not list(bench.store.downloads.keys("source/"))


@pytest.mark.parametrize("what", ["tarball", "signature", "no signature"])
def test_a_public_source_that_does_not_verify_gets_no_tag(
    bench: Bench, step: PublishReleaseSource, what: str
) -> None:
    """As a publisher left it that died, or as somebody wrote it."""
    step.job(AttemptId.new())
    if what == "tarball":
        swap(bench, "downloads", keys.public_tarball(RELEASE))
    elif what == "signature":
        bench.store.downloads.put(keys.public_signature(RELEASE), b"not a signature")
    else:
        bench.store.downloads.delete(keys.public_signature(RELEASE))
    with pytest.raises(SourceError, match=r"source/hhvm-1\.0\.0\.tar\.gz is published"):
        step.job(AttemptId.new())


def test_a_source_that_verifies_gets_its_tag(bench: Bench, step: PublishReleaseSource) -> None:
    job = step.job(AttemptId.new())
    assert job.environment["VERSION"] == "1.0.0"
    assert step.job(AttemptId.new()).digest == job.digest
    assert bench.store.downloads.get(keys.public_tarball(RELEASE)) == SOURCE


def test_a_nightly_that_is_exchanged_while_it_is_signed_is_named(bench: Bench) -> None:
    plan = bench.plan(NIGHTLY)
    bench.make_source(plan, SOURCE)

    def exchange(**_: object) -> None:
        swap(bench, "scratch", keys.tarball(NIGHTLY))

    bench.store.downloads.s3.meta.events.register_first("before-call.s3.CopyObject", exchange)
    with pytest.raises(SourceError, match=r"is published, but .*SHA-256"):
        bench.sign(plan)
