"""The steps that publish a release's source, and those that check with apt what suites offer."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from typing_extensions import override

from hhvm_packaging.planning import hold_records, source_tarball, target_suites
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.plans import CanaryPlan, PublishPlan
from hhvm_packaging.planning.request import UNDO
from hhvm_packaging.planning.step import DistroStep, P, Step
from hhvm_packaging.planning.task_ids import CanaryTask, PublishTask
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.release import NIGHTLY_PACKAGE, PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Input, Job, JobFailed

if TYPE_CHECKING:
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.workers.job import Result


class PublishReleaseSource(Step[PublishPlan]):
    """Publish a release's source: first the tarball, then the tag and the branch."""

    script = "publish-release-source"
    task_id = PublishTask.PUBLISH_RELEASE_SOURCE
    plan_type = PublishPlan

    def done(self) -> str | None:
        """Done if the tarball and the tag are public. There is nothing to do for nightlies and undos."""
        release = self.plan.release
        if release.nightly:
            return f"HHVM {release.version}: a nightly's source is public already"
        if self.plan.action == UNDO:
            return f"HHVM {release.version}: an undo leaves the source as it is: what is public stays so"
        public = keys.public_tarball(release)
        if not all(self.store.downloads.head(key) for key in (keys.public_signature(release), public)):
            return None
        if source_tarball.published_tag(release, self.settings.public_repository) != self.plan.commit:
            return None
        trusted = source_tarball.trusted_keys(self.store, self.settings)
        source_tarball.verify_public(self.store, release, trusted)
        return (
            f"HHVM {release.version}: {self.settings.published(public)} and the tag {release.tag} are public"
        )

    @override
    def job(self, attempt: AttemptId) -> Job:
        """Publish the tarball inside the store. The job pushes the tag and the branch. Raises Held."""
        source = SourceManifest.read(self.store, self.plan.release)
        digests = {"its source": source.tarball.sha256} if source else {}
        hold_records.ensure_released(self.plan.version, digests, self.store, self.settings)
        trusted = source_tarball.trusted_keys(self.store, self.settings)
        source_tarball.publish(self.store, self.plan.release, trusted)
        return Job(
            version=self.plan.subject,
            script=self.script,
            packaging=self.plan.packaging,
            environment={
                "VERSION": self.plan.version,
                "COMMIT": self.plan.commit,
                "STAGING_REPOSITORY": self.settings.staging_repository,
                "PUBLIC_REPOSITORY": self.settings.public_repository,
            },
            needs_keys=True,
            pushes=True,
            time_limit=self.settings.time_limits.publish_release_source,
        )


class LookAtSuites(DistroStep[P]):
    """Check, with the distribution's own apt, which packages the distribution's suites offer."""

    @abstractmethod
    def _expected(self) -> str:
        """What apt must offer, in the format of jobs/in-container/check-offer. Raises JobFailed."""

    @override
    def job(self, attempt: AttemptId) -> Job:
        """Read the repository with apt in a container of the distribution."""
        return Job(
            version=self.plan.subject,
            script=self.script,
            distro=self.distro.name,
            architecture=self.distro.architecture,
            packaging=self.plan.packaging,
            environment={
                "DISTRO": self.distro.directory,
                "PUBLIC_URL": self.settings.published(""),
                "REPOSITORY": self.distro.repository,
            },
            files={"expected": self._expected()},
            inputs=self._inputs(),
            needs_engine=True,
            time_limit=self.settings.time_limits.look_at_suites,
        )

    def _inputs(self) -> tuple[Input, ...]:
        """The files that apt reads in place of the published ones; none where it reads those."""
        return ()


class LookAtCandidate(LookAtSuites[PublishPlan]):
    """Check that apt offers what the distribution's candidate contains."""

    plan_type = PublishPlan

    @cached_property
    def _candidate(self) -> Candidate:
        candidate = Candidate.read(self.store, self.plan.release, self.distro.name)
        if candidate is None or candidate.fault:
            raise JobFailed(
                f"{self.plan.title}, {self.distro.name}: it has no candidate; "
                f"clear `{PublishTask.CANDIDATE}` and what follows"
            )
        return candidate

    def _expected(self) -> str:
        return self._candidate.expected


class VerifyCandidate(LookAtCandidate):
    """Check the candidate, before users can see it."""

    script = "verify-candidate"
    task_id = PublishTask.VERIFY_CANDIDATE

    def done(self) -> str | None:
        """Done if apt accepted this candidate."""
        if not self._candidate.is_accepted(self.store):
            return None
        return f"{self.plan.title}, {self.distro.name}: apt has accepted this candidate already"

    @override
    def accept(self, job: Job, result: Result) -> str:
        """Record that this candidate may be published."""
        self._candidate.accept(self.store)
        return f"{job.title}: apt accepts the candidate"

    def _inputs(self) -> tuple[Input, ...]:
        return self._candidate.files


class VerifyPublished(LookAtCandidate):
    """Check the published suites."""

    script = "verify-published"
    task_id = PublishTask.VERIFY_PUBLISHED


class LookAsUser(LookAtSuites[CanaryPlan]):
    """Check all published suites of the distribution, whichever version was published last."""

    script = "look-as-user"
    task_id = CanaryTask.LOOK_AS_USER
    plan_type = CanaryPlan

    def _expected(self) -> str:
        """One line for each suite: its name, and which of the packages that users install it has."""
        suites = target_suites.list_distro_suites(self.distro, self.store, self.settings)
        on = self.distro.architecture
        return "\n".join(" ".join([suite.suite, *_list_user_packages(suite.read(), on)]) for suite in suites)


def _list_user_packages(state: State, on: str) -> list[str]:
    offered = {name for name, _, architecture in state.identities if architecture in (on, "all")}
    return [name for name in (PACKAGE, NIGHTLY_PACKAGE) if name in offered]
