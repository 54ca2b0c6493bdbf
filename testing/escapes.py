"""What a build must not reach on the machine that it runs on, and a build that tries to.

Each service, file and container that is out of a build's reach has a mark of its own. The build
(``escapes.pl``) prints the marks that it gets at.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import socket
import socketserver
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import psutil

from demo import jobs_network
from testing.hostile_build import DISTRO, HostileBuild
from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Generator

    from mypy_boto3_s3 import S3Client

SCRIPT = Path(__file__).with_suffix(".pl")
IMAGE = "debian:trixie"
ANSWERS = r"""
use Socket;
socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in(7777, INADDR_ANY)); listen($s, 9);
while (accept(my $c, $s)) { syswrite($c, "$ARGV[0]\n"); close $c }
"""
METADATA = "169.254.169.254"


@dataclass
class Surroundings:
    """What is around a build. ``marks`` says for each mark what has it."""

    directory: Path
    told: list[str] = field(default_factory=list)
    """What the build is told of, in the form of ``escapes.pl``."""
    marks: dict[str, str] = field(default_factory=dict)
    allowed: str = ""
    """The mark of what listens where the public bucket does, at the gateway: a build gets it alone."""
    loopback: set[str] = field(default_factory=set)
    """Ports at which this machine listens for itself alone."""

    def mark(self, what: str) -> str:
        """A new mark for something."""
        mark = f"hhvm-escape-{secrets.token_hex(8)}"
        self.marks[mark] = what
        return mark

    def judge(self, log: str) -> list[str]:
        """What is wrong with what a build printed: what it got at, and what it could do."""
        found = {f"it got {self.marks[mark]}" for mark in self.marks if mark in log and mark != self.allowed}
        for line in re.findall(r"^open (.+)$", log, re.MULTILINE):
            # What listens on all addresses of this machine is no secret of it.
            port = line.split()[-1] if line.startswith("tcp ") else ""
            if not port or port in self.loopback & listening_on_loopback_alone():
                found.add(f"it could open {line}")
        if self.allowed not in log:
            found.add("it did not reach what it may reach, so what it tried says nothing")
        return sorted(found)


@contextlib.contextmanager
def surroundings(directory: Path) -> Generator[Surroundings]:
    """Have services, containers and files around a build, for as long as the ``with`` statement takes."""
    made, gateway = Surroundings(directory), jobs_network.gateway()
    with contextlib.ExitStack() as stack:
        addresses = {
            address.address
            for of_interface in psutil.net_if_addrs().values()
            for address in of_interface
            if address.family == socket.AF_INET and not address.address.startswith("127.")
        }
        made.told += [f"address {address}" for address in sorted(addresses)]
        made.allowed = made.mark("the public bucket")
        port = stack.enter_context(_tcp(gateway, made.allowed))
        made.told.append(f"public {gateway} {port}")
        for what in ("S3", "Airflow", "the metadata of an emulated instance"):
            port = stack.enter_context(_tcp("127.0.0.1", made.mark(f"{what} on this machine's 127.0.0.1")))
            for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", *sorted(addresses)):
                made.told.append(f"tcp {address} {port}")
        made.told += [
            f"tcp {METADATA} 80",
            "name metadata.google.internal 80",
            "name host.docker.internal 80",
        ]
        port = stack.enter_context(_udp("127.0.0.1", made.mark("metrics on this machine's 127.0.0.1")))
        made.told += [f"udp {address} {port}" for address in ("127.0.0.1", *sorted(addresses))]
        # Deeper in pytest's directories its path would be too long.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hhvm-")))
        for path in (f"\0hhvm-{secrets.token_hex(8)}", str(sockets / "a.sock")):
            stack.enter_context(_unix(path, made.mark(f"the Unix socket {path!a}")))
            made.told.append(f"abstract {path[1:]}" if path[0] == "\0" else f"socket {path}")
        made.told += [f"socket {path}" for path in ("/var/run/docker.sock", "/run/docker.sock")]
        made.told.append("socket /run/containerd/containerd.sock")
        for network in ("hhvm-jobs", "bridge"):
            stack.enter_context(_container(made, network))
        work = directory / "work" / "hhvm-another-job"
        for part in ("in", "out"):
            (work / part).mkdir(parents=True, mode=0o700)
            (work / part / "file").write_text(made.mark(f"{part}/ of another job"))
            made.told.append(f"file {work / part / 'file'}")
        made.told += [f"file {path}" for path in ("/proc/1/environ", "/proc/kcore", "/dev/mem")]
        made.loopback = listening_on_loopback_alone()
        made.told += [f"tcp {gateway} {port}" for port in sorted(made.loopback)]
        yield made


def listening_on_loopback_alone() -> set[str]:
    """The ports at which this machine answers at 127.0.0.1 alone."""
    by_loopback: dict[bool, set[str]] = {True: set(), False: set()}
    for connection in psutil.net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            listening: Any = connection.laddr
            by_loopback[listening.ip in ("127.0.0.1", "::1")].add(str(listening.port))
    return by_loopback[True] - by_loopback[False]


def escape(around: Surroundings, s3: S3Client, seed: int, seconds: int) -> str:
    """Run a build that tries to get at all of it, for some seconds. Returns its log."""
    build = HostileBuild(around.directory, s3)
    try:
        distro = build.packaging / "distros" / DISTRO
        (distro / "escapes.pl").write_text(SCRIPT.read_text())
        (distro / "told").write_text("".join(f"{line}\n" for line in around.told))
        files = "/opt/hhvm-distro-packaging"
        # It builds nothing, and fails.
        command = f"perl {files}/escapes.pl {seed} {seconds} <{files}/told; exit 1"
        return build.run(command, limit=seconds + 300)
    finally:
        build.remove()
        shutil.rmtree(build.packaging)


class _Answering(socketserver.BaseRequestHandler):
    """Answers whoever connects or sends something with a mark."""

    def __init__(self, mark: str, *arguments: object) -> None:
        self.mark = mark.encode()
        super().__init__(*arguments)  # type: ignore[arg-type]

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if isinstance(self.request, tuple):
                self.request[1].sendto(self.mark, self.client_address)
            else:
                self.request.sendall(self.mark)


@contextlib.contextmanager
def _tcp(address: str, mark: str) -> Generator[int]:
    server = socketserver.ThreadingTCPServer((address, 0), partial(_Answering, mark))
    with serving(server):
        yield server.server_address[1]


@contextlib.contextmanager
def _udp(address: str, mark: str) -> Generator[int]:
    server = socketserver.ThreadingUDPServer((address, 0), partial(_Answering, mark))
    with serving(server):
        yield server.server_address[1]


@contextlib.contextmanager
def _unix(path: str, mark: str) -> Generator[None]:
    with serving(socketserver.ThreadingUnixStreamServer(path, partial(_Answering, mark))):
        yield


@contextlib.contextmanager
def _container(around: Surroundings, network: str) -> Generator[None]:
    """A container of somebody else's in a network; also published, but for this machine alone."""
    engine = docker.from_env()
    mark = around.mark(f"a container in the network {network}")
    published: Any = {"7777/tcp": ("127.0.0.1",)}  # At any port.
    container = engine.containers.run(
        IMAGE,
        ["perl", "-e", ANSWERS, mark],
        network=network,
        ports=published,
        detach=True,
        remove=True,
    )
    try:
        container.reload()
        found = container.attrs["NetworkSettings"]
        around.told.append(f"tcp {found['Networks'][network]['IPAddress']} 7777")
        around.told.append(f"tcp {jobs_network.gateway()} {found['Ports']['7777/tcp'][0]['HostPort']}")
        around.told.append(f"name {container.name} 7777")
        yield
    finally:
        container.remove(force=True)
