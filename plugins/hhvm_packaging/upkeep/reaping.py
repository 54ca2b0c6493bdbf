"""Reaping: ending workers whose task is not alive, or that have expired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hhvm_packaging.workers.worker import Found, Worker


@dataclass(frozen=True)
class Ended:
    """What was ended, and why."""

    found: Found
    why: str

    def __str__(self) -> str:
        return f"ended {self.found.kind} {self.found.id} of {self.found.name}: {self.why}"


def reap(
    worker: Worker, read_state: Callable[[str, str, str, int], str | None], *, now: float
) -> Iterator[Ended]:
    """End every worker that no task needs. Yields what was ended and why, one after the other.

    ``read_state`` returns the state of a task instance: empty if it has none yet, None if it does not exist.
    Its arguments are DAG id, run id, task id and map index. ``now`` is in seconds since the epoch.
    """
    for found in worker.find():
        if reason := _reason(found, read_state, now):
            worker.end(found)
            yield Ended(found, reason)


def _reason(found: Found, read_state: Callable[[str, str, str, int], str | None], now: float) -> str:
    """Why to end it; empty if a task needs it."""
    labels = found.labels
    if not labels:
        return "the worker that started it is gone"
    if float(labels["hhvm.expires"]) < now:
        return "it is past its expiry"
    task = labels["hhvm.dag"], labels["hhvm.run"], labels["hhvm.task"], int(labels["hhvm.map_index"])
    state = read_state(*task)
    if state is None or state in OVER:
        return f"its task {'.'.join(task[:3])}[{task[3]}] is {state or 'gone'}"
    return ""
