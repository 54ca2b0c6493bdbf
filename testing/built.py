"""Versions that are built and not published yet, in a store of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging.apt import undo
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.apt.packages_index import Packages
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.distros import Distro
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import PublishPlan
from hhvm_packaging.publishing import candidates, exposure
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.release import Release
from hhvm_packaging.reporting import reports
from hhvm_packaging.runs.run import Run
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import Artifact, Failure, Job
from testing.debs import Deb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

SUITES = ("bookworm", "trixie")
RUN = Run("https://airflow.example", "hhvm_publish_release", "a-run")
BOOKWORM, TRIXIE = "debian-12-bookworm", "debian-13-trixie"


def fail(
    store: Store, run: Run, task: str, script: str, distro: str | None, failure: Failure, said: str
) -> str:
    """What a worker leaves of an attempt at 1.0.0 that fails, having said that. Returns where its log is."""
    job = Job(version="1.0.0", script=script, distro=distro, packaging="", environment={}, time_limit=60)
    name, attempt = run.job_name(task, "1.0.0", script, distro), AttemptId.new()
    log = keys.job_file("1.0.0", name, attempt, keys.LOG)
    store.scratch.put(log, said.encode())
    attempts.failed(store, job, name, attempt, failure, "a reason", said.encode())
    return f"s3://{store.scratch.name}/{log}"


class Bench:
    """A store in which versions are built for two distributions."""

    def __init__(self, s3: S3Client, signer: Signer, settings: Settings) -> None:
        self.store, self.signer, self.settings = Store(s3, settings), signer, settings

    def build(
        self,
        version: str,
        extra: str = "",
        architectures: Iterable[str] = ("amd64",),
        more: Callable[[str], list[Deb]] = lambda _: [],
    ) -> PublishPlan:
        """A plan to publish a version that was built for both; ``extra`` are more lines of its control.

        ``more`` makes other packages of the build from their version.
        """
        distros = tuple(
            Distro(
                name=f"debian-{number}-{suite}",
                docker_base=f"debian:{suite}",
                distribution=suite,
                pkgver=f"1~{suite}",
                files_sha256="",
            )
            for number, suite in enumerate(SUITES, 12)
        )
        release = Release.find(version)
        assert release
        plan = PublishPlan(
            version=version,
            nightly=release.nightly,
            commit="",
            packaging=packaging_files.upload(self.store, self.settings.packaging_root),
            packaging_revision="",
            distros=distros,
        )
        for distro in distros:
            package_version = f"{version}-{distro.pkgver}"
            debs = [
                Deb(package_version, release.package, architecture, extra) for architecture in architectures
            ] + more(package_version)
            directory = keys.outputs(plan.release, distro.name, AttemptId.new())
            for deb in debs:
                self.store.scratch.put(directory + deb.name, deb.content)
            PackageManifest(
                version=version,
                distro=distro.name,
                package_version=package_version,
                inputs="",
                source_sha256="",
                docker_base=distro.docker_base,
                directory=directory,
                artifacts=tuple(deb.artifact for deb in debs),
            ).write(
                self.store, plan.release, etag=PackageManifest.etag(self.store, plan.release, distro.name)
            )
        return plan

    def sign_source(self, plan: PublishPlan) -> SourceManifest:
        """What building leaves of the version's source. The tarball itself is not there."""
        source = SourceManifest(
            version=plan.version,
            commit="",
            tarball=Artifact(name=plan.release.name, size=1, sha256=sha256(plan.version.encode()), md5=""),
            signed_by="somebody",
        )
        source.write(self.store, plan.release)
        return source

    def propose(self, plan: PublishPlan) -> dict[str, Candidate]:
        """What the task ``candidate`` leaves."""
        candidates.make_all(plan, self.store, self.signer, self.settings)
        found = {name: Candidate.read(self.store, plan.release, name) for name in plan.asked}
        return {name: candidate for name, candidate in found.items() if candidate}

    def update(self, plan: PublishPlan) -> list[str]:
        """All of publishing, where apt accepts whatever there is."""
        for candidate in self.propose(plan).values():
            candidate.accept(self.store)
        return self.expose(plan)

    def expose(self, plan: PublishPlan) -> list[str]:
        """Publish what was proposed and accepted. Returns the suites that changed, in words."""
        return exposure.update(plan, self.store, self.signer, self.settings)

    def report(self, plan: PublishPlan, run: Run = RUN) -> str:
        """The report of publishing."""
        return reports.report_publish(plan, self.store, self.settings, run)

    def suite(self, name: str, repository: str = "debian") -> Suite:
        """A suite of the store."""
        locks = self.settings.lock_directory
        return Suite(self.store.downloads, self.store.scratch, repository, name, locks=locks)

    def offered(self, suite: str, architecture: str = "amd64") -> list[str]:
        """The versions of all packages that a suite has for an architecture."""
        packages = self.suite(suite).read().packages
        return [stanza.version for stanza in packages.get(architecture, Packages()).stanzas]

    def snapshots(self, suite: str) -> list[str]:
        """By name, newest first."""
        return [snapshot.name for snapshot in undo.read_history(self.suite(suite))]

    def public(self) -> list[str]:
        """Every key that users can see."""
        return list(self.store.downloads.keys())


@pytest.fixture
def bench(s3: S3Client, tmp_path: Path) -> Iterator[Bench]:
    """A bench in an empty store, with a signing key of its own."""
    with Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]) as signer:
        bench = Bench(s3, signer, Settings(lock_directory=tmp_path))
        bench.store.downloads.put(PUBLIC_KEY, signer.public_key())
        yield bench
