"""Pruning: what leaves the suites, what is deleted when, and what stays whatever happens."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt import index, release_file, signing, undo
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing import candidates, pages
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch
from hhvm_packaging.upkeep.pruning import RULES, NotPruned, Pruning
from testing.built import BOOKWORM, Bench, bench
from testing.debs import Deb
from testing.publisher import publish
from testing.s3 import Died, recorded, writes

if TYPE_CHECKING:
    from hhvm_packaging.store.buckets import Bucket

__all__ = ["bench"]

NOW = datetime.now(UTC)
POOL = "debian/pool/main/h/hhvm-nightly/"
KEPT = 90
"""Days for which what was replaced is kept, and what was left in scratch."""


def nightly(days: int, package: str = "hhvm-nightly") -> Deb:
    """The package of the nightly of so many days ago."""
    return Deb(f"{NOW - timedelta(days=days):%Y.%m.%d}-1", package=package)


OLD, RECENT = nightly(40), nightly(1)
RELEASE = Deb("1.0.0-1")


class Archive(Bench):
    """A store whose suites get packages without having them built first."""

    def publish(self, *debs: Deb, suite: str = "bookworm", name: str = "debian") -> None:
        """One commit for each package."""
        for deb in debs:
            self.store.scratch.put(deb.key, deb.content)
            publish(
                self.suite(suite, name),
                {deb.key: deb.artifact},
                self.signer,
                pool=f"pool/main/h/{'hhvm-nightly' if 'nightly' in deb.package else 'hhvm'}/",
            )

    def after(self, days: float = 0, *, dry_run: bool = False) -> Pruning:
        """Pruning as it is so many days from now."""
        return Pruning(self.store, self.settings, dry_run=dry_run, now=NOW + timedelta(days=days))

    def age_out(self, days: float = 0) -> list[str]:
        return self.after(days).age_out(self.signer)

    def versions(self, suite: str = "bookworm") -> set[str]:
        """What the suite offers, once everything that its InRelease names is proven to be there."""
        directory, downloads = f"debian/dists/{suite}/", self.store.downloads
        in_release = downloads.get(f"{directory}InRelease") or b""
        release = release_file.Release.parse(signing.signed_text(in_release, self.signer.public_key()))
        for name, digest in release.sha256.items():
            assert index.sha256(downloads.get(keys.by_hash(directory + name, digest)) or b"") == digest
            assert index.sha256(downloads.get(directory + name) or b"") == digest
        stanzas = self.suite(suite).read().packages["amd64"].stanzas
        for stanza in stanzas:
            assert index.sha256(downloads.get(f"debian/{stanza.filename}") or b"") == stanza.sha256
        return {stanza.version for stanza in stanzas}

    def in_pool(self) -> set[str]:
        """The names of the nightlies' files."""
        return {key.removeprefix(POOL) for key in self.store.downloads.keys(POOL)}

    def everything(self) -> dict[str, str]:
        """What both buckets hold, but for what tells whether the store knows conditional writes."""
        buckets = (self.store.scratch, self.store.downloads)
        found = {key: digest(bucket, key) for bucket in buckets for key in bucket.keys("")}
        found.pop(keys.CONDITIONAL_WRITES, None)
        found.pop(keys.CHECKSUMS, None)
        found.pop(keys.STATUS, None)
        return found


def digest(bucket: Bucket, key: str) -> str:
    return index.sha256(bucket.get(key) or b"")


@pytest.fixture
def archive(bench: Bench) -> Archive:
    settings = bench.settings.model_copy(update={"requests_at_once": 1, "snapshot_days": KEPT})
    return Archive(bench.store.scratch.s3, bench.signer, settings)


# What is offered


def test_old_nightlies_are_no_longer_offered_and_releases_are(archive: Archive) -> None:
    archive.publish(RELEASE, nightly(40), nightly(31), nightly(30), nightly(1))
    before = archive.in_pool()
    [said] = archive.age_out()
    assert "debian bookworm: 2 packages of nightlies" in said
    assert archive.versions() == {RELEASE.version, nightly(30).version, nightly(1).version}
    assert archive.in_pool() == before


