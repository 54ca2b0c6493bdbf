"""What the publisher's checks cost: this checkout beside an older commit of it.

usage: checks COMMIT

Both publish the same releases of six distributions, to two suites each, in turns and through the same proxy
as in benchmarks/publish.py: to suites with some packages, and with ten times as many. What it shows is in
docs/publishing-benchmark.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.publish import ROOT, Measured, keyring, processor_time, progress
from testing import s3 as s3_server
from testing.debs import Deb
from testing.s3_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Generator

    from mypy_boto3_s3 import S3Client

LATENCY = 0.05
"""Seconds that each request takes longer."""
DISTROS = 6
PACKAGES = ("hhvm", "hhvm-dev", "hhvm-dbg")
SIZES = (50, 500)
"""Packages that each suite has before."""


@dataclass
class Publisher:
    """A checkout, which publishes to a bucket of its own."""

    name: str
    checkout: Path
    bucket: Path
    environment: dict[str, str]
    s3: S3Client
    repeats: list[Measured] = field(default_factory=list)

    def publish(self, proxy: Proxy, version: str, *, packages: int = 0) -> Measured:
        """Publish a release; with ``packages``, one of so many for each distribution."""
        order = []
        for distro in range(DISTROS):
            names = [f"hhvm-{number:05}" for number in range(packages)] or PACKAGES
            debs = [Deb(f"{version}-1~distro{distro}", package=name) for name in names]
            for deb in debs:
                self.s3.put_object(Bucket=self.bucket.name, Key=deb.key, Body=deb.content)
            artifacts = {deb.key: deb.artifact.model_dump() for deb in debs}
            order.append({"suites": [f"distro{distro}", f"distro{distro}-1.0"], "packages": artifacts})
        file = self.bucket.with_suffix(".json")
        file.write_text(json.dumps(order))
        proxy.reset()
        begun, cpu = time.monotonic(), processor_time()
        # As a script, so that all that it imports is the checkout's.
        script = [sys.executable, str(ROOT / "benchmarks/publish_ours.py"), proxy.endpoint, self.bucket.name]
        output = subprocess.run(
            [*script, str(file)],
            env=self.environment,
            cwd=self.checkout,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        seconds, cpu = time.monotonic() - begun, processor_time() - cpu
        return Measured(seconds, cpu, proxy.traffic, json.loads(output.splitlines()[-1]))

    def __str__(self) -> str:
        cpu = statistics.median(one.cpu for one in self.repeats)
        return f"{self.name} | {_median(self, 'publish'):.2f} | {cpu:.2f} | {self.requests}"

    @property
    def requests(self) -> int:
        """What one publish asks of the store."""
        return self.repeats[-1].traffic.requests.total()


def _median(publisher: Publisher, step: str) -> float:
    return statistics.median(one.inside[step] for one in publisher.repeats)


@contextlib.contextmanager
def _worktree(commit: str) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as temporary:
        checkout = Path(temporary) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(checkout), commit], check=True)
        try:
            yield checkout
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)


def compare(size: int, repeats: int, before: Path, environment: dict[str, str]) -> list[Publisher]:
    """Both checkouts with suites of one size."""
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as temporary:
        with (
            s3_server.rclone(Path(temporary)) as endpoint,
            Proxy(endpoint, looking=s3_server.client(endpoint)).running() as proxy,
        ):
            publishers = []
            for name, checkout in (("before", before), ("now", ROOT)):
                bucket = Path(temporary) / name
                bucket.mkdir()
                paths = {"PYTHONPATH": f"{checkout}:{checkout / 'plugins'}"}
                client = s3_server.client(endpoint)
                publishers.append(Publisher(name, checkout, bucket, {**environment, **paths}, client))
            for publisher in publishers:
                progress(f"{size:,} packages a suite: {publisher.name} publishes them")
                publisher.publish(proxy, "0.0.1", packages=size)
            proxy.latency = LATENCY
            for number in range(repeats):
                for publisher in publishers:
                    publisher.repeats.append(publisher.publish(proxy, f"1.0.{number}"))
        return publishers


def main() -> None:
    """Measure both and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("commit")
    arguments.add_argument("--repeats", type=int, default=7)
    chosen = arguments.parse_args()
    print(f"{chosen.repeats} repeats, medians; load average before: {os.getloadavg()[0]:.1f}\n")
    print("| packages a suite | checkout | publish, s | processor, s | requests |\n|--:|---|--:|--:|--:|")
    with keyring() as environment, _worktree(chosen.commit) as checkout:
        for size in SIZES:
            before, now = compare(size, chosen.repeats, checkout, environment)
            print(f"| {size:,} | {before} |\n| {size:,} | {now} |", flush=True)
            more = _median(now, "publish") - _median(before, "publish")
            print(
                f"RATIO {size:,} packages a suite: the checks add {more:.2f} s, "
                f"{_median(now, 'publish') / _median(before, 'publish'):.2f} times, "
                f"{now.requests - before.requests} requests",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
