"""Which runs are cancelled because a person ended the task that waited for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.runs.api import DagRun, Event, Task
from hhvm_packaging.runs.run import child_run_id
from hhvm_packaging.upkeep import orphans

if TYPE_CHECKING:
    from collections.abc import Sequence

MULTI, SINGLE = "hhvm_build_and_publish_multi", "hhvm_build_and_publish"
BEFORE, THEN, AFTER = (datetime(2026, 11, 25, hour, tzinfo=UTC) for hour in (1, 2, 3))


@dataclass
class Airflow:
    """An Airflow in which a run of hhvm_build is under way since ``THEN``."""

    child: str
    parent: str = "manual__1"
    wrapper: str = MULTI
    state: str = "running"
    """The parent's. Empty: it does not exist."""
    tasks_there: list[Task] = field(default_factory=list)
    events_there: list[tuple[str, datetime]] = field(default_factory=list)
    """What happened to the parent."""
    extra: str = '{"state": "failed", "method": "PATCH"}'
    """What each event of the audit log has beside that."""
    failed: list[tuple[str, str]] = field(default_factory=list)

    def runs(self, dag_id: str, *, states: Sequence[str] = (), prefix: str = "") -> list[DagRun]:
        if dag_id == "hhvm_build":
            assert set(states) == {"queued", "running"}
            return [DagRun(dag_run_id=self.child, state="running", queued_at=THEN)]
        found = self.run(dag_id, self.parent)
        return [found] if found and found.run_id.startswith(prefix) else []

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        if not self.state or (dag_id, run_id) != (self.wrapper, self.parent):
            return None
        return DagRun(dag_run_id=run_id, state=self.state)

    def tasks(self, dag_id: str, run_id: str, task_id: str) -> list[Task]:
        assert (dag_id, run_id) == (self.wrapper, self.parent)
        return [task for task in self.tasks_there if task.task_id == task_id]

    def events(
        self, dag_id: str, run_id: str, event: str, *, task: Task | None = None, after: datetime = BEFORE
    ) -> list[Event]:
        if (dag_id, run_id) != (self.wrapper, self.parent):
            return []
        number = task.try_number if task else None
        return [
            Event.model_validate({"event": name, "when": when, "try_number": number, "extra": self.extra})
            for name, when in self.events_there
            if name == event and when > after
        ]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        self.failed.append((dag_id, run_id))

    def cancelled(self) -> list[str]:
        """The lines that say which runs were cancelled."""
        lines = list(orphans.cancel(self))  # type: ignore[arg-type]
        assert self.failed == [("hhvm_build", self.child)] * len(lines)
        return lines


def task(state: str, end: datetime | None = None, version: str = "1.0.0", index: int = 0) -> Task:
    return Task(
        id="a-task",
        dag_id=MULTI,
        dag_run_id="manual__1",
        task_id="build",
        map_index=index,
        rendered_map_index=version,
        state=state,
        try_number=1,
        duration=0,
        end_date=end,
    )


def child(of: str = "manual__1", wrapper: str = MULTI) -> str:
    return child_run_id(wrapper, of, "1.0.0", {"version": "1.0.0"})


def airflow(*tasks: Task, state: str = "running", **events: datetime) -> Airflow:
    return Airflow(child(), state=state, tasks_there=list(tasks), events_there=list(events.items()))


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_run_is_cancelled_and_named_whose_task_was_marked_failed_while_it_waited(state: str) -> None:
    [line] = airflow(task("failed", AFTER), state=state).cancelled()
    assert line.startswith(f"cancelled hhvm_build run {child()}: {MULTI} run manual__1, which triggered it, ")
    assert line.endswith("was marked failed. To go on with it, clear the failed tasks there")


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_run_that_a_person_cleared_after_its_task_had_failed_goes_on(state: str) -> None:
    """The wrapper ends red later, once its other versions have ended."""
    assert airflow(task("failed", BEFORE), state=state, patch_dag_run=AFTER).cancelled() == []


