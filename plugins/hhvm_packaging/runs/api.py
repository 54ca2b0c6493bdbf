"""Airflow's own public API, for what a task cannot ask of Airflow otherwise."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

from hhvm_packaging.runs.run import UNFINISHED

if TYPE_CHECKING:
    from types import TracebackType

_TIMEOUT = 10
"""Seconds for an answer."""


class RunSeen(BaseModel):
    """A run of a DAG, as the API shows it."""

    run_id: str = Field(alias="dag_run_id")
    state: str
    queued_at: datetime.datetime | None
    """When it was triggered, or some of it was cleared last."""
    end_date: datetime.datetime | None


class AirflowApi:
    """One Airflow, logged in. Raises httpx.HTTPError where it refuses or is not there."""

    def __init__(self, url: str, login: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT)
        self._login = {"username": login, "password": password}

    def __enter__(self) -> AirflowApi:
        answer = self._client.post("/auth/token", json=self._login).raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def task_state(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
        """The task instance's state; None where it was cleared, or is gone with its run."""
        mapped = f"/{map_index}" if map_index >= 0 else ""
        answer = self._client.get(f"{_run(dag_id, run_id)}/taskInstances/{task_id}{mapped}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        state: str | None = answer.raise_for_status().json()["state"]
        return state

    def run(self, dag_id: str, run_id: str) -> RunSeen | None:
        """One run; None where there is none."""
        answer = self._client.get(_run(dag_id, run_id))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return RunSeen.model_validate(answer.raise_for_status().json())

    def runs_under_way(self, dag_id: str) -> list[RunSeen]:
        """The oldest hundred runs of a DAG that are queued or running; none of a DAG that is not there."""
        asked: dict[str, Any] = {"state": UNFINISHED, "order_by": "run_after", "limit": 100}
        answer = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns", params=asked)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        return [RunSeen.model_validate(run) for run in answer.raise_for_status().json()["dag_runs"]]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run failed, as a person does; one that ended or is gone stays as it is."""
        if (found := self.run(dag_id, run_id)) and found.state in UNFINISHED:
            self._client.patch(_run(dag_id, run_id), json={"state": "failed"}).raise_for_status()


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
