"""Sources that another system published are the sources of their versions, if a trusted key signed them."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging.apt import signing
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.building.steps import MakeSourceTarball
from hhvm_packaging.planning import plans, source_tarball
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.request import UNDO, Refused
from hhvm_packaging.planning.source_tarball import SourceError
from hhvm_packaging.publishing.suite_changes import make_change
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from testing.built import Bench as Publishing
from testing.debs import Deb, digest
from testing.publisher import publish
from testing.s3 import put_in_parts
from tests.integration.test_resuming import KEYS, NIGHTLY, RELEASE, Bench, bench

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.release import Release

__all__ = ["bench"]

SOURCE = b"the source, as the other system made it"
RETIRED = signing_key.make("HHVM, retired")
STRANGER = signing_key.make("Mallory")


def leave(bench: Bench, release: Release, key: tuple[str, str] = KEYS, *, public: bool = True) -> None:
    """Have another system leave a signed tarball."""
    bucket = bench.store.downloads if public else bench.store.scratch
    bucket.put(keys.public_tarball(release) if public else keys.tarball(release), SOURCE)
    with Signer(key[0]) as signer:
        signature = signer.detach(SOURCE)
    bucket.put(keys.public_signature(release) if public else keys.tarball_signature(release), signature)


def trust(bench: Bench, *public: str) -> None:
    """Have the settings name a file with these keys."""
    path = bench.settings.packaging_root / "retired.asc"
    path.write_text("".join(public))
    bench.settings = bench.settings.model_copy(update={"source_keys_file": path.name})


@pytest.mark.parametrize("release", [RELEASE, NIGHTLY])
@pytest.mark.parametrize("public", [True, False])
def test_a_signed_tarball_is_the_source_and_is_not_made_again(
    bench: Bench, release: Release, public: bool
) -> None:
    leave(bench, release, public=public)
    plan = bench.plan(release)
    done = MakeSourceTarball(plan, bench.store, bench.settings).done()
    assert done
    assert plan.commit in done
    manifest = SourceManifest.read(bench.store, release)
    assert manifest
    assert manifest.tarball.sha256 == digest("sha256", SOURCE)
    # Jobs fetch it from scratch.
    assert bench.store.scratch.get(keys.tarball(release)) == SOURCE
    # What follows in a build.
    bench.sign(plan)
    source_tarball.publish(bench.store, release, KEYS[1].encode())
    assert bench.store.downloads.get(keys.public_tarball(release)) == SOURCE
    assert MakeSourceTarball(bench.plan(release), bench.store, bench.settings).done()


@pytest.mark.parametrize("public", [True, False])
def test_a_tarball_that_was_uploaded_in_parts_is_compared_by_its_bytes(
    bench: Bench, conditional_s3: S3Client, public: bool
) -> None:
    bench.store = Store(conditional_s3, bench.settings)
    for bucket in (bench.store.scratch, bench.store.downloads):
        conditional_s3.create_bucket(Bucket=bucket.name)
    bench.store.downloads.put(PUBLIC_KEY, KEYS[1].encode())
    leave(bench, RELEASE, public=public)
    bucket = bench.store.downloads if public else bench.store.scratch
    key = keys.public_tarball(RELEASE) if public else keys.tarball(RELEASE)
    put_in_parts(conditional_s3, bucket.name, key, SOURCE)
    head = bucket.head(key)
    assert head
    assert (head.sha256, "-" in head.etag) == (None, True)
    plan = bench.plan()
    bench.sign(plan)
    source_tarball.publish(bench.store, RELEASE, KEYS[1].encode())
    assert MakeSourceTarball(plan, bench.store, bench.settings).done()
    assert bench.store.downloads.get(keys.public_tarball(RELEASE)) == SOURCE
    put_in_parts(conditional_s3, bench.store.downloads.name, keys.public_tarball(RELEASE), SOURCE[::-1])
    with pytest.raises(SourceError, match="is published, but"):
        source_tarball.publish(bench.store, RELEASE, KEYS[1].encode())


def test_packages_are_built_from_it_also_with_a_raised_pkgver(bench: Bench) -> None:
    leave(bench, RELEASE)
    bench.edit("distros/debian-12-bookworm/PKGVER", "2~bookworm")
    plan = bench.plan()
    job = bench.step(plan).job(AttemptId.new())
    assert job.environment["SOURCE_SHA256"] == digest("sha256", SOURCE)
    assert bench.make_packages(plan).package_version == "1.0.0-2~bookworm"


def test_its_commit_is_that_of_the_public_tag_where_staging_has_it_no_more(bench: Bench) -> None:
    leave(bench, RELEASE)
    staging, public = bench.settings.staging_repository, bench.settings.public_repository
    tagged = source_tarball.published_tag(RELEASE, staging)
    subprocess.run(["git", "-C", staging, "push", "--quiet", public, f"refs/tags/{RELEASE.tag}"], check=True)
    subprocess.run(["git", "-C", staging, "tag", "--delete", RELEASE.tag], check=True)
    assert bench.plan().commit == tagged


def test_a_retired_key_counts_where_the_settings_trust_it(bench: Bench) -> None:
    leave(bench, RELEASE, RETIRED)
    with pytest.raises(SourceError, match=r"source/hhvm-1\.0\.0\.tar\.gz is public.*source_keys_file"):
        bench.plan()
    trust(bench, RETIRED[1], STRANGER[1])
    assert MakeSourceTarball(bench.plan(), bench.store, bench.settings).done()


def test_a_key_that_has_expired_since_counts(bench: Bench) -> None:
    private, public = signing_key.make("HHVM, short-lived", "seconds=8")
    leave(bench, RELEASE, (private, public))
    bench.store.downloads.put(PUBLIC_KEY, f"{KEYS[1]}{public}".encode())
    content, signature = SOURCE, bench.store.downloads.get(keys.public_signature(RELEASE)) or b""
    wait_until_expired(content, signature, public)
    assert MakeSourceTarball(bench.plan(), bench.store, bench.settings).done()


def wait_until_expired(content: bytes, signature: bytes, public: str) -> None:
    """Gpg takes a while for each look, so these are few."""
    with contextlib.suppress(signing.BadSignature):
        while True:
            signing.verify(content, signature, public.encode())


@pytest.mark.parametrize("damage", ["other bytes", "no signature", "stranger"])
def test_a_public_tarball_without_a_good_signature_is_refused_before_anything_is_built(
    bench: Bench, damage: str
) -> None:
    leave(bench, RELEASE, STRANGER if damage == "stranger" else KEYS)
    if damage == "other bytes":
        bench.store.downloads.put(keys.public_tarball(RELEASE), b"other bytes")
    elif damage == "no signature":
        bench.store.downloads.delete(keys.public_signature(RELEASE))
    with pytest.raises(SourceError, match=r"source/hhvm-1\.0\.0\.tar\.gz is public.*signature is not good"):
        bench.plan()
    assert SourceManifest.read(bench.store, RELEASE) is None


@pytest.mark.parametrize("signed", [True, False])
def test_a_tarball_in_scratch_without_a_good_signature_is_made_anew(bench: Bench, signed: bool) -> None:
    leave(bench, RELEASE, STRANGER, public=False)
    if not signed:
        bench.store.scratch.delete(keys.tarball_signature(RELEASE))
    assert MakeSourceTarball(bench.plan(), bench.store, bench.settings).done() is None


def test_a_file_of_keys_that_is_not_there_is_named(bench: Bench) -> None:
    leave(bench, RELEASE)
    bench.settings = bench.settings.model_copy(update={"source_keys_file": "absent.asc"})
    with pytest.raises(SourceError, match=r"source_keys_file: .*absent\.asc cannot be read"):
        bench.plan()


def test_what_another_system_published_is_undone_without_its_source(bench: Bench) -> None:
    """Nothing is left of the old system but its suite."""
    with Signer(KEYS[0]) as signer:
        suite = Publishing(bench.store.scratch.s3, signer, bench.settings).suite("bookworm")
        for version in ("0.9.0-1~bookworm", "1.0.0-1~bookworm"):
            deb = Deb(version)
            bench.store.scratch.put(deb.key, deb.content)
            publish(suite, {deb.key: deb.artifact}, signer)
        request = bench.request()
        with pytest.raises(Refused, match="has no signed source yet"):
            plans.plan_publish(request, bench.store, bench.settings)
        plan = plans.plan_publish(request.model_copy(update={"action": UNDO}), bench.store, bench.settings)
        change = make_change(
            plan, plan.distros[0], None, suite, suite.read(signer=signer), bench.store, signer, bench.settings
        )
        suite.carry_out(change, signer)
    assert [stanza.version for stanza in suite.read().packages["amd64"].stanzas] == ["0.9.0-1~bookworm"]
