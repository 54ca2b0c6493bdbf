"""Airflow's own public API, for what a task cannot ask of Airflow otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from types import TracebackType

_TIMEOUT = 10
"""Seconds for an answer."""


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

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run failed, as a person does; one that ended already stays as it is."""
        run = _run(dag_id, run_id)
        if self._client.get(run).raise_for_status().json()["state"] in ("queued", "running"):
            self._client.patch(run, json={"state": "failed"}).raise_for_status()


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
