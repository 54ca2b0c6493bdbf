"""The emulator: moto answers the API, and each launched instance gets a machine that runs its user data."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import docker
from botocore.config import Config
from docker.errors import DockerException
from moto.backends import get_backend
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from hhvm_packaging.settings import Settings
from hhvm_packaging.workers.docker import ensure_network
from testing import account
from testing.ec2.demands import ACCOUNT, REGION
from testing.ec2.gateway import Call, CallFault, Fault, Gateway, Launch
from testing.ec2.machine import Host, Machine, cgroup, exited, instance_image
from testing.ec2.metadata import Metadata
from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

AMI_PARAMETER = "/hhvm-packaging/worker-ami"

_SECRET_KEY = "emulated"  # ruff: ignore[hardcoded-password-string]
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_END_OF = {"shutting-down": "terminated", "stopping": "stopped"}
_BEFORE = {end: ending for ending, end in _END_OF.items()}
_POLL = 0.2
_MOTO = DomainDispatcherApplication(create_backend_app)  # has no state but what it learned to dispatch


@contextlib.contextmanager
def emulated_ec2(*, seconds_per_minute: float = 60, boots_at_once: int = 4) -> Generator[EC2]:
    """An EC2, S3, SSM and IAM of one's own, whose instances run; nothing is left of it afterwards.

    One at a time in a process, whose other moto servers share its state. ``seconds_per_minute`` says how
    long ``shutdown +1`` takes, ``boots_at_once`` how many instances may be starting at the same time.
    """
    socket = Settings().docker_url.removeprefix("unix://")
    with contextlib.ExitStack() as stack:
        # moto's own thousand images take a second each time; one image is enough here.
        stack.enter_context(mock.patch.dict(os.environ, MOTO_EC2_LOAD_DEFAULT_AMIS="false"))
        moto_api_backend.reset()
        stack.callback(moto_api_backend.reset)
        engine = stack.enter_context(contextlib.closing(docker.APIClient(f"unix://{socket}", timeout=120)))
        # What an instance makes, goes with it, but the instances share this.
        ensure_network(engine, Settings().docker_network)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ec2-")))
        loop = stack.enter_context(_event_loop())
        host = Host(engine, socket, directory, loop, cgroup(engine))
        ec2 = EC2(host, seconds_per_minute, boots_at_once)
        stack.enter_context(_serving(ec2))
        stack.callback(ec2.stop)
        ec2.start()
        yield ec2


@contextlib.contextmanager
def api_alone() -> Generator[tuple[Gateway, str]]:
    """Serve the APIs alone: nothing runs on the instances. Yields what records the calls, and the address."""
    backend: Any = get_backend("ec2")[ACCOUNT][REGION]
    gateway = Gateway(
        _MOTO,
        Metadata(backend),
        threading.RLock(),
        settle=lambda: None,
        zone_of=lambda _: "",
        alive=lambda _: 0,
        hidden=set,
        console=lambda _: "",
    )
    server = make_server("127.0.0.1", 0, gateway, threaded=True, request_handler=QuietHandler)
    with serving(server):
        yield gateway, f"http://127.0.0.1:{server.server_port}"


@dataclass(frozen=True)
class Boot:
    """How an instance boots that is not as the others."""

    without: tuple[str, ...] = ()
    """The tools that are not installed, such as ``aws``: not every image has them."""
    network_after: int = 0
    """Seconds from the boot until there is a network."""
    apt_locked: int = 0
    """Seconds from the boot for which unattended-upgrades has dpkg's lock, see UnattendedUpgrades in Debian's
    wiki."""

    def variables(self) -> dict[str, str]:
        """As the instance's own scripts read it."""
        return {
            "WITHOUT": " ".join(self.without),
            "NETWORK_AFTER": str(self.network_after),
            "APT_LOCKED": str(self.apt_locked),
        }


