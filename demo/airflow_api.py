"""Airflow through its public API: trigger a run, resume it, and see what its tasks do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 90
"""Seconds for which an API server that was killed may take to come back."""


class ApiFailed(Exception):
    """The API refused, or is not there; the message has its words."""


@dataclass(frozen=True)
class Task:
    """One task instance of one run."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    label: str
    state: str
    try_number: int
    duration: float
    ended: str = ""
    """When, as ISO 8601; empty while it has not."""

    @property
    def name(self) -> str:
        """The task as people know it: a mapped one with what it is mapped over."""
        return f"{self.task_id} {self.label}".rstrip()

    @property
    def page(self) -> str:
        """The path of its page, which shows its log."""
        mapped = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        return f"/dags/{self.dag_id}/runs/{self.run_id}/tasks/{self.task_id}{mapped}"


class AirflowApi:
    """One Airflow. Outages shorter than a restart are waited out."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._client = httpx.Client(base_url=url, timeout=30)

    def ensure_pool(self, name: str, slots: int, *, include_deferred: bool) -> None:
        """Make the pool, or make it as asked for."""
        wanted = {"slots": slots, "include_deferred": include_deferred}
        if self._call("POST", "/pools", json={"name": name, **wanted}, allow=(409,)) is None:
            self._call("PATCH", f"/pools/{name}", json={"pool": name, **wanted})

    def wait_for_dags(self, dag_ids: Iterable[str], limit: float = 120) -> None:
        """Return when all of them can be triggered. Raises ApiFailed if one never can."""
        missing, deadline = set(dag_ids), time.monotonic() + limit
        while missing:
            known = self._get("/dags", limit=100)["dags"]
            missing -= {dag["dag_id"] for dag in known if not (dag["is_stale"] or dag["has_import_errors"])}
            errors = self._get("/importErrors")["import_errors"]
            if missing and (errors or time.monotonic() > deadline):
                reasons = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
                raise ApiFailed(f"not there: {', '.join(sorted(missing))}\n{reasons}".rstrip())
            if missing:
                time.sleep(0.3)

    def runs(self, dag_id: str, prefix: str) -> list[dict[str, Any]]:
        """The runs whose id begins with ``prefix``, oldest first."""
        # The API takes a pattern, in which _ stands for any character.
        answer = self._get(
            f"/dags/{dag_id}/dagRuns", run_id_pattern=f"{prefix}%", order_by="run_after", limit=100
        )
        return [run for run in answer["dag_runs"] if run["dag_run_id"].startswith(prefix)]

    def state(self, dag_id: str, run_id: str) -> str:
        """The run's state."""
        return str(self._get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run; one that is there already stays as it is."""
        # SQLite's clock has whole seconds: with a fraction the run would wait for the next one.
        now = datetime.now(UTC).replace(microsecond=0).isoformat()
        body = {"dag_run_id": run_id, "conf": conf, "logical_date": None, "run_after": now}
        self._call("POST", f"/dags/{dag_id}/dagRuns", json=body, allow=(409,))

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """Resume a failed run where it failed."""
        body = {"dry_run": False, "only_failed": True}
        self._call("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", json=body)

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """The run's task instances, in the order in which they started."""
        answer = self._get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)
        return [
            Task(
                dag_id=dag_id,
                run_id=run_id,
                task_id=task["task_id"],
                map_index=task["map_index"],
                label=task["rendered_map_index"] or "",
                state=task["state"] or "",
                try_number=task["try_number"],
                duration=task["duration"] or 0.0,
                ended=task["end_date"] or "",
            )
            for task in sorted(answer["task_instances"], key=lambda task: task["start_date"] or "~")
        ]

    def log(self, task: Task) -> list[str]:
        """The lines of the task's last try."""
        answer = self._get(
            f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{task.try_number}",
            map_index=task.map_index,
            full_content=True,
        )
        lines: list[str] = []
        for entry in answer["content"]:
            event = entry if isinstance(entry, str) else entry["event"]
            lines += (
                line for line in event.splitlines() if not line.startswith(("::group::", "::endgroup::"))
            )
            if isinstance(entry, dict):
                for error in entry.get("error_detail") or ():
                    lines += (
                        f"  {frame['filename']}:{frame['lineno']}, in {frame['name']}"
                        for frame in error["frames"][-4:]
                    )
                    lines += f"{error['exc_type']}: {error['exc_value']}".splitlines()
        return lines

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self._call("GET", path, params=query)
        return answer or {}

    def _call(
        self, method: str, path: str, allow: tuple[int, ...] = (), **arguments: Any
    ) -> dict[str, Any] | None:
        """The answer, or None for an ``allow``-ed refusal. Raises ApiFailed for any other."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                answer = self._client.request(method, f"/api/v2{path}", **arguments)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    self._log_in()
                    answer = self._client.request(method, f"/api/v2{path}", **arguments)
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                if answer.status_code in allow:
                    return None
                reason = f"{answer.status_code} {answer.text}"
                if not answer.is_server_error:
                    raise ApiFailed(f"{method} {path}: {reason}")
            except httpx.TransportError as error:
                reason = f"{self.url} does not answer: {error}"
            if time.monotonic() > deadline:
                raise ApiFailed(f"{method} {path}: {reason}")
            time.sleep(0.5)

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json=self._login)
        if answer.is_client_error:
            raise ApiFailed(f"{self.url} refuses the login of {self._login['username']}: {answer.text}")
        if answer.is_success:
            self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
