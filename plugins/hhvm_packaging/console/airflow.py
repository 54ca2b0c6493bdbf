"""Airflow's public API, with the rights of who is asking: what runs now, what waits for a person."""

from __future__ import annotations

import datetime
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.runs.api import AirflowApi, DagRun, new_run
from hhvm_packaging.runs.run import CHILDREN, UNFINISHED, WAITS_FOR, WRAPPERS, parse_parent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.runs.api import Task

BUILD, PUBLISH = CHILDREN
WRAPPER, MULTI = WRAPPERS
TIMEOUT = 10
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Building:
    """A build of a run that is under way."""

    version: str
    distro: str
    run_id: str
    map_index: int
    since: datetime.datetime | None
    failed: bool = False
    """Whether it has failed already, while others of its run go on."""

    @property
    def page(self) -> str:
        """The path of its page in Airflow, which has its log."""
        return f"{run_page(BUILD, self.run_id)}/tasks/{BuildTask.MAKE_BINARY_PACKAGE}/mapped/{self.map_index}"


@dataclass(frozen=True)
class Waiting:
    """A question that waits for a person, as Airflow has it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    label: str
    """The number of the question in its run, and its versions."""
    since: datetime.datetime
    assigned: tuple[str, ...]
    """The ids of those who may answer; anybody if it is empty."""

    @property
    def number(self) -> int:
        """The number of the question in its run; 0 if the label does not say it."""
        number = self.label.partition(":")[0]
        return int(number) if number.isdecimal() else 0


class Airflow(AirflowApi):
    """One Airflow for one visitor. Every method raises ApiError if Airflow refuses or does not answer."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, "", "", timeout=TIMEOUT)
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _log_in(self) -> None:
        """A visitor whose token has expired logs in again by themselves."""

    def builds(self) -> list[Building]:
        """The builds of the runs that are under way, also those that have failed."""
        tasks = (
            (run, task)
            for run in self.runs(BUILD, states=UNFINISHED)
            for task in self.tasks(BUILD, run.run_id, BuildTask.MAKE_BINARY_PACKAGE)
        )
        shown = (*_AT_WORK, "failed")
        return [_building(run, task) for run, task in tasks if task.label and task.state in shown]

    def waiting(self) -> list[Waiting]:
        """The questions that wait for a person, the oldest first."""
        answer = self.call(
            "GET",
            "/dags/~/dagRuns/~/hitlDetails",
            response_received=False,
            state=["awaiting_input", "deferred"],
            limit=100,
        )
        found = [
            _waiting(detail)
            for detail in answer["hitl_details"]
            if detail["task_instance"]["dag_id"] in WRAPPERS
        ]
        return sorted(found, key=lambda waiting: waiting.since)

    def runs_of(self, version: str) -> list[tuple[str, DagRun]]:
        """The newest runs of a version, with their DAGs, the newest first. Runs of several versions count."""
        found = [
            (dag_id, run)
            for dag_id in (WRAPPER, MULTI, BUILD, PUBLISH)
            for run in self.newest_runs(dag_id)
            if version in (run.conf.get("version"), *(run.conf.get("versions") or ()))
        ]
        oldest = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        return sorted(found, key=lambda one: one[1].run_after or oldest, reverse=True)

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any], note: str) -> None:
        """Start a run that does not exist yet. ``note`` is Markdown."""
        self.call("POST", f"/dags/{dag_id}/dagRuns", new_run(run_id, conf, note))

    def resume(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
        """Have one failed task run again, with what follows. Returns what was done, for people.

        If a wrapper's run triggered it and does not wait for it any more, that one is resumed instead: it
        runs its child again, in which what is done passes.
        """
        if parent := self.find_parent(dag_id, run_id):
            wrapper, run = parent
            if run.state not in UNFINISHED:
                self.clear_run(wrapper, run.run_id)
                return f"the failed tasks of {wrapper}, {run.run_id}, run again"
            # The wrapper's run is red only when all of it has ended.
            version = parse_parent(run_id).version
            for waiting in self.tasks(wrapper, run.run_id, WAITS_FOR[dag_id], states=["failed"]):
                if waiting.map_index < 0 or waiting.label == version:
                    which = (
                        (waiting.task_id, waiting.map_index) if waiting.map_index >= 0 else waiting.task_id
                    )
                    self.clear_tasks(wrapper, run.run_id, which, downstream=True)
                    return f"{waiting.name} of {wrapper}, {run.run_id}, runs again, and what follows it"
        self.clear_tasks(dag_id, run_id, _name(task_id, map_index), downstream=True)
        return f"{task_id} of {dag_id}, {run_id}, runs again, and what follows it"

    def find_parent(self, dag_id: str, run_id: str) -> tuple[str, DagRun] | None:
        """The wrapper's run that triggered a run, with its DAG; None if there is none."""
        if dag_id not in CHILDREN:
            return None
        parent = parse_parent(run_id)
        for wrapper in parent.dag_ids:
            if parent.cut:
                found = self.runs(wrapper, prefix=parent.run_id)
            else:
                found = [run] if (run := self.run(wrapper, parent.run_id)) else []
            if found:
                return wrapper, found[-1]
        return None

    def decide(self, waiting: Waiting, *, approve: bool) -> None:
        """Answer a question."""
        path = (
            f"/dags/{waiting.dag_id}/dagRuns/{quote(waiting.run_id, safe='')}"
            f"/taskInstances/{waiting.task_id}/{waiting.map_index}/hitlDetails"
        )
        self.call("PATCH", path, {"chosen_options": ["Approve" if approve else "Reject"], "params_input": {}})


def _name(task_id: str, map_index: int) -> str | tuple[str, int]:
    """A task instance, as ``clear_tasks`` takes it."""
    return (task_id, map_index) if map_index >= 0 else task_id


_AT_WORK = ("running", "deferred", "queued", "scheduled", "up_for_retry", "restarting")


def by_version(builds: Iterable[Building]) -> dict[str, frozenset[str]]:
    """The names of the distributions that are being built, by version."""
    found: dict[str, set[str]] = defaultdict(set)
    for build in builds:
        if not build.failed:
            found[build.version].add(build.distro)
    return {version: frozenset(distros) for version, distros in found.items()}


def run_page(dag_id: str, run_id: str) -> str:
    """The path of a run's page in Airflow."""
    return f"/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def _building(run: DagRun, task: Task) -> Building:
    version, failed = str(run.conf.get("version", "")), task.state == "failed"
    return Building(version, task.label, run.run_id, task.map_index, task.start_date, failed)


def _waiting(detail: dict[str, Any]) -> Waiting:
    task = detail["task_instance"]
    return Waiting(
        dag_id=task["dag_id"],
        run_id=task["dag_run_id"],
        task_id=task["task_id"],
        map_index=task["map_index"],
        subject=detail["subject"],
        label=task.get("rendered_map_index") or "",
        since=datetime.datetime.fromisoformat(detail["created_at"]),
        assigned=tuple(user["id"] for user in detail.get("assigned_users") or ()),
    )
