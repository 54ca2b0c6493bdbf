"""Which of a person's actions, and of Airflow's own, end the worker of a job that a trigger waits for."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import ErrorResponse, TaskStatesResult
from airflow.utils.state import State, TaskInstanceState

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from pydantic import BaseModel

NOT_OVER = [state for state in TaskInstanceState if state not in State.finished]


def killed(monkeypatch: pytest.MonkeyPatch, answer: BaseModel, map_index: int = -1) -> list[str]:
    """The jobs whose workers end when Airflow calls on_kill and this is the answer about the task's state."""
    removed: list[str] = []
    with contextlib.suppress(AirflowRuntimeError):
        kill(monkeypatch, answer, map_index, removed)
    return removed


def kill(monkeypatch: pytest.MonkeyPatch, answer: BaseModel, map_index: int, removed: list[str]) -> None:
    worker = SimpleNamespace(remove=removed.append)
    monkeypatch.setattr(connections, "shared_worker", lambda: worker)
    Supervisor(monkeypatch, lambda _: answered(answer))
    trigger = JobTrigger("a-job", str(AttemptId.new()), {}, deadline=0, plan={})
    trigger.task_instance = task(map_index)
    asyncio.run(trigger.on_kill())


def answered(answer: BaseModel) -> BaseModel:
    if isinstance(answer, ErrorResponse):
        raise AirflowRuntimeError(answer)
    return answer


def task(map_index: int) -> Any:
    return SimpleNamespace(dag_id="dag", run_id="run", task_id="build", map_index=map_index)


def states(**of: str | None) -> TaskStatesResult:
    return TaskStatesResult(task_states={"run": of})


@pytest.mark.parametrize("state", sorted(State.finished))
def test_a_task_or_run_that_is_marked_ends_its_worker(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    assert killed(monkeypatch, states(build=state)) == ["a-job"]
    assert killed(monkeypatch, states(build_0="deferred", build_1=state), map_index=1) == ["a-job"]


def test_a_run_that_is_deleted_ends_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(monkeypatch, TaskStatesResult(task_states={})) == ["a-job"]
    assert killed(monkeypatch, states(build_0="deferred"), map_index=1) == ["a-job"]


def test_a_task_that_is_cleared_keeps_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(monkeypatch, states(build=None)) == []
    assert killed(monkeypatch, states(build_0="failed", build_1=None), map_index=1) == []


@pytest.mark.parametrize("state", NOT_OVER)
def test_a_task_that_was_cleared_and_got_further_keeps_its_worker(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """So does one whose trigger another triggerer took over, or ended."""
    assert killed(monkeypatch, states(build=state)) == []


def test_a_worker_stays_if_its_tasks_state_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(monkeypatch, ErrorResponse()) == []
