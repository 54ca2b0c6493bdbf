"""Reaping: ending workers whose task is not alive, or that are past their expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hhvm_packaging.workers.worker import Found, Worker

ALIVE = ("scheduled", "queued", "running", "deferred", "up_for_retry", "restarting")
"""States of a task instance that may want its worker yet."""


def reap(worker: Worker, state: Callable[[str, str, str, int], str | None], *, now: float) -> Iterator[str]:
    """End what nobody waits for, and say what and why, a line for each.

    ``state`` is that of a task instance by its DAG, run, task and map index, None where there is none;
    ``now`` is in seconds of the epoch.
    """
    for found in worker.found():
        if why := _why(found, state, now):
            worker.end(found)
            yield f"ended {found.kind} {found.id} of {found.name}: {why}"


def _why(found: Found, state: Callable[[str, str, str, int], str | None], now: float) -> str:
    labels = found.labels
    if not labels:
        return "the worker that started it is gone"
    if float(labels["hhvm.expires"]) < now:
        return "it is past its expiry"
    task = labels["hhvm.dag"], labels["hhvm.run"], labels["hhvm.task"], int(labels["hhvm.map_index"])
    current = state(*task)
    if current in ALIVE:
        return ""
    return f"its task {'.'.join(task[:3])}[{task[3]}] is {current or 'gone'}"
