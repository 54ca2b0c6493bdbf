"""The steps that build: the source tarball and each distribution's packages."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging import distros
from hhvm_packaging.planning import source_tarball
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.step import Step
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Input, Job, JobFailed

if TYPE_CHECKING:
    from hhvm_packaging.workers.job import Artifact, Result


class MakeSourceTarball(Step):
    """The source tarball of the plan's commit."""

    script = "make-source-tarball"

    def done(self) -> str | None:
        """A tarball of this commit with a signature that verifies."""
        release = self.plan.release
        manifest = source_tarball.is_signed(self.store, release, source_tarball.public_keys(self.store))
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
                "SOURCE_REPOSITORY": source_tarball.repository(self.plan.release, self.settings),
            },
            outputs="",
            needs_keys=not self.plan.release.nightly,
            time_limit=self.settings.time_limits.make_source_tarball,
        )

    def accept(self, job: Job, result: Result) -> str:
        """Write the source manifest, still unsigned, unless another run has it already, signed or not."""
        release = self.plan.release
        tarball = _only(job, result, keys.tarball(release))
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
                Input(key=keys.tarball(release), name=source.tarball.name, sha256=source.tarball.sha256),
            ),
            outputs=keys.build(release, self._distro.name, build),
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
