"""Reaping: ending workers whose task is not alive, or that have expired."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import OVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hhvm_packaging.runs.api import AirflowApi, Task
    from hhvm_packaging.workers.worker import Found, Worker

_ID = re.compile(r"[\w.:~+-]{1,250}", re.ASCII)
_LABELS = {
    "hhvm.expires": re.compile(r"[0-9]{1,12}(?:\.[0-9]+)?"),
    "hhvm.dag": _ID,
    "hhvm.run": re.compile(r"[^\x00-\x1f\x7f]{1,250}"),
    "hhvm.task": _ID,
    "hhvm.map_index": re.compile(r"-1|[0-9]{1,6}"),
}
"""The labels that every job has, with the form of each."""
_DISTRO = "hhvm.distro"
"""The label of a job for one distribution."""
_NOT_BEGUN = ("", "scheduled", "queued")
"""The states of a task instance that has the label of a former try, or none yet."""


@dataclass(frozen=True)
class Ended:
    """What was ended, and why."""

    found: Found
    why: str

    def __str__(self) -> str:
        return f"ended {self.found.kind} {self.found.id} of {self.found.name}: {self.why}"


def reap(worker: Worker, api: AirflowApi, *, now: float) -> Iterator[Ended]:
    """End every worker that no task needs. Yields what was ended and why, one after the other.

    ``now`` is in seconds since the epoch. Raises ApiError.
    """
    for found in worker.find():
        if reason := _reason(found, api, now):
            worker.end(found)
            yield Ended(found, reason)


def _reason(found: Found, api: AirflowApi, now: float) -> str:
    """Why to end it; empty if a task needs it."""
    labels = found.labels
    if not labels:
        return "the worker that started it is gone"
    if fault := _fault(labels):
        return fault
    if int(labels["hhvm.expires"].partition(".")[0]) < now:
        return "it is past its expiry"
    run, task = (labels["hhvm.dag"], labels["hhvm.run"]), labels["hhvm.task"]
    tasks = api.tasks(*run, task) if api.run(*run) else []
    states = _states(labels, tasks)
    if all(state in OVER for state in states):
        mapped = labels.get(_DISTRO) or labels["hhvm.map_index"]
        named = ".".join((*run, task)) + (f"[{mapped}]" if mapped != "-1" else "")
        return f"its task {named} is {' and '.join(states) or 'gone'}"
    return ""


def _states(labels: Mapping[str, str], tasks: Sequence[Task]) -> list[str]:
    """The states of the task instances that may need a job.

    A task that was cleared may have another map index now, because a new plan has other distributions. So a
    job belongs to the instance of its distribution, and may belong to any that has not begun again.
    """
    if distro := labels.get(_DISTRO):
        return [task.state for task in tasks if task.label == distro or task.state in _NOT_BEGUN]
    return [task.state for task in tasks if task.map_index == int(labels["hhvm.map_index"])]


def _fault(labels: Mapping[str, str]) -> str:
    """What is wrong with labels that no job of ours was started with; empty if nothing is."""
    for name, form in {**_LABELS, _DISTRO: _ID}.items():
        if name == _DISTRO and name not in labels:
            continue
        if name not in labels:
            return f"it has no label {name}, which every job has"
        if not form.fullmatch(labels[name]):
            return f"its label {name} has a value that no job has: {labels[name][:100]!a}"
    return ""