class EC2:
    """A running emulator, as ``emulated_ec2`` makes it."""

    def __init__(self, host: Host, seconds_per_minute: float, boots_at_once: int) -> None:
        self.endpoint = ""
        """Of every service, S3's too."""
        self.image_id = ""
        self.security_group_id = ""
        self.subnets: dict[str, str] = {}
        """The default subnet of each zone."""
        self.recovered = threading.Event()
        """Set by ``recover``, for faults that a test has ordered by a thread of its own."""
        self._host = host
        self._image = instance_image(host.engine)
        self._seconds_per_minute = seconds_per_minute
        self._backend: Any = get_backend("ec2")[ACCOUNT][REGION]
        self._lock = threading.RLock()
        """Held while states are read or changed."""
        self._machines: dict[str, Machine] = {}
        self._seen_from: dict[str, float] = {}
        """When an instance is shown first, by time.monotonic()."""
        self._visible_after = 0.0
        self._dooms: list[str] = []
        self._doomed: dict[str, str] = {}
        self._boots: list[Boot] = []
        self._changed = threading.Event()
        self._stopping = False
        self._watching = ThreadPoolExecutor(1, "instances")
        self._starting = ThreadPoolExecutor(boots_at_once, "boot")
        self._removing = ThreadPoolExecutor(4, "remove")
        self._tasks: list[Future[None]] = []
        self.gateway = Gateway(
            _MOTO,
            Metadata(self._backend),
            self._lock,
            self._settle,
            self._zone_of,
            self._alive,
            self._hidden,
            self.console,
        )
        """The server's WSGI application."""

    # What a test sees

    @property
    def calls(self) -> list[Call]:
        """Every API call so far."""
        return list(self.gateway.calls)

    @property
    def launches(self) -> list[Launch]:
        """Every RunInstances call so far, also those that failed."""
        return list(self.gateway.launches)

    @property
    def peak(self) -> int:
        """How many instances there were at once."""
        return self.gateway.peak

    def environment(self, caller: str = "test") -> dict[str, str]:
        """What lets a process use this EC2; its calls are recorded as ``caller``'s."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": caller,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: str, caller: str = "test", **config: Any) -> Any:
        """A boto3 client of this EC2, with the options of ``botocore.config.Config``."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=caller,
            aws_secret_access_key=_SECRET_KEY,
            config=Config(**config),
        )

    def state(self, instance: str) -> str:
        """The instance's state, as DescribeInstances has it."""
        with self._lock:
            return str(self._backend.get_instance(instance).state)

    def reason(self, instance: str) -> str:
        """The code of the instance's StateReason."""
        with self._lock:
            return str(self._backend.get_instance(instance).state_reason.code)

    def console(self, instance: str) -> str:
        """What the instance's user data printed so far."""
        return self._machines[instance].console()

    def containers(self, instance: str) -> list[str]:
        """The ids of the instance's containers: its own, and those started on it."""
        return self._machines[instance].containers()

    def wait(self, instance: str, *states: str, limit: float = 60) -> None:
        """Wait for one of the states. Raises TimeoutError, with what the instance printed."""

        def failure() -> str:
            printed = self.console(instance)
            return f"{instance} is {self.state(instance)}, not {' or '.join(states)}; it printed:\n{printed}"

        until(lambda: self.state(instance) in states, limit, failure)

    # What a test orders

    def fail_launches(
        self,
        code: str,
        times: int = 1,
        *,
        instance_type: str | None = None,
        zone: str | None = None,
        market: str | None = None,
    ) -> None:
        """Let the next launches fail with the error ``code``, and launch nothing.

        Only those of an instance type, zone or market (``spot``, ``on-demand``), where one is given.
        botocore tries some codes again by itself, as with the real EC2; those tries count.
        """
        self.gateway.faults.append(Fault(code, times, False, instance_type, zone, market))

    def limit_instances(self, at_once: int) -> None:
        """Let launches beyond so many instances fail, as those beyond an account's limit do."""
        self.gateway.account_limit = at_once

    def limit_spot(self, at_once: int) -> None:
        """Let requests for more spot instances fail, see "Spot Instance quotas" in the EC2 User Guide."""
        self.gateway.spot_limit = at_once

    def show_after(self, seconds: float) -> None:
        """Let instances be shown that long after their launch, as if they were not there before.

        See "Eventual consistency in the Amazon EC2 API" in the EC2 Developer Guide.
        """
        self._visible_after = seconds

    def doom_launches(self, code: str, times: int = 1) -> None:
        """Let the next instances be launched, and terminate while they are pending.

        The ``code`` of their StateReason says why, see "StateReason" in the EC2 API Reference.
        """
        self._dooms += [code] * times

    def fail_calls(self, code: str, times: int = 1, **more: Any) -> None:
        """Let the next calls fail, or be late: see CallFault."""
        self.gateway.call_faults.append(CallFault(code, times, **more))

    def recover(self) -> None:
        """Forget all faults that were ordered and have not happened yet."""
        self.recovered.set()
        self.gateway.faults.clear()
        self.gateway.call_faults.clear()
        self._dooms.clear()
        self._boots.clear()
        self.gateway.spot_limit = self.gateway.account_limit
        self._visible_after = 0

    def boot_next(self, boot: Boot) -> None:
        """Let the next instance boot so."""
        self._boots.append(boot)

    def lose_launches(self, code: str = "", times: int = 1) -> None:
        """Let the next launches happen but answer the error ``code``; without one, the connection dies."""
        self.gateway.faults.append(Fault(code, times, True))

    def kill(self, instance: str) -> None:
        """End an instance at once and without notice, as a failing host does."""
        self._end(instance, "terminated", "Server.InternalError", "Internal error")
        self.wait(instance, "terminated")

    def reclaim(self, instance: str) -> None:
        """Let EC2 take a spot instance back."""
        self._end(instance, "terminated", "Server.SpotInstanceTermination", "Spot instance termination")
        self.wait(instance, "terminated")

    def hang(self, instance: str) -> None:
        """Let nothing on an instance progress from now on, while EC2 says that it runs."""
        self._machines[instance].pause()

    # How it runs

    def start(self) -> None:
        """Make what an account has before anything is launched, and begin."""
        self._tasks.append(self._watching.submit(self._watch))
        ec2, s3 = self.client("ec2"), self.client("s3")
        self.image_id = ec2.register_image(Name="debian-12-docker", RootDeviceName="/dev/xvda")["ImageId"]
        self.client("ssm").put_parameter(Name=AMI_PARAMETER, Value=self.image_id, Type="String")
        for subnet in ec2.describe_subnets()["Subnets"]:
            self.subnets[subnet["AvailabilityZone"]] = subnet["SubnetId"]
        groups = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
        self.security_group_id = groups[0]["GroupId"]
        account.deploy(self.client("cloudformation"), "roles")
        for bucket in (Settings().scratch_bucket, Settings().downloads_bucket):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.gateway.calls.clear()

    def stop(self) -> None:
        """Remove everything. Raises what went wrong behind the scenes."""
        self._stopping = True
        self._changed.set()
        for pool in (self._watching, self._starting, self._removing):
            pool.shutdown(cancel_futures=True)
        with contextlib.ExitStack() as everything:  # also after one of them raised
            for task in self._tasks:
                if not task.cancelled():
                    everything.callback(task.result)
            for machine in self._machines.values():
                if not machine.gone:
                    everything.callback(machine.remove)

    def _alive(self, market: str) -> int:
        """How many instances count against the account's limit: of a market, or of all."""
        return sum(
            each.state in ("pending", "running") and (not market or each.lifecycle == market)
            for each in self._backend.all_instances()
        )

    def _hidden(self) -> set[str]:
        """The instances that EC2 does not show yet."""
        return {name for name, since in self._seen_from.items() if since > time.monotonic()}

    def _zone_of(self, subnet: str) -> str:
        return next((zone for zone, name in self.subnets.items() if name == subnet), "")

    def _settle(self) -> None:
        """Take up what a call changed. moto says running and terminated before it is so."""
        for instance in self._backend.all_instances():
            machine = self._machines.get(instance.id)
            if machine is None:
                environment = {
                    "AWS_ENDPOINT_URL": self.endpoint,
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.endpoint}/metadata/{instance.id}/",
                    "SECONDS_PER_MINUTE": str(self._seconds_per_minute),
                    **(self._boots.pop(0) if self._boots else Boot()).variables(),
                }
                self._seen_from[instance.id] = time.monotonic() + self._visible_after
                if self._dooms:
                    self._doomed[instance.id] = self._dooms.pop(0)
                self._machines[instance.id] = Machine(instance.id, self._host, self._image, environment)
                _set(instance, "pending")
            elif not machine.gone and instance.state in _BEFORE:
                _set(instance, _BEFORE[instance.state])
        self._changed.set()

    def _end(self, name: str, end: str, code: str, why: str) -> None:
        """Begin to stop or terminate an instance, for a reason, unless it is ending already."""
        with self._lock:
            instance = self._backend.get_instance(name)
            if instance.state in ("pending", "running"):
                instance.terminate() if end == "terminated" else instance.stop()
                instance.state_reason.code, instance.state_reason.message = code, f"{code}: {why}"
                self._settle()

    def _watch(self) -> None:
        """See to it that what the states say becomes so."""
        while not self._stopping:
            self._changed.wait(_POLL)
            self._changed.clear()
            for name in exited(self._host.engine):
                self._powered_off(name)
            with self._lock:
                states = [(self.state(name), machine) for name, machine in self._machines.items()]
            for state, machine in states:
                if state == "pending" and not machine.begun:
                    machine.begun = "start"
                    self._tasks.append(self._starting.submit(self._start, machine))
                elif state in _END_OF and machine.begun != "remove":
                    machine.begun = "remove"
                    self._tasks.append(self._removing.submit(self._remove, machine))

    def _powered_off(self, name: str) -> None:
        """Let the end of an instance's own container mean what its launch said."""
        if name in self._machines and self.state(name) == "running":
            behaviour = self._backend.get_instance(name).instance_initiated_shutdown_behavior
            end = "terminated" if behaviour == "terminate" else "stopped"
            self._end(name, end, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def _start(self, machine: Machine) -> None:
        with machine.lock:
            if self.state(machine.name) != "pending":
                return
            if code := self._doomed.get(machine.name):
                self._end(machine.name, "terminated", code, "as the test wants it")
                return
            user_data = self._backend.get_instance(machine.name).user_data
            if not user_data or not user_data.decode("latin-1").startswith("#!"):
                self._end(machine.name, "terminated", "Emulator.UserData", "user data begins without #!")
                return
            try:
                machine.start()
            except DockerException as error:
                self._end(machine.name, "terminated", "Server.InternalError", str(error))
            with self._lock:
                # It may have been terminated meanwhile.
                if self.state(machine.name) == "pending":
                    _set(self._backend.get_instance(machine.name), "running")

    def _remove(self, machine: Machine) -> None:
        with machine.lock:
            machine.remove()
        with self._lock:
            instance = self._backend.get_instance(machine.name)
            _set(instance, _END_OF.get(instance.state, instance.state))


def until(
    condition: Callable[[], bool], limit: float = 60, failure: Callable[[], str] = lambda: "waited in vain"
) -> None:
    """Wait for a condition. Raises TimeoutError, with what ``failure`` says, if it stays false."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(failure())
        time.sleep(0.05)


def _set(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, _CODES[state]  # ruff: ignore[private-member-access]  # moto has no public way


class QuietHandler(MotoRequestHandler):
    """Logs no requests."""

    def log(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def _serving(ec2: EC2) -> Generator[None]:
    server = make_server("127.0.0.1", 0, ec2.gateway, threaded=True, request_handler=QuietHandler)
    ec2.endpoint = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield


@contextlib.contextmanager
def _event_loop() -> Generator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="docker sockets")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
