"""The client of Airflow's public HTTP API, for upkeep, the demo and the tests."""

from __future__ import annotations

import datetime
import json
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from hhvm_packaging.runs.run import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

_RETRY_DELAY = 0.5
"""Seconds between two attempts at a request."""
_API = "/api/v2"
CONSOLE = "/hhvm"
"""Where the console is, whose API has the same login."""
_PAGE = 100
"""The most runs or tasks in one answer."""


class ApiError(Exception):
    """Airflow refused a request, or did not answer. The message has the request and the reason."""

    def __init__(self, message: str, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; None if there was no answer."""
        self.detail = detail
        """Airflow's own words; empty if it said none."""


class DagRun(BaseModel):
    """A run of a DAG."""

    run_id: str = Field(alias="dag_run_id")
    state: str
    queued_at: datetime.datetime | None = None
    """When it was triggered, or when some of it was last cleared."""
    start_date: datetime.datetime | None = None
    end_date: datetime.datetime | None = None
    run_after: datetime.datetime | None = None
    logical_date: datetime.datetime | None = None
    conf: dict[str, Any] = Field(default_factory=dict)
    """What was asked for. Fields of the form that nobody filled in may be absent."""
    triggered_by: str = Field(default="", alias="triggering_user_name")
    """The user; empty if it was a schedule or another run."""
    note: str = ""
    """In Markdown."""

    @field_validator("conf", "triggered_by", "note", mode="before")
    @classmethod
    def _nothing(cls, value: Any, info: ValidationInfo) -> Any:
        return value or ({} if info.field_name == "conf" else "")


class Event(BaseModel):
    """An entry of the audit log: what a person did, or what a task reported."""

    event: str
    when: datetime.datetime
    try_number: int | None = None
    """Of what a task reported."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """What a person asked for, such as the ``state`` that a run was given."""

    @field_validator("extra", mode="before")
    @classmethod
    def _parse_extra(cls, value: str | None) -> Any:
        return json.loads(value) if value else {}


class Question(BaseModel):
    """What a task asks a person."""

    subject: str
    body: str = ""
    """In Markdown."""
    options: list[str]

    @field_validator("body", mode="before")
    @classmethod
    def _no_body(cls, value: str | None) -> str:
        return value or ""


class Task(BaseModel):
    """A task instance of a run, in its last try."""

    id: str
    dag_id: str
    run_id: str = Field(alias="dag_run_id")
    task_id: str
    map_index: int
    """-1 if the task is not mapped."""
    label: str = Field(default="", alias="rendered_map_index")
    """What a mapped task is mapped over, such as a distribution."""
    state: str
    """Empty if it has none yet."""
    try_number: int
    duration: float
    """Seconds; 0 until it starts."""
    start_date: datetime.datetime | None = None
    end_date: datetime.datetime | None = None

    @field_validator("label", "state", mode="before")
    @classmethod
    def _no_text(cls, value: str | None) -> str:
        return value or ""

    @field_validator("duration", mode="before")
    @classmethod
    def _no_time(cls, value: float | None) -> float:
        return value or 0.0

    @property
    def name(self) -> str:
        """The task id, and the label of a mapped task."""
        return f"{self.task_id} {self.label}".rstrip()

    @property
    def page(self) -> str:
        """The path of its page in Airflow, which shows its log."""
        mapped = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        return f"/dags/{self.dag_id}/runs/{_quote(self.run_id)}/tasks/{self.task_id}{mapped}"


class AirflowApi:
    """One Airflow, for one user. Every method raises ApiError if Airflow refuses or does not answer.

    ``patience`` is for how many seconds a request is repeated if the API server does not answer or fails,
    because it may be restarting; ``timeout`` how many seconds one answer may take. Close it, or use it in a
    ``with`` statement.
    """

    def __init__(
        self, url: str, login: str, password: str, *, patience: float = 0, timeout: float = 10
    ) -> None:
        self.url = url
        self._login = {"username": login, "password": password}
        self._patience = patience
        self._client = httpx.Client(base_url=url, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # Requests

    def request(
        self, method: str, path: str, body: Any = None, *, base: str = _API, **query: Any
    ) -> httpx.Response:
        """The answer to a request, refusals included. ``path`` begins after ``base``."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._send(method, f"{base}{path}", body, query)
                if not answer.is_server_error:
                    return answer
                error = ApiError(f"{method} {path}: {answer.status_code} {answer.text}", answer.status_code)
            except httpx.TransportError as failure:
                error = ApiError(f"{method} {path}: {self.url} does not answer: {failure}")
            if time.monotonic() >= deadline:
                raise error
            time.sleep(_RETRY_DELAY)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON of the answer to a request. Raises ApiError if it is refused. Otherwise like request."""
        answer = self.request(method, path, body, **query)
        if not answer.is_success:
            raise ApiError(
                f"{method} {path}: {answer.status_code} {answer.text}", answer.status_code, _detail(answer)
            )
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, body: Any, query: dict[str, Any]) -> httpx.Response:
        if "Authorization" not in self._client.headers:
            self._log_in()
        answer = self._client.request(method, path, json=body, params=query)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # The token has expired.
            self._log_in()
            answer = self._client.request(method, path, json=body, params=query)
        return answer

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json=self._login)
        if answer.is_client_error:
            raise ApiError(
                f"{self.url} refuses the login of {self._login['username']}: {answer.text}",
                answer.status_code,
            )
        if answer.is_success:
            self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _find(self, path: str, **query: Any) -> Any:
        """The JSON of what is at ``path``; None if there is nothing."""
        answer = self.request("GET", path, **query)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if not answer.is_success:
            raise ApiError(f"GET {path}: {answer.status_code} {answer.text}", answer.status_code)
        return answer.json()

    def console(self, path: str) -> Any:
        """What the console's own API answers; ``path`` begins after ``/hhvm/api``.

        Raises ApiError, whose ``detail`` are the console's words.
        """
        answer = self.request("GET", path, base=f"{CONSOLE}/api")
        if not answer.is_success:
            detail = _detail(answer)
            raise ApiError(detail or f"GET {path}: {answer.status_code}", answer.status_code, detail)
        return answer.json()

    # Runs

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        """One run; None if there is none."""
        found = self._find(_run(dag_id, run_id))
        return None if found is None else DagRun.model_validate(found)

    def state(self, dag_id: str, run_id: str) -> str:
        """The state of a run that exists."""
        return str(self.call("GET", _run(dag_id, run_id))["state"])

    def runs(self, dag_id: str, *, prefix: str = "", states: Sequence[str] = ()) -> list[DagRun]:
        """The oldest hundred runs of a DAG whose id begins with ``prefix``; empty if there is no such DAG.

        With ``states``, only runs in one of them.
        """
        query: dict[str, Any] = {"order_by": "run_after", "limit": _PAGE}
        if prefix:
            query["run_id_pattern"] = f"{prefix}%"  # In it, _ matches any character.
        if states:
            query["state"] = list(states)
        found = self._find(f"/dags/{dag_id}/dagRuns", **query) or {"dag_runs": []}
        runs = [DagRun.model_validate(run) for run in found["dag_runs"]]
        return [run for run in runs if run.run_id.startswith(prefix)]

    def newest_runs(self, dag_id: str, limit: int = _PAGE) -> list[DagRun]:
        """The newest runs of a DAG, at most a hundred; empty if there is no such DAG."""
        found = self._find(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=limit)
        return [DagRun.model_validate(run) for run in (found or {"dag_runs": []})["dag_runs"]]

    def field_title(self, dag_id: str, name: str) -> str:
        """The title of a field in a DAG's form; empty if it has none."""
        details = self._find(f"/dags/{dag_id}/details") or {}
        found = (details.get("params") or {}).get(name) or {}
        return str(found.get("schema", {}).get("title", ""))

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any], note: str = "") -> None:
        """Start a run, with a note in Markdown. If there is one with that id, it stays as it is."""
        self._call_unless_exists("POST", f"/dags/{dag_id}/dagRuns", new_run(run_id, conf, note))

    def count_runs(self, dag_id: str, state: str) -> int:
        """How many runs of a DAG are in this state; 0 for a DAG that does not exist."""
        found = self._find(f"/dags/{dag_id}/dagRuns", state=state, limit=1)
        return int(found["total_entries"]) if found else 0

    def write_note(self, dag_id: str, run_id: str, note: str) -> None:
        """Replace the note of a run that exists; ``note`` is Markdown of at most a thousand characters."""
        self.call("PATCH", _run(dag_id, run_id), {"note": note})

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run failed, as a person does. If it has ended or does not exist, do nothing."""
        if (found := self.run(dag_id, run_id)) and found.state in UNFINISHED:
            self.call("PATCH", _run(dag_id, run_id), {"state": "failed"})

    def fail_ended_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run failed that has ended, whatever it ended as."""
        self.call("PATCH", _run(dag_id, run_id), {"state": "failed"})

    def clear_run(self, dag_id: str, run_id: str, *, only_failed: bool = True) -> None:
        """Clear the failed tasks of a run, or all of them, so that they run again."""
        self.call("POST", f"{_run(dag_id, run_id)}/clear", {"dry_run": False, "only_failed": only_failed})

    # Tasks

    def tasks(self, dag_id: str, run_id: str, task_id: str = "", *, states: Sequence[str] = ()) -> list[Task]:
        """The task instances of a run, a hundred at most, in the order in which they started.

        With ``task_id``, only those of that task; with ``states``, only those in one of them.
        """
        query: dict[str, Any] = {"limit": _PAGE}
        if task_id:
            query["task_id"] = task_id
        if states:
            query["state"] = list(states)
        return self._tasks(_run(dag_id, run_id), query)

    def newest_tasks(self, prefix: str) -> list[Task]:
        """The hundred task instances that started last of all runs whose id begins with ``prefix``."""
        query = {"run_id_pattern": f"{prefix}%", "order_by": "-start_date", "limit": _PAGE}
        return [task for task in self._tasks(_run("~", "~"), query) if task.run_id.startswith(prefix)]

    def _tasks(self, runs: str, query: dict[str, Any]) -> list[Task]:
        found = self.call("GET", f"{runs}/taskInstances", **query)["task_instances"]
        return [
            Task.model_validate(task) for task in sorted(found, key=lambda task: task["start_date"] or "~")
        ]

    def clear_tasks(
        self, dag_id: str, run_id: str, *tasks: str | tuple[str, int], downstream: bool = False
    ) -> None:
        """Clear tasks by id, or instances of mapped tasks by id and map index; if asked, what follows too."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [list(task) if isinstance(task, tuple) else task for task in tasks],
            "only_failed": False,
            "include_downstream": downstream,
        }
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def log(self, task: Task) -> list[str]:
        """The lines of the log of a task's last try; for an error, its last frames and its message."""
        path = f"{_run(task.dag_id, task.run_id)}/taskInstances/{task.task_id}/logs/{task.try_number}"
        lines: list[str] = []
        for entry in self.call("GET", path, map_index=task.map_index, full_content=True)["content"]:
            lines += [entry] if isinstance(entry, str) else _lines(entry)
        return [line for line in lines if not line.startswith(("::group::", "::endgroup::"))]

    # Questions

    def question(self, task: Task) -> Question:
        """What a task asks that waits for a person."""
        return Question.model_validate(self.call("GET", _question(task)))

    def answer(self, task: Task, option: str) -> None:
        """Answer a task's question with one of its options, as a person does under Required Actions."""
        self.call("PATCH", _question(task), {"chosen_options": [option], "params_input": {}})

    # Events

    def events(
        self,
        dag_id: str,
        run_id: str,
        event: str,
        *,
        task: Task | None = None,
        after: datetime.datetime | None = None,
    ) -> list[Event]:
        """The newest hundred events of a run with this name, newest first; with ``task``, only that one's.

        What a person does is named as in Airflow's API, such as ``patch_dag_run``; what a task reports, as
        its new state, such as ``failed``.
        """
        query: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "event": event, "limit": _PAGE}
        if task:
            query |= {"task_id": task.task_id, "map_index": task.map_index}
        if after:
            query["after"] = after.isoformat()
        found = self.call("GET", "/eventLogs", order_by="-when", **query)["event_logs"]
        return [Event.model_validate(one) for one in found]

    # Setting up

    def ensure_pool(self, name: str, slots: int, *, include_deferred: bool) -> None:
        """Create the pool, or change it to these values."""
        values = {"slots": slots, "include_deferred": include_deferred}
        if not self._call_unless_exists("POST", "/pools", {"name": name, **values}):
            self.call("PATCH", f"/pools/{name}", {"pool": name, **values})

    def wait_for_dags(self, dag_ids: Iterable[str], limit: float = 120) -> None:
        """Return when all of them can be triggered.

        Raises ApiError if one has an import error, or cannot be triggered after ``limit`` seconds.
        """
        missing, deadline = set(dag_ids), time.monotonic() + limit
        while missing:
            known = self.call("GET", "/dags", limit=_PAGE)["dags"]
            missing -= {dag["dag_id"] for dag in known if not (dag["is_stale"] or dag["has_import_errors"])}
            errors = self.call("GET", "/importErrors")["import_errors"]
            if missing and (errors or time.monotonic() > deadline):
                reasons = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
                raise ApiError(f"no such DAG: {', '.join(sorted(missing))}\n{reasons}".rstrip())
            if missing:
                time.sleep(_RETRY_DELAY)

    def _call_unless_exists(self, method: str, path: str, body: Any) -> bool:
        """Create something. Returns False if it exists already."""
        try:
            self.call(method, path, body)
        except ApiError as error:
            if error.status != httpx.codes.CONFLICT:
                raise
            return False
        return True


def new_run(run_id: str, conf: dict[str, Any], note: str) -> dict[str, Any]:
    """What Airflow is told of a run that is to start now."""
    # SQLite's clock has whole seconds: with a fraction, the run would wait for the next second.
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat()
    return {"dag_run_id": run_id, "conf": conf, "logical_date": None, "run_after": now, "note": note or None}


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{_quote(run_id)}"


def _question(task: Task) -> str:
    run = _run(task.dag_id, task.run_id)
    return f"{run}/taskInstances/{task.task_id}/{task.map_index}/hitlDetails"


def _quote(run_id: str) -> str:
    return quote(run_id, safe="")


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, LookupError, TypeError):
        return ""
    return detail if isinstance(detail, str) else ""


def _lines(entry: dict[str, Any]) -> list[str]:
    """The lines of one structured entry of a log."""
    lines: list[str] = entry["event"].splitlines()
    for error in entry.get("error_detail") or ():
        lines += (
            f"  {frame['filename']}:{frame['lineno']}, in {frame['name']}" for frame in error["frames"][-4:]
        )
        lines += f"{error['exc_type']}: {error['exc_value']}".splitlines()
    return lines
