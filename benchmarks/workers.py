"""What it costs to wait for many jobs on EC2: API calls, memory, and how late a result is seen.

python -m benchmarks.workers [INSTANCES…]    (default: 10 100 500)

moto answers; nothing runs on the instances. The triggers are the real ones, in one asyncio loop as in a
triggerer, and each way to wait has a process of its own. ``textbook`` waits with the provider's own two:
EC2StateSensorTrigger for each instance and S3KeyTrigger for each result; they need aiobotocore, which is
fetched for them.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from moto.moto_api._internal.models import moto_api_backend

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.ec2 import ATTEMPT_TAG, JOB_TAG, WORK_TAG
from hhvm_packaging.workers.job import Job
from testing.ec2.demands import REGION
from testing.ec2.emulator import api_alone
from testing.ec2.gateway import IMDS, Gateway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIZES = (10, 100, 500)
WINDOW = 60
"""Seconds in which calls are counted."""
RESULTS = 5
"""How many jobs end, one after the other, to see how late that is noticed."""
POLL = 5
SYSTEMS = {"ours, every 5 s": POLL, "textbook, every 5 s": POLL, "textbook, every 60 s": 60}
ATTEMPT = AttemptId.parse("20261124T000000.000000Z-1")
JOB = Job(version="1.0.0", script="a-job", packaging="0" * 64, environment={}, time_limit=14400)
LOG = b"a line of the log\n" * 500


def name(number: int) -> str:
    """The name of the job of that number."""
    return f"hhvm-1.0.0-a-job-{number:012x}"


# The waiting process


async def wait_ours(number: int, _instance: str, _poll: int) -> None:
    """As the task does."""
    from hhvm_packaging.orchestration.job_trigger import JobTrigger

    job = JOB.model_dump(mode="json")
    await anext(aiter(JobTrigger(name(number), str(ATTEMPT), job, time.time() + 14400, plan={}).run()))


async def wait_textbook(number: int, instance: str, poll: int) -> None:
    """With the provider's triggers."""
    from airflow.providers.amazon.aws.triggers.ec2 import EC2StateSensorTrigger
    from airflow.providers.amazon.aws.triggers.s3 import S3KeyTrigger

    key = written(number, instance, keys.RESULT)
    ended = EC2StateSensorTrigger(instance, "terminated", "hhvm_aws", REGION, poll)
    result = S3KeyTrigger(Settings().scratch_bucket, key, aws_conn_id="hhvm_aws", poke_interval=poll)
    await asyncio.gather(anext(aiter(ended.run())), anext(aiter(result.run())))


WAITS: dict[str, Callable[[int, str, int], Awaitable[None]]] = {
    "ours": wait_ours,
    "textbook": wait_textbook,
}


async def wait(system: str, instances: list[str]) -> None:
    """Wait for all, and print what happens; the process ends with its input."""
    waiter, poll = WAITS[system.partition(",")[0]], SYSTEMS[system]

    async def one(number: int, instance: str) -> None:
        # As launches do, they begin one after the other.
        await asyncio.sleep(poll * number / len(instances))
        try:
            await waiter(number, instance, poll)
        except Exception:
            traceback.print_exc()
            os._exit(1)
        print(json.dumps({"ended": number, "at": time.time()}), flush=True)

    tasks = [asyncio.create_task(one(number, instance)) for number, instance in enumerate(instances)]
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({line.strip(): psutil.Process().memory_info().rss}), flush=True)
    for task in tasks:
        task.cancel()
    os._exit(0)


# The process that measures


@dataclass(frozen=True)
class Measured:
    """What waiting for so many instances costs."""

    calls: Counter[str]
    """A minute, by action."""
    memory: int
    """Bytes that the waiting process has."""
    late: list[float]
    """Seconds from each result to its event."""


def measure(gateway: Gateway, endpoint: str, system: str, size: int, libraries: str) -> Measured:
    """Wait for ``size`` instances of an account of its own with one of the systems."""
    moto_api_backend.reset()
    ec2, s3 = client("ec2", endpoint), client("s3", endpoint)
    store = Store(s3, Settings())
    s3.create_bucket(Bucket=store.scratch.name, CreateBucketConfiguration={"LocationConstraint": REGION})
    instances = launched(ec2, size)
    for number, instance in enumerate(instances):
        store.scratch.put(keys.launched("1.0.0", name(number), ATTEMPT, instance), b"")
        store.scratch.put(written(number, instance, keys.LOG), LOG)
    with Waiting(endpoint, system, instances, libraries) as process:
        process.memory()  # so it has begun
        # Until all have begun: one after the other, within one interval.
        time.sleep(SYSTEMS[system] + POLL)
        gateway.calls.clear()
        time.sleep(WINDOW)
        calls = Counter(call.action for call in gateway.calls)
        memory = process.memory()
        ends = range(0, size, size // RESULTS)
        ended = {}
        for number in ends:
            store.scratch.put_json(written(number, instances[number], keys.RESULT), RESULT)
            ended[number] = time.time()
            ec2.terminate_instances(InstanceIds=[instances[number]])
        return Measured(calls, memory, [process.seen(number) - ended[number] for number in ends])


def written(number: int, instance: str, file: str) -> str:
    """The key of what the instance of that job writes."""
    return keys.worker_file("1.0.0", name(number), ATTEMPT, f"AROA0123456789:{instance}", file)


RESULT = {
    "exit_status": 0,
    "started": "2026-11-24T00:00:00Z",
    "finished": "2026-11-24T00:00:00Z",
    "artifacts": [],
}


def client(service: str, endpoint: str) -> Any:
    """A boto3 client of the emulated AWS."""
    import boto3

    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="emulated",  # ruff: ignore[hardcoded-password-func-arg]
    )


