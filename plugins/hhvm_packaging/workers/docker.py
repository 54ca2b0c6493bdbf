"""The Docker worker: it runs each job in a detached, labelled container on one engine.

The container mounts the job's work directory at the same path as on the host. If the job needs it, it also
mounts the engine's socket, so that the job can start build containers beside its own. The container is named
for the job: the engine refuses a second one, so no job runs twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import LogConfig
from requests import RequestException
from typing_extensions import override

from hhvm_packaging import plain_file
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.plain_file import NotPlain
from hhvm_packaging.settings import KEYS_IN_JOB
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.workers import attempts, outputs, packaging_archive
from hhvm_packaging.workers.job import (
    LARGEST_RESULT,
    NO_RESULT,
    RESULT_FILE,
    Failure,
    Job,
    JobFailed,
    NotAResult,
    Result,
    is_job_name,
)
from hhvm_packaging.workers.outputs import BadOutputs
from hhvm_packaging.workers.worker import Found, Phase, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from docker import APIClient

    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Input

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names of what the engine says."""
JOB_LABEL = "hhvm.job"
WORK_LABEL = "hhvm.work"

DEPENDENCIES_LABEL = "hhvm.dependencies"
"""The label of images with build dependencies, which jobs/dependencies-image makes."""
MOST_DEPENDENCIES = 12
"""So many such images stay, the newest ones: each has hundreds of megabytes."""

_ATTEMPT_LABEL = "hhvm.build"
_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"]
"""What root may do in a job's container: as much as in those that the job starts; see bin/lib."""
_DIGEST_LABEL = "hhvm.digest"
_DAY, _HOUR = 86_400, 3_600
"""Seconds."""
_ENGINE_SOCKET = "unix://"
_LABELS = "labels.json"
_LARGEST_LABELS = 64 << 10
"""Bytes."""
_WAITING = ThreadPoolExecutor(8, thread_name_prefix="end-of-a-job")
"""The threads that wait for containers to end. While all are in use, other jobs are polled."""
_LONGEST_INTERFACE = 15
"""Characters of the name of a network interface (Linux's IFNAMSIZ, without the NUL)."""
_LONGEST_MAKING = 5
"""Seconds for which another process may have begun to make the network, which is not there yet."""
_LEAST_PAUSE = 0.1
"""Seconds. While a container is being removed, the engine answers at once that it has ended."""


class WrongArchitecture(PackagingError):
    """The engine does not run what the settings ask for. The message says what to set."""


class NotAJob(PackagingError):
    """A text that is not the name of a job."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!a} is not the name of a job")


@dataclass(frozen=True)
class State:
    """The state of a job's container."""

    phase: Phase
    digest: str = ""
    attempt: AttemptId | None = None
    exit_code: int = 0
    out_of_memory: bool = False


