"""The steps that publish a release's source, and those that look at suites as their users do."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import ARCHITECTURE
from hhvm_packaging.planning import source_tarball, target_suites
from hhvm_packaging.planning.request import UNDO
from hhvm_packaging.planning.step import Step
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.release import NIGHTLY_PACKAGE, PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Input, Job, JobFailed

if TYPE_CHECKING:
    from hhvm_packaging.apt.suite import State
    from hhvm_packaging.workers.job import Result


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
        public = keys.public_tarball(release)
        if not all(self.store.downloads.head(key) for key in (f"{public}.sig", public)):
            return None
        if source_tarball.published_tag(release, self.settings.public_repository) != self.plan.commit:
            return None
        return (
            f"HHVM {release.version}: {self.settings.published(public)} and the tag {release.tag} are public"
        )

    def job(self, build: str) -> Job:
        """Copy the tarball inside the store, then have the tag and the branch pushed."""
        source_tarball.publish(self.store, self.plan.release)
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
        suites = target_suites.list_distro_suites(
            self.plan.distro(str(self.distro)), self.store, self.settings
        )
        return "\n".join(" ".join([suite.suite, *_asked_for(suite.read())]) for suite in suites)


def _asked_for(state: State) -> list[str]:
    offered = {name for name, _, architecture in state.identities if architecture in (ARCHITECTURE, "all")}
    return [name for name in (PACKAGE, NIGHTLY_PACKAGE) if name in offered]
