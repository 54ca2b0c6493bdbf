"""What the operators that run other DAGs decide."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.comms import (
    DagRunStateResult,
    GetDagRunState,
    OKResponse,
    TaskStatesResult,
    TriggerDagRun,
)
from airflow.triggers.base import TaskSuccessEvent

from hhvm_packaging.orchestration.child_runs import BuildOperator, ChildRunTrigger, PublishOperator
from hhvm_packaging.reporting import markdown
from hhvm_packaging.runs.run import child_run_id
from testing.serving import serving_json
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Generator

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
    with pytest.raises(AirflowFailException, match=r"hhvm_build run a-run failed\."):
        Wrapper(monkeypatch, **{"a-run": "failed"}).resumed(event.payload)


def test_a_child_that_failed_says_in_its_parent_what_its_report_says(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = Wrapper(monkeypatch, **{"a-run": "failed"})
    wrapper.report = "HHVM 1.0.0: 1 failed\nFAILED HHVM 1.0.0, debian-13-trixie: why\n  | its log"
    with pytest.raises(AirflowFailException) as failed:
        wrapper.resumed("a-run")
    assert str(failed.value).splitlines()[1:] == [
        "HHVM 1.0.0: 1 failed",
        "FAILED HHVM 1.0.0, debian-13-trixie: why",
    ]


def test_a_child_has_a_note_from_its_first_second(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = Wrapper(monkeypatch)
    wrapper.build()
    [trigger] = [sent for sent in wrapper.supervisor.sent if isinstance(sent, TriggerDagRun)]
    said = "HHVM 1.0.0 for debian-12-bookworm: queued"
    assert trigger.note == f"**{markdown.escape(said)}**"


def test_a_child_that_a_person_cleared_before_the_task_could_fail_is_waited_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        Wrapper(monkeypatch, **{"a-run": "running"}).resumed("a-run")
    assert (
        deferred.value.trigger.serialize()
        == ChildRunTrigger("hhvm_build", "a-run", "build_report").serialize()
    )


@pytest.mark.parametrize("state", ["failed", "skipped", "success"])
def test_a_task_that_was_marked_while_it_ran_starts_no_child(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    wrapper = Wrapper(monkeypatch)
    wrapper.own_state = state
    with pytest.raises(AirflowFailException, match=f"This task is {state}"):
        wrapper.build()
    assert not any(isinstance(sent, TriggerDagRun) for sent in wrapper.supervisor.sent)


REQUEST: RequestJson = {
    "version": "1.0.0",
    "distros": ["debian-12-bookworm"],
    "packaging_ref": None,
    "force": False,
    "if_one_fails": "as usual",
}
FORMER = "a-run__1.0.0"


class Wrapper:
    """A run of a wrapper whose task ``build`` runs while the children ``there`` are in these states."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **there: str) -> None:
        self.supervisor = Supervisor(monkeypatch, lambda _: OKResponse(ok=True))
        self.there = there
        self.own_state = "running"
        self.report = ""
        """What the child's report says, if it failed."""
        self.ti = SimpleNamespace(
            dag_id="hhvm_build_and_publish",
            run_id="a-run",
            task_id="build",
            map_index=-1,
            get_dr_count=self._count,
            get_dag=lambda _: SimpleNamespace(is_paused=False),
            get_task_states=lambda **_: {"a-run": {"build": self.own_state}},
            xcom_push=lambda **_: None,
            xcom_pull=self._pull,
        )

    def _pull(self, **asked: Any) -> str | None:
        assert (asked["dag_id"], asked["task_ids"]) == ("hhvm_build", "build_report")
        return self.report or None

    def _count(self, dag_id: str, run_ids: list[str], states: list[str] | None) -> int:
        assert dag_id == "hhvm_build"
        return sum(
            states is None or self.there.get(run_id) in states for run_id in run_ids if run_id in self.there
        )

    def resumed(self, event: Any) -> None:
        """Go on with the task after the trigger's event."""
        context: Any = {"ti": self.ti}
        BuildOperator(task_id="build", request=REQUEST).execute_complete(context, event)

    def build(self, **asked: Any) -> tuple[str, bool]:
        """Run the task. Returns the child that it waits for, and whether it was started."""
        with pytest.raises(TaskDeferred) as deferred:
            BuildOperator(task_id="build", request={**REQUEST, **asked}).execute({"ti": self.ti})  # type: ignore[typeddict-item]
        trigger = deferred.value.trigger
        assert isinstance(trigger, ChildRunTrigger)
        started = [sent for sent in self.supervisor.sent if isinstance(sent, TriggerDagRun)]
        assert all(sent.run_id == trigger.run_id for sent in started)
        return trigger.run_id, bool(started)


