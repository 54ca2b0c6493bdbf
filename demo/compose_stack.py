"""The demo's services as a deployment has them: docker-compose.yaml, with data of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from demo import lock
from demo.commands import CommandFailed, run
from demo.driver import CHILDREN, WRAPPER, Demo, next_version
from demo.stack import MINIATURE, REPOSITORY, TARGETS, Ports, Secrets, Stack, StackFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from demo.progress import Progress
    from hhvm_packaging.release import Release

POSTGRES, BROKER = "postgres:17-bookworm", "valkey/valkey:8-bookworm"
BASE = "debian:bookworm"
FILES = (REPOSITORY / "docker-compose.yaml", REPOSITORY / "demo" / "docker-compose.demo.yaml")


class ComposeStack(Stack):
    """The services in containers, over one data directory. Several may run side by side on one machine.

    ``more`` are settings of ``.env`` besides the demo's.
    """

    def __init__(
        self, var: Path, *, preferred_ports: Ports | None = None, more: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(var, services=(), preferred_ports=preferred_ports or Ports())
        self._more = more or {}

    @property
    def project(self) -> str:
        """The name that the containers, networks and volumes of this directory begin with."""
        return f"hhvm-{hashlib.sha256(str(self.var).encode()).hexdigest()[:8]}"

    @cached_property
    def ports(self) -> Ports:
        """The ports that are published. Free ones are chosen at the first start."""
        file = self.var / "demo.json"
        if not file.exists():
            chosen = {name: _free(getattr(self.preferred_ports, name)) for name in ("ui", "downloads")}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"ports": chosen}, indent=2) + "\n")
        return Ports(**json.loads(file.read_text())["ports"])

    @cached_property
    def secrets(self) -> Secrets:
        """The password; the services have their secrets from files."""
        return Secrets(password=(self.var / "secrets" / "first_user_password").read_text())

    @property
    def public_url(self) -> str:
        """The public bucket, as users see it."""
        return self.setting("PUBLIC_URL")

    @property
    def work_directory(self) -> Path:
        """Where the engine keeps the jobs' directories. It is also the label of their containers."""
        return type(self.var)(self.setting("WORK_DIRECTORY"))

    @property
    def override(self) -> Path:
        """A compose file that changes this deployment, if it exists."""
        return self.var / "docker-compose.override.yaml"

    def setting(self, name: str) -> str:
        """A setting of this deployment. Raises StackFailed before the first set-up."""
        with suppress(FileNotFoundError):
            for line in (self.var / ".env").read_text().splitlines():
                if line.startswith(f"{name}="):
                    return line.partition("=")[2]
        raise StackFailed(f"there is no demo in {self.var} yet. Run make compose-demo first")

    def prepare(self) -> None:
        """Write the settings and the secrets, where they are missing."""
        self.var.mkdir(parents=True, exist_ok=True)
        file = self.var / ".env"
        if not file.exists():
            file.write_text(_settings((REPOSITORY / ".env.example").read_text(), self._own_values()))
        run(
            [str(REPOSITORY / "bin" / "fill-in-deployment"), "--directory", str(self.var)],
            env=self._environment(),
        )

    def _own_values(self) -> dict[str, str]:
        git = self.var / "git"
        return {
            "UI_URL": self.ui_url,
            "UI_PORT": f"127.0.0.1:{self.ports.ui}",
            "DOWNLOADS_PORT": str(self.ports.downloads),
            "PUBLIC_REPOSITORY": str(git / "hhvm.git"),
            "STAGING_REPOSITORY": str(git / "hhvm-staging.git"),
            "DOCKER_VOLUMES": json.dumps([f"{git}:{git}"]),
            "BUILD_PROFILES": json.dumps([MINIATURE]),
            # By itself the demo does what it is told to.
            "NIGHTLY_SCHEDULE": "",
            "CURRENT_TARGETS": json.dumps(TARGETS),
            "CANARY_SCHEDULE": "",
            "BASE_IMAGE": BASE,
            "HHVM_IMAGE": "hhvm-packaging:demo",
            "POSTGRES_IMAGE": POSTGRES,
            "BROKER_IMAGE": BROKER,
            "SECRETS": str(self.var / "secrets"),
            "GIT_DIRECTORY": str(git),
            **self._more,
        }

    def build(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Make the images."""
        environment = self._environment()
        run([str(REPOSITORY / "demo" / "compose-plugins")], env=environment, say=say)
        run([str(REPOSITORY / "demo" / "base-image"), BASE], env=environment, say=say)
        images = [f"postgres={POSTGRES}", f"valkey={BROKER}"]
        run([str(REPOSITORY / "demo" / "service-images"), *images], env=environment, say=say)
        self.compose("build", "--quiet", "init")
        say("the image of Airflow's services is here")

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start whatever does not run, and return when all of it is healthy."""
        self.prepare()
        try:
            self.compose("up", "--detach", "--wait", "--quiet-pull")
        except CommandFailed as error:
            raise StackFailed(f"the services did not come up: {error}") from error
        say("all services are healthy")

    def down(self, *, forget: bool = False) -> None:
        """Stop and remove the services, and with ``forget`` their data."""
        if (self.var / ".env").exists():
            self.compose("down", "--remove-orphans", *(["--volumes"] if forget else []))

    def compose(self, *arguments: str, say: Callable[[str], None] = lambda _: None) -> str:
        """Run ``docker compose`` for these services. Returns the last lines. Raises CommandFailed."""
        return run([*self.person_command, *arguments], env=self._environment(), say=say)

    @property
    def person_command(self) -> tuple[str, ...]:
        """``docker compose`` with what it needs to find these services."""
        more = (self.override,) if self.override.exists() else ()
        files = [word for file in (*FILES, *more) for word in ("--file", str(file))]
        own = ("--project-name", self.project, "--env-file", str(self.var / ".env"))
        return ("docker", "compose", *own, *files)

    def person_environment(self) -> dict[str, str]:
        """The environment of docker compose. Raises StackFailed before the first set-up."""
        self.setting("SECRETS")
        return self._environment()

    def states(self) -> dict[str, str]:
        """The state of each container, by its service and number."""
        if not (self.var / ".env").exists():
            return {}
        answer = run([*self.person_command, "ps", "--format", "json"], env=self._environment())
        containers: list[Any] = [json.loads(line) for line in answer.splitlines() if line.startswith("{")]
        return {
            container["Name"].removeprefix(f"{self.project}-"): container["Status"]
            for container in containers
        }

    @cached_property
    def revision(self) -> str:
        """The commit of the checkout, with -dirty if it has edits."""
        describe = ("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
        return run(["git", "-C", str(REPOSITORY), *describe]).strip()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "HHVM_DEMO_VAR": str(self.var),
            "REVISION": self.revision,
        }


class ComposeDemo(Demo):
    """The demo over a deployment by docker-compose."""

    def __init__(self, stack: ComposeStack, progress: Progress) -> None:
        super().__init__(stack, progress)
        self.deployment = stack

    def down(self, *, forget: bool = False) -> None:
        """Stop everything that the demo started, and nothing else."""
        with lock.hold(self._lock_file, self._end_other):
            if (self.stack.var / ".env").exists():
                self._remove_containers()
            self._say("stopping the services")
            self.deployment.down(forget=forget)
            run([str(REPOSITORY / "demo" / "docker-engine"), "stop"], env=self._environment(), say=self._say)
        self._say("stopped: nothing that the demo started runs any more")

    def clean(self) -> None:
        """Stop everything and forget the data."""
        self.down(forget=True)
        shutil.rmtree(self.stack.var, ignore_errors=True)

    def _set_up(self, release: Release) -> None:
        """The images first: the services run in them."""
        self._engine()
        self._images()
        self._repositories(release)
        self.deployment.prepare()
        with self.progress.part("image of the services") as say:
            self.deployment.build(say)
        self.services()

    def services(self) -> None:
        """Start the services, and wait until Airflow has the DAGs."""
        with self.progress.part("services") as say:
            self.deployment.up(say)
            self.api().wait_for_dags((WRAPPER, *CHILDREN))
            say("the DAGs are there")

    def _next_steps(self, release: Release) -> str:
        return f"""
Next          make compose-demo VERSION={next_version(release):<9}another release beside it
              demo/compose ps            docker compose, for these services
              make compose-down          stop it all; make compose-clean also forgets the data"""


def _settings(example: str, own: Mapping[str, str]) -> str:
    """The settings of the example, with others in their place."""
    lines = [line for line in example.splitlines() if line.partition("=")[0] not in own]
    return (
        "\n".join([*lines, "", "# The demo's own.", *(f"{name}={value}" for name, value in own.items())])
        + "\n"
    )


def _free(port: int) -> int:
    """The port, or any free one if that is taken."""
    for wanted in (port, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", wanted))  # ruff: ignore[hardcoded-bind-all-interfaces]
            return int(probe.getsockname()[1])
    raise StackFailed("this machine has no free port")
