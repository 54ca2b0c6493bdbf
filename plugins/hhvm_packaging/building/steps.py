"""The steps that build: the source tarball and each distribution's packages."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from typing_extensions import override

from hhvm_packaging.apt.incoming import Incoming
from hhvm_packaging.building import compiler_cache, dependencies_images, gates, predecessors
from hhvm_packaging.distros import FIRST_ARCHITECTURE
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import source_tarball, target_suites
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.step import DistroStep, Step, expect_one_artifact
from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Input, Job, JobFailed

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.release import Release
    from hhvm_packaging.workers.job import Gate, Result


class MakeSourceTarball(Step[BuildPlan]):
    """Make the source tarball of the plan's commit."""

    script = "make-source-tarball"
    task_id = BuildTask.MAKE_SOURCE_TARBALL
    plan_type = BuildPlan

    def done(self) -> str | None:
        """Done if there is a tarball of the plan's commit, with a signature that verifies."""
        release = self.plan.release
        trusted = source_tarball.trusted_keys(self.store, self.settings)
        manifest = source_tarball.is_signed(self.store, release, trusted)
        if manifest is None or manifest.commit != self.plan.commit:
            return None
        return f"HHVM {release.version}: the signed source tarball of commit {manifest.commit} is there"

    @override
    def job(self, attempt: AttemptId) -> Job:
        """Clone the commit and pack it."""
        is_public_at_once = self.plan.release.nightly
        return Job(
            version=self.plan.subject,
            script=self.script,
            packaging=self.plan.packaging,
            environment={
                "VERSION": self.plan.version,
                "COMMIT": self.plan.commit,
                "SOURCE_REPOSITORY": source_tarball.repository(self.plan.release, self.settings),
                "SUBMODULE_HOSTS": source_tarball.submodule_hosts(self.settings),
                **({"PRIVATE_REPOSITORY": self.settings.staging_repository} if is_public_at_once else {}),
            },
            outputs="",
            output_names=(keys.tarball(self.plan.release),),
            needs_keys=not is_public_at_once,
            time_limit=self.settings.time_limits.make_source_tarball,
        )

    def accept(self, job: Job, result: Result) -> str:
        """Write the source manifest, unsigned. If another run wrote the same one, keep it and its signature.

        Raises JobFailed if the job left anything but the tarball.
        """
        release = self.plan.release
        tarball = expect_one_artifact(job, result, keys.tarball(release))
        made = SourceManifest(version=release.version, commit=self.plan.commit, tarball=tarball)
        with self._lock(release.version):
            current = SourceManifest.read(self.store, release)
            if current is None or current.model_copy(update={"signed_by": None}) != made:
                made.write(self.store, release)
        return f"{job.title}: {tarball.name}, {tarball.size:,} bytes, SHA-256 {tarball.sha256}"


