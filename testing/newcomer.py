"""Somebody with this checkout and a demo of their own, as the end-to-end tests act."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import httpx

from demo.stack import SCRATCH, USER, Ports, Stack
from testing.unhurried import TLS, UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ROOT = Path(__file__).resolve().parents[1]
WRAPPER, BUILD, PUBLISH = "hhvm_build_and_publish", "hhvm_build", "hhvm_publish_release"


class Newcomer:
    """Somebody with this checkout, ``make`` and Airflow's API."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.stack = Stack(var, preferred_ports=Ports(0, 0, 0))
        self.engine = docker.from_env()
        self.token = ""
        (var / "environment.json").write_text(json.dumps(UNHURRIED))

    def make(self, *arguments: str, expect: int = 0) -> str:
        """What ``make`` prints, once it ended with the expected status."""
        done = subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=ROOT,
            env={**os.environ, "HHVM_DEMO_VAR": str(self.var)},
            capture_output=True,
            text=True,
            timeout=600,
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

    @contextmanager
    def api(self) -> Generator[httpx.Client]:
        """Airflow's API, logged in."""
        login = {"username": USER, "password": self.stack.secrets.password}
        with httpx.Client(base_url=self.stack.ui_url, timeout=60, verify=TLS) as client:
            if not self.token:
                self.token = client.post("/auth/token", json=login).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {self.token}"
            yield client

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> httpx.Response:
        """Start a run through the API. Returns what it answers."""
        body = {"dag_run_id": run_id, "conf": conf, "logical_date": None}
        return self.ask("POST", f"{dag_id}/dagRuns", body)

    def ask(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """What the API answers about DAGs, once it is not too busy to."""

        def answer() -> httpx.Response | None:
            with self.api() as api:
                found = api.request(method, f"/api/v2/dags/{path}", json=body)
            return None if found.is_server_error else found

        answered: httpx.Response = self.until(answer)
        return answered

    def connect(self, name: str, **fields: Any) -> None:
        """Add an Airflow connection to something on this machine."""
        with self.api() as api:
            body = {"connection_id": name, "host": "127.0.0.1", **fields}
            assert api.post("/api/v2/connections", json=body).is_success

    def state(self, dag_id: str, run_id: str) -> str:
        """A run's state."""
        with self.api() as api:
            return str(api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()["state"])

    def runs(self, dag_id: str) -> list[str]:
        """All runs of a DAG that ended well."""
        with self.api() as api:
            found = api.get(f"/api/v2/dags/{dag_id}/dagRuns", params={"state": "success"}).json()["dag_runs"]
        return [run["dag_run_id"] for run in found]

    def offered(self, suite: str) -> list[str]:
        """The versions of hhvm that users of a suite are offered."""
        index = f"{self.stack.public_url}/debian/dists/{suite}/main/binary-amd64/Packages"
        packages = httpx.get(index, timeout=60).text
        return re.findall(r"^Version: (.*)$", packages, re.MULTILINE)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """A run's task instances, a mapped one by its distribution."""
        with self.api() as api:
            found = api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances").json()["task_instances"]
        return {" ".join(filter(None, (task["task_id"], task["rendered_map_index"]))): task for task in found}

    def log(self, dag_id: str, run_id: str, task: dict[str, Any]) -> str:
        """A task's log, as the UI shows it."""
        with self.api() as api:
            answer = api.get(
                f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}",
                params={"map_index": task["map_index"], "full_content": True},
            )
        return answer.text

    def until(self, condition: Callable[[], Any], limit: float = 300) -> Any:
        """Wait for something that must become true, through outages of the API server."""
        deadline = time.monotonic() + limit
        while True:
            try:
                if found := condition():
                    return found
            except (httpx.HTTPError, KeyError, ValueError):
                pass
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(1)

    def ended(self, dag_id: str, run_id: str) -> str:
        """A run's final state. Of one that failed, pytest shows why if the test did not want that."""
        ends = ("success", "failed")
        state = str(self.until(lambda: (now := self.state(dag_id, run_id)) in ends and now, limit=900))
        if state == "failed":
            for name, task in self.until(partial(self.tasks, dag_id, run_id)).items():
                print(dag_id, run_id, name, task["state"], "try", task["try_number"])
                if task["state"] == "failed":
                    print(self.until(partial(self.log, dag_id, run_id, task))[-4000:])
        return state

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear a run's failed tasks, as an engineer does, and see it run again."""
        body = {"dry_run": False, "only_failed": True}
        assert self.ask("POST", f"{dag_id}/dagRuns/{run_id}/clear", body).is_success
        self.until(lambda: self.state(dag_id, run_id) in ("running", "success"))

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