def test_a_run_whose_task_failed_by_itself_goes_on() -> None:
    """Airflow lost its process, say, or the run was cleared in the second in which the task failed."""
    assert airflow(task("failed", AFTER), state="failed", failed=AFTER).cancelled() == []


@pytest.mark.parametrize("event", ["post_clear_task_instances", "clear_dag_run"])
def test_a_run_is_cancelled_whose_task_failed_by_itself_and_was_cleared_and_marked_failed(event: str) -> None:
    """It was marked before it began again, so it has the number of the try that failed by itself."""
    there = airflow(task("failed", AFTER), failed=THEN)
    there.events_there.append((event, THEN + timedelta(minutes=1)))
    assert there.cancelled() != []


def test_a_run_goes_on_whose_task_failed_by_itself_before_others_of_its_run_were_cleared() -> None:
    cleared = AFTER + timedelta(minutes=1)
    there = airflow(task("failed", AFTER), failed=AFTER, post_clear_task_instances=cleared)
    assert there.cancelled() == []


@pytest.mark.parametrize("state", ["", "scheduled", "queued", "running", "deferred", "up_for_retry"])
def test_a_run_goes_on_whose_task_waits_or_is_about_to(state: str) -> None:
    assert airflow(task(state, AFTER)).cancelled() == []


@pytest.mark.parametrize("state", ["success", "upstream_failed", "skipped", "removed"])
def test_a_run_goes_on_whose_task_is_over_but_not_by_a_persons_wish_to_end_it(state: str) -> None:
    assert airflow(task(state, AFTER), state="failed").cancelled() == []
    assert airflow(task(state, AFTER), state="success").cancelled() == []


def test_a_run_is_cancelled_whose_parent_was_marked_failed_before_its_cleared_task_waited_again() -> None:
    [line] = airflow(task("skipped"), state="failed", patch_dag_run=AFTER).cancelled()
    # There is no failed task.
    assert line.endswith("To go on with it, clear its task build 1.0.0 and what follows")
    assert airflow(task("skipped"), state="failed", patch_dag_run=BEFORE).cancelled() == []


def test_a_note_that_somebody_wrote_cancels_nothing() -> None:
    """Airflow's audit log has the same event for it."""
    there = airflow(task("skipped"), state="failed", patch_dag_run=AFTER)
    there.extra = '{"note": "state: failed", "method": "PATCH"}'
    assert there.cancelled() == []


def test_a_run_is_cancelled_whose_parent_was_deleted_unless_a_person_cleared_it_after_that() -> None:
    assert "was deleted" in airflow(state="", delete_dag_run=AFTER).cancelled()[0]
    assert airflow(state="", delete_dag_run=BEFORE).cancelled() == []


def test_a_run_that_no_other_triggered_goes_on() -> None:
    assert Airflow("manual__2026-11-25T12:00:00+00:00", state="").cancelled() == []


def test_only_the_task_of_the_runs_own_version_counts() -> None:
    other = task("failed", AFTER, version="1.0.1", index=1)
    assert airflow(task("deferred"), other).cancelled() == []
    assert airflow(other).cancelled() == []


@pytest.mark.parametrize("length", [10, 250])
def test_a_childs_parent_is_found_by_the_dag_in_its_id_however_long_that_is(length: int) -> None:
    of = "m" * length
    there = {"parent": of, "state": "failed", "tasks_there": [task("failed", AFTER)]}
    assert len(Airflow(child(of), **there).cancelled()) == 1  # type: ignore[arg-type]
    assert Airflow(child(of, SINGLE), **there).cancelled() == []  # type: ignore[arg-type]


def test_the_child_of_a_run_whose_long_id_begins_alike_goes_on() -> None:
    there = Airflow(child("m" * 249 + "1"), parent="m" * 249 + "2", tasks_there=[task("failed", AFTER)])
    assert there.cancelled() == []


def test_a_run_whose_id_is_of_before_the_dag_was_part_of_it_is_found_by_its_version() -> None:
    there = Airflow("manual__1__1.0.0", state="failed", tasks_there=[task("failed", AFTER)])
    assert len(there.cancelled()) == 1
