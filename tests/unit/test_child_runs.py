"""What the operators that run other DAGs decide."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.comms import DagRunStateResult, GetDagRunState, OKResponse, TaskStatesResult
from airflow.triggers.base import TaskSuccessEvent

from hhvm_packaging.orchestration.child_runs import BuildOperator, ChildRunTrigger, PublishOperator
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from airflow.triggers.base import TriggerEvent
    from pydantic import BaseModel

    from hhvm_packaging.orchestration.task_context import RequestJson


def wait_for_turn(map_index: int, *states: str | None) -> None:
    """Return if it is this publish's turn, while those of the run have these states."""
    names = {f"publish_{index}": state for index, state in enumerate(states)}
    ti = SimpleNamespace(
        dag_id="dag",
        run_id="run",
        task_id="publish",
        map_index=map_index,
        get_task_states=lambda **_: {"run": names},
    )
    PublishOperator(task_id="publish", request={"version": "1.0.0"}).await_turn({"ti": ti})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("state", ["up_for_retry", "scheduled", "queued", "running", "deferred", None])
def test_a_publish_does_not_pass_one_that_waits_for_a_retry_or_was_cleared(state: str | None) -> None:
    with pytest.raises(AirflowRescheduleException):
        wait_for_turn(2, "success", state, "running")


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", "skipped"])
def test_a_publish_comes_after_those_before_it_however_they_ended(state: str) -> None:
    wait_for_turn(2, "success", state, "running", "scheduled")


@pytest.mark.parametrize("map_index", [0, -1])
def test_nobody_is_before_the_first_one(map_index: int) -> None:
    wait_for_turn(map_index, "running", "scheduled")


def test_the_trigger_is_made_again_from_what_the_triggerer_keeps_of_it() -> None:
    path, kept = ChildRunTrigger("hhvm_build", "a-run", "build_report").serialize()
    assert path == f"{ChildRunTrigger.__module__}.{ChildRunTrigger.__qualname__}"
    assert ChildRunTrigger(**kept).serialize() == (path, kept)


class Child:
    """A child run as the trigger sees it: at each poll the run's state and that of its last task."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *polls: tuple[str, str | None]) -> None:
        self.pauses: list[float] = []
        self._left = list(polls)
        Supervisor(monkeypatch, self._answer)
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    def waited_for(self) -> TriggerEvent:
        """What the trigger tells the task that waits."""
        waiting = ChildRunTrigger("hhvm_build", "a-run", "build_report").run()
        return asyncio.run(anext(waiting))  # type: ignore[arg-type]

    def _answer(self, asked: BaseModel) -> BaseModel:
        if isinstance(asked, GetDagRunState):
            return DagRunStateResult(state=DagRunState(self._left.pop(0)[0]))
        state = self._left[0][1]
        return TaskStatesResult(task_states={"a-run": {"build_report": state}} if state else {})

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_a_child_is_polled_each_second_and_more_often_while_its_last_task_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = Child(
        monkeypatch,
        ("queued", None),
        ("running", None),
        ("running", "up_for_retry"),
        ("running", "scheduled"),
        ("running", "running"),
        ("running", "success"),
        ("success", "success"),
    )
    assert isinstance(child.waited_for(), TaskSuccessEvent)
    assert child.pauses == [1, 1, 1, 0.1, 0.1, 0.1]


def test_a_child_that_failed_fails_the_task_and_says_which_run_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = Child(monkeypatch, ("running", "running"), ("failed", "failed")).waited_for()
    assert not isinstance(event, TaskSuccessEvent)
    task = BuildOperator(task_id="build", request={"version": "1.0.0"})
    with pytest.raises(AirflowFailException, match=r"hhvm_build run a-run failed\."):
        task.execute_complete({}, event.payload)


def test_a_child_is_due_in_the_second_in_which_it_is_triggered(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's clock has whole seconds: with a fraction, the run would wait for the next second."""
    supervisor = Supervisor(monkeypatch, lambda _: OKResponse(ok=True))
    ti = SimpleNamespace(
        get_dr_count=lambda **_: 0,
        get_dag=lambda _: SimpleNamespace(is_paused=False),
        xcom_push=lambda **_: None,
    )
    request: RequestJson = {"version": "1.0.0", "distros": [], "packaging_ref": None, "force": False}
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred):
        BuildOperator(task_id="build", request=request).execute({"ti": ti, "run_id": "a-run"})  # type: ignore[typeddict-item]
    [trigger] = supervisor.sent
    assert trigger.run_after
    assert before.replace(microsecond=0) <= trigger.run_after <= datetime.now(UTC)
    assert trigger.run_after.microsecond == 0
