"""Runs of DAGs: their ids, their pages in Airflow, the names of their jobs, why their tasks failed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.settings import settings
from hhvm_packaging.workers.job import job_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

FAILURE_REASON = "report"
"""The key of the XCom that says why a task failed, for reports and notifications."""

WRAPPERS = ("hhvm_build_and_publish", "hhvm_build_and_publish_multi")
"""The DAGs that trigger others."""
CHILDREN = ("hhvm_build", "hhvm_publish_release")
"""The DAGs that those trigger."""
WAITS_FOR = dict(zip(CHILDREN, (WrapperTask.BUILD, WrapperTask.PUBLISH), strict=True))
"""The task of a wrapper that waits for a child, by the child's DAG."""

UNFINISHED = ("queued", "running")
"""The states of a run that has not ended."""
ASKING = "awaiting_input"
"""The state of a task instance that waits for a person's answer."""
OVER = ("success", "failed", "upstream_failed", "skipped", "removed")
"""The states of a task instance that only a person changes. In any other, or in none yet, it goes on."""


_LONGEST_ID = 200
"""The most characters of a child's id. Airflow's columns take 250; but its logs are in a directory of that
name, with a prefix, and a file's name has 255 bytes."""
_DIGEST = 8


def child_run_id(dag_id: str, run_id: str, version: str, asked: Mapping[str, Any]) -> str:
    """The id of the run that a wrapper's run triggers for a version, ``asked`` for with these parameters.

    It is always the same; different for every other parent, version and parameters; and begins like the
    parent's: ``RUN__DAG__VERSION__DIGEST``. Of a long parent's id only the beginning is in it.
    """
    return f"{child_run_prefix(dag_id, run_id, version)}{_digest(dict(asked))}"


def child_run_prefix(dag_id: str, run_id: str, version: str) -> str:
    """How the ids of all runs begin that a wrapper's run triggers for a version."""
    end = f"__{dag_id}__{version}__{_digest([dag_id, run_id, version])}"
    return f"{run_id[: _LONGEST_ID - len(end) - _DIGEST]}{end}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGEST]


def former_child_run_id(run_id: str, version: str) -> str:
    """The id of a child that began before its parent's DAG was part of the id."""
    return f"{run_id}__{version}"


@dataclass(frozen=True)
class Parent:
    """What a child's id says about the run that triggered it."""

    dag_ids: tuple[str, ...]
    """Its DAG. All wrappers, for a child of before the DAG was part of the id."""
    run_id: str
    """How its id begins, if ``cut``; else its id."""
    version: str = ""
    cut: bool = False


def parse_parent(child: str) -> Parent:
    """The run that triggered a child. For any other run, one that does not exist."""
    run_id, *end = child.rsplit("__", 3)
    if len(end) == 3 and end[0] in WRAPPERS:
        return Parent((end[0],), run_id, end[1], cut=len(child) == _LONGEST_ID)
    run_id, _, version = child.rpartition("__")
    return Parent(WRAPPERS, run_id, version)


def name_job(dag_id: str, run_id: str, task_id: str, version: str, script: str, distro: str | None) -> str:
    """The name of a task's job: the same for every try of the task, and different for all other tasks.

    The setting of the work directory and the name of the scratch bucket are part of it, because another
    deployment may share the Docker engine or the AWS account and have a run of the same name.
    """
    deployment = (str(settings().docker_work_directory), settings().scratch_bucket)
    return job_name(version, script, distro, *deployment, dag_id, run_id, task_id)


def find_task_state(states: Mapping[str, str | None], task_id: str, map_index: int = -1) -> str | None:
    """One of a run's states by the names that Airflow gives task instances.

    Empty if it has none yet, as after a clear. None if there is no such task instance.
    """
    name = task_id if map_index < 0 else f"{task_id}_{map_index}"
    return (states[name] or "") if name in states else None


def parse_task_name(name: str, task_ids: Container[str]) -> tuple[str, int] | None:
    """The id and the map index, -1 if it is not mapped, by Airflow's name of a task instance.

    None if it is of none of these tasks.
    """
    if name in task_ids:
        return name, -1
    task_id, _, index = name.rpartition("_")
    return (task_id, int(index)) if index.isdecimal() and task_id in task_ids else None


@dataclass(frozen=True)
class Run:
    """One run of a DAG."""

    url: str
    """Airflow's, without a trailing slash."""
    dag_id: str
    run_id: str
    states: Mapping[str, str] = field(default_factory=dict)
    """The states of its tasks, by task id; to the id of a mapped one Airflow adds ``_`` and the map index."""
    reasons: Callable[[str, int], str | None] = lambda _task_id, _map_index: None
    """Returns why a task failed. The arguments are its id and its map index, -1 if it is not mapped."""
    deployed: str = ""
    """The revision of this project that runs; empty if nobody asked for it."""

    def page(self, task_id: str = "", map_index: int = -1) -> str:
        """The URL of the run in Airflow; with ``task_id``, of that task's page, which has its log."""
        task = f"/tasks/{task_id}" if task_id else ""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        return f"{self.url}/dags/{self.dag_id}/runs/{quote(self.run_id, safe='')}{task}{mapped}"

    def state(self, task_id: str, map_index: int = -1) -> str | None:
        """The state of a task; None if it has none yet."""
        return self.states.get(task_id if map_index < 0 else f"{task_id}_{map_index}")

    def failed(self, task_ids: Container[str]) -> list[tuple[str, int]]:
        """Those of the tasks that failed: id and map index, -1 if it is not mapped."""
        failed = (name for name, state in sorted(self.states.items()) if state == "failed")
        return [found for name in failed if (found := parse_task_name(name, task_ids))]

    def failure_reason(self, task_id: str, map_index: int = -1) -> str | None:
        """Why a task failed; None if it did not fail, or recorded no reason."""
        return self.reasons(task_id, map_index)

    def job_name(self, task_id: str, version: str, script: str, distro: str | None) -> str:
        """The name of the job of a task of this run: see name_job."""
        return name_job(self.dag_id, self.run_id, task_id, version, script, distro)
