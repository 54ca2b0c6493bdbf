"""What counts as done is decided by what the store holds, with real git, gpg and S3."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from demo import signing_key
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.planning import plans, source_tarball
from hhvm_packaging.planning.hold_records import Asker, Hold
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan, PublishPlan
from hhvm_packaging.planning.request import Refused, Request
from hhvm_packaging.publishing.steps import PublishReleaseSource
from hhvm_packaging.release import Release
from hhvm_packaging.reporting import reports
from hhvm_packaging.runs.run import Run
from hhvm_packaging.settings import Gates, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Conflict, Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.workers import packaging_archive
from hhvm_packaging.workers.job import Artifact, Failure, Gate, JobFailed, Result
from testing.built import fail
from testing.debs import Deb, SourceFile, build_record, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mypy_boto3_s3 import S3Client

    from testing.debs import Built

ROOT = Path(__file__).resolve().parents[2]
TODAY = datetime.date(2026, 11, 22)
RELEASE = Release("1.0.0", nightly=False)
NIGHTLY = Release("2026.11.22", nightly=True)
BOOKWORM, TRIXIE = "debian-12-bookworm", "debian-13-trixie"
RUN = Run("https://airflow.example", "hhvm_build", "a-run")
TIME = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
OLD_ATTEMPT = AttemptId(TIME)
KEYS = signing_key.make("HHVM test signing key")


def artifact(name: str, content: bytes) -> Artifact:
    """What a job says of a file that it made."""
    return Artifact(
        name=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )


@dataclass
class Bench:
    """A store, git repositories and the steps' way to write into them, without workers."""

    store: Store
    settings: Settings

    def request(self, release: Release = RELEASE, *distros: str) -> Request:
        """What a person would ask for."""
        return Request(version=release.version, distros=distros or (BOOKWORM,), today=TODAY)

    def plan(self, release: Release = RELEASE, *distros: str, run: str = "a run", **asked: Any) -> BuildPlan:
        """The plan of a build."""
        request = self.request(release, *distros).model_copy(update=asked)
        return plans.plan_build(request, self.store, self.settings, run)

    def edit(self, path: str, content: str) -> None:
        """Change one of the packaging files."""
        (self.settings.packaging_root / path).write_text(content)

    def step(self, plan: BuildPlan, distro: str = BOOKWORM) -> MakeBinaryPackage:
        """The step that makes a distribution's packages."""
        return MakeBinaryPackage(plan, self.store, self.settings, plan.distro(distro))

    def make_source(self, plan: BuildPlan, content: bytes = b"the source") -> SourceManifest:
        """What a worker and make_source_tarball's acceptance leave."""
        step, name = MakeSourceTarball(plan, self.store, self.settings), f"{plan.release.name}.tar.gz"
        self.store.scratch.put(name, content)
        result = Result(exit_status=0, started=TIME, finished=TIME, artifacts=(artifact(name, content),))
        step.accept(step.job(AttemptId.new()), result)
        manifest = SourceManifest.read(self.store, plan.release)
        assert manifest is not None
        return manifest

    def sign(self, plan: BuildPlan) -> SourceManifest:
        """What sign_source_tarball does."""
        with Signer(KEYS[0]) as signer:
            return source_tarball.sign(self.store, plan.release, signer)

    def make_packages(
        self,
        plan: BuildPlan,
        attempt: AttemptId = OLD_ATTEMPT,
        distro: str = BOOKWORM,
        more: Iterable[Built] = (),
        left_out: Mapping[str, str] = MappingProxyType({}),
        gates: tuple[Gate, ...] = (),
    ) -> PackageManifest:
        """What a worker and make_binary_package's acceptance leave; ``more`` are other files of the build."""
        step = self.step(plan, distro)
        job = step.job(attempt)
        version = plan.distro(distro).package_version(plan.release)
        files = [Deb(version, name, extra=f"X-Attempt: {attempt}\n") for name in ("hhvm", "hhvm-dev")]
        made = [file.artifact for file in [*files, *more]]
        for file in [*files, *more]:
            self.store.scratch.put(f"{job.outputs}{file.artifact.name}", file.content)
        step.accept(
            job,
            Result(
                exit_status=0,
                started=TIME,
                finished=TIME,
                artifacts=tuple(made),
                left_out=dict(left_out),
                gates=gates,
            ),
        )
        manifest = PackageManifest.read(self.store, plan.release, distro)
        assert manifest is not None
        return manifest

    def make_public(self, manifest: PackageManifest) -> None:
        """What a publisher leaves in the pool."""
        for package in manifest.packages:
            self.store.downloads.copy_from(
                self.store.scratch,
                manifest.directory + package.name,
                keys.in_repository("debian", keys.pool(RELEASE) + package.name),
                content_type="application/vnd.debian.binary-package",
            )


