"""Which workers are ended because nobody waits for them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.utils.state import State, TaskInstanceState

from hhvm_packaging.upkeep.reaping import reap
from hhvm_packaging.workers.worker import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_000_000.0


class Worker:
    """One job's worker."""

    def __init__(self, expires: float = NOW + 60) -> None:
        self.expires = expires
        self.ended: list[str] = []

    def find(self) -> Iterator[Found]:
        labels = {
            "hhvm.dag": "a_dag",
            "hhvm.run": "a run",
            "hhvm.task": "a_task",
            "hhvm.map_index": "3",
            "hhvm.expires": str(self.expires),
        }
        yield Found("a-job", "instance", "i-1", labels)

    def end(self, found: Found) -> None:
        self.ended.append(found.id)


@pytest.mark.parametrize("state", ["", *sorted(set(TaskInstanceState) - State.finished)])
def test_a_worker_stays_while_its_task_is_alive_or_cleared(state: str) -> None:
    worker = Worker()
    assert list(reap(worker, lambda *_: state, now=NOW)) == []  # type: ignore[arg-type]
    assert worker.ended == []


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("failed", "failed"),
        ("success", "success"),
        ("skipped", "skipped"),
        ("upstream_failed", "upstream_failed"),
        ("removed", "removed"),
        (None, "gone"),
    ],
)
def test_a_worker_whose_task_is_over_or_gone_is_ended_and_named(state: str | None, why: str) -> None:
    worker, asked = Worker(), []

    def of(*task: object) -> str | None:
        asked.append(task)
        return state

    [ended] = reap(worker, of, now=NOW)  # type: ignore[arg-type]
    assert str(ended) == f"ended instance i-1 of a-job: its task a_dag.a run.a_task[3] is {why}"
    assert worker.ended == ["i-1"]
    assert asked == [("a_dag", "a run", "a_task", 3)]


def test_a_worker_past_its_expiry_is_ended_whatever_its_task_does() -> None:
    worker = Worker(expires=NOW - 1)
    [ended] = reap(worker, lambda *_: "running", now=NOW)  # type: ignore[arg-type]
    assert "past its expiry" in str(ended)


def test_what_has_lost_its_labels_is_ended() -> None:
    worker = Worker()
    lost = Found("a-job", "container", "c0ffee", {})
    worker.find = lambda: iter([lost])  # type: ignore[method-assign]
    [ended] = reap(worker, lambda *_: "running", now=NOW)  # type: ignore[arg-type]
    assert str(ended) == "ended container c0ffee of a-job: the worker that started it is gone"


def test_only_what_was_found_is_ended_beside_a_newer_try_of_the_same_task() -> None:
    worker = Worker()
    [new] = worker.find()
    old = Found("a-job", "instance", "i-0", {**new.labels, "hhvm.expires": str(NOW - 1)})
    worker.find = lambda: iter([old, new])  # type: ignore[method-assign]
    [ended] = reap(worker, lambda *_: "deferred", now=NOW)  # type: ignore[arg-type]
    assert "i-0" in str(ended)
    assert worker.ended == ["i-0"]
