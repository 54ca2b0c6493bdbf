"""A step of a plan: which job it runs, when it is done, and what its result means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

from hhvm_packaging.apt.lock import hold_lock
from hhvm_packaging.planning.plans import Plan
from hhvm_packaging.workers.job import JobFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Artifact, Job, Result
    from hhvm_packaging.workers.worker import Worker

P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Step(ABC, Generic[P]):
    """One step of a plan. It can be run again at any time: what is done is not done again."""

    plan: P
    store: Store
    settings: Settings

    script: ClassVar[str]
    """The file in jobs/. It identifies the step in the registry and in stored jobs."""
    task_id: ClassVar[str]
    """The Airflow task that runs the step."""
    plan_type: ClassVar[type[Plan]]
    """The same class as the type argument of Step."""

    @classmethod
    def load(cls, plan: Mapping[str, Any], distro: str | None, store: Store, settings: Settings) -> Self:  # ruff: ignore[unused-class-method-argument]  # DistroStep uses it
        """The step of a plan as XComs and triggers have it: as JSON. ``distro`` is for DistroStep only."""
        return cls(cls._parse(plan), store, settings)

    @classmethod
    def _parse(cls, plan: Mapping[str, Any]) -> P:
        return cast("P", cls.plan_type.model_validate(plan))

    def done(self) -> str | None:
        """Say why there is nothing left to do; None if the job must run."""
        return None

    @abstractmethod
    def job(self, attempt: AttemptId) -> Job:
        """The job of this attempt. May also prepare what the job needs in the store."""

    def accept(self, job: Job, result: Result) -> str:  # ruff: ignore[unused-method-argument]  # subclasses use it
        """Record what a job that succeeded made, and return a summary.

        Raises JobFailed if it made something else than it should.
        """
        return f"{job.title}: done"

    def finish(self, worker: Worker, name: str, attempt: AttemptId, job: Job) -> str:
        """Collect and record the result of a job that ended, remove the job, and return a summary.

        Raises JobFailed or TryAgain if it did not succeed; then the job is not removed.
        """
        summary = self.accept(job, worker.collect(name, attempt, job, self.store))
        worker.remove(name)
        return summary

    def _lock(self, what: str) -> AbstractContextManager[None]:
        """Prevent other runs on this machine from recording ``what`` at the same time."""
        return hold_lock(self.store.scratch, what, directory=self.settings.lock_directory)


@dataclass(frozen=True)
class DistroStep(Step[P]):
    """A step for one distribution of the plan."""

    distro: Distro

    @classmethod
    def load(cls, plan: Mapping[str, Any], distro: str | None, store: Store, settings: Settings) -> Self:
        """The step for the plan's distribution of that name. Raises KeyError if it has none."""
        parsed = cls._parse(plan)
        return cls(parsed, store, settings, parsed.distro(str(distro)))


def expect_one_artifact(job: Job, result: Result, name: str) -> Artifact:
    """The artifact of that name, which must be the only one. Raises JobFailed."""
    names = [artifact.name for artifact in result.artifacts]
    if names != [name]:
        raise JobFailed(
            f"{job.title}: expected {name} alone, but the job left {', '.join(names) or 'nothing'}"
        )
    return result.artifacts[0]
