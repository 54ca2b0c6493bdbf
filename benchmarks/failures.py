"""Faults of each part of the deployment by docker-compose: how long until a publish works again.

A fault comes while a publish is under way: a dry run of one, with every kind of task in it. It is measured
until that publish has ended, and until every service is healthy. What it shows is in docs/failures.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from hhvm_packaging.runs.api import ApiError
from testing.deployer import Deployer
from testing.newcomer import PUBLISH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hhvm_packaging.runs.api import Task

VERSION = "1.0.0"
OUTAGE = 30
"""Seconds that a stopped service stays so, and that a disk stays full."""
LIMIT = 300
"""Seconds after which a fault counts as one that nothing recovers from."""
DISKS = {"PostgreSQL's": ("postgres", 999, 400), "S3's": ("scratch", 50000, 200)}
"""The volume of each disk, the user who owns it, and its size in MB."""


@dataclass(frozen=True)
class Row:
    """What a fault did."""

    fault: str
    state: str
    """Of the publish that was under way."""
    seconds: float
    """From the fault to that publish's end."""
    healthy: float
    """From the fault until all services were healthy. It is not looked at before OUTAGE is over."""
    unanswered: float
    """For how many of these seconds the API did not answer."""
    tries: str
    """The tasks that were tried more than once."""
    errors: str
    """The last lines of failed tries."""

    def __str__(self) -> str:
        figures = f"{self.seconds:.0f} s | {self.healthy:.0f} s | {self.unanswered:.0f} s"
        return f"| {self.fault} | {self.state} | {figures} | {self.tries} | {self.errors} |"


class Trial:
    """One deployment, to which faults are done."""

    def __init__(self, var: Path) -> None:
        self.deployer = Deployer(var)
        self.disks = {name: var.parent / "disks" / volume for name, (volume, _, _) in DISKS.items()}
        self.services: list[str] = []
        self._number = 0

    def set_up(self) -> None:
        """Start the deployment, with small disks, and publish a release with it."""
        lines = ["volumes:"]
        for name, (volume, owner, size) in DISKS.items():
            disk = self.disks[name]
            disk.mkdir(parents=True)
            options = f"size={size}m,uid={owner},gid={owner},mode=0700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
            lines += [f"  {volume}:", f"    driver_opts: {{type: none, o: bind, device: {disk}}}"]
        self.deployer.stack.ports  # ruff: ignore[useless-expression]  free ones, chosen now
        self.deployer.stack.override.write_text("\n".join(lines) + "\n")
        self.deployer.make("compose-demo", f"VERSION={VERSION}", timeout=3600)
        self.services = sorted(self.deployer.services())
        self._looking = self.deployer.log_in(patience=0, timeout=5)

    def tear_down(self) -> None:
        """Remove all of it."""
        self.deployer.make("compose-clean", timeout=600)
        for disk in self.disks.values():
            subprocess.run(["umount", "--lazy", disk], check=False)

    def measure(
        self, fault: str, cause: Callable[[], object], end: Callable[[], object] = lambda: None
    ) -> Row:
        """Cause the fault in the middle of a publish, end it after a while if it does not end by itself."""
        self._number += 1
        run_id = f"fault-{self._number}"
        self.deployer.api.trigger(PUBLISH, run_id, {"version": VERSION, "dry_run": True})
        self.deployer.until_at(PUBLISH, run_id, "candidate")
        began = time.monotonic()
        cause()
        ended, healthy, silent = 0.0, 0.0, 0.0
        outage = began + OUTAGE
        while not (ended and healthy) and time.monotonic() < began + LIMIT:
            looked = time.monotonic()
            if outage and looked >= outage:
                end()
                outage = 0
            try:
                state = self._looking.state(PUBLISH, run_id)
            except (ApiError, httpx.HTTPError):
                state = ""
            if state in {"success", "failed"} and not ended:
                ended = time.monotonic() - began
            if not outage and not healthy and self._healthy():
                healthy = time.monotonic() - began
            time.sleep(1)
            silent += 0 if state else time.monotonic() - looked
        state = self.deployer.state(PUBLISH, run_id)
        tasks = self.deployer.tasks(PUBLISH, run_id).values()
        tries = Counter({task.name: task.try_number for task in tasks if task.try_number > 1})
        errors = {self._last_line(task) for task in tasks if task.state == "failed"}
        return Row(
            fault,
            state,
            ended,
            healthy,
            silent,
            ", ".join(f"{name}: {count}" for name, count in tries.items()),
            "; ".join(sorted(errors)),
        )

    def _last_line(self, task: Task) -> str:
        lines = self.deployer.log(task).splitlines()
        return lines[-1][:200] if lines else ""

    def _healthy(self) -> bool:
        found = self.deployer.services()
        return sorted(found) == self.services and all(
            container.attrs["State"]["Health"]["Status"] == "healthy" for container in found.values()
        )

    # Faults

    def kill_all(self) -> None:
        """Kill every service at once, as a loss of power does."""
        for container in self.deployer.services().values():
            os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def fill(self, disk: str) -> None:
        """Leave no byte free."""
        with (self.disks[disk] / "full").open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass

    def free(self, disk: str) -> None:
        """Make room again."""
        (self.disks[disk] / "full").unlink()

    def rows(self, services: Iterable[str]) -> Iterable[Row]:
        """Every fault, one after another."""
        yield self.measure("none", lambda: None)
        for service in services:
            yield self.measure(f"{service} killed", partial(self.deployer.kill, service))
            container = self.deployer.services()[service]
            yield self.measure(f"{service} stopped for {OUTAGE} s", container.stop, container.start)
        yield self.measure("all services killed at once", self.kill_all)
        for disk in self.disks:
            yield self.measure(
                f"{disk} disk full for {OUTAGE} s", partial(self.fill, disk), partial(self.free, disk)
            )


def main() -> None:
    """Print a row for each fault as it was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("services", nargs="*", help="only the faults of these (default: all)")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("only root can make small disks and kill other users' processes")
    # Whoever kills this wants what it started gone, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hhvm-failures-") as directory:
        trial = Trial(Path(directory) / "var")
        try:
            trial.set_up()
            print(
                "| fault | publish | until it ended | until all healthy | no answer | tried again | errors |",
                flush=True,
            )
            print("|---|---|--:|--:|--:|---|---|")
            for row in trial.rows(arguments.services or trial.services):
                print(row, flush=True)
        finally:
            trial.tear_down()


if __name__ == "__main__":
    main()
