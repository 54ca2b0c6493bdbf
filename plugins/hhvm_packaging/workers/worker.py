"""The interface of a worker, whatever its kind: it runs jobs by name, and each at most once at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Job, Result

Phase: TypeAlias = Literal["absent", "running", "ended"]
"""Of a job. Absent: it was never started, or its worker is gone and left no result."""


@dataclass(frozen=True)
class Found:
    """A container, instance, volume or work directory of some job."""

    name: str
    """The name of the job."""
    kind: str
    """``container``, ``directory``, ``instance`` or ``volume``."""
    id: str
    labels: Mapping[str, str]
    """The labels that the job was started with; empty if they are lost, together with the job."""
    state: str = ""
    """As AWS or the Docker engine calls it, such as ``running``; a directory has none."""


class Worker(Protocol):
    """One kind of worker. ``name`` is always the job's."""

    def phase(self, name: str, job: Job, attempt: AttemptId) -> Phase:
        """Return whether the job runs, has ended, or is absent."""

    def launched(self, name: str, job: Job, attempt: AttemptId) -> float:
        """Return when the job's worker was launched, in seconds since the epoch."""

    def log(self, name: str, job: Job, attempt: AttemptId, since: int) -> bytes:
        """Return the job's log from byte ``since`` on."""

    def look(self, name: str, job: Job, attempt: AttemptId, since: int) -> tuple[Phase, bytes]:
        """Return the phase, and the log from byte ``since`` on, which is complete if the job has ended."""
        # In this order.
        return self.phase(name, job, attempt), self.log(name, job, attempt, since)

    async def pause(self, name: str, seconds: float) -> None:
        """Return after ``seconds``, or sooner if the worker can tell that the job has ended."""

    def adopt(self, name: str, job: Job, store: Store) -> AttemptId | None:
        """Return the attempt whose worker runs this very job or has run it, whether it succeeded or not.

        If there is none, or its failure is recorded already, remove the worker and return None.
        """

    def start(self, name: str, attempt: AttemptId, job: Job, labels: Mapping[str, str], store: Store) -> str:
        """Start a worker for the job. Returns its kind and id, to be logged. Raises JobFailed or TryAgain."""

    def to_upload(self, name: str, job: Job, attempt: AttemptId) -> int:
        """Return how many bytes ``collect`` would upload or read for a job that has ended."""

    def collect(self, name: str, attempt: AttemptId, job: Job, store: Store) -> Result:
        """Record log, artifacts and result in the store. Raises JobFailed or TryAgain if the job failed."""

    def remove(self, name: str) -> None:
        """End the job's worker and everything that it started."""

    def instance(self, name: str, attempt: AttemptId) -> str | None:
        """Return the id of the job's EC2 instance; None if there is none."""

    def find(self) -> Iterator[Found]:
        """Yield everything of this deployment that exists, whatever became of the jobs."""

    def end(self, found: Found) -> None:
        """End what was found, and nothing of another attempt."""

    def tidy(self) -> Iterator[str]:
        """Remove what it keeps for later jobs and nobody needs any more. Yields what, a line for each."""
