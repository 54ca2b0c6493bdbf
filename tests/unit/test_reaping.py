"""Which workers are ended because nobody waits for them any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from airflow.utils.state import State, TaskInstanceState

from hhvm_packaging.runs.api import AirflowApi, DagRun, Task
from hhvm_packaging.upkeep import reaping
from hhvm_packaging.workers.worker import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.upkeep.reaping import Ended
    from hhvm_packaging.workers.worker import Worker

NOW = 1_000_000.0
ALIVE = sorted(set(TaskInstanceState) - State.finished)
LABELS = {
    "hhvm.dag": "a_dag",
    "hhvm.run": "a run",
    "hhvm.task": "a_task",
    "hhvm.map_index": "1",
    "hhvm.expires": str(NOW + 60),
}


@dataclass
class Workers:
    """The worker of each job, with its labels."""

    labels: list[dict[str, str]]
    ended: list[str] = field(default_factory=list)

    def find(self) -> Iterator[Found]:
        for number, labels in enumerate(self.labels):
            yield Found("a-job", "instance", f"i-{number}", labels)

    def end(self, found: Found) -> None:
        self.ended.append(found.id)


@dataclass
class Airflow:
    """An Airflow with one run of one task: for each map index, its label and its state."""

    tasks_there: list[tuple[str, str]]

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        known = (dag_id, run_id) == ("a_dag", "a run")
        return DagRun(dag_run_id=run_id, state="running") if known and self.tasks_there else None

    def tasks(self, dag_id: str, run_id: str, task_id: str) -> list[Task]:
        return [
            Task(
                id="an-id",
                dag_id=dag_id,
                dag_run_id=run_id,
                task_id=task_id,
                map_index=index,
                rendered_map_index=label,
                state=state,
                try_number=1,
                duration=0,
            )
            for index, (label, state) in enumerate(self.tasks_there)
        ]


def reap(workers: Workers, *tasks: tuple[str, str]) -> list[Ended]:
    return list(reaping.reap(cast("Worker", workers), cast("AirflowApi", Airflow([*tasks])), now=NOW))


@pytest.mark.parametrize("state", ["", *ALIVE])
def test_a_worker_stays_while_its_task_is_alive_or_cleared(state: str) -> None:
    workers = Workers([LABELS])
    assert reap(workers, ("debian-12", "success"), ("debian-13", state)) == []
    assert workers.ended == []


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
def test_a_worker_whose_task_is_over_is_ended_and_named(state: str) -> None:
    workers = Workers([LABELS])
    [ended] = reap(workers, ("debian-12", "running"), ("debian-13", state))
    assert str(ended) == f"ended instance i-0 of a-job: its task a_dag.a run.a_task[1] is {state}"
    assert workers.ended == ["i-0"]


def test_a_worker_whose_run_or_task_is_gone_is_ended() -> None:
    [ended] = reap(Workers([LABELS]))
    assert str(ended).endswith("its task a_dag.a run.a_task[1] is gone")
    [ended] = reap(Workers([LABELS]), ("debian-12", "running"))
    assert str(ended).endswith("its task a_dag.a run.a_task[1] is gone")


@pytest.mark.parametrize("state", ALIVE)
def test_a_worker_stays_whose_distribution_a_new_plan_gave_another_map_index(state: str) -> None:
    """A clear of ``plan`` expands the distributions anew; the job's own index is another one's now."""
    workers = Workers([{**LABELS, "hhvm.distro": "debian-13"}])
    assert reap(workers, ("debian-13", state), ("debian-14", "success")) == []


@pytest.mark.parametrize("state", ["", "scheduled", "queued"])
def test_a_worker_stays_while_an_instance_has_not_begun_that_may_be_its_distributions(state: str) -> None:
    """Until it begins again, an instance has the label of the distribution that it had before."""
    workers = Workers([{**LABELS, "hhvm.distro": "debian-13"}])
    assert reap(workers, ("debian-12", state), ("debian-14", "success")) == []


def test_a_worker_is_ended_whose_distribution_is_over_while_others_go_on() -> None:
    workers = Workers([{**LABELS, "hhvm.distro": "debian-13"}])
    [ended] = reap(workers, ("debian-12", "deferred"), ("debian-13", "failed"))
    assert str(ended).endswith("its task a_dag.a run.a_task[debian-13] is failed")


def test_a_worker_is_ended_whose_distribution_a_new_plan_left_out() -> None:
    workers = Workers([{**LABELS, "hhvm.distro": "debian-13"}])
    [ended] = reap(workers, ("debian-12", "deferred"), ("debian-14", "deferred"))
    assert str(ended).endswith("its task a_dag.a run.a_task[debian-13] is gone")


def test_a_worker_past_its_expiry_is_ended_whatever_its_task_does() -> None:
    [ended] = reap(Workers([{**LABELS, "hhvm.expires": str(NOW - 1)}]), ("", ""), ("", "running"))
    assert "past its expiry" in str(ended)


def test_what_has_lost_its_labels_is_ended() -> None:
    [ended] = reap(Workers([{}]), ("", ""), ("", "running"))
    assert str(ended) == "ended instance i-0 of a-job: the worker that started it is gone"


def test_only_what_was_found_is_ended_beside_a_newer_try_of_the_same_task() -> None:
    workers = Workers([{**LABELS, "hhvm.expires": str(NOW - 1)}, LABELS])
    [ended] = reap(workers, ("", ""), ("", "deferred"))
    assert "i-0" in str(ended)
    assert workers.ended == ["i-0"]
