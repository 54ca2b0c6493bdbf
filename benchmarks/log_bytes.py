"""What an instance sends to S3 for the log of its job: in parts, and what the whole log each time would be.

python -m benchmarks.log_bytes [MEGABYTES…]    (default: 5 50)

An instance of the tests' EC2 runs ``jobs/on-instance`` for a job that prints its log evenly in two minutes.
What it sent is what is in S3 then. The whole log every ten seconds is computed, as this project once sent it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.settings import Ec2, Machine, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Job
from testing.ec2 import AIRFLOW, EC2, REGION, emulated_ec2

ROOT = Path(__file__).resolve().parents[1]
SIZES = (5, 50)
SECONDS = 120
SCRIPT = "look-as-user"
LINE = 100
"""Bytes."""
FORMERLY = 10
"""Seconds after which the whole log was sent again."""
HOURS = 2
"""Of a build."""
PRINT = """#!/usr/bin/env bash
line=$(printf '%{width}s' x)
for _ in {{1..{seconds}}}; do yes "$line" | head -n {lines}; sleep 1; done
"""


def measure(ec2: EC2, root: Path, megabytes: int) -> tuple[int, int, int]:
    """Run the job. Returns the bytes of its log, the bytes that were sent for it, and in how many parts."""
    lines = megabytes * 10**6 // LINE // SECONDS
    script = root / "jobs" / SCRIPT
    script.write_text(PRINT.format(width=LINE - 1, lines=lines, seconds=SECONDS))
    machines = {SCRIPT: Machine(instance_types=["c7i.large"])}
    settings = Settings(packaging_root=root, ec2=Ec2(region=REGION, machines=machines))
    store, client = Store(ec2.client("s3", AIRFLOW), settings), ec2.client("ec2", AIRFLOW)

    def launch(parameters: dict[str, Any]) -> str:
        answer = client.run_instances(MinCount=1, MaxCount=1, **parameters)
        return str(answer["Instances"][0]["InstanceId"])

    worker = Ec2Worker(client, store, settings, image=lambda _: ec2.image_id, launch=launch)
    packaging, attempt, name = packaging_files.upload(store, root), AttemptId.new(), f"log-of-{megabytes}-mb"
    job = Job(version="1.0.0", script=SCRIPT, packaging=packaging, environment={}, time_limit=3600)
    worker.start(name, attempt, job, {}, store)
    while worker.phase(name, job, attempt) == "running":
        time.sleep(1)
    found = attempts.read(store, job.version, name, attempt)
    whole = store.scratch.head(found.worker_key(keys.LOG) or "")
    if whole is None or not found.log_parts:
        raise RuntimeError(ec2.console(found.instance or ""))
    return (
        whole.size,
        whole.size + sum(part.end - part.start for part in found.log_parts),
        len(found.log_parts),
    )


def formerly(size: int, seconds: int) -> int:
    """The bytes of the whole log, as long as it is by then, every ten seconds and at the end."""
    times = seconds // FORMERLY
    return sum(size * each // times for each in range(1, times + 1)) + size


def main(sizes: list[int]) -> None:
    """Measure all, and print a table."""
    subprocess.run([ROOT / "demo/base-image", "debian:trixie", "debian:bookworm"], check=True)
    print("| log, MB | parts | sent, MB | of the log | whole log every 10 s, MB | in two hours, MB |")
    print("|--:|--:|--:|--:|--:|--:|")
    with emulated_ec2() as ec2, tempfile.TemporaryDirectory() as directory:
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, Path(directory) / part, symlinks=True)
        for megabytes in sizes:
            size, sent, parts = measure(ec2, Path(directory), megabytes)
            once, long = formerly(size, SECONDS), formerly(size, HOURS * 3600)
            print(
                f"| {size / 1e6:.0f} | {parts} | {sent / 1e6:.0f} | {sent / size:.1f} times | "
                f"{once / 1e6:.0f}, {once / sent:.1f} times as much | "
                f"{long / 1e6:,.0f}, {long / sent:.0f} times |",
                flush=True,
            )


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or list(SIZES))
