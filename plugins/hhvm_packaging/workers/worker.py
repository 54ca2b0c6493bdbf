"""What every kind of worker can do: jobs by name, each running at most once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Job, Result

Phase: TypeAlias = Literal["absent", "running", "ended"]
"""Of a job's worker. Absent: there is none, or it is gone and left no result."""


@dataclass(frozen=True)
class Found:
    """The worker of some job, or what is left of it, as it was found."""

    name: str
    """The job's."""
    kind: str
    """Such as container or instance."""
    id: str
    labels: Mapping[str, str]
    """Those that it was started with; empty where they are lost, and its job with them."""


class Worker(Protocol):
    """One kind of worker."""

    at_once: ClassVar[bool]
    """Whether a job begins when it is started, or a machine boots first."""

    def phase(self, name: str, job: Job, attempt: AttemptId) -> Phase:
        """Whether the job's worker runs, has ended, or is not there."""

    def log(self, name: str, job: Job, attempt: AttemptId, since: int) -> bytes:
        """What came into the job's log after ``since`` bytes."""

    async def pause(self, name: str, seconds: float) -> None:
        """Return after so many seconds, or sooner where the worker tells of the job's end."""

    def adopt(self, name: str, job: Job, store: Store) -> AttemptId | None:
        """Return the attempt of a worker that runs this very job or has run it, whether it succeeded or not.

        Otherwise remove the worker, if there is one, and return None; so too if its failure is recorded.
        """

    def start(self, name: str, attempt: AttemptId, job: Job, labels: Mapping[str, str], store: Store) -> str:
        """Start the job's worker. Returns what to call it. Raises JobFailed or TryAgain."""

    def to_upload(self, name: str, job: Job) -> int:
        """How many bytes ``collect`` would send to the store of a job that has ended."""

    def collect(self, name: str, attempt: AttemptId, job: Job, store: Store) -> Result:
        """Keep log, artifacts and result in the store. Raises JobFailed or TryAgain if the job failed."""

    def remove(self, name: str) -> None:
        """End the job's worker and all that it started."""

    def instance(self, name: str, attempt: AttemptId) -> str | None:
        """The id of the job's EC2 instance; None where there is none."""

    def found(self) -> Iterator[Found]:
        """All of this deployment that is there, whatever became of the jobs."""

    def end(self, found: Found) -> None:
        """End what was found, and no worker of another attempt."""
