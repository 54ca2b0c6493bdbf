"""Runs of a DAG as people and workers know them: their pages in Airflow, the names of their jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from hhvm_packaging.settings import settings
from hhvm_packaging.workers.job import job_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FAILURE_REASON = "report"
"""The XCom in which a task that failed leaves its reason, for reports and notifications."""

UNDER_WAY = ("queued", "running")
"""States of a run that has not ended."""


def child_of(run_id: str, version: str) -> str:
    """The run id of the child that a wrapper's run has for a version, the same each time."""
    return f"{run_id}__{version}"


def parent_of(run_id: str) -> str:
    """The run id of a child's parent; something that is no run's, for a run that is no child."""
    return run_id.rpartition("__")[0]


@dataclass(frozen=True)
class Run:
    """One run of a DAG."""

    url: str
    """Airflow's, without a trailing slash."""
    dag_id: str
    run_id: str
    states: Mapping[str, str] = field(default_factory=dict)
    """By task, a mapped one's with ``_`` and its map index, as Airflow names them."""
    reasons: Callable[[str, int], str | None] = lambda _task_id, _map_index: None
    """Why a task failed, by its id and its map index, -1 where it has none."""

    def page(self, task_id: str = "", map_index: int = -1) -> str:
        """The page of the run in Airflow, or of one task of it, which has that task's log."""
        task = f"/tasks/{task_id}" if task_id else ""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        return f"{self.url}/dags/{self.dag_id}/runs/{quote(self.run_id, safe='')}{task}{mapped}"

    def state(self, task_id: str, map_index: int = -1) -> str | None:
        """The state of a task; None where it has none yet."""
        return self.states.get(task_id if map_index < 0 else f"{task_id}_{map_index}")

    def failure_reason(self, task_id: str, map_index: int = -1) -> str | None:
        """Why a task failed, in its own words; None where it did not, or left none."""
        return self.reasons(task_id, map_index)

    def job(self, task_id: str, version: str, script: str, distro: str | None) -> str:
        """The name of a task's job: the same for every try of the task, and for no other.

        Another deployment may share the engine or the account, and have a run of the same name.
        """
        whose = (str(settings().docker_work_directory), settings().scratch_bucket)
        return job_name(version, script, distro, *whose, self.dag_id, self.run_id, task_id)