class MakeBinaryPackage(DistroStep[BuildPlan]):
    """Build the packages of one distribution, and install them."""

    script = "make-binary-package"
    task_id = BuildTask.MAKE_BINARY_PACKAGE
    plan_type = BuildPlan

    @cached_property
    def _source(self) -> SourceManifest:
        manifest = SourceManifest.read(self.store, self.plan.release)
        if manifest is None or manifest.signed_by is None:
            raise JobFailed(
                f"{self.plan.title}, {self.distro.name}: there is no signed source tarball; "
                f"clear `{BuildTask.MAKE_SOURCE_TARBALL}` and what follows"
            )
        return manifest

    def _digest_inputs(self, source: SourceManifest) -> str:
        """SHA-256 of everything that the packages are made from."""
        parts = [source.tarball.sha256, self.distro.files_sha256, self.distro.docker_base]
        # Nothing where there are none: so were the digests in manifests before there were profiles.
        parts += self._profiles()
        if not self.distro.is_first:
            parts.append(self.distro.architecture)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _profiles(self) -> list[str]:
        """The build profiles; neither order nor repetition has a meaning."""
        return sorted(set(self.settings.build_profiles))

    def done(self) -> str | None:
        """Done if the same inputs were built, late enough for a forced build; or if it is published."""
        release = self.plan.release
        manifest = PackageManifest.read(self.store, release, self.distro.name)
        if manifest is None or manifest.package_version != self.distro.package_version(release):
            return None
        what = f"{release.package} {manifest.package_version}"
        if manifest.is_published(self.store, release):
            return f"{what} is already published; bump distros/{self.distro.directory}/PKGVER to rebuild."
        if manifest.inputs != self._digest_inputs(self._source):
            return None
        if not manifest.is_since(self.plan.earliest_attempt) or not manifest.is_built(self.store, release):
            return None
        return (
            f"{what} is built already. To build it again, trigger hhvm_build with `force`, or bump "
            f"distros/{self.distro.directory}/PKGVER."
        )

    def job(self, attempt: AttemptId) -> Job:
        """Build in a container of the distribution, and install the packages in other containers."""
        source, release = self._source, self.plan.release
        return Job(
            version=self.plan.subject,
            script=self.script,
            distro=self.distro.name,
            architecture=self.distro.architecture,
            packaging=self.plan.packaging,
            # Those of other distributions may change while this one is built.
            depends_on=self._digest_inputs(source),
            environment={
                "VERSION": release.version,
                "DISTRO": self.distro.directory,
                "SOURCE_SHA256": source.tarball.sha256,
                "DEB_BUILD_PROFILES": " ".join(self._profiles()),
                **({"CCACHE_SIZE": str(self.settings.ccache_size)} if self._compiles_with_cache else {}),
                # What is for all architectures is built once.
                **({} if self.distro.is_first else {"HHVM_BUILD": "any"}),
                **({} if self.distro.not_published else self._where_published(release)),
                **({} if self.distro.not_published else gates.variables(self.settings.gates)),
            },
            inputs=(
                Input(key=keys.tarball(release), name=source.tarball.name, sha256=source.tarball.sha256),
            ),
            caches=tuple(
                cache
                for cache in (
                    compiler_cache.choose(release, self.distro, self.store, self.settings),
                    dependencies_images.choose(self.distro, self.store, self.settings),
                )
                if cache
            ),
            outputs=keys.outputs(release, self.distro.name, attempt),
            needs_engine=True,
            time_limit=self.settings.time_limits.make_binary_package,
        )

    @property
    def _compiles_with_cache(self) -> bool:
        return compiler_cache.is_on(self.settings) and not self.distro.not_published

    def _where_published(self, release: Release) -> dict[str, str]:
        """What the install test upgrades from: see jobs/in-container/add-repository."""
        return {
            "PUBLIC_URL": self.settings.published(""),
            "REPOSITORY": self.distro.repository,
            # The first suite is the one that users of the release are told of.
            "SUITE": target_suites.choose_suites(release, self.distro, self.settings)[0],
        }

    def accept(self, job: Job, result: Result) -> str:
        """Write the manifest. From then on the packages count as built.

        If another run wrote one for the same inputs first, its packages count. Raises JobFailed if the job
        left other packages than it should.
        """
        release, source = self.plan.release, self._source
        manifest = PackageManifest(
            version=release.version,
            distro=self.distro.name,
            package_version=self.distro.package_version(release),
            inputs=self._digest_inputs(source),
            source_sha256=source.tarball.sha256,
            docker_base=self.distro.docker_base,
            directory=str(job.outputs),
            artifacts=result.artifacts,
            left_out=result.left_out,
            packaging_revision=self.plan.packaging_revision,
            packaging_ref=self.plan.packaging_ref,
            facts=result.facts,
            gates=gates.judge((*result.gates, *self._compare_base(result)), self.settings.gates),
        )
        if self.distro.not_published:
            _expect_anything(job, result)
        else:
            self._check_packages(job, manifest)
        if reason := gates.find_failure(manifest.gates):
            raise JobFailed(f"{job.title}: {reason}")
        with self._lock(f"{release.version} {self.distro.name}"):
            etag = PackageManifest.etag(self.store, release, self.distro.name)
            if done := self.done():
                return f"{job.title}: another run was first, and its packages count. {done}"
            manifest.write(self.store, release, etag=etag)
        return f"{job.title}: " + ", ".join(made.name for made in manifest.packages or manifest.artifacts)

    def _compare_base(self, result: Result) -> list[Gate]:
        """The base image, compared with that of the newest version that users are offered."""
        if self.distro.not_published or not result.facts.base_image:
            return []
        try:
            found = predecessors.find(self.plan.release, self.distro, self.store, self.settings)
            return [gates.compare_base(result.facts, self.distro.docker_base, next(found, None))]
        except PackagingError:
            return []  # Whoever publishes to that suite is told what is wrong with it.

    def _check_packages(self, job: Job, manifest: PackageManifest) -> None:
        """Refuse now what a publish would refuse. Raises JobFailed, naming the file."""
        package = self.plan.release.package
        try:
            incoming = Incoming.read(
                job.title,
                manifest.describe(self.distro, self.plan.release, self.settings),
                self.store.scratch,
                self.store.downloads,
                at_once=self.settings.requests_at_once,
            )
        except PackagingError as error:
            raise JobFailed(str(error)) from error
        others = [
            file
            for file, (_, _, architecture) in incoming.names.items()
            if not self.distro.is_first and architecture != self.distro.architecture
        ]
        if others:
            raise JobFailed(
                f"{job.title}: the build left {', '.join(others)}, which the build for {FIRST_ARCHITECTURE} "
                "makes. A make-package must build for the machine's architecture alone if HHVM_BUILD is any"
            )
        versions = {name: version for name, version, _ in incoming.names.values()}
        if versions.get(package) != manifest.package_version:
            raise JobFailed(
                f"{job.title}: expected {package} {manifest.package_version}, but the build left "
                + (
                    ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
                    or "no package"
                )
            )


def _expect_anything(job: Job, result: Result) -> None:
    if not result.artifacts:
        raise JobFailed(f"{job.title}: the build succeeded, but left nothing in /var/out")
