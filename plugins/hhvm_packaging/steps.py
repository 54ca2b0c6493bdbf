"""The steps that run on workers: what job each is, when it is done, and what its result means."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from hhvm_packaging import distros, repositories, sources
from hhvm_packaging.apt.index import ARCHITECTURE
from hhvm_packaging.apt.lock import fenced
from hhvm_packaging.candidates import Candidate
from hhvm_packaging.jobs import Input, Job, JobFailed
from hhvm_packaging.manifests import PackageManifest, SourceManifest
from hhvm_packaging.release import NIGHTLY_PACKAGE, PACKAGE
from hhvm_packaging.request import UNDO

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hhvm_packaging.apt.suite import State
    from hhvm_packaging.jobs import Artifact, Result
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store
    from hhvm_packaging.workers.worker import Worker


@dataclass(frozen=True)
class Step(ABC):
    """One step of a plan. It may be run again at any time: what is done stays done."""

    plan: Plan
    store: Store
    settings: Settings
    distro: str | None = None

    script: ClassVar[str]
    """The file in jobs/."""
    brief: ClassVar[bool] = False
    """Whether the job is a matter of seconds."""

    def done(self) -> str | None:
        """Why nothing is left to do, in words; None where the job must run."""
        return None

    @abstractmethod
    def job(self, build: str) -> Job:
        """The job to run; ``build`` is a name for this try. May prepare what the job builds upon."""

    def accept(self, job: Job, result: Result) -> str:
        """Record what the job made. Returns what there is now, in words. Raises JobFailed."""
        return f"{job.title}: done"

    def take_in(self, worker: Worker, name: str, build: str, job: Job) -> str:
        """Record what the job that ended came to, and remove it. Returns what there is now, in words.

        Raises JobFailed or TryAgain, and leaves it, if it did not succeed.
        """
        done = self.accept(job, worker.collect(name, build, job, self.store))
        worker.remove(name)
        return done

    def _alone(self, what: str) -> AbstractContextManager[None]:
        """Keep this machine's other runs from recording ``what`` meanwhile."""
        return fenced(self.store.scratch, self.store.scratch, what, directory=self.settings.lock_directory)

    def published_suite(self, distro: distros.Distro) -> dict[str, str]:
        """Where users find the distribution's packages, as jobs/in-container/add-repository takes it."""
        return {
            "PUBLIC_URL": self.settings.published(""),
            "REPOSITORY": distro.repository,
            # The first is the one that users of the release are told of.
            "SUITE": repositories.suites(self.plan.release, distro, self.settings)[0],
        }


class MakeSourceTarball(Step):
    """The source tarball of the plan's commit."""

    script = "make-source-tarball"

    def done(self) -> str | None:
        """A tarball of this commit with a signature that verifies."""
        release = self.plan.release
        manifest = sources.is_signed(self.store, release, sources.public_keys(self.store))
        if manifest is None or manifest.commit != self.plan.commit:
            return None
        return f"HHVM {release.version}: the signed source tarball of commit {manifest.commit} is there"

    def job(self, build: str) -> Job:
        """Clone and pack the commit."""
        return Job(
            version=self.plan.version,
            script=self.script,
            packaging=self.plan.packaging,
            environment={
                "VERSION": self.plan.version,
                "COMMIT": self.plan.commit,
                "SOURCE_REPOSITORY": sources.repository(self.plan.release, self.settings),
            },
            outputs="",
            needs_keys=not self.plan.release.nightly,
            time_limit=self.settings.time_limits.make_source_tarball,
        )

    def accept(self, job: Job, result: Result) -> str:
        """Write the source manifest, still unsigned, unless another run has it already, signed or not."""
        release = self.plan.release
        tarball = _only(job, result, self.store.tarball(release))
        made = SourceManifest(version=release.version, commit=self.plan.commit, tarball=tarball)
        with self._alone(release.version):
            there = SourceManifest.read(self.store, release)
            if there is None or there.model_copy(update={"signed_by": None}) != made:
                made.write(self.store, release)
        return f"{job.title}: {tarball.name}, {tarball.size:,} bytes, SHA-256 {tarball.sha256}"