class DockerWorker(Worker):
    """Runs jobs on one Docker engine."""

    def __init__(self, engine: APIClient, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    def directory(self, name: str) -> Path:
        """The job's work directory. Its path is the same on the host and in containers.

        Raises NotAJob for a name that would lead elsewhere.
        """
        if not is_job_name(name):
            raise NotAJob(name)
        return self.settings.docker_work_directory / name

    def log_file(self, name: str) -> Path:
        """The job's log, which grows while the job runs."""
        return self.directory(name) / "log.txt"

    def ensure_architectures(self, architectures: Iterable[str]) -> None:
        """Raise WrongArchitecture if the engine does not run one of them."""
        machine = self.engine.info()["Architecture"]
        own = _ARCHITECTURES.get(machine, machine)
        if others := [name for name in architectures if name != own]:
            raise WrongArchitecture(
                f"architectures has {', '.join(others)}, but the Docker engine at {self.settings.docker_url} "
                f'runs {own} only. Set architectures to ["{own}"], or workers to ec2'
            )

    @override
    def phase(self, name: str, job: Job, attempt: AttemptId) -> Phase:
        """Return the phase of the job's container."""
        return self.state(name).phase

    @override
    def launched(self, name: str, job: Job, attempt: AttemptId) -> float:
        """Return when the attempt began: a container starts at once."""
        return attempt.began.timestamp()

    @override
    def log(self, name: str, job: Job, attempt: AttemptId, since: int) -> bytes:
        """Return the job's log from byte ``since`` on."""
        try:
            with plain_file.open_plain(self.log_file(name)) as file:
                file.seek(since)
                return file.read(attempts.MOST_OF_A_LOG)
        except (FileNotFoundError, NotPlain):
            return b""

    async def pause(self, name: str, seconds: float) -> None:
        """Wait until the job's container has ended, but at most so many seconds."""

        def end() -> None:
            with suppress(RequestException):  # A timeout, or the container or the engine is gone.
                self.engine.wait(name, timeout=ceil(seconds))

        await asyncio.sleep(_LEAST_PAUSE)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(_WAITING, end), seconds)

    def state(self, name: str) -> State:
        """Return the state of the job's container."""
        try:
            container = self.engine.inspect_container(name)
        except NotFound:
            return State("absent")
        labels, state = container["Config"]["Labels"], container["State"]
        return State(
            "ended" if state["Status"] in ("exited", "dead") else "running",
            digest=labels[_DIGEST_LABEL],
            attempt=AttemptId.parse(labels[_ATTEMPT_LABEL]),
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
        )

    def result(self, name: str) -> Result | None:
        """Return the job's result, which it writes last; None if there is none. Raises NotAResult."""
        try:
            return Result.parse(plain_file.read(self.directory(name) / RESULT_FILE, LARGEST_RESULT))
        except FileNotFoundError:
            return None
        except NotPlain as error:
            raise NotAResult(str(error)) from error

    def adopt(self, name: str, job: Job, store: Store) -> AttemptId | None:
        """Return the attempt whose container runs this very job or has run it; see Worker."""
        state = self.state(name)
        if state.attempt is None:
            return None
        if state.digest != job.digest or attempts.is_failed(store, job, name, state.attempt):
            self.remove(name)
            return None
        if state.phase == "running":
            self.engine.start(name)  # Does nothing if it runs. The process that created it may have died.
        return state.attempt

    def start(self, name: str, attempt: AttemptId, job: Job, labels: Mapping[str, str], store: Store) -> str:
        """Fetch the job's inputs and start its container. Return a description of it for people.

        Raises JobFailed if an input has other bytes than the job says, or the engine refuses the container.
        """
        directory = self.directory(name)
        self._discard(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        # The other users of this machine see nothing of it.
        directory.mkdir(mode=0o700)
        (directory / _LABELS).write_text(json.dumps(dict(labels)))
        for part in ("in", "out"):
            (directory / part).mkdir()
        packaging_archive.unpack(store, job.packaging, directory / "packaging")
        fetches = (partial(_fetch, item, directory / "in", store) for item in job.inputs)
        faults = run_all(fetches, at_once=self.settings.requests_at_once)
        if damaged := next(filter(None, faults), None):
            raise attempts.failed(store, job, name, attempt, Failure.JOB, damaged)
        for cache in job.caches:
            if why := _try_to_fetch(cache, directory / "in", store):
                (directory / "in" / f"{cache.name}.refused").write_text(why)
        (directory / "job.json").write_text(job.model_dump_json(indent=2))
        try:
            ensure_network(self.engine, self.settings.docker_network)
            self._create(
                name,
                job,
                {**labels, JOB_LABEL: name, _ATTEMPT_LABEL: str(attempt), _DIGEST_LABEL: job.digest},
            )
            self.engine.start(name)
        except APIError as error:
            if error.status_code == 409:
                raise  # Another process of the task created it. The next attempt attaches to it.
            self.remove(name)
            reason = (
                f"the Docker engine refused it: {error.explanation}. "
                "If it cannot set a limit, see the setting container_limits"
            )
            raise attempts.failed(store, job, name, attempt, Failure.JOB, reason) from error
        return f"container {name}"

    @override
    def to_upload(self, name: str, job: Job, attempt: AttemptId) -> int:
        """The size of the job's artifacts, in bytes."""
        return 0 if job.outputs is None else outputs.measure(self.directory(name) / "out")

    def collect(self, name: str, attempt: AttemptId, job: Job, store: Store) -> Result:
        """Upload the log, the artifacts, and last the result. Return the result.

        Raises JobFailed or TryAgain if the job failed, depending on the class of the failure.
        """
        state, log = self.state(name), self._end_of_log(name)
        store.scratch.put(
            keys.job_file(job.version, name, attempt, keys.LOG), log, "text/plain; charset=utf-8"
        )
        try:
            result = self.result(name)
            if result is None or result.exit_status:
                raise attempts.failed(store, job, name, attempt, *_fault(state, result, job), log)
            if job.outputs is None:
                result = outputs.none(result)
            else:
                result = outputs.upload(self.directory(name) / "out", job, result, store.scratch)
        except (NotAResult, BadOutputs) as error:
            raise attempts.failed(store, job, name, attempt, Failure.JOB, str(error), log) from error
        key = keys.job_file(job.version, name, attempt, keys.RESULT)
        store.scratch.put_json(key, result.model_dump(mode="json"))
        return result

    def _end_of_log(self, name: str) -> bytes:
        try:
            return plain_file.read_end(self.log_file(name), attempts.MOST_OF_A_LOG)
        except (FileNotFoundError, NotPlain):
            return b""

    def remove(self, name: str) -> None:
        """Remove the job's container, every container that it started, and its work directory."""
        # The job's own container first: then it cannot start more.
        self._remove_container(name)
        for container in self.engine.containers(all=True, filters={"label": f"{JOB_LABEL}={name}"}):
            self._remove_container(container["Id"])
        self._discard(self.directory(name))

    @override
    def instance(self, name: str, attempt: AttemptId) -> str | None:
        """Return None: a container is not an EC2 instance."""
        return None

    def find(self) -> Iterator[Found]:
        """Find the jobs of this deployment that have a container or a work directory."""
        own = [f"{WORK_LABEL}={self.settings.docker_work_directory}", JOB_LABEL]
        containers = self.engine.containers(all=True, filters={"label": own})
        # Anybody who reaches the engine gives a container any label.
        containers = [found for found in containers if is_job_name(found["Labels"][JOB_LABEL])]
        seen = set()
        for container in containers:
            labels = container["Labels"]
            if f"/{labels[JOB_LABEL]}" in (container["Names"] or ()):
                seen.add(labels[JOB_LABEL])
                yield Found(labels[JOB_LABEL], "container", container["Id"][:12], labels, container["State"])
        for container in containers:
            name = container["Labels"][JOB_LABEL]
            if name not in seen:
                seen.add(name)
                yield Found(name, "container", container["Id"][:12], self._labels(name), container["State"])
        for file in self.settings.docker_work_directory.glob(f"*/{_LABELS}"):
            name = file.parent.name
            if name not in seen and is_job_name(name) and not file.parent.is_symlink():
                yield Found(name, "directory", str(file.parent), self._labels(name))

    def end(self, found: Found) -> None:
        """Remove the job's containers and its work directory."""
        self.remove(found.name)

    def tidy(self) -> Iterator[str]:
        """Remove the images with build dependencies that are too old, or too many. No container uses them.

        Where builds use none, they are those of another deployment on the same engine, and stay.
        """
        if not (days := self.settings.dependencies_image_days):
            return
        images = self.engine.images(filters={"label": DEPENDENCIES_LABEL})
        # An hour: whoever has found or made one starts a container of it by then.
        now = time.time()
        oldest, made_now = now - days * _DAY - _HOUR, now - _HOUR
        for number, image in enumerate(sorted(images, key=lambda image: image["Created"], reverse=True)):
            created = image["Created"]
            if created >= made_now or (created >= oldest and number < MOST_DEPENDENCIES):
                continue
            try:
                self.engine.remove_image(image["Id"])
            except APIError:
                continue  # It is used, or another client has removed it.
            age, distro = (time.time() - image["Created"]) / _DAY, image["Labels"][DEPENDENCIES_LABEL]
            yield f"removed image {image['Id']}: build dependencies of {distro!a}, {age:.1f} days old"

    def _labels(self, name: str) -> dict[str, str]:
        """The labels that the job was started with, read from its work directory; empty if they are lost."""
        try:
            labels = json.loads(plain_file.read(self.directory(name) / _LABELS, _LARGEST_LABELS))
        except (OSError, NotPlain, ValueError, RecursionError):
            return {}
        return {str(label): str(value) for label, value in labels.items()} if isinstance(labels, dict) else {}

    def job_image(self) -> str:
        """Return the image of the jobs' containers. Build it if the engine does not have it."""
        dockerfile = (self.settings.packaging_root / "jobs/Dockerfile").read_bytes()
        digest = hashlib.sha256(dockerfile).hexdigest()
        image = f"{self.settings.docker_job_image}:{digest[:12]}"
        try:
            self.engine.inspect_image(image)
        except ImageNotFound:
            for line in self.engine.build(
                fileobj=io.BytesIO(dockerfile), tag=image, rm=True, forcerm=True, decode=True
            ):
                if "error" in line:
                    raise JobFailed(f"building the image {image}: {line['error']}") from None
        return image

    def _create(self, name: str, job: Job, labels: dict[str, str]) -> None:
        directory = str(self.directory(name))
        volumes = [f"{directory}:{directory}", *self.settings.docker_volumes]
        keys = self.settings.docker_push_keys if job.pushes else self.settings.docker_read_keys
        if job.needs_keys and keys:
            volumes.append(f"{keys}:{KEYS_IN_JOB}:ro")
        if job.needs_engine and self.settings.docker_url.startswith(_ENGINE_SOCKET):
            volumes.append(f"{self.settings.docker_url.removeprefix(_ENGINE_SOCKET)}:/var/run/docker.sock")
        self.engine.create_container(
            self.job_image(),
            # It reads the rest from job.json: a variable's value cannot be longer than 128 KiB.
            command=[f"{directory}/packaging/jobs/run", directory],
            name=name,
            working_dir=directory,
            labels={**labels, WORK_LABEL: str(self.settings.docker_work_directory)},
            environment={
                "HHVM_JOB": name,
                "HHVM_WORK": str(self.settings.docker_work_directory),
                "HHVM_DOCKER_NETWORK": self.settings.docker_network,
                "HHVM_DEPENDENCIES_DAYS": str(self.settings.dependencies_image_days),
                **self.settings.container_limits.variables(),
            },
            host_config=self.engine.create_host_config(
                binds=volumes, network_mode=self.settings.docker_network, **self._confinement()
            ),
        )

    def _confinement(self) -> dict[str, Any]:
        """The options for a container that runs what is not ours: some jobs run git on what a ref holds."""
        limits = self.settings.container_limits
        memory: int | None = None
        if limits.memory == "most":
            memory = self.engine.info()["MemTotal"] // 8 * 7 or None
        elif limits.memory != "none":
            memory = limits.memory << 20
        return {
            "init": True,
            "cap_drop": ["ALL"],
            "cap_add": _CAPABILITIES,
            "security_opt": ["no-new-privileges"],
            "mem_limit": memory,
            "pids_limit": None if limits.processes == "none" else limits.processes,
            # What the job prints is in its log. This is for a job that cannot even begin.
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "1"}),
        }

    def _remove_container(self, container: str) -> None:
        try:
            self.engine.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409:  # 409: another client is removing it.
                raise

    def _discard(self, directory: Path) -> None:
        """Remove a work directory, whoever owns its files."""
        if not directory.exists():
            return
        try:
            shutil.rmtree(directory)
        except PermissionError:
            # Containers write files as root. If one is killed, nothing gives them to this user.
            parent = str(directory.parent)
            container: dict[str, Any] = self.engine.create_container(
                self.job_image(),
                command=["rm", "-rf", "--", str(directory)],
                host_config=self.engine.create_host_config(binds=[f"{parent}:{parent}"], network_mode="none"),
            )
            try:
                self.engine.start(container["Id"])
                self.engine.wait(container["Id"])
            finally:
                self._remove_container(container["Id"])