def test_where_nightlies_have_stopped_users_keep_the_last_one(archive: Archive) -> None:
    archive.publish(nightly(2), nightly(1))
    archive.age_out(days=1000)
    assert archive.versions() == {nightly(1).version}


def test_a_nightly_leaves_by_one_commit_and_is_not_withdrawn(archive: Archive) -> None:
    archive.publish(nightly(40), nightly(35), RECENT)
    before = archive.snapshots("bookworm")
    archive.age_out()
    assert archive.snapshots("bookworm")[1:] == before
    assert undo.read_notice(archive.suite("bookworm")) is None


def test_nothing_is_committed_where_no_nightly_is_too_old(archive: Archive) -> None:
    archive.publish(RELEASE, RECENT)
    archive.publish(RELEASE, suite="bookworm-1.0")
    before = archive.everything()
    assert archive.age_out() == []
    assert archive.everything() == before


def test_a_run_of_an_old_nightly_that_is_resumed_is_refused(archive: Archive) -> None:
    old = archive.build(OLD.version.partition("-")[0])
    archive.update(old)  # as the newest one
    archive.update(archive.build(RECENT.version.partition("-")[0]))
    archive.age_out()
    with pytest.raises(candidates.NoCandidate, match=r"nightlies from .* on and the newest one"):
        archive.propose(old)


def test_an_old_nightly_that_is_still_offered_may_be_published_again(archive: Archive) -> None:
    old = archive.build(OLD.version.partition("-")[0])
    archive.update(old)
    archive.update(archive.build(RECENT.version.partition("-")[0]))
    assert archive.update(old) == list(old.asked)


def test_a_suite_that_fails_keeps_no_other_from_losing_its_old_nightlies(archive: Archive) -> None:
    for suite in ("bookworm", "trixie"):
        archive.publish(OLD, RECENT, suite=suite)
    for key in list(archive.store.downloads.keys("debian/dists/bookworm/main/")):
        archive.store.downloads.delete(key)
    with pytest.raises(NotPruned, match=r"debian bookworm: .*neither"):
        archive.age_out()
    assert archive.versions("trixie") == {RECENT.version}