class MakeBinaryPackage(Step):
    """The packages of one distribution."""

    script = "make-binary-package"

    @property
    def _distro(self) -> distros.Distro:
        return self.plan.distro(str(self.distro))

    @cached_property
    def _source(self) -> SourceManifest:
        manifest = SourceManifest.read(self.store, self.plan.release)
        if manifest is None or manifest.signed_by is None:
            raise JobFailed(
                f"HHVM {self.plan.version}, {self.distro}: there is no signed source tarball; "
                "clear `make_source_tarball` and what follows"
            )
        return manifest

    def _inputs(self, source: SourceManifest) -> str:
        """Digest of all that the package depends on."""
        parts = (source.tarball.sha256, self._distro.files_sha256, self._distro.docker_base)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def done(self) -> str | None:
        """The same inputs gave artifacts that are there, in time; or it is published, whatever they are."""
        release = self.plan.release
        manifest = PackageManifest.read(self.store, release, self._distro.name)
        if manifest is None or manifest.package_version != self._distro.package_version(release):
            return None
        what = f"{release.package} {manifest.package_version}"
        if manifest.is_published(self.store, release):
            return f"{what} is already published; bump distros/{self.distro}/PKGVER to rebuild."
        if manifest.inputs != self._inputs(self._source) or not manifest.is_since(self.plan.not_before):
            return None
        if not manifest.is_built(self.store, release):
            return None
        return (
            f"{what} is built already. To build it again, trigger hhvm_build with `force`, or bump "
            f"distros/{self.distro}/PKGVER."
        )

    def job(self, build: str) -> Job:
        """Build in a throwaway container of the distribution, and install the result in others."""
        source, release = self._source, self.plan.release
        return Job(
            version=release.version,
            script=self.script,
            distro=self.distro,
            packaging=self.plan.packaging,
            environment={
                "VERSION": release.version,
                "DISTRO": self._distro.name,
                "SOURCE_SHA256": source.tarball.sha256,
                **self.published_suite(self._distro),
            },
            inputs=(
                Input(
                    key=self.store.tarball(release), name=source.tarball.name, sha256=source.tarball.sha256
                ),
            ),
            outputs=self.store.build(release, self._distro.name, build),
            needs_engine=True,
            time_limit=self.settings.time_limits.make_binary_package,
        )

    def accept(self, job: Job, result: Result) -> str:
        """Write the manifest, which makes the packages count as built; of two runs' the first one counts."""
        release, source = self.plan.release, self._source
        manifest = PackageManifest(
            version=release.version,
            distro=self._distro.name,
            package_version=self._distro.package_version(release),
            inputs=self._inputs(source),
            source_sha256=source.tarball.sha256,
            docker_base=self._distro.docker_base,
            build=str(job.outputs),
            artifacts=result.artifacts,
        )
        _expect_packages(job, release.package, manifest)
        with self._alone(f"{release.version} {self.distro}"):
            etag = PackageManifest.etag(self.store, release, self._distro.name)
            if done := self.done():
                return f"{job.title}: another run was first, and its packages count. {done}"
            manifest.write(self.store, release, etag=etag)
        return f"{job.title}: " + ", ".join(package.name for package in manifest.packages)


class PublishReleaseSource(Step):
    """A release's source: the tarball first, then the public tag and branch."""

    script = "publish-release-source"

    def done(self) -> str | None:
        """The tarball and the tag are public. Of a nightly, nothing is left to publish."""
        release = self.plan.release
        if release.nightly:
            return f"HHVM {release.version}: a nightly's source is public already"
        if self.plan.action == UNDO:
            return f"HHVM {release.version}: an undo leaves the source as it is: what is public stays so"
        public = self.store.public_tarball(release)
        if not all(self.store.downloads.head(key) for key in (f"{public}.sig", public)):
            return None
        if sources.published_tag(release, self.settings.public_repository) != self.plan.commit:
            return None
        return (
            f"HHVM {release.version}: {self.settings.published(public)} and the tag {release.tag} are public"
        )

    def job(self, build: str) -> Job:
        """Copy the tarball inside the store, then have the tag and the branch pushed."""
        sources.publish(self.store, self.plan.release)
        return Job(
            version=self.plan.version,
            script=self.script,
            packaging=self.plan.packaging,
            environment={
                "VERSION": self.plan.version,
                "COMMIT": self.plan.commit,
                "STAGING_REPOSITORY": self.settings.staging_repository,
                "PUBLIC_REPOSITORY": self.settings.public_repository,
            },
            needs_keys=True,
            time_limit=self.settings.time_limits.publish_release_source,
        )