def test_a_child_is_due_in_the_second_in_which_it_is_triggered(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's clock has whole seconds: with a fraction, the run would wait for the next second."""
    wrapper, before = Wrapper(monkeypatch), datetime.now(UTC)
    wrapper.build()
    [trigger] = [sent for sent in wrapper.supervisor.sent if isinstance(sent, TriggerDagRun)]
    assert trigger.run_after
    assert before.replace(microsecond=0) <= trigger.run_after <= datetime.now(UTC)
    assert trigger.run_after.microsecond == 0


def test_a_child_under_way_is_waited_for_and_one_that_has_ended_runs_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child, _ = Wrapper(monkeypatch).build()
    assert Wrapper(monkeypatch, **{child: "running"}).build() == (child, False)
    assert Wrapper(monkeypatch, **{child: "queued"}).build() == (child, False)
    assert Wrapper(monkeypatch, **{child: "failed"}).build() == (child, True)


def test_a_child_that_began_under_its_former_id_is_waited_for_under_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Wrapper(monkeypatch, **{FORMER: "running"}).build() == (FORMER, False)
    child, started = Wrapper(monkeypatch, **{FORMER: "failed"}).build()
    assert child != FORMER
    assert started


def test_a_forced_child_of_before_stays_the_run_that_is_forced_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Wrapper(monkeypatch, **{FORMER: "failed"}).build(force=True) == (FORMER, True)


def test_other_parameters_are_another_child(monkeypatch: pytest.MonkeyPatch) -> None:
    child, _ = Wrapper(monkeypatch).build()
    more = ["debian-12-bookworm", "debian-13-trixie"]
    assert Wrapper(monkeypatch, **{child: "failed"}).build(distros=more)[0] != child


def test_both_children_have_one_id_which_new_fields_of_a_request_do_not_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child, _ = Wrapper(monkeypatch).build()
    assert Wrapper(monkeypatch).build(a_field_of_tomorrow=True)[0] == child
    assert child == child_run_id(
        "hhvm_build_and_publish", "a-run", "1.0.0", {"version": "1.0.0", "distros": REQUEST["distros"]}
    )


def test_a_child_with_other_parameters_is_waited_for_before_the_next_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may build what the next one wants as well."""
    wrapper = Wrapper(monkeypatch)
    other, _ = wrapper.build()
    wrapper.supervisor.sent.clear()
    with airflow_with(other) as url:
        monkeypatch.setenv("AIRFLOW_CONN_HHVM_AIRFLOW_API", json.dumps({"conn_type": "generic", "host": url}))
        with pytest.raises(AirflowRescheduleException):
            BuildOperator(task_id="build", request={**REQUEST, "distros": ["debian-13-trixie"]}).execute(
                {"ti": wrapper.ti}  # type: ignore[typeddict-item]
            )
    assert not any(isinstance(sent, TriggerDagRun) for sent in wrapper.supervisor.sent)


@contextlib.contextmanager
def airflow_with(*run_ids: str) -> Generator[str]:
    """The URL of an Airflow whose API says that these runs of every DAG are under way."""

    def answer(method: str, _: str, __: Any) -> tuple[object, int]:
        if method == "POST":
            return {"access_token": "a-token"}, 200
        return {"dag_runs": [{"dag_run_id": run_id, "state": "running"} for run_id in run_ids]}, 200

    with serving_json(answer) as url:
        yield url
