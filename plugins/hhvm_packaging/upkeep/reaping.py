"""Reaping: ending workers whose task is not alive, or that have expired."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hhvm_packaging.workers.worker import Found, Worker

_ID = re.compile(r"[\w.:~+-]{1,250}", re.ASCII)
_LABELS = {
    "hhvm.expires": re.compile(r"[0-9]{1,12}(?:\.[0-9]+)?"),
    "hhvm.dag": _ID,
    "hhvm.run": re.compile(r"[^\x00-\x1f\x7f]{1,250}"),
    "hhvm.task": _ID,
    "hhvm.map_index": re.compile(r"-1|[0-9]{1,6}"),
}
"""The labels of a job, with the form of each."""


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
    if fault := _fault(labels):
        return fault
    if int(labels["hhvm.expires"].partition(".")[0]) < now:
        return "it is past its expiry"
    task = labels["hhvm.dag"], labels["hhvm.run"], labels["hhvm.task"], int(labels["hhvm.map_index"])
    state = read_state(*task)
    if state is None or state in OVER:
        return f"its task {'.'.join(task[:3])}[{task[3]}] is {state or 'gone'}"
    return ""


def _fault(labels: Mapping[str, str]) -> str:
    """What is wrong with labels that no job of ours was started with; empty if nothing is."""
    for name, form in _LABELS.items():
        if name not in labels:
            return f"it has no label {name}, which every job has"
        if not form.fullmatch(labels[name]):
            return f"its label {name} has a value that no job has: {labels[name][:100]!a}"
    return ""
