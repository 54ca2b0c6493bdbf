"""What a test tells the short builds of its deployment, and what they say of themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from demo import jobs_network


@dataclass(frozen=True)
class Inputs:
    """From what a build makes packages: another edition is another content of the packaging files."""

    version: str
    codename: str
    edition: str


@dataclass
class Build:
    """One run of a build script."""

    inputs: Inputs
    begun: float
    """Seconds since the epoch."""
    ended: float | None = None
    """None while it runs, and for good if something ended it."""
    succeeded: bool = False


class BuildControl(ThreadingHTTPServer):
    """Answers builds, at this machine's address on their network.

    They ask ``/WORD/VERSION/CODENAME/EDITION/RUN``.

    ``begun``, ``built`` and ``failed`` are news of the build RUN. ``wait`` and ``fail`` are questions: 200 is
    yes, 404 is no.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((jobs_network.gateway(), 0), _Handler)
        self.waiting: set[str] = set()
        """The versions whose builds go on until they are no longer in it."""
        self.failing: set[tuple[str, str]] = set()
        """Versions and codenames whose builds fail, for a reason outside the packaging files."""
        self._builds: dict[str, Build] = {}
        self._lock = Lock()
        Thread(target=self.serve_forever, daemon=True).start()

    def builds(self, version: str) -> list[Build]:
        """The builds of a version, in the order in which they began."""
        with self._lock:
            return [build for build in self._builds.values() if build.inputs.version == version]

    def answer(self, word: str, inputs: Inputs, run: str) -> bool:
        """What a build is told."""
        if word == "wait":
            return inputs.version in self.waiting
        if word == "fail":
            return (inputs.version, inputs.codename) in self.failing
        with self._lock:
            build = self._builds.setdefault(run, Build(inputs, time.time()))
            if word in ("built", "failed"):
                build.ended, build.succeeded = time.time(), word == "built"
        return True


class _Handler(BaseHTTPRequestHandler):
    server: BuildControl

    def do_GET(self) -> None:
        word, version, codename, edition, run = self.path.removeprefix("/").split("/")
        yes = self.server.answer(word, Inputs(version, codename, edition), run)
        self.send_response(200 if yes else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Builds ask several times a second."""