def launched(ec2: Any, size: int) -> list[str]:
    """Instances with the tags of jobs."""
    image = ec2.describe_images()["Images"][0]["ImageId"]
    answer = ec2.run_instances(ImageId=image, MinCount=size, MaxCount=size, MetadataOptions=IMDS)
    instances = [instance["InstanceId"] for instance in answer["Instances"]]
    for number, instance in enumerate(instances):
        tags = {WORK_TAG: Settings().scratch_bucket, JOB_TAG: name(number), ATTEMPT_TAG: str(ATTEMPT)}
        ec2.create_tags(
            Resources=[instance], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
        )
    return instances


class Waiting:
    """The process that waits with one of the systems."""

    def __init__(self, endpoint: str, system: str, instances: list[str], libraries: str) -> None:
        extra = {"endpoint_url": endpoint, "region_name": REGION}
        connection = {"conn_type": "aws", "login": "somebody", "password": "emulated", "extra": extra}
        environment = {
            "AIRFLOW_CONN_HHVM_AWS": json.dumps(connection),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "HHVM_PACKAGING_WORKERS": "ec2",
            "HHVM_PACKAGING_POLL_INTERVAL": str(POLL),
            "HHVM_PACKAGING_EC2__REGION": REGION,
        }
        if system.startswith("textbook"):
            environment["PYTHONPATH"] = f"{libraries}:{os.environ['PYTHONPATH']}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", "--wait", system, *instances],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._memory: queue.Queue[int] = queue.Queue()
        self._ended: dict[int, float] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if not line.startswith("{"):
                continue  # a line of some library's log
            answer = json.loads(line)
            if "memory" in answer:
                self._memory.put(answer["memory"])
            else:
                self._ended[answer["ended"]] = answer["at"]

    def memory(self) -> int:
        """The process's, in bytes."""
        if self._process.stdin:
            self._process.stdin.write("memory\n")
            self._process.stdin.flush()
        return self._memory.get(timeout=300)

    def seen(self, number: int, limit: float = 600) -> float:
        """When the event of one job came."""
        deadline = time.monotonic() + limit
        while number not in self._ended:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"nobody saw the result of job {number}")
            time.sleep(0.1)
        return self._ended[number]


def main(sizes: list[int]) -> None:
    """Measure all, and print a table and the ratio."""
    print(f"{os.cpu_count()} cores, load average before: {os.getloadavg()[0]:.1f}")
    print("| instances | system | EC2 calls/min | S3 calls/min | memory, MB | result to event, s (range) |")
    print("|--:|---|--:|--:|--:|--:|")
    found: dict[tuple[str, int], Measured] = {}
    with tempfile.TemporaryDirectory(prefix="aiobotocore-") as libraries, api_alone() as (gateway, endpoint):
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "pip", "install", "--quiet", "--target", libraries, "aiobotocore"], check=True)
        for size in sizes:
            for system in SYSTEMS:
                measured = found[system, size] = measure(gateway, endpoint, system, size, libraries)
                ec2, s3 = (
                    sum(count for action, count in measured.calls.items() if action.startswith(service))
                    for service in ("ec2:", "s3:")
                )
                print(
                    f"| {size} | {system} | {ec2} | {s3} | {measured.memory / 1e6:.0f} | "
                    f"{statistics.median(measured.late):.1f} "
                    f"({min(measured.late):.1f} to {max(measured.late):.1f}) |",
                    flush=True,
                )
    size = sizes[-1]
    ours, *others = SYSTEMS
    base = found[ours, size]
    print(f"RATIO {size} instances: " + "; ".join(ratio(other, found[other, size], base) for other in others))


def ratio(system: str, other: Measured, ours: Measured) -> str:
    """The other system beside ours."""

    def ec2(measured: Measured) -> int:
        return sum(count for action, count in measured.calls.items() if action.startswith("ec2:"))

    late = statistics.median(other.late) / statistics.median(ours.late)
    return (
        f"{system}: {ec2(other) / max(ec2(ours), 1):.1f} times the EC2 calls, "
        f"{other.calls.total() / ours.calls.total():.1f} times all calls, "
        f"{other.memory / ours.memory:.1f} times the memory, results seen {late:.1f} times as late"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--wait"]:
        asyncio.run(wait(sys.argv[2], sys.argv[3:]))
    else:
        main(list(map(int, sys.argv[1:])) or list(SIZES))