def test_a_nightly_that_was_put_back_leaves_again(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    archive.age_out()
    put_back(archive, archive.snapshots("bookworm")[1])
    assert archive.versions() == {OLD.version, RECENT.version}
    archive.age_out()
    assert archive.versions() == {RECENT.version}


def put_back(archive: Archive, to: str) -> None:
    undo.undo(archive.suite("bookworm"), to, archive.signer)


# What is public


def test_files_stay_while_users_or_an_undo_may_want_them(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    good = archive.snapshots("bookworm")[0]
    archive.age_out()
    before = archive.everything()
    assert archive.after(KEPT - 1).delete_files() == []
    assert archive.everything() == before
    put_back(archive, good)
    assert archive.versions() == {OLD.version, RECENT.version}


def test_files_go_in_the_run_after_the_one_that_forgets_the_last_state_that_named_them(
    archive: Archive,
) -> None:
    archive.publish(RELEASE, OLD, RECENT)
    archive.age_out()
    [forgotten] = archive.after(KEPT + 1).delete_files()
    assert "debian bookworm: snapshots: deleted 3" in forgotten
    assert archive.in_pool() == {OLD.name, RECENT.name}
    by_hash, pool = archive.after(KEPT + 2).delete_files()
    assert "debian bookworm: by-hash files: deleted" in by_hash
    assert f"debian: nightlies' files in the pool: deleted 1, {OLD.artifact.size:,} bytes" in pool
    assert archive.in_pool() == {RECENT.name}
    assert archive.versions() == {RELEASE.version, RECENT.version}
    assert archive.after(KEPT + 3).delete_files() == []


def test_a_build_record_stays_as_long_as_a_package_of_its_version(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    records = [deb.name.removesuffix("deb") + "buildinfo" for deb in (OLD, RECENT)]
    for name in records:
        archive.store.downloads.put(POOL + name, b"how it was built")
    archive.age_out()
    for days in (KEPT + 1, KEPT + 2, KEPT + 3):
        archive.after(days).delete_files()
    assert archive.in_pool() == {RECENT.name, records[1]}


def test_every_snapshot_that_is_there_can_be_put_back(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    archive.age_out()
    for days in (KEPT - 1, KEPT - 1):
        archive.after(days).delete_files()
    put_back(archive, archive.snapshots("bookworm")[-1])
    assert archive.versions() == {OLD.version}


def test_by_hash_files_of_a_state_that_is_back_stay(archive: Archive) -> None:
    archive.publish(OLD)
    first = set(archive.store.downloads.keys("debian/dists/bookworm/main/"))
    archive.publish(RECENT)
    put_back(archive, archive.snapshots("bookworm")[1])
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert set(archive.store.downloads.keys("debian/dists/bookworm/main/")) == first
    assert archive.versions() == {OLD.version}


def test_a_file_stays_while_another_suite_of_the_repository_names_it(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    archive.publish(OLD, suite="trixie")  # its newest
    archive.age_out()
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert archive.versions("trixie") == {OLD.version}
    archive.publish(RECENT, suite="trixie")
    archive.age_out()
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert archive.in_pool() == {RECENT.name}


def test_a_withdrawn_releases_file_stays_in_the_pool(archive: Archive) -> None:
    archive.publish(RELEASE, Deb("1.0.1-1"))
    put_back(archive, archive.snapshots("bookworm")[1])
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert archive.store.downloads.get("debian/pool/main/h/hhvm/hhvm_1.0.1-1_amd64.deb")


def test_what_a_publish_has_just_put_there_stays(archive: Archive) -> None:
    archive.publish(RECENT)
    archive.store.downloads.put(f"{POOL}{nightly(0).name}", nightly(0).content)
    archive.after().delete_files()
    assert archive.in_pool() == {RECENT.name, nightly(0).name}


@pytest.mark.parametrize(
    ("lost", "bucket"),
    [
        ("snapshots/debian/trixie/", "scratch"),
        ("debian/dists/trixie/", "downloads"),
        ("debian/dists/trixie/InRelease", "downloads"),
    ],
)
def test_where_a_suites_history_is_not_known_no_nightly_is_deleted(
    archive: Archive, lost: str, bucket: str
) -> None:
    archive.publish(OLD, RECENT)
    archive.publish(OLD, suite="trixie")
    source(archive, OLD)
    archive.age_out()
    for key in list(getattr(archive.store, bucket).keys(lost)):
        getattr(archive.store, bucket).delete(key)
    before = archive.in_pool()
    for days in (KEPT + 1, KEPT + 2):
        said = archive.after(days).delete_files()
        assert any("Nothing is deleted that users of debian trixie may need" in line for line in said)
    assert archive.in_pool() == before
    assert source(archive, OLD, put=False)


def test_a_state_whose_indices_are_gone_is_not_known(archive: Archive) -> None:
    archive.publish(OLD)
    lost = list(archive.store.downloads.keys("debian/dists/bookworm/main/binary-amd64/by-hash/"))
    archive.publish(RECENT)
    archive.age_out()
    for key in lost:
        archive.store.downloads.delete(key)
    [said] = archive.after(KEPT + 1).delete_files()
    assert "is incomplete" in said
    assert archive.in_pool() == {OLD.name, RECENT.name}


def test_a_suite_of_another_repository_with_unknown_history_keeps_no_pool_files_of_this_one(
    archive: Archive,
) -> None:
    archive.publish(OLD, RECENT)
    archive.publish(RECENT, suite="noble", name="ubuntu")
    for key in list(archive.store.scratch.keys("snapshots/ubuntu/")):
        archive.store.scratch.delete(key)
    archive.age_out()
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert archive.in_pool() == {RECENT.name}


def test_a_snapshot_that_was_never_committed_goes_too(archive: Archive) -> None:
    archive.publish(OLD)
    with recorded(archive.store.scratch.s3) as sent:
        archive.publish(RECENT)
    until_commit = writes(sent).index("PutObject debian/dists/bookworm/InRelease")
    with recorded(archive.store.scratch.s3, die_after=until_commit) as sent, pytest.raises(Died):
        archive.publish(nightly(0))
    archive.after(KEPT + 1).delete_files()
    kept = list(archive.store.scratch.keys("snapshots/"))
    assert kept == [f"snapshots/debian/bookworm/{archive.snapshots('bookworm')[0]}.json"]


# Sources of nightlies


def source(archive: Archive, deb: Deb, *, put: bool = True) -> bool:
    """Whether the nightly's source is public, with its signature; ``put`` makes it so."""
    key = keys.public_tarball(Release(deb.version.partition("-")[0], nightly=True))
    if put:
        archive.store.downloads.put(f"{key}.sig", b"signature")
        archive.store.downloads.put(key, b"source")
    there = [archive.store.downloads.head(name) is not None for name in (f"{key}.sig", key)]
    assert there[0] == there[1]
    return there[0]


def test_the_source_of_a_nightly_stays_as_long_as_its_packages(archive: Archive) -> None:
    archive.publish(RELEASE, OLD, RECENT)
    source(archive, OLD)
    source(archive, RECENT)
    archive.store.downloads.put("source/hhvm-1.0.0.tar.gz", b"source")
    archive.age_out()
    archive.after(KEPT + 1).delete_files()
    assert source(archive, OLD, put=False)
    archive.after(KEPT + 2).delete_files()
    assert not source(archive, OLD, put=False)
    assert source(archive, RECENT, put=False)
    assert archive.store.downloads.get("source/hhvm-1.0.0.tar.gz") == b"source"


def test_a_tarball_goes_before_its_signature(archive: Archive) -> None:
    source(archive, OLD)
    with recorded(archive.store.scratch.s3) as sent:
        archive.after(KEPT + 1).delete_files()
    deleted = [request for request in sent if "source/nightlies/" in request]
    assert [request.endswith(".sig") for request in deleted if "Delete" in request] == [False, True]


def test_listings_stay_and_forget_what_was_deleted(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    pages.rebuild_pages(archive.store, archive.settings)
    archive.age_out()
    for days in (KEPT + 1, KEPT + 2):
        archive.after(days).delete_files()
    assert OLD.name.encode() in (archive.store.downloads.get(f"{POOL}index.html") or b"")
    pages.rebuild_pages(archive.store, archive.settings)
    listing = archive.store.downloads.get(f"{POOL}index.html") or b""
    assert RECENT.name.encode() in listing
    assert OLD.name.encode() not in listing


# Whatever happens


def test_an_empty_store_has_nothing_to_prune(archive: Archive) -> None:
    assert archive.age_out() == archive.after().delete_files() == archive.after().delete_scratch() == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(archive: Archive) -> None:
    archive.publish(OLD, RECENT)
    archive.store.scratch.put(keys.job_file("1.0.0", "a-job", AttemptId.new(), keys.LOG), b"log")
    before = archive.everything()
    dry = archive.after(KEPT + 1, dry_run=True)
    assert "1 packages of nightlies" in dry.age_out(archive.signer)[0]
    assert "would delete 1" in dry.delete_files()[-1]
    assert "would delete" in dry.delete_scratch()[0]
    assert archive.everything() == before


@pytest.mark.parametrize("days", [KEPT + 1, KEPT + 2])
def test_deleting_may_stop_after_any_file_and_is_completed_by_the_next_run(
    archive: Archive, days: int
) -> None:
    archive.publish(RELEASE, OLD)
    source(archive, OLD)
    archive.publish(RECENT)
    archive.age_out()
    for before in range(0, days, KEPT + 1):
        archive.after(before).delete_files()

    def delete_one_file() -> bool:
        """Whether there were more."""
        with recorded(archive.store.scratch.s3, die_after=1) as sent, contextlib.suppress(Died):
            archive.after(days).delete_files()
            return False
        assert len(writes(sent)) == 1
        return True

    assert delete_one_file()
    while delete_one_file():
        assert archive.versions() == {RELEASE.version, RECENT.version}
    archive.after(KEPT + 1).delete_files()
    archive.after(KEPT + 2).delete_files()
    assert archive.in_pool() == {RECENT.name}
    assert not source(archive, OLD, put=False)
    assert len(list(archive.store.scratch.keys("snapshots/"))) == 1


# Scratch


def test_a_version_that_nobody_works_on_leaves_only_its_manifests_and_its_source(archive: Archive) -> None:
    archive.update(archive.build("1.0.0"))
    for key in (
        keys.job_file("1.0.0", "a-job", AttemptId.new(), keys.LOG),
        "hhvm-1.0.0.tar.gz",
        "1.0.0/source.json",
        "1.0.0/plan.json",
    ):
        archive.store.scratch.put(key, b"{}")
    kept = {"1.0.0/plan.json", "1.0.0/source.json", "hhvm-1.0.0.tar.gz"}
    kept |= {key for key in archive.everything() if key.endswith("/manifest.json")}
    others = {key for key in archive.everything() if "1.0.0" not in key} | set(archive.public())
    assert archive.after(KEPT - 1).delete_scratch() == []
    [said] = archive.after(KEPT + 1).delete_scratch()
    assert "objects in scratch: deleted" in said
    assert set(archive.everything()) == kept | others


def test_a_published_version_counts_as_built_without_its_scratch(archive: Archive) -> None:
    plan = archive.build("1.0.0")
    archive.update(plan)
    archive.after(KEPT + 1).delete_scratch()
    manifest = PackageManifest.read(archive.store, plan.release, BOOKWORM)
    assert manifest
    assert manifest.is_built(archive.store, plan.release)
    assert archive.update(plan) == list(plan.asked)


def test_a_version_that_somebody_works_on_keeps_all(archive: Archive) -> None:
    archive.build("1.0.0")
    archive.store.scratch.put(keys.job_file("1.0.1", "a-job", AttemptId.new(), keys.LOG), b"log")
    last = max(entry.modified for entry in archive.store.scratch.entries("1.0.0/"))
    pruning = Pruning(archive.store, archive.settings, dry_run=False, now=last + timedelta(days=KEPT))
    before = set(archive.store.scratch.keys("1.0.0/"))
    pruning.delete_scratch()
    assert set(archive.store.scratch.keys("1.0.0/")) == before


def test_a_nightlys_source_in_scratch_goes_after_the_public_one(archive: Archive) -> None:
    release = Release(OLD.version.partition("-")[0], nightly=True)
    source(archive, OLD)
    for key in (keys.tarball(release), keys.tarball_signature(release)):
        archive.store.scratch.put(key, b"")
    assert archive.after(KEPT + 1).delete_scratch() == []
    archive.after(KEPT + 1).delete_files()
    archive.after(KEPT + 1).delete_scratch()
    assert list(archive.store.scratch.keys("hhvm-nightly")) == []


OLD_RELEASE, OLD_NIGHTLY = Release("1.0.0", nightly=False), Release("2026.01.02", nightly=True)
ATTEMPT = AttemptId(datetime(2026, 1, 2, tzinfo=UTC))
OUTPUTS = keys.outputs(OLD_RELEASE, BOOKWORM, ATTEMPT)
CANDIDATE = keys.candidate_files(OLD_RELEASE, BOOKWORM, ATTEMPT)
GOES = {
    Scratch.NIGHTLY_TARBALL: keys.tarball(OLD_NIGHTLY),
    Scratch.NIGHTLY_SIGNATURE: keys.tarball_signature(OLD_NIGHTLY),
    Scratch.FORCED: keys.forced(OLD_RELEASE, "a-run"),
    Scratch.PLAN_OF_RUN: keys.plan_of_run(OLD_RELEASE, "a-run"),
    Scratch.ARTIFACT: keys.output(OUTPUTS, "hhvm_1.0.0-1~bookworm_amd64.deb"),
    Scratch.CANDIDATE: keys.candidate(OLD_RELEASE, BOOKWORM),
    Scratch.CANDIDATE_FILE: keys.candidate_file(CANDIDATE, "dists/bookworm/InRelease"),
    Scratch.CANDIDATE_ACCEPTED: keys.candidate_accepted(CANDIDATE),
    Scratch.JOB_FILE: keys.job_file("1.0.0", "a-job", ATTEMPT, keys.LOG),
    Scratch.LAUNCHED: keys.launched("1.0.0", "a-job", ATTEMPT, "i-0123456789abcdef0"),
    Scratch.WORKER_FILE: keys.worker_file("1.0.0", "a-job", ATTEMPT, "AROA1:i-0", "out/hhvm.deb"),
    Scratch.COMPILER_CACHE: keys.compiler_cache(BOOKWORM, "0" * 64),
    Scratch.DEPENDENCIES_IMAGE: keys.dependencies_image(BOOKWORM, "0" * 64),
    Scratch.DEPENDENCIES_FILE: keys.output(keys.dependencies_files(BOOKWORM, ATTEMPT), "dependencies.tar.gz"),
}
STAYS = {
    Scratch.LAST_PUBLISH: keys.last_publish("release"),
    Scratch.CANARY_VERDICT: keys.CANARY_VERDICT,
    Scratch.CANARY_TURN: keys.CANARY_TURN,
    Scratch.ANNOUNCED: keys.announced(OLD_RELEASE),
    Scratch.KEYRING: keys.keyring(BOOKWORM, "hhvm-archive-keyring_20261129+debian12_all.deb"),
    Scratch.UNDELIVERED: keys.undelivered("0" * 64),
    Scratch.RELEASE_TARBALL: keys.tarball(OLD_RELEASE),
    Scratch.RELEASE_SIGNATURE: keys.tarball_signature(OLD_RELEASE),
    Scratch.PLAN: keys.plan(OLD_RELEASE),
    Scratch.SOURCE: keys.source(OLD_RELEASE),
    Scratch.MANIFEST: keys.manifest(OLD_RELEASE, BOOKWORM),
    Scratch.ATTEMPT_MANIFEST: keys.attempt_manifest(OUTPUTS),
    Scratch.HOLD: keys.hold("1.0.0", "0" * 64),
    Scratch.LIFTED: keys.lifted("1.0.0", "0" * 64),
    Scratch.QUESTION: keys.question("hhvm_build_and_publish", "a-run", 1),
    Scratch.ANSWER: keys.answer("1.0.0", "0" * 64),
    Scratch.FORMER_APPROVAL: "approvals/1.0.0/hhvm_build_and_publish/a-run.json",
    Scratch.PACKAGING: keys.packaging("0" * 64),
    Scratch.SNAPSHOT: keys.snapshot("debian", "bookworm", "20260102T000000Z-0123456789ab"),
    Scratch.CONDITIONAL_WRITES: keys.CONDITIONAL_WRITES,
    Scratch.CHECKSUMS: keys.CHECKSUMS,
    Scratch.STATUS: keys.STATUS,
}


def test_of_an_old_version_every_key_is_deleted_or_stays_on_purpose(archive: Archive) -> None:
    assert GOES.keys().isdisjoint(STAYS)
    assert {*GOES, *STAYS} == set(Scratch) == set(RULES)
    for key in (*GOES.values(), *STAYS.values()):
        archive.store.scratch.put(key, b"")
    archive.after(10 * KEPT).delete_scratch()
    assert set(archive.store.scratch.keys()) == set(STAYS.values())


def test_an_object_with_an_unknown_key_stays_and_is_named(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = {
        "packaging/0.tar.gz",
        "approvals/1.0.0",
        "hhvm-nightly-x.tar.gz",
        "1.0/x",
        "1.0.0/x",
        "2026.02.30/plan.json",
        "nightly/x",
        "jobs/1.0.0/a-job/log.txt",
    }
    for key in unknown:
        archive.store.scratch.put(key, b"")
    archive.after(10 * KEPT).delete_scratch()
    assert set(archive.store.scratch.keys()) == unknown
    for key in unknown:
        assert f"s3://{archive.store.scratch.name}/{key} has an unknown key" in caplog.text
