"""A container of a distribution that lives as long as a test needs it."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_LONGEST = 1800
"""Seconds after which the engine ends it, even if nobody else does."""

_PRELUDE = """
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
apt_get() {
  apt-get --quiet --yes --no-install-recommends -o Acquire::Retries=5 -o Acquire::Languages=none \
    -o Dpkg::Use-Pty=0 "$@"
}
"""


class DistroContainer:
    """A container in which scripts are run, as root unless they say otherwise."""

    def __init__(self, container: str) -> None:
        self.container = container

    def try_to(self, script: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a bash script, which has a function ``apt_get``. What it says is its output, in one stream."""
        return subprocess.run(
            ["docker", "exec", "--interactive", "--user", user, self.container, "bash"],
            input=_PRELUDE + script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, script: str, user: str = "root") -> str:
        """Run a script that must succeed; returns what it says."""
        done = self.try_to(script, user)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, script: str, user: str = "root") -> None:
        """Run a script in the background."""
        subprocess.run(
            ["docker", "exec", "--detach", "--user", user, self.container, "sh", "-c", script], check=True
        )


@contextlib.contextmanager
def distro_container(image: str, mounts: Mapping[str, str]) -> Generator[DistroContainer]:
    """A container of ``image`` with these directories of the host, by their paths in it."""
    volumes = [f"--volume={source}:{target}" for target, source in mounts.items()]
    run = ["docker", "run", "--detach", "--rm", "--init", *volumes, image, "sleep", str(_LONGEST)]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield DistroContainer(container)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)
