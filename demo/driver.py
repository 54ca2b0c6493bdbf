"""The demo from end to end: set up, build, publish, install."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

import httpx
from debian.deb822 import Packages
from debian.deb822 import Release as ReleaseFile

from demo import lock
from demo.commands import CommandFailed, run
from demo.stack import MARK, PUBLIC_KEY, REPOSITORY, TARGETS, USER, Stack, kill
from hhvm_packaging import distros
from hhvm_packaging.planning.source_tarball import find_tagged
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo.progress import Progress
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.release import Release
    from hhvm_packaging.runs.api import Task

WRAPPER = "hhvm_build_and_publish"
CHILDREN = ("hhvm_build", "hhvm_publish_release")
FIRST_RELEASE = "1.0.0"
PATIENCE = 90
"""Seconds that a killed API server may take to come back."""
TIMEOUT = 60
"""Seconds that it may take to answer on a busy machine."""

_LAST_LINES = 25


class DemoFailed(Exception):
    """A part of the demo failed. The message says what, and where to look."""


class Demo:
    """The demo over one stack."""

    def __init__(self, stack: Stack, progress: Progress) -> None:
        self.stack = stack
        self.progress = progress

    @cached_property
    def distros(self) -> list[Distro]:
        """What is built, published and installed. Raises InvalidDistro if one is not valid."""
        return [distros.load(REPOSITORY, name) for name in TARGETS]

    def up(self, release: Release) -> None:
        """Do everything, up to the installed package. What is done already takes seconds."""
        with lock.hold(self._lock_file, self._wait_for_other):
            kill(self.stack.processes("driver"))  # Of an earlier driver that was killed.
            self._set_up(release)
            release = self._as_tagged(release)
            self._release(release)
            with ThreadPoolExecutor() as pool:
                for installed in [pool.submit(self._install, release, distro) for distro in self.distros]:
                    installed.result()
        self._conclude(release)

    def down(self) -> None:
        """Stop everything that the demo started, and nothing else."""
        with lock.hold(self._lock_file, self._end_other):
            self._say("stopping the services")
            self.stack.down()
            self._remove_containers()
            run([str(REPOSITORY / "demo" / "docker-engine"), "stop"], env=self._environment(), say=self._say)
        self._say("stopped: nothing that the demo started runs any more")

    def clean(self) -> None:
        """Stop everything and forget the data."""
        var = self.stack.var
        known = (var / "demo.json").exists()
        self.down()
        if known:
            if os.geteuid() != 0:
                self.take_roots_files()
            # What says that it is a demo's goes last: this may be killed, and run again.
            for entry in sorted(var.iterdir(), key=lambda entry: entry.name == "demo.json"):
                _remove(entry)
            var.rmdir()
        elif var.exists() and any(entry.name not in {"run", "log"} for entry in var.iterdir()):
            raise DemoFailed(f"{var} does not look like a demo's data (no demo.json); remove it yourself")
        else:
            shutil.rmtree(var, ignore_errors=True)

    def status(self) -> None:
        """Print what runs, and where."""
        states = self.stack.states()
        for service in self.stack.services:
            self._say(f"{service:<15}{states.get(service, 'not running')}")
        if states:
            self._say(f"Airflow: {self.stack.ui_url} ({USER}, {self.stack.secrets.password})")
            self._say(f"published: {self.stack.public_url}")

    def api(self) -> AirflowApi:
        """The stack's Airflow."""
        return AirflowApi(
            self.stack.ui_url, USER, self.stack.secrets.password, patience=PATIENCE, timeout=TIMEOUT
        )

    # The parts

    def _set_up(self, release: Release) -> None:
        # The services need it too: one of them listens on the jobs' network.
        self._engine()
        with ThreadPoolExecutor() as pool:
            parts = [pool.submit(self._images), pool.submit(self._repositories, release)]
            parts.append(pool.submit(self.services))
        for part in parts:
            part.result()

    def _engine(self) -> None:
        with self.progress.part("Docker engine") as say:
            run([str(REPOSITORY / "demo" / "docker-engine"), "ensure"], env=self._environment(), say=say)

    def _images(self) -> None:
        with self.progress.part("images") as say:
            images = sorted({distro.docker_base for distro in self.distros})
            run([str(REPOSITORY / "demo" / "base-image"), *images], env=self._marked_environment(), say=say)
            say(f"{self._job_image()}: is here")
            run([str(REPOSITORY / "jobs" / "looking-image")], env=self._marked_environment(), say=say)

    def _job_image(self) -> str:
        """Build the job image while Airflow starts, so that the first job need not wait for it."""
        from docker import APIClient

        from hhvm_packaging.workers.docker import DockerWorker

        settings = Settings()
        return DockerWorker(APIClient(settings.docker_url, version="auto"), settings).job_image()

    def _repositories(self, release: Release) -> None:
        with self.progress.part("git repositories") as say:
            version = FIRST_RELEASE if release.nightly else release.version
            script = REPOSITORY / "demo" / "make-git-repositories"
            run([str(script), str(self.stack.var / "git"), version], env=self._marked_environment(), say=say)

    def _as_tagged(self, release: Release) -> Release:
        """The release in the spelling of its tag, as the DAGs have it."""
        if release.nightly:
            return release
        return find_tagged(release, str(self.stack.var / "git" / "hhvm-staging.git"))[0]

    def services(self) -> None:
        """Start the services, make the pools, and wait until Airflow has the DAGs."""
        with self.progress.part("S3 and Airflow") as say:
            self.stack.up(say)
            api = self.api()
            api.ensure_pool("publish", 1, include_deferred=True)
            api.ensure_pool("workers", Settings().workers_at_once, include_deferred=True)
            api.wait_for_dags((WRAPPER, *CHILDREN))
            say("the DAGs are there")

    def _release(self, release: Release) -> None:
        with self.progress.part("build and publish") as say:
            api = self.api()
            run_id = self._start(api, release, say)
            if run_id and self._follow(api, run_id) != "success":
                raise DemoFailed(self._diagnosis(api, run_id))
            if not self._published(release):
                raise DemoFailed(
                    f"the run was successful, but {self.stack.public_url} does not have {release.name}"
                )

    def _start(self, api: AirflowApi, release: Release, say: Callable[[str], None]) -> str | None:
        """Trigger, resume or join the run. Returns its id; None if there is nothing to do."""
        first = f"demo-{release.version}"
        runs = [
            found
            for found in api.runs(WRAPPER, prefix=first)
            if found.run_id == first or found.run_id.startswith(f"{first}-")
        ]
        run_id = runs[-1].run_id if runs else first
        match runs[-1].state if runs else None:
            case "queued" | "running":
                say(f"{run_id} is under way; joining it")
                return run_id
            case "failed":
                say(f"{run_id} failed earlier; resuming it where it failed")
                api.clear_run(WRAPPER, run_id)
                return run_id
            case "success" if self._published(release):
                say(f"{release.name} is built and published already")
                return None
            case "success":
                say(f"{run_id} was successful, but {release.name} is not published now; releasing it anew")
                run_id = f"{first}-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}"
        api.trigger(WRAPPER, run_id, {"version": release.version})
        say(f"triggered {WRAPPER}, run {run_id}: {api.url}/dags/{WRAPPER}/runs/{run_id}")
        return run_id

    def _follow(self, api: AirflowApi, run_id: str) -> str:
        """Show the tasks of the run and of its child runs until it ends. Returns its state."""
        # What a run that we join or resume finished before is no news.
        shown = {_key(task): _shown_as(task) for task in self._tasks(api, run_id) if not _at_work(task)}
        while True:
            # The state first: whatever led to it is then seen in the tasks.
            state = api.state(WRAPPER, run_id)
            for task in self._tasks(api, run_id):
                if shown.get(_key(task), "") != (now := _shown_as(task)):
                    shown[_key(task)] = now
                    if now:
                        self.progress.task(task.dag_id, task.name, now, task.duration)
            if state in {"success", "failed"}:
                return state
            time.sleep(1)

    def _tasks(self, api: AirflowApi, run_id: str) -> list[Task]:
        """The tasks of a run and of the runs that it triggered."""
        return api.tasks(WRAPPER, run_id) + api.newest_tasks(f"{run_id}__")

    def _diagnosis(self, api: AirflowApi, run_id: str) -> str:
        failed = [task for task in self._tasks(api, run_id) if task.state == "failed"]
        # A wrapper's task fails because its child run did; what failed there says more.
        causes = [task for task in failed if task.dag_id != WRAPPER] or failed
        for task in causes:
            self.progress.block(f"\nThe last lines of {task.dag_id}, {task.name}:")
            self.progress.block("\n".join(f"  {line}" for line in api.log(task)[-_LAST_LINES:]))
            self.progress.block(f"The rest: {api.url}{task.page}")
        names = ", ".join(f"{task.dag_id} {task.name}" for task in causes)
        return (
            f"run {run_id} failed: {names or 'no task of it, see the scheduler'}.\n"
            f"Log in to {api.url} as {USER}, password {self.stack.secrets.password}. "
            "Mend the cause, then: make demo again."
        )

    def _published(self, release: Release) -> bool:
        """Whether every distribution's index offers the release."""
        return all(self._offers(distro, release) for distro in self.distros)

    def _offers(self, distro: Distro, release: Release) -> bool:
        suite = f"{self.stack.public_url}/{distro.repository}/dists/{distro.distribution}"
        with suppress(httpx.HTTPStatusError):
            architectures = ReleaseFile(_fetch(f"{suite}/Release"))["Architectures"].split()
            wanted = (release.package, distro.package_version(release))
            return any(
                wanted == (package["Package"], package["Version"])
                for architecture in architectures
                for package in Packages.iter_paragraphs(
                    _fetch(f"{suite}/main/binary-{architecture}/Packages"), use_apt_pkg=False
                )
            )
        return False

    def _install(self, release: Release, distro: Distro) -> None:
        with self.progress.part(f"install {distro.name}") as say:
            environment = {
                "PUBLIC_URL": self.stack.public_url,
                "REPOSITORY": distro.repository,
                "SUITE": distro.distribution,
                "PACKAGE": release.package,
                "PACKAGE_VERSION": distro.package_version(release),
            }
            output = run(
                [
                    *("docker", "run", "--rm", "--network", self._network, "--label", self._label),
                    *("--volume", f"{REPOSITORY}:/opt/hhvm-packaging:ro"),
                    *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
                    *(distro.docker_base, "/opt/hhvm-packaging/demo/install-package"),
                ],
                env=self._marked_environment(),
            )
            shown = output.splitlines()[-1]
            say(f"apt-get install {release.package}: {shown}")
            if not release.nightly and release.version not in shown.split():
                raise DemoFailed(
                    f"{distro.name}: hhvm --version prints {shown!r} instead of {release.version}"
                )

    def _conclude(self, release: Release) -> None:
        distro = self.distros[0]
        self.progress.table()
        keyring = "/etc/apt/keyrings/hhvm.asc"
        self.progress.block(
            f"""
HHVM {release.version} is built, published and installed.

Airflow       {self.stack.ui_url}
              log in as {USER}, password {self.stack.secrets.password}
Repositories  {self.stack.public_url}
apt           curl --create-dirs -o {keyring} {self.stack.public_url}/{PUBLIC_KEY}
              deb [signed-by={keyring}] {self.stack.public_url}/{distro.repository} {distro.distribution} main
{self._next_steps(release)}"""
        )

    def _next_steps(self, release: Release) -> str:
        return f"""Logs          {self.stack.log_directory}

Next          make demo VERSION={next_version(release):<9}another release beside it
              demo/airflow dags list     Airflow's own command line
              make down                  stop it all; make clean also forgets the data"""

    # Details

    @property
    def _lock_file(self) -> Path:
        return self.stack.var / "run" / "lock"

    @property
    def _network(self) -> str:
        """The network of the jobs, from which a user's machine sees what they see."""
        return Settings().docker_network

    @property
    def _label(self) -> str:
        """The label of the demo's containers; the workers use the same."""
        return f"hhvm.work={self.stack.work_directory}"

    def _say(self, line: str) -> None:
        self.progress.block(line)

    def _wait_for_other(self, pid: int) -> None:
        self._say(f"another make demo (process {pid}) is at work here; waiting for it")

    def _end_other(self, pid: int) -> None:
        self._say(f"ending the make demo that is at work (process {pid})")
        lock.end_holder(pid)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HHVM_DEMO_VAR": str(self.stack.var)}

    def _marked_environment(self) -> dict[str, str]:
        """The environment of programs that must end with the driver."""
        return {**self._environment(), MARK: self.stack.mark("driver")}

    def _remove_containers(self) -> None:
        with suppress(CommandFailed, FileNotFoundError):
            containers = run(["docker", "ps", "--all", "--quiet", "--filter", f"label={self._label}"]).split()
            if containers:
                self._say(f"removing {len(containers)} containers")
                run(["docker", "rm", "--force", "--volumes", *containers])

    def take_roots_files(self) -> None:
        """Make this user the owner of all data: containers write as root, and only root can remove that.

        Raises DemoFailed, where there is any, if no container can be started to do so.
        """
        owner = f"{os.getuid()}:{os.getgid()}"
        if all(path.lstat().st_uid == os.getuid() for path in self.stack.var.rglob("*")):
            return
        volume, image = f"{self.stack.var}:/data", self.distros[0].docker_base
        command = ["chown", "--recursive", "--no-dereference", owner, "/data"]
        try:
            run(["docker", "run", "--rm", "--network", "none", "--volume", volume, image, *command])
        except CommandFailed as error:
            raise DemoFailed(
                f"{self.stack.var} has files of root, which containers wrote, and none can be started to "
                f"change that. Start Docker and run make clean again, or have root remove it. {error}"
            ) from error


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def next_version(release: Release) -> str:
    """A version to try next."""
    if release.nightly:
        return FIRST_RELEASE
    *rest, patch = release.version.split(".")
    return ".".join([*rest, str(int(patch) + 1)])


def _key(task: Task) -> tuple[str, str, int]:
    return task.dag_id, task.task_id, task.map_index


def _shown_as(task: Task) -> str:
    """The state as the output shows it. Empty for states that are not shown."""
    if task.state in {"scheduled", "queued"}:
        return ""
    return "running" if _at_work(task) else task.state


def _at_work(task: Task) -> bool:
    return task.state in {"running", "deferred", "restarting"}


def _fetch(url: str) -> str:
    return httpx.get(url, timeout=30, trust_env=False).raise_for_status().text
