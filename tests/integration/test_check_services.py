"""What the gate ``service`` says of the units and init scripts that packages may have."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import pytest

from testing.distro_container import distro_container
from tests.integration.test_jobs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)

SERVER = r"""#!/usr/bin/perl
# A web server: server [--fork] PORT|PATH
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX;
my $forks = @ARGV && $ARGV[0] eq '--fork' && shift;
if ($forks) { fork and exit; POSIX::setsid(); }
my $address = shift // die "no address\n";
my $server = ($address =~ m{^/}
  ? IO::Socket::UNIX->new(Local => $address, Listen => 5)
  : IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $address, Listen => 5, ReuseAddr => 1))
  or die "$address: $!\n";
while (my $client = $server->accept) {
  sysread $client, my $request, 4096;
  print $client 'HTTP/1.0 ', $ENV{STATUS} // 404, " Words\r\n\r\n";
}
"""
INIT = """#!/bin/sh
case $1 in
  start) {start} ;;
  stop) kill "$(cat /run/{name}.pid)" ;;
esac
"""
STARTS = "/srv/server --fork {port}; pgrep -f 'server --fork {port}' >/run/{name}.pid"


def unit(*lines: str) -> str:
    return "[Service]\n" + "\n".join(lines) + "\n"


SERVICES = {
    "plain": unit("ExecStart=/srv/server 9000"),
    "forking": unit("Type=forking  ", "ExecStart=/srv/server --fork 9000"),
    "socket": unit("RuntimeDirectory=web", "ExecStart=/srv/server %t/web/socket"),
    "quoted": unit('Environment="PORT=9000" "WORDS=two words"', "ExecStart=/bin/sh -c '/srv/server $PORT'"),
    "continued": unit("ExecStart=/srv/server \\", "  9000"),
    "directory": unit("WorkingDirectory=/srv", "ExecStart=./server 9000"),
    "taken-back": unit(
        "ExecStartPre=/bin/false",
        "ExecStartPre=",
        "User=nobody-at-all",
        "User=",
        "ExecStart=/srv/server 9000",
    ),
    "prepared": unit(
        "User=www-data",
        "ExecStartPre=-/bin/false",
        "ExecStartPre=+/usr/bin/install -d -o www-data /opt/web",
        "ExecStartPre=/usr/bin/touch /opt/web/ready",
        "ExecStart=/bin/sh -c 'test -f /opt/web/ready && exec /srv/server 9000'",
    ),
    "unprepared": unit("ExecStartPre=/bin/sh -c 'echo no licence; exit 3'", "ExecStart=/srv/server 9000"),
    "ends": unit("ExecStart=/bin/sh -c 'echo no licence; exit 3'"),
    "forks-in-vain": unit("Type=forking", "ExecStart=/bin/true"),
    "silent": unit("ExecStart=/bin/sleep 600"),
    "broken": unit("Environment=STATUS=500", "ExecStart=/srv/server 9000"),
    "stubborn": unit("ExecStart=/bin/sh -c 'trap \"\" TERM; /srv/server 9000; sleep 600'"),
    "nobody": unit("User=nobody-at-all", "ExecStart=/srv/server 9000"),
    "once": unit("Type=oneshot", "ExecStart=/bin/false"),
}
SCRIPTS = {
    "script": INIT.format(name="script", start=STARTS.format(port=9000, name="script")),
    "disabled": INIT.format(name="disabled", start="echo it is disabled"),
    "fails": INIT.format(
        name="fails", start=f"{STARTS.format(port=9000, name='fails')}; echo no licence; exit 3"
    ),
    # A unit has its name.
    "plain": INIT.format(name="plain", start="exit 1"),
}
SAID = {
    "plain": "passed plain.service answers HTTP on port 9000",
    "forking": "passed forking.service answers HTTP on port 9000",
    "socket": "passed socket.service answers HTTP on /run/web/socket",
    "quoted": "passed quoted.service answers HTTP on port 9000",
    "continued": "passed continued.service answers HTTP on port 9000",
    "directory": "passed directory.service answers HTTP on port 9000",
    "taken-back": "passed taken-back.service answers HTTP on port 9000",
    "prepared": "passed prepared.service answers HTTP on port 9000",
    "unprepared": "found unprepared.service does not start: /bin/sh -c 'echo no licence; exit 3' "
    "ended with exit status 3: no licence",
    "ends": "found ends.service does not start: /bin/sh -c 'echo no licence; exit 3' "
    "ended with exit status 3: no licence",
    "forks-in-vain": "found forks-in-vain.service does not start: /bin/true left no process: ",
    "silent": "found silent.service listens on no TCP port and no Unix socket within 3 seconds",
    "broken": "found broken.service does not answer on port 9000: it answers HTTP with status 500",
    "stubborn": "found stubborn.service does not end within 3 seconds of SIGTERM",
    "nobody": "found nobody.service: there is no user nobody-at-all",
    "once": "passed once.service runs once, and is not started here",
    "script": "passed /etc/init.d/script answers HTTP on port 9000",
    "disabled": "found /etc/init.d/disabled does not start: /etc/init.d/disabled start left no process: "
    "it is disabled",
    "fails": "found /etc/init.d/fails does not start: /etc/init.d/fails start ended with exit status 3: "
    "no licence",
    "nothing": "skipped no package has a service",
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is noted of each service, by the name of its package; all run in one container, one by one."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "server").write_text(SERVER)
    (packages / "server").chmod(0o755)
    for name in SAID:
        files = {
            f"etc/init.d/{name}": SCRIPTS.get(name),
            f"lib/systemd/system/{name}.service": SERVICES.get(name),
        }
        _write(packages / name, name, {path: text for path, text in files.items() if text})
    mounts = {"/packages": str(packages), "/opt/hhvm-packaging:ro": str(ROOT)}
    with distro_container("debian:bookworm", mounts) as container:
        container.run("cp /packages/server /srv; apt_get update >&2; apt_get install procps >&2")
        for name in SAID:
            container.run(f"""
                dpkg-deb --build /packages/{name} /tmp/{name}.deb
                dpkg --install /tmp/{name}.deb
                NOTES=/packages/notes-{name} START_LIMIT=3 STOP_LIMIT=3 \\
                  /opt/hhvm-packaging/jobs/in-container/check-services {name}
                ! pgrep -f /srv/server
            """)
    return {
        name: [
            re.sub(r"\t(service\t)?", " ", line)
            for line in (packages / f"notes-{name}").read_text().splitlines()
        ]
        for name in SAID
    }


def _write(tree: Path, name: str, files: dict[str, str]) -> None:
    control = f"""\
        Package: {name}
        Version: 1
        Architecture: all
        Maintainer: HHVM <hhvm@example.org>
        Description: test
        """
    for path, text in {**files, "DEBIAN/control": textwrap.dedent(control)}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)


@pytest.mark.parametrize("name", SAID)
def test_a_service_is_started_asked_and_ended(notes: dict[str, list[str]], name: str) -> None:
    assert notes[name][-1] == SAID[name]
    assert len(notes[name]) == (2 if name == "stubborn" else 1)