def ensure_network(engine: APIClient, name: str) -> dict[str, Any]:
    """Return the engine's description of the jobs' network, which is made if it is missing.

    It is a bridge, so what listens on the machine's loopback addresses is out of reach, and its containers do
    not reach each other. Raises docker.errors.APIError.
    """
    options = {
        "com.docker.network.bridge.enable_icc": "false",
        # Two networks may have one name, but not one interface: of several processes, one makes it.
        "com.docker.network.bridge.name": _interface(name),
    }
    deadline = time.monotonic() + _LONGEST_MAKING
    while True:
        with suppress(NotFound):
            return dict(engine.inspect_network(name))
        try:
            engine.create_network(name, driver="bridge", options=options, check_duplicate=True)
        except APIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LEAST_PAUSE)


def _interface(network: str) -> str:
    """The name of the network's interface on the engine's machine: a firewall's rules may name it."""
    if len(network) <= _LONGEST_INTERFACE:
        return network
    return f"hhvm-{hashlib.sha256(network.encode()).hexdigest()[:10]}"


def _fetch(item: Input, directory: Path, store: Store) -> str | None:
    """Fetch one input. Return what is wrong with it; None if its digest is right."""
    path = directory / item.name
    path.parent.mkdir(parents=True, exist_ok=True)
    store.scratch.download(item.key, path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == item.sha256:
        return None
    return f"s3://{store.scratch.name}/{item.key} has SHA-256 {sha256}, not {item.sha256}"


def _try_to_fetch(item: Input, directory: Path, store: Store) -> str | None:
    """Fetch an input that the job does without if it is damaged or gone. Return why it is not there."""
    try:
        fault = _fetch(item, directory, store)
    except (BotoCoreError, ClientError) as error:
        fault = f"s3://{store.scratch.name}/{item.key} cannot be read: {error}"
    if fault:
        (directory / item.name).unlink(missing_ok=True)
    return fault


def _fault(state: State, result: Result | None, job: Job) -> tuple[Failure, str]:
    """Return the class of the failure and the reason."""
    if result is not None:
        return result.failure(job)
    if state.phase == "running":
        return Failure.TIME, f"it did not end within {job.time_limit} s, and its own timer did not end it"
    if state.phase == "absent":
        return Failure.LOST, "its container is gone, without a result"
    if state.out_of_memory:
        return Failure.MEMORY, "its container ran out of memory and left no result"
    if state.exit_code == NO_RESULT:
        return Failure.DISK, "there was no room for its result"
    return (
        Failure.LOST,
        f"its container was killed or died (exit status {state.exit_code}) and left no result",
    )
