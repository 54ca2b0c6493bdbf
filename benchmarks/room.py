"""56 builds on EC2 with room for 10 at once: whether all finish, and how long that takes.

python -m benchmarks.room [BUILDS [ROOM]]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hhvm_packaging.orchestration import connections
from testing import room

ROOT = Path(__file__).resolve().parents[1]


def main(builds: int = 56, at_once: int = 10) -> None:
    """Run them, and say what became of them. Exits with 1 if one did not finish."""
    subprocess.run([ROOT / "demo/base-image", "debian:bookworm", "debian:trixie"], check=True)
    connections.docker_worker().job_image()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="room-") as directory:
        outcome = room.build(Path(directory), builds=builds, room=at_once, limit=3600)
    print(f"{os.cpu_count()} cores, load average before: {load:.1f}")
    print(
        f"tasks: {dict(Counter(outcome.states.values()))}, {outcome.tries} tries; built: {len(outcome.built)}"
    )
    print(f"instances: {outcome.launches}, {outcome.refused} launches refused for want of room")
    print(
        f"from an instance's result to its task's end: {statistics.median(outcome.late):.0f} s "
        f"({min(outcome.late):.0f} to {max(outcome.late):.0f})"
    )
    print(
        f"RATIO {builds} builds, room for {at_once}: at most {outcome.peak} instances at once, "
        f"{outcome.seconds:.0f} s, {outcome.seconds / builds:.1f} s a build"
    )
    finished = outcome.built == set(outcome.states) and set(outcome.states.values()) == {"success"}
    sys.exit(0 if finished and len(outcome.built) == builds and outcome.peak <= at_once else 1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
