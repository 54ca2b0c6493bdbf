"""Somebody with this checkout and a deployment by docker-compose of their own."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote

import docker
import pytest

from demo.compose_stack import ComposeStack
from demo.stack import Ports
from testing.newcomer import BUILD, PUBLISH, ROOT, WRAPPER, Newcomer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.models.containers import Container


class Deployer(Newcomer):
    """Somebody with this checkout and a deployment by docker-compose."""

    stack: ComposeStack

    def __init__(self, var: Path) -> None:
        self.var = var
        self.stack = ComposeStack(var, preferred_ports=Ports(0, 0, 0))
        self.engine = docker.from_env()
        self._api = None

    def services(self) -> dict[str, Container]:
        """The running containers of the deployment's services, by service."""
        label = f"com.docker.compose.project={self.stack.project}"
        found = self.engine.containers.list(filters={"label": label})
        return {container.labels["com.docker.compose.service"]: container for container in found}

    def kill(self, service: str) -> None:
        """Kill a service's container as a fault does: nobody told the engine to stop it."""
        container = self.services()[service]
        container.reload()
        pid = container.attrs["State"]["Pid"]
        assert pid  # 0 would be this process' own group.
        os.kill(pid, signal.SIGKILL)

    def tag(self, version: str) -> None:
        """Tag a release on the staging repository."""
        subprocess.run([ROOT / "demo/make-git-repositories", self.var / "git", version], check=True)

    def roll_out(self, revision: str) -> None:
        """Build an image of another revision and put it in the place of the one that runs."""
        self.stack.revision = revision
        self.stack.compose("build", "--quiet", "init")
        self.stack.up()

    def execute(self, service: str, *command: str) -> str:
        """What a command prints in a service's container."""
        done = self.services()[service].exec_run(list(command))
        assert done.exit_code == 0, done.output
        assert isinstance(done.output, bytes)
        return done.output.decode(errors="replace")

    def builds(self, version: str) -> int:
        """How many builds of a version there were, for all distributions together."""
        logs = f"find /srv/s3/hhvm-scratch/jobs/{version} -path '*make-binary-package*' -name log.txt"
        return len(self.execute("s3", "sh", "-c", logs).splitlines())

    def publishes(self, version: str, suite: str) -> int:
        """How many commits added a version to a suite."""
        lines = self.execute("worker-signing", "bin/apt-suite", "history", "debian", suite).splitlines()
        return sum(f"+ hhvm {version}-1~{suite} amd64" in line for line in lines)

    def hosts(self, run_id: str, version: str) -> dict[str, str]:
        """The container that each task last ran in, of the two runs that a wrapper's run triggered."""
        found: dict[str, str] = {}
        child = quote(self.child(WRAPPER, run_id, version), safe="")
        for dag_id in (BUILD, PUBLISH):
            path = f"/dags/{dag_id}/dagRuns/{child}/taskInstances"
            for task in self.api.call("GET", path)["task_instances"]:
                found[task["task_id"]] = task["hostname"]
        return found

    def until_at(self, dag_id: str, run_id: str, task: str) -> None:
        """Wait until a run has come to a task. A short one may have ended already."""

        def is_there() -> bool:
            found = self.tasks(dag_id, run_id)
            return any(one.task_id == task and one.state not in ("", "scheduled") for one in found.values())

        self.until(is_there)


@pytest.fixture(scope="module")
def deployer(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    """The deployer, whose deployment is gone at the end."""
    deployer = Deployer(tmp_path_factory.mktemp("compose"))
    deployer.stack.ports  # ruff: ignore[useless-expression]  chosen now, beside what may run already
    yield deployer
    deployer.make("compose-clean")
