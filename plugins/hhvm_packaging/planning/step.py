"""A step of a plan: what job it is, when it is done, and what its result means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hhvm_packaging import distros
from hhvm_packaging.apt.lock import fenced
from hhvm_packaging.planning import target_suites
from hhvm_packaging.workers.job import Job

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hhvm_packaging.planning.plans import Plan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Result
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

    def finish(self, worker: Worker, name: str, build: str, job: Job) -> str:
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
            "SUITE": target_suites.choose_suites(self.plan.release, distro, self.settings)[0],
        }
