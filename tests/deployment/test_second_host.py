"""A second host: it joins with four settings, works alone, and what it did goes on elsewhere when it is gone.

The second host is a second compose project here. It has a worker and a triggerer, and reaches the first host
only by its published ports. The tests build upon one another, in this order, over a deployment of their own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from moto.server import ThreadedMotoServer

from demo.compose_stack import FILES, ComposeStack
from demo.stack import DOWNLOADS, SCRATCH, Ports
from testing.deployer import Deployer
from testing.newcomer import BUILD, PUBLISH, WRAPPER
from testing.s3 import client

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(3600)

PUBLISHED = {"postgres": 5432, "broker": 6379, "api-server": 8080}
"""What a second host needs of the first one, with the port inside."""


class TwoHosts(Deployer):
    """A deployment whose store is S3, and a second host for it."""

    def __init__(self, var: Path, address: str, s3_port: int) -> None:
        super().__init__(var)
        s3 = f"http://{address}:{s3_port}"
        self.stack = ComposeStack(
            var,
            preferred_ports=Ports(0, 0, 0),
            more={
                "S3_ENDPOINT": s3,
                "PUBLIC_URL": f"{s3}/{DOWNLOADS}",
                "COMPOSE_PROFILES": "docker",
                "SEVERAL_HOSTS": "true",
                "REMOTE_LOGS": "True",
            },
        )
        self.address = address
        self.ports = {service: _free_port(address) for service in PUBLISHED}
        self.s3: Any = client(s3)

    @property
    def second(self) -> str:
        """The compose project of the second host."""
        return f"{self.stack.project}-second"

    def prepare(self) -> None:
        """Make the buckets, and publish what a second host needs."""
        for bucket in (SCRATCH, DOWNLOADS):
            self.s3.create_bucket(Bucket=bucket)
        readable = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{DOWNLOADS}/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [readable]}
        self.s3.put_bucket_policy(Bucket=DOWNLOADS, Policy=json.dumps(policy))
        services: dict[str, Any] = {
            service: {"ports": [f"{self.address}:{self.ports[service]}:{inner}"]}
            for service, inner in PUBLISHED.items()
        }
        for service in ("postgres", "broker"):
            # An internal network publishes nothing.
            services[service]["networks"] = ["control", "outside"]
        self.stack.override.write_text(json.dumps({"services": services}))
        self.stack.prepare()

    def on_second(self, *arguments: str) -> None:
        """Run docker compose on the second host."""
        files = [word for file in FILES for word in ("--file", str(file))]
        settings = {
            "HHVM_DATABASE": f"{self.address}:{self.ports['postgres']}",
            "HHVM_BROKER": f"{self.address}:{self.ports['broker']}",
            "HHVM_API": f"http://{self.address}:{self.ports['api-server']}",
            "SEVERAL_HOSTS": "true",
        }
        command = ["docker", "compose", "--env-file", str(self.stack.var / ".env"), *files, *arguments]
        environment = {**os.environ, **self.stack.person_environment(), **settings}
        subprocess.run(
            command,
            env={**environment, "COMPOSE_PROJECT_NAME": self.second},
            check=True,
            capture_output=True,
        )

    def lose_second(self) -> None:
        """End the second host's containers as a power cut does."""
        label = f"com.docker.compose.project={self.second}"
        for container in self.engine.containers.list(filters={"label": label}):
            container.remove(force=True, v=True)

    def names(self, prefix: str) -> list[str]:
        """The keys in the scratch bucket with this prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=SCRATCH, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def attempts(self, version: str) -> int:
        """How many attempts at building a package of a version left a result."""
        keys = self.names(f"jobs/{version}/")
        return sum("make-binary-package" in key and key.endswith("/result.json") for key in keys)

    @contextmanager
    def without(self, *services: str) -> Generator[None]:
        """The deployment without some services of the first host, until the end of the ``with`` statement."""
        self.stack.compose("stop", *services)
        try:
            yield
        finally:
            self.stack.compose("up", "--detach", "--wait", *services)

    def release(self, version: str) -> None:
        """Begin a release, and return when its packages are built in containers."""
        self.tag(version)
        self.api.trigger(WRAPPER, version, {"version": version})
        self.until(lambda: self.building(version), limit=600)

    def again(self, version: str) -> dict[str, int]:
        """The tasks of a release that were tried more than once."""
        child = self.child(WRAPPER, version, version)
        runs = ((WRAPPER, version), (BUILD, child), (PUBLISH, child))
        tasks = {name: task for run in runs for name, task in self.tasks(*run).items()}
        return {name: task.try_number for name, task in tasks.items() if task.try_number > 1}


@pytest.fixture(scope="module")
def hosts(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    """Two hosts, both gone at the end."""
    address = _address()
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    hosts = TwoHosts(tmp_path_factory.mktemp("hosts"), address, server.get_host_and_port()[1])
    hosts.prepare()
    yield hosts
    hosts.on_second("down", "--volumes")
    hosts.make("compose-clean")
    server.stop()


def test_a_second_host_joins_with_four_settings(hosts: TwoHosts) -> None:
    hosts.make("compose-demo", timeout=1800)
    began = time.monotonic()
    hosts.on_second("up", "--detach", "--no-deps", "--wait", "worker", "triggerer")
    print(f"the second host was healthy after {time.monotonic() - began:.0f} s")


def test_a_release_ends_green_with_the_second_hosts_worker_and_triggerer_alone(hosts: TwoHosts) -> None:
    second = f"{hosts.second}-worker"
    with hosts.without("worker", "triggerer"):
        hosts.release("1.0.1")
        assert hosts.ended(WRAPPER, "1.0.1") == "success"
    host = hosts.hosts("1.0.1", "1.0.1")["plan"]
    assert str(hosts.engine.containers.get(host).name).startswith(second)
    assert "1.0.1-1~trixie" in hosts.offered("trixie")


def test_task_logs_of_both_hosts_are_in_the_store(hosts: TwoHosts) -> None:
    assert hosts.names("airflow-logs/")
    assert "1.0.1" in hosts.said(BUILD, hosts.child(WRAPPER, "1.0.1", "1.0.1"), "plan")


def test_a_release_ends_green_and_builds_nothing_twice_when_the_second_host_is_gone(hosts: TwoHosts) -> None:
    for version, lost in (("1.0.2", False), ("1.0.3", True)):
        hosts.release(version)
        began = time.monotonic()
        if lost:
            hosts.lose_second()
        assert hosts.ended(WRAPPER, version) == "success"
        print(
            f"{'lost' if lost else 'both'}: {time.monotonic() - began:.0f} s, again: {hosts.again(version)}"
        )
        assert hosts.attempts(version) == 2


def _address() -> str:
    """The address of this machine that containers reach. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