class LookAtSuites(Step):
    """A user's look at a distribution's suites: which packages apt offers there."""

    brief = True

    @abstractmethod
    def _expected(self) -> str:
        """What apt must offer, as jobs/in-container/check-offer takes it. Raises JobFailed."""

    def job(self, build: str) -> Job:
        """Read the repository with the distribution's own apt."""
        distro = self.plan.distro(str(self.distro))
        return Job(
            version=self.plan.version,
            script=self.script,
            distro=distro.name,
            packaging=self.plan.packaging,
            environment={
                "DISTRO": distro.name,
                "PUBLIC_URL": self.settings.published(""),
                "REPOSITORY": distro.repository,
                "EXPECTED": self._expected(),
            },
            inputs=self._inputs(),
            needs_engine=True,
            time_limit=self.settings.time_limits.look_at_suites,
        )

    def _inputs(self) -> tuple[Input, ...]:
        """What the job looks at, if not the published repository."""
        return ()


class LookAtCandidate(LookAtSuites):
    """The look for what the plan's candidate is to bring about."""

    @cached_property
    def _candidate(self) -> Candidate:
        candidate = Candidate.read(self.store, self.plan.release, str(self.distro))
        if candidate is None or candidate.fault:
            raise JobFailed(
                f"HHVM {self.plan.version}, {self.distro}: it has no candidate; clear `candidate` and what "
                "follows"
            )
        return candidate

    def _expected(self) -> str:
        return self._candidate.expected


class VerifyCandidate(LookAtCandidate):
    """The look at what the suites are to become, before anybody else can have it."""

    script = "verify-candidate"

    def done(self) -> str | None:
        """Apt accepted this very candidate."""
        if not self._candidate.is_accepted(self.store):
            return None
        return f"HHVM {self.plan.version}, {self.distro}: apt has accepted this candidate already"

    def accept(self, job: Job, result: Result) -> str:
        """Record that this candidate may be exposed."""
        self._candidate.accept(self.store)
        return f"{job.title}: apt accepts the candidate"

    def _inputs(self) -> tuple[Input, ...]:
        return self._candidate.files


class VerifyPublished(LookAtCandidate):
    """The look at what was published."""

    script = "verify-published"


class LookAsUser(LookAtSuites):
    """The look at all that is published for a distribution, whatever was published last."""

    script = "look-as-user"

    def _expected(self) -> str:
        """For each suite a line: its name, and of the packages that users ask for those that it has."""
        suites = repositories.of(self.plan.distro(str(self.distro)), self.store, self.settings)
        return "\n".join(" ".join([suite.suite, *_asked_for(suite.read())]) for suite in suites)


def _asked_for(state: State) -> list[str]:
    offered = {name for name, _, architecture in state.identities if architecture in (ARCHITECTURE, "all")}
    return [name for name in (PACKAGE, NIGHTLY_PACKAGE) if name in offered]


STEPS: dict[str, type[Step]] = {
    step.script: step
    for step in (
        MakeSourceTarball,
        MakeBinaryPackage,
        VerifyCandidate,
        PublishReleaseSource,
        VerifyPublished,
        LookAsUser,
    )
}


def _only(job: Job, result: Result, name: str) -> Artifact:
    names = [artifact.name for artifact in result.artifacts]
    if names != [name]:
        raise JobFailed(
            f"{job.title}: expected {name} alone, but the job left {', '.join(names) or 'nothing'}"
        )
    return result.artifacts[0]


def _expect_packages(job: Job, package: str, manifest: PackageManifest) -> None:
    found = {deb.name.partition("_")[0]: deb.name.split("_")[1] for deb in manifest.packages}
    expected = dict.fromkeys((package, f"{package}-dev"), manifest.package_version)
    if found != expected:
        raise JobFailed(
            f"{job.title}: expected {' and '.join(expected)} {manifest.package_version}, but the build left "
            + (", ".join(f"{name} {version}" for name, version in found.items()) or "no package")
        )
