"""Real apt on clean machines, many times: a container whose apt forgets all between two runs; its server."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_INSTALL = r"""
state=$(mktemp -d)
trap 'dpkg --purge hhvm >/dev/null 2>&1 || true; rm -rf "$state"' EXIT
chmod 755 "$state"
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
for type in deb deb-src; do echo "$type [signed-by=/hhvm.asc] $1 $2 main"; done >"$state/sources.list"
apt() {
  DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
    -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=- \
    -o Acquire::Retries=0 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io "$@"
}
apt --error-on=any update
apt install hhvm
hhvm
"""


class AptFailed(Exception):
    """Apt's own words."""


@dataclass
class Machine:
    """A machine of one suite, with nothing of ours on it but the public key."""

    suite: str
    container: str
    runs: int = 0

    def install(self, url: str) -> str:
        """What a user of the repository at ``url`` gets who installs hhvm: the last word that it says.

        Raises AptFailed if the update or the installation says that anything is wrong.
        """
        self.runs += 1
        done = subprocess.run(
            ["docker", "exec", "-i", self.container, "sh", "-e", "-s", url, self.suite],
            check=False,
            input=_INSTALL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise AptFailed(f"{self.suite}: {done.stdout}")
        return done.stdout.split()[-1]

    def run(self, script: str) -> str:
        """What a shell script says that runs as root on the machine. Raises AptFailed if it fails."""
        done = subprocess.run(
            [
                "docker",
                "exec",
                "-i",
                "-e",
                "DEBIAN_FRONTEND=noninteractive",
                self.container,
                "sh",
                "-e",
                "-s",
            ],
            check=False,
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise AptFailed(f"{self.suite}: {done.stdout}")
        return done.stdout


@contextlib.contextmanager
def machine(suite: str, public_key: str) -> Generator[Machine]:
    """A machine of the suite, for as long as the ``with`` statement takes."""
    # The engine ends it even if nobody else does.
    run = ["docker", "run", "--detach", "--rm", "--network=host", f"debian:{suite}", "sleep", "900"]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(
            ["docker", "exec", "-i", container, "sh", "-c", "cat >/hhvm.asc; chmod 644 /hhvm.asc"],
            check=True,
            input=public_key,
            text=True,
        )
        yield Machine(suite, container)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)


class Website(http.server.ThreadingHTTPServer):
    """Directories of repositories over HTTP."""

    before_in_release: Callable[[], object] | None = None
    """Called once, at the next request for InRelease. The answer is InRelease as it was before the call."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.requests: list[str] = []
        """The paths that were asked for."""

    @property
    def url(self) -> str:
        """The address of the server, without a trailing slash."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Website)
        # The header has whole seconds, and a test commits more than once in one second.
        del self.headers["If-Modified-Since"]
        change = self.server.before_in_release
        if not change or not self.path.endswith("/InRelease"):
            super().do_GET()
            return
        self.server.before_in_release = None
        content = Path(self.translate_path(self.path)).read_bytes()
        change()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *_: Any) -> None:
        """Keep the path."""
        assert isinstance(self.server, Website)
        self.server.requests.append(unquote(self.path))

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def website(directory: Path, address: str = "127.0.0.1") -> Generator[Website]:
    """A server of the directory, for as long as the ``with`` statement takes."""
    server = Website((address, 0), partial(_Handler, directory=str(directory)))
    with serving(server):
        yield server