@pytest.fixture
def bench(s3: S3Client, tmp_path: Path) -> Bench:
    """A store with the public key, and the demo's repositories with 1.0.0 tagged."""
    git = tmp_path / "git"
    subprocess.run([ROOT / "demo/make-git-repositories", git, "1.0.0"], check=True)
    root = tmp_path / "packaging"
    for part in ("bin", "distros", "jobs"):
        shutil.copytree(ROOT / part, root / part, symlinks=True)
    settings = Settings(
        packaging_root=root,
        current_targets=[BOOKWORM, TRIXIE],
        public_repository=str(git / "hhvm.git"),
        staging_repository=str(git / "hhvm-staging.git"),
    )
    store = Store(s3, settings)
    store.downloads.put(PUBLIC_KEY, KEYS[1].encode())
    return Bench(store, settings)


def commit(repository: str, when: str) -> str:
    """A new commit on the default branch, committed at ``when``."""
    tree, parent = (
        subprocess.run(
            ["git", "-C", repository, "rev-parse", ref], capture_output=True, text=True, check=True
        ).stdout.strip()
        for ref in ("HEAD^{tree}", "HEAD")
    )
    made = subprocess.run(
        ["git", "-C", repository, "commit-tree", tree, "-p", parent, "-m", when],
        env=os.environ
        | {
            f"GIT_{who}_{what}": "a@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        | {"GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(["git", "-C", repository, "update-ref", "HEAD", made], check=True)
    return made


def test_a_past_days_nightly_is_the_last_commit_of_that_day_in_utc(bench: Bench) -> None:
    commit(bench.settings.public_repository, "2026-11-19T12:00:00+00:00")
    last = commit(bench.settings.public_repository, "2026-11-20T23:59:59+00:00")
    commit(bench.settings.public_repository, "2026-11-20T22:00:00-02:00")
    assert bench.plan(Release("2026.11.20", nightly=True)).commit == last


def test_todays_nightly_is_the_default_branchs_head(bench: Bench) -> None:
    head = commit(bench.settings.public_repository, "2026-11-22T01:00:00+00:00")
    assert bench.plan(NIGHTLY).commit == head


def test_a_nightly_whose_source_is_public_keeps_its_commit(bench: Bench) -> None:
    plan = bench.plan(NIGHTLY)
    bench.make_source(plan)
    bench.sign(plan)
    commit(bench.settings.public_repository, "2026-11-22T02:00:00+00:00")
    assert bench.plan(NIGHTLY).commit == plan.commit


def test_a_release_that_is_not_tagged_is_refused_with_its_tag_and_repository(bench: Bench) -> None:
    with pytest.raises(
        source_tarball.SourceError, match=r"HHVM-1\.0\.1 is not tagged in .*hhvm-staging\.git"
    ):
        bench.plan(Release("1.0.1", nightly=False))


def test_a_tag_that_moved_after_its_publication_is_refused(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    source_tarball.publish(bench.store, RELEASE, KEYS[1].encode())
    staging = bench.settings.staging_repository
    moved = commit(staging, "2026-11-22T02:00:00+00:00")
    subprocess.run(
        ["git", "-C", staging, "tag", "--force", "HHVM-1.0.0", moved], check=True, capture_output=True
    )
    with pytest.raises(source_tarball.SourceError, match="What is published is immutable"):
        bench.plan()


def test_a_tarball_counts_as_there_only_with_a_signature_that_verifies(bench: Bench) -> None:
    plan = bench.plan()
    step = MakeSourceTarball(plan, bench.store, bench.settings)
    assert step.done() is None
    bench.make_source(plan)
    assert step.done() is None
    bench.sign(plan)
    assert plan.commit in str(step.done())
    bench.store.scratch.put("hhvm-1.0.0.tar.gz.sig", b"not a signature")
    assert step.done() is None


def test_a_tarball_that_was_replaced_is_not_signed(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.store.scratch.put("hhvm-1.0.0.tar.gz", b"evil bytes")
    with pytest.raises(source_tarball.SourceError, match="clear `make_source_tarball`"):
        bench.sign(plan)
    assert bench.store.scratch.head("hhvm-1.0.0.tar.gz.sig") is None


def test_a_nightly_is_public_once_it_is_signed_and_a_release_is_not(bench: Bench) -> None:
    for release in (NIGHTLY, RELEASE):
        plan = bench.plan(release)
        bench.make_source(plan)
        bench.sign(plan)
    public = list(bench.store.downloads.keys("source/"))
    stem = "source/nightlies/hhvm-nightly-2026.11.22.tar.gz"
    assert public == [stem, f"{stem}.sig"]


def test_other_bytes_under_a_published_name_are_refused_with_both_digests(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    source_tarball.publish(bench.store, RELEASE, KEYS[1].encode())
    other = bench.make_source(plan, b"other bytes")
    bench.sign(plan)
    with pytest.raises(
        source_tarball.SourceError, match=rf"with other bytes .*ETag [0-9a-f]+.*{other.tarball.sha256}"
    ):
        source_tarball.publish(bench.store, RELEASE, KEYS[1].encode())


def test_a_package_is_done_when_the_same_inputs_gave_artifacts_that_are_there(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    step = bench.step(plan)
    assert step.done() is None
    manifest = bench.make_packages(plan)
    assert "hhvm 1.0.0-1~bookworm is built already" in str(step.done())
    bench.store.scratch.delete(manifest.directory + manifest.artifacts[0].name)
    assert step.done() is None


GONE = Gate(name="files", verdict="failed", words=("hhvm: /usr/bin/hackfmt is gone",))
SOUND = Gate(name="service", verdict="passed", words=("hhvm.service answers FastCGI on port 9000",))


def test_what_a_gate_finds_does_not_count_as_built_where_the_setting_says_fail(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"gates": Gates(files="fail")})
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    with pytest.raises(JobFailed, match="a quality gate stops the packages: files: hhvm: /usr/bin/hackfmt"):
        bench.make_packages(plan, gates=(SOUND, GONE))
    assert bench.step(plan).done() is None


def test_where_it_says_warn_the_manifest_and_the_report_have_the_words(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    manifest = bench.make_packages(plan, gates=(SOUND, GONE))
    assert manifest.gates == (SOUND, GONE.model_copy(update={"verdict": "warned"}))
    assert reports.report_build(plan, bench.store, bench.settings, RUN).splitlines()[2:5] == [
        "       passed service",
        "       warned files",
        "         hhvm: /usr/bin/hackfmt is gone",
    ]


def test_a_published_package_is_done_also_when_scratch_was_pruned(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    manifest = bench.make_packages(plan)
    bench.make_public(manifest)
    for package in manifest.packages:
        bench.store.scratch.delete(manifest.directory + package.name)
    assert bench.step(plan).done()


def test_other_inputs_are_built_anew_unless_that_version_is_published(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    manifest = bench.make_packages(plan)
    changed = plan.distro(BOOKWORM).model_copy(update={"files_sha256": "changed"})
    step = bench.step(plan.model_copy(update={"distros": (changed,)}))
    assert step.done() is None
    bench.make_public(manifest)
    assert "already published; bump distros/debian-12-bookworm/PKGVER to rebuild" in str(step.done())


def test_a_build_under_way_is_the_same_job_after_other_distributions_files_were_edited(bench: Bench) -> None:
    """So a task that is cleared attaches to it. After its own files were edited, it is another one."""
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    before = bench.step(plan).job(OLD_ATTEMPT)
    bench.edit(f"distros/{TRIXIE}/PKGVER", "2~trixie\n")
    edited = bench.plan()
    assert edited.packaging != plan.packaging
    assert bench.step(edited).job(OLD_ATTEMPT).digest == before.digest
    bench.edit(f"distros/{BOOKWORM}/PKGVER", "2~bookworm\n")
    assert bench.step(bench.plan()).job(OLD_ATTEMPT).digest != before.digest


def test_where_packages_are_published_is_no_input_of_theirs(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    moved = bench.settings.model_copy(update={"public_url": "https://elsewhere.example"})
    step = MakeBinaryPackage(plan, bench.store, moved, plan.distro(BOOKWORM))
    assert step.job(AttemptId.new()).environment["PUBLIC_URL"] == "https://elsewhere.example/"
    assert "is built already" in str(step.done())


def test_build_profiles_reach_the_job_and_are_inputs_of_packages(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    profiled = bench.settings.model_copy(update={"build_profiles": ["nodoc", "nocheck", "nodoc"]})
    step = MakeBinaryPackage(plan, bench.store, profiled, plan.distro(BOOKWORM))
    assert step.job(AttemptId.new()).environment["DEB_BUILD_PROFILES"] == "nocheck nodoc"
    assert step.done() is None


def test_without_build_profiles_packages_of_before_there_were_any_count(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    source = bench.sign(plan)
    distro = plan.distro(BOOKWORM)
    parts = (source.tarball.sha256, distro.files_sha256, distro.docker_base)
    then = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    assert bench.make_packages(plan).inputs == then


def test_of_two_runs_that_build_the_same_package_the_first_ones_counts(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    ids = [AttemptId.new(number) for number in range(1, 9)]
    with ThreadPoolExecutor() as runs:
        found = [made.directory for made in runs.map(partial(bench.make_packages, plan), ids)]
    assert len(set(found)) == 1


def test_a_store_that_supports_conditional_writes_keeps_the_first_manifest(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    manifest = bench.make_packages(plan)
    with mock_aws():
        store = Store(boto3.client("s3", region_name="us-east-1"), bench.settings)
        store.scratch.s3.create_bucket(Bucket=store.scratch.name)
        manifest.write(store, RELEASE, etag=None)
        with pytest.raises(Conflict):
            manifest.model_copy(update={"directory": f"1.0.0/{BOOKWORM}/{AttemptId.new()}/"}).write(
                store, RELEASE, etag=None
            )
        assert PackageManifest.read(store, RELEASE, BOOKWORM) == manifest


def test_a_second_run_does_not_take_the_signature_away(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    signed = bench.sign(plan)
    assert bench.make_source(plan) == signed


def test_a_build_that_left_other_packages_is_not_accepted(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    step = bench.step(plan)
    stray = Deb("1.0.0-2~bookworm")
    refused(
        step,
        stray.artifact,
        stray.content,
        r"expected hhvm 1\.0\.0-1~bookworm, but the build left hhvm 1\.0\.0-2~bookworm",
    )
    assert PackageManifest.read(bench.store, RELEASE, BOOKWORM) is None


def refused(step: MakeBinaryPackage, left: Artifact, content: bytes, reason: str) -> None:
    """A build that left this alone is not accepted."""
    result, job = (
        Result(exit_status=0, started=TIME, finished=TIME, artifacts=(left,)),
        step.job(AttemptId.new()),
    )
    step.store.scratch.put(f"{job.outputs}{left.name}", content)
    with pytest.raises(JobFailed, match=reason):
        step.accept(job, result)


PACKAGE = Deb("1.0.0-1~bookworm")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "hhvm.deb"}, r"hhvm\.deb'? is not a Debian package's file name"),
        ({"size": 1}, r"hhvm_1\.0\.0-1~bookworm_amd64\.deb: .* has other bytes"),
        ({"sha256": "0" * 64}, r"hhvm_1\.0\.0-1~bookworm_amd64\.deb: .* has other bytes"),
        ({"name": PACKAGE.name.replace("amd64", "i386")}, r"i386\.deb: the suite is for amd64"),
    ],
)
def test_what_could_not_be_published_is_not_built(bench: Bench, changes: dict[str, Any], reason: str) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    refused(bench.step(plan), PACKAGE.artifact.model_copy(update=changes), PACKAGE.content, reason)
    assert PackageManifest.read(bench.store, RELEASE, BOOKWORM) is None


def test_every_package_of_a_build_is_built_and_what_is_none_is_left_out_by_name(bench: Bench) -> None:
    control = bench.settings.packaging_root / f"distros/{BOOKWORM}/debian/control"
    bench.edit(str(control), f"{control.read_text()}\nPackage: libother1\nArchitecture: any\n")
    bench.settings = bench.settings.model_copy(update={"allowed_claims": ["Package: libother1"]})
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    version = "1.0.0-1~bookworm"
    packages = [
        Deb(version, "hhvm-dbg"),
        Deb(version, "hhvm-doc", "all"),
        Deb(version, "hhvm-dbgsym", suffix="ddeb"),
        Deb("3.1-1", "libother1"),
    ]
    others = [
        *source(PACKAGE),
        SourceFile(f"hhvm_{version}_amd64.changes", b"its changes"),
        build_record(version, packages),
        SourceFile("hhvm-installer.udeb", b"for the installer"),
        SourceFile("left.tar.gz", b"of no source package"),
        SourceFile("notes.txt", b"some notes"),
    ]
    stray = Deb(version, "hhvm-build-deps", "all")
    made = bench.make_packages(
        plan,
        more=[*packages, *others, stray],
        left_out={stray.name: "nothing declares it", "link": "it is a link"},
    )
    assert {package.name for package in made.packages} == {
        *(package.name for package in packages),
        *(Deb(version, name).name for name in ("hhvm", "hhvm-dev")),
    }
    assert reports.report_build(plan, bench.store, bench.settings, RUN).splitlines()[2:] == [
        f"       left out: {stray.name}, because nothing declares it",
        "       left out: hhvm-installer.udeb, because it is a package for Debian's installer alone",
        "       left out: left.tar.gz, because no .dsc of the build names it",
        "       left out: link, because it is a link",
        "       left out: notes.txt, because apt has no use for such a file",
    ]


def test_the_report_of_a_build_says_what_holds_the_version_damaged_records_included(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    at = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
    hold = Hold(
        version=plan.version,
        asker=Asker(dag_id=RUN.dag_id, run_id=RUN.run_id, by="anna", at=at),
        needs_approval=True,
    )
    hold.write(bench.store)
    said = reports.report_build(plan, bench.store, bench.settings, RUN)
    assert said.splitlines()[-1] == f"held   an approval, asked for in {hold.asker}"
    key = keys.hold(hold.version, hold.name)
    bench.store.scratch.put(key, b"{}", "application/json")
    said = reports.report_build(plan, bench.store, bench.settings, RUN)
    assert f"held   s3://{bench.store.scratch.name}/{key} is damaged" in said


def test_a_release_whose_tag_is_public_without_its_tarball_is_not_done(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    publish = PublishPlan.model_validate(plan.model_dump())
    step = PublishReleaseSource(publish, bench.store, bench.settings)
    staging, public = bench.settings.staging_repository, bench.settings.public_repository
    subprocess.run(["git", "-C", staging, "push", "--quiet", public, "HHVM-1.0.0"], check=True)
    assert step.done() is None
    step.job(AttemptId.new())
    assert "are public" in str(step.done())


def test_publishing_what_is_not_built_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(Refused, match=r"^version: HHVM 1\.0\.0 has no signed source yet"):
        plans.plan_publish(bench.request(), bench.store, bench.settings)
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    assert plans.plan_publish(bench.request(), bench.store, bench.settings).distros
    with pytest.raises(Refused, match=r"^distros: nothing is published\. debian-13-trixie: HHVM 1\.0\.0"):
        plans.plan_publish(bench.request(RELEASE, BOOKWORM, "debian-13-trixie"), bench.store, bench.settings)


def test_a_faulty_distribution_is_named_the_others_are_planned_and_the_report_is_red(bench: Bench) -> None:
    bench.edit("distros/debian-13-trixie/DOCKER_BASE", "not an image\n")
    plan = bench.plan(RELEASE, BOOKWORM, TRIXIE)
    assert [distro.name for distro in plan.distros] == [BOOKWORM]
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    with pytest.raises(reports.Incomplete) as red:
        reports.report_build(plan, bench.store, bench.settings, RUN)
    fault = (
        "FAILED HHVM 1.0.0, debian-13-trixie, plan: distros/debian-13-trixie: DOCKER_BASE must be one line"
    )
    assert fault in str(red.value)
    assert "it says 'not an image'" in str(red.value)
    assert "built  debian-12-bookworm" in str(red.value)


def test_the_report_says_all_of_a_failed_build_and_of_its_last_try(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    task, script = "make_binary_package", "make-binary-package"
    fail(bench.store, RUN, task, script, BOOKWORM, Failure.LOST, "the first try")
    log = fail(bench.store, RUN, task, script, BOOKWORM, Failure.MEMORY, "cc1plus: killed")
    with pytest.raises(reports.Incomplete) as red:
        reports.report_build(plan, bench.store, bench.settings, RUN)
    assert str(red.value).splitlines() == [
        "HHVM 1.0.0: 1 failed",
        f"FAILED HHVM 1.0.0, {BOOKWORM}, make_binary_package: out of memory: a reason",
        "  page: https://airflow.example/dags/hhvm_build/runs/a-run/tasks/make_binary_package/mapped/0",
        f"  log: {log}",
        "  its last lines:",
        "  | cc1plus: killed",
    ]


def test_the_report_says_as_much_of_the_source_tarball_and_that_the_packages_wait(bench: Bench) -> None:
    plan = bench.plan()
    task, script = "make_source_tarball", "make-source-tarball"
    log = fail(bench.store, RUN, task, script, None, Failure.JOB, "fatal: no submodule")
    with pytest.raises(reports.Incomplete) as red:
        reports.report_build(plan, bench.store, bench.settings, RUN)
    lines = str(red.value).splitlines()
    assert lines[1] == "FAILED HHVM 1.0.0, make_source_tarball: the job failed: a reason"
    assert f"  log: {log}" in lines
    assert "  | fatal: no submodule" in lines
    assert f"waits  {BOOKWORM}: it is built from the signed source tarball" in lines


def test_the_report_names_the_signature_where_only_that_is_missing(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, {}, lambda *_: "the key expired")
    with pytest.raises(
        reports.Incomplete, match=r"FAILED HHVM 1\.0\.0, sign_source_tarball: the key expired"
    ):
        reports.report_build(plan, bench.store, bench.settings, run)


def test_what_failed_without_a_job_is_reported_in_the_tasks_own_words(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, {}, lambda task, index: f"{task} {index}: EC2 refuses it")
    with pytest.raises(
        reports.Incomplete, match=r"make_binary_package: make_binary_package 0: EC2 refuses it"
    ):
        reports.report_build(plan, bench.store, bench.settings, run)


def test_a_report_names_the_revision_of_this_project_that_runs(bench: Bench) -> None:
    plan, run = bench.plan(), dataclasses.replace(RUN, deployed="0123abcd")
    bench.make_source(plan)
    bench.sign(plan)
    with pytest.raises(reports.Incomplete, match="deployed revision: 0123abcd"):
        reports.report_build(plan, bench.store, bench.settings, run)
    bench.make_packages(plan)
    said = reports.report_build(plan, bench.store, bench.settings, run)
    assert said.splitlines()[-1] == "deployed revision: 0123abcd"


def test_without_a_plan_the_report_points_to_the_plans_log(bench: Bench) -> None:
    with pytest.raises(reports.Incomplete, match="`plan` failed"):
        reports.report_build(None, bench.store, bench.settings, RUN)


def test_packaging_files_that_are_missing_or_were_replaced_are_refused(bench: Bench, tmp_path: Path) -> None:
    sha256 = bench.plan().packaging
    bench.store.scratch.put(keys.packaging(sha256), b"evil bytes")
    with pytest.raises(packaging_archive.DigestMismatch, match="has other bytes than its name says"):
        packaging_archive.unpack(bench.store, sha256, tmp_path / "unpacked")
    bench.store.scratch.delete(keys.packaging(sha256))
    with pytest.raises(packaging_archive.DigestMismatch, match="is missing"):
        packaging_archive.unpack(bench.store, sha256, tmp_path / "unpacked")


def test_a_forced_run_builds_again_what_is_built_and_only_once(bench: Bench) -> None:
    plan = bench.plan(RELEASE, BOOKWORM, TRIXIE)
    bench.make_source(plan)
    bench.sign(plan)
    for distro in (BOOKWORM, TRIXIE):
        bench.make_packages(plan, distro=distro)
    forced = bench.plan(RELEASE, BOOKWORM, TRIXIE, force=True)
    assert [bench.step(forced, distro).done() for distro in (BOOKWORM, TRIXIE)] == [None, None]
    bench.make_packages(forced, AttemptId.new())
    assert "is built already" in str(bench.step(forced).done())
    assert bench.step(forced, TRIXIE).done() is None


def test_a_forced_run_that_is_resumed_in_whichever_way_builds_only_what_is_missing(bench: Bench) -> None:
    plan = bench.plan(force=True, run="the run")
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan, AttemptId.new())
    bench.plan(run="another run that forces nothing")
    assert bench.step(bench.plan(force=True, run="the run")).done()


def test_another_forced_run_builds_again(bench: Bench) -> None:
    plan = bench.plan(force=True, run="the run")
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan, AttemptId.new())
    assert bench.step(bench.plan(force=True, run="another run")).done() is None


def test_a_forced_run_keeps_the_source_tarball(bench: Bench) -> None:
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    assert MakeSourceTarball(bench.plan(force=True), bench.store, bench.settings).done()


def test_what_is_published_is_not_built_again_by_force(bench: Bench) -> None:
    plan = bench.plan(RELEASE, BOOKWORM, TRIXIE)
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_public(bench.make_packages(plan))
    fault = r"hhvm 1\.0\.0-1~bookworm is already published; bump distros/debian-12-bookworm/PKGVER to rebuild"
    with pytest.raises(Refused, match=rf"^force: nothing is left to build\. debian-12-bookworm: {fault}"):
        bench.plan(force=True)
    forced = bench.plan(RELEASE, BOOKWORM, TRIXIE, force=True)
    assert [distro.name for distro in forced.distros] == [TRIXIE]
    assert "is already published" in forced.faults[BOOKWORM]
    with pytest.raises(reports.Incomplete, match=rf"FAILED HHVM 1\.0\.0, {BOOKWORM}, plan: .*{fault}"):
        reports.report_build(forced, bench.store, bench.settings, RUN)


def test_what_a_forced_run_built_and_published_itself_is_no_fault_of_it(bench: Bench) -> None:
    plan = bench.plan(force=True)
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_public(bench.make_packages(plan, AttemptId.new()))
    resumed = bench.plan(force=True)
    assert resumed.faults == {}
    assert bench.step(resumed).done()


def test_a_bumped_pkgver_builds_that_distribution_alone_again(bench: Bench) -> None:
    plan = bench.plan(RELEASE, BOOKWORM, TRIXIE)
    bench.make_source(plan)
    bench.sign(plan)
    for distro in (BOOKWORM, TRIXIE):
        bench.make_packages(plan, distro=distro)
    bench.edit("distros/debian-12-bookworm/PKGVER", "2~bookworm\n")
    bumped = bench.plan(RELEASE, BOOKWORM, TRIXIE)
    assert MakeSourceTarball(bumped, bench.store, bench.settings).done()
    assert bench.step(bumped).done() is None
    assert bench.step(bumped, TRIXIE).done()
    assert bench.make_packages(bumped, AttemptId.new()).package_version == "1.0.0-2~bookworm"
    assert "hhvm 1.0.0-2~bookworm is built already" in str(bench.step(bumped).done())
