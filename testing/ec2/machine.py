"""What is behind one instance: its container, its Docker socket, and the containers started through it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, ImageNotFound

from testing.ec2.socket_proxy import INSTANCE_LABEL, SocketProxy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from docker import APIClient

_GONE, _BEING_REMOVED = 404, 409
_LIMIT = 60


@dataclass(frozen=True)
class Host:
    """What the machines share."""

    engine: APIClient
    socket: str
    """The engine's, as a path."""
    directory: Path
    """For the machines' own sockets."""
    loop: asyncio.AbstractEventLoop
    """Where these are served."""
    cgroup: str | None
    """The cgroup above those of the machines' containers; None for the engine's own.

    With version 1 of cgroups, all the engine's containers together get as much of a busy processor as one
    process outside of them.
    """


class Machine:
    """The machine of the instance ``name``; ``environment`` is what user data finds beside cloud-init's."""

    def __init__(self, name: str, host: Host, image: str, environment: dict[str, str]) -> None:
        self.name = name
        self.lock = threading.Lock()
        """Held by whoever starts or removes it."""
        self.begun = ""
        """What somebody is about to do with it, or did last: start or remove."""
        self.gone = False
        self._engine = host.engine
        self._loop = host.loop
        self._image = image
        self._environment = environment
        self._cgroup = host.cgroup
        self._proxy = SocketProxy(name, host.directory / f"{name}.sock", host.socket, host.cgroup)
        self._console = ""

    def start(self) -> None:
        """Run the user data. Raises docker.errors.DockerException."""
        self._await(self._proxy.open())
        # The name is the instance's, so the engine itself refuses to boot it twice.
        self._engine.create_container(
            self._image,
            name=self.name,
            labels={INSTANCE_LABEL: self.name},
            environment=self._environment,
            host_config=self._engine.create_host_config(
                binds=[f"{self._proxy.path}:/run/docker.sock"],
                init=True,
                network_mode="host",
                cgroup_parent=self._cgroup,
            ),
        )
        mounts = self._engine.inspect_container(self.name)["Mounts"]
        self._proxy.shared = {mount["Destination"]: mount["Source"] for mount in mounts}
        self._engine.start(self.name)

    def pause(self) -> None:
        """Let nothing on it progress."""
        for container in self.containers():
            with contextlib.suppress(APIError):  # It may have ended by itself.
                self._engine.pause(container)

    def remove(self) -> None:
        """Remove all its containers, networks and volumes. Raises if that does not succeed in a minute."""
        with contextlib.suppress(APIError):  # It may not run, or not be there yet.
            self._engine.kill(self.name)
        self._console = self.console()
        # Nothing can be started from here on, so what is listed now is all.
        self._await(self._proxy.close())
        deadline = time.monotonic() + _LIMIT
        while containers := self.containers():
            for container in containers:
                self._remove_container(container)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the engine does not remove {self.name}'s containers: {containers}")
        label = {"label": f"{INSTANCE_LABEL}={self.name}"}
        for network in self._engine.networks(filters=label):
            self._engine.remove_network(network["Id"])
        for volume in self._engine.volumes(filters=label)["Volumes"] or ():
            self._engine.remove_volume(volume["Name"], force=True)
        self.gone = True

    def containers(self) -> list[str]:
        """The ids of all its containers: its own, and those started on it."""
        found = self._engine.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={self.name}"})
        return [container["Id"] for container in found]

    def console(self) -> str:
        """What its user data printed so far."""
        with contextlib.suppress(APIError):
            return str(self._engine.logs(self.name).decode(errors="replace"))
        return self._console

    def _remove_container(self, container: str) -> None:
        try:
            self._engine.remove_container(container, force=True, v=True)
        except APIError as error:
            if error.status_code not in (_GONE, _BEING_REMOVED):
                raise

    def _await(self, task: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(task, self._loop).result()


def cgroup(engine: APIClient) -> str | None:
    """See Host. Each process of a test run has another; with systemd's cgroups there is none."""
    if engine.info()["CgroupDriver"] != "cgroupfs":
        return None
    return f"/hhvm-ec2-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"


def exited(engine: APIClient) -> set[str]:
    """The names of all containers of machines that ended by themselves."""
    found = engine.containers(all=True, filters={"label": INSTANCE_LABEL, "status": "exited"})
    return {container["Names"][0].removeprefix("/") for container in found}


def instance_image(engine: APIClient) -> str:
    """The image of the instances, built first if the engine does not have it; from ``debian:bookworm``."""
    context = Path(__file__).parent / "instance"
    digest = hashlib.sha256()
    for file in sorted(context.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    image = f"hhvm-packaging-ec2-instance:{digest.hexdigest()[:12]}"
    try:
        engine.inspect_image(image)
    except ImageNotFound:
        for line in engine.build(path=str(context), tag=image, rm=True, forcerm=True, decode=True):
            if "error" in line:
                raise RuntimeError(f"building the image {image}: {line['error']}") from None
    return image
