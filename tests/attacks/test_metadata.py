"""An EC2 instance's containers do not reach its metadata service, also in the instance's own network.

The rules are tried in a network namespace that stands for an instance, beside one with the service.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SERVICE = """
import http.server
http.server.HTTPServer(("169.254.169.254", 80), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
NETWORK = """
for space in "$1" "$1-s" "$1-c"; do ip netns add "$space"; done
ip -n "$1" link add service type veth peer eth0 netns "$1-s"
ip -n "$1" link add docker type veth peer eth0 netns "$1-c"
ip -n "$1-s" address add 169.254.169.254/24 dev eth0
ip -n "$1" address add 169.254.169.1/24 dev service
ip -n "$1" address add 172.31.0.1/24 dev docker
ip -n "$1-c" address add 172.31.0.2/24 dev eth0
for end in "$1 service" "$1 docker" "$1-s eth0" "$1-c eth0"; do ip -n ${end% *} link set ${end#* } up; done
ip -n "$1-s" route add default via 169.254.169.1
ip -n "$1-c" route add default via 172.31.0.1
nsenter --net="/run/netns/$1" bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("iptables") or not shutil.which("ip"),
    reason="needs root, iptables and iproute2, as on an instance",
)


class Instance:
    """The network of an instance, with the service on one side, a network of Docker's on the other."""

    def __init__(self) -> None:
        self.name = f"hhvm-{uuid.uuid4().hex[:6]}"
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        hierarchy = next(mount[1] for mount in mounts if mount[2] == "cgroup2")
        self.cgroup = Path(hierarchy) / f"{self.name}.slice"
        self.cgroup.mkdir()
        subprocess.run(["bash", "-euc", NETWORK, "-", self.name], check=True)
        self.service = subprocess.Popen([*inside(f"{self.name}-s"), sys.executable, "-c", SERVICE])

    def deny(self) -> None:
        """What an instance does before it starts a container."""
        subprocess.run([*inside(self.name), ROOT / "jobs/deny-metadata", self.cgroup.name], check=True)

    def reaches(self) -> bool:
        """Whether the instance itself reaches the service."""
        return _reaches(inside(self.name))

    def container_reaches(self) -> bool:
        """Whether a container in the instance's own network does: what tells it apart is its cgroup."""
        script = f'echo $$ >{self.cgroup}/cgroup.procs; exec "$@"'
        return _reaches(["bash", "-c", script, "-", *inside(self.name)])

    def container_in_a_network_reaches(self) -> bool:
        """Whether one in a network of Docker's does."""
        return _reaches(inside(f"{self.name}-c"))

    def remove(self) -> None:
        """Leave nothing of it."""
        self.service.kill()
        self.service.wait()
        for space in (self.name, f"{self.name}-s", f"{self.name}-c"):
            subprocess.run(["ip", "netns", "delete", space], check=True)
        self.cgroup.rmdir()


def inside(space: str) -> list[str]:
    """What comes before a command in a network namespace. Its files are this machine's."""
    return ["nsenter", f"--net=/run/netns/{space}"]


def _reaches(before: list[str]) -> bool:
    connect = ["timeout", "1", "bash", "-c", "</dev/tcp/169.254.169.254/80"]
    return subprocess.run([*before, *connect], check=False, stderr=subprocess.PIPE).returncode == 0


@pytest.fixture
def instance() -> Iterator[Instance]:
    instance = Instance()
    yield instance
    instance.remove()


def test_an_instance_reaches_its_metadata_and_none_of_its_containers_does(instance: Instance) -> None:
    everybody = (instance.reaches, instance.container_reaches, instance.container_in_a_network_reaches)
    deadline = time.monotonic() + 30
    while not all(reaches() for reaches in everybody):
        assert time.monotonic() < deadline, "the service is out of reach without the rules"
    instance.deny()
    assert not instance.container_reaches()
    assert not instance.container_in_a_network_reaches()
    while not instance.reaches():
        assert time.monotonic() < deadline + 30, "the rules are for the instance, too"
