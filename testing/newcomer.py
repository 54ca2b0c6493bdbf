"""Somebody with this checkout and a demo of their own, as the end-to-end tests act."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import httpx

from demo.driver import PATIENCE, TIMEOUT
from demo.stack import SCRATCH, USER, Ports, Stack
from hhvm_packaging.runs.api import AirflowApi, ApiError
from hhvm_packaging.runs.run import CHILDREN, child_run_prefix
from testing.unhurried import DEADLINE, UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Callable

    from hhvm_packaging.runs.api import Task

ROOT = Path(__file__).resolve().parents[1]
WRAPPER, BUILD, PUBLISH = "hhvm_build_and_publish", "hhvm_build", "hhvm_publish_release"


class Newcomer:
    """Somebody with this checkout, ``make`` and Airflow's API."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.stack = Stack(var, preferred_ports=Ports(0, 0, 0))
        self.engine = docker.from_env()
        self._api: AirflowApi | None = None
        (var / "environment.json").write_text(json.dumps(UNHURRIED))

    def make(self, *arguments: str, expect: int = 0, timeout: float = DEADLINE) -> str:
        """What ``make`` prints, once it ended with the expected status."""
        done = subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=ROOT,
            env={**os.environ, "HHVM_DEMO_VAR": str(self.var)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Airflow's command line, on this demo."""
        return self.run("airflow", *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command as this demo's Airflow would run it, from the checkout."""
        return subprocess.run(
            [ROOT / "demo/run", *command],
            cwd=ROOT,
            env={**os.environ, "HHVM_DEMO_VAR": str(self.var)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def api(self) -> AirflowApi:
        """Airflow's API, as a person uses it."""
        if self._api is None or self._api.url != self.stack.ui_url:
            self._api = self.log_in(patience=PATIENCE, timeout=TIMEOUT)
        return self._api

    def log_in(self, *, patience: float, timeout: float) -> AirflowApi:
        """Another client of Airflow's API, for the same user."""
        password = self.stack.secrets.password
        return AirflowApi(self.stack.ui_url, USER, password, patience=patience, timeout=timeout)

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> httpx.Response:
        """Start a run through the API. Returns what it answers."""
        body = {"dag_run_id": run_id, "conf": conf, "logical_date": None}
        return self.api.request("POST", f"/dags/{dag_id}/dagRuns", body)

    def connect(self, name: str, **fields: Any) -> None:
        """Add an Airflow connection to something on this machine."""
        self.api.call("POST", "/connections", {"connection_id": name, "host": "127.0.0.1", **fields})

    def state(self, dag_id: str, run_id: str) -> str:
        """A run's state."""
        return self.api.state(dag_id, run_id)

    def child(self, wrapper: str, run_id: str, version: str) -> str:
        """The id of the runs that a wrapper's run triggers for a version. Waits until there is the first."""
        prefix = child_run_prefix(wrapper, run_id, version)
        found: str = self.until(lambda: self.api.runs(CHILDREN[0], prefix=prefix)[-1].run_id)
        return found

    def runs(self, dag_id: str) -> list[str]:
        """All runs of a DAG that ended well."""
        return [run.run_id for run in self.api.runs(dag_id, states=["success"])]

    def offered(self, suite: str) -> list[str]:
        """The versions of hhvm that users of a suite are offered."""
        index = f"{self.stack.public_url}/debian/dists/{suite}/main/binary-amd64/Packages"
        packages = httpx.get(index, timeout=60).text
        return re.findall(r"^Version: (.*)$", packages, re.MULTILINE)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, Task]:
        """A run's task instances by name, a mapped one's with its distribution."""
        return {task.name: task for task in self.api.tasks(dag_id, run_id)}

    def log(self, task: Task) -> str:
        """A task's log, as the UI shows it."""
        return "\n".join(self.api.log(task))

    def until_asked(self, dag_id: str, run_id: str, limit: float = DEADLINE) -> list[Task]:
        """Wait until a run asks for approvals. Returns the task instances that wait for an answer."""

        def asking() -> list[Task]:
            tasks = self.api.tasks(dag_id, run_id)
            return [task for task in tasks if task.task_id == "approve" and task.state == "awaiting_input"]

        found: list[Task] = self.until(asking, limit)
        return found

    def answer(self, dag_id: str, run_id: str, option: str) -> None:
        """Answer one request for approval, as a person does under Required Actions.

        Airflow asks again where the answer came in the second in which the process that asked ends.
        """
        [asked] = {task.map_index for task in self.until_asked(dag_id, run_id)}
        request = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve/{asked}/hitlDetails"

        def answered() -> bool:
            [state] = [
                task.state
                for task in self.api.tasks(dag_id, run_id)
                if (task.task_id, task.map_index) == ("approve", asked)
            ]
            if state == "awaiting_input":
                self.api.request("PATCH", request, {"chosen_options": [option], "params_input": {}})
            return state in ("success", "failed")

        self.until(answered)

    def task_state(self, dag_id: str, run_id: str, task: str) -> str:
        """The state of a run's task."""
        return self.tasks(dag_id, run_id)[task].state

    def until_task(self, dag_id: str, run_id: str, task: str, *states: str, limit: float = DEADLINE) -> None:
        """Wait until a run's task has one of the states."""
        self.until(lambda: self.task_state(dag_id, run_id, task) in states, limit)

    def said(self, dag_id: str, run_id: str, task: str) -> str:
        """The log of a run's task."""
        return self.log(self.tasks(dag_id, run_id)[task])

    def until(self, condition: Callable[[], Any], limit: float = DEADLINE) -> Any:
        """Wait for something that must become true, through outages of the API server."""
        deadline = time.monotonic() + limit
        while True:
            try:
                if found := condition():
                    return found
            except (ApiError, httpx.HTTPError, LookupError, ValueError):
                pass
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(1)

    def ended(self, dag_id: str, run_id: str) -> str:
        """A run's final state. Of one that failed, pytest shows why if the test did not want that."""
        ends = ("success", "failed")
        state = str(self.until(lambda: (now := self.state(dag_id, run_id)) in ends and now))
        if state == "failed":
            for name, task in self.tasks(dag_id, run_id).items():
                print(dag_id, run_id, name, task.state, "try", task.try_number)
                if task.state == "failed":
                    print(self.log(task)[-4000:])
        return state

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear a run's failed tasks, as an engineer does, and see it run again."""
        self.api.clear_run(dag_id, run_id)
        self.until(lambda: self.state(dag_id, run_id) in ("running", "success"))

    def mark(self, dag_id: str, run_id: str, task: Task, state: str) -> None:
        """Mark a task instance, as a person does."""
        mapped = f"/{task.map_index}" if task.map_index >= 0 else ""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}{mapped}"
        self.api.call("PATCH", path, {"new_state": state})

    def slots(self, count: int) -> None:
        """Have so many jobs at once."""
        self.api.ensure_pool("workers", count, include_deferred=True)

    def reaped(self) -> list[str]:
        """What the upkeep ends now that it looks at everything, workers and runs."""
        run_id = f"now-{time.monotonic_ns()}"
        self.api.trigger("hhvm_reap_workers", run_id, {})
        assert self.ended("hhvm_reap_workers", run_id) == "success"
        return [line for task in ("reap", "cancel_orphans") for line in self._returned(run_id, task)]

    def _returned(self, run_id: str, task: str) -> list[str]:
        path = f"/dags/hhvm_reap_workers/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        value = self.api.call("GET", path)["value"]
        return list(json.loads(value) if isinstance(value, str) else value)

    def containers(self, *labels: str) -> list[Any]:
        """The workers' containers of this demo."""
        own = f"hhvm.work={self.stack.work_directory}"
        return list(
            self.engine.containers.list(all=True, ignore_removed=True, filters={"label": [own, *labels]})
        )

    def job_containers(self, job: str) -> list[Any]:
        """A job's running containers: its own, and the one that it builds in."""
        return list(self.engine.containers.list(ignore_removed=True, filters={"label": f"hhvm.job={job}"}))

    def building(self, version: str) -> list[Any]:
        """The build jobs that have got as far as starting their build container."""
        return [
            container
            for container in self.containers("hhvm.task=make_binary_package")
            if f"-{version}-" in container.name and len(self.job_containers(container.name)) == 2
        ]

    def jobs(self, version: str, kind: str = "make-binary-package") -> list[str]:
        """Each try of a kind of job that left a log."""
        root = self.var / "s3" / SCRATCH / "jobs" / version
        return sorted(path.parent.name for path in root.glob(f"hhvm-{version}-{kind}-*/*/log.txt"))
