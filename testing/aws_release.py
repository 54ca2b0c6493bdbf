"""A release of three distributions and two architectures on the tests' AWS, with faults, in one process.

Everything is real but Airflow's scheduler: the operator, the trigger and the retry policy run as Airflow runs
them, the instances run their user data, and the packages are published to the double's S3. A build takes
three seconds. Delays between tries are a tenth of what they are. Releases may be played beside each other, in
processes of their own.

A release has two acts. In the first it meets the faults of its seed. Then the faults are over, and a person
clears what failed, which must lead to a published release.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import TaskSuccessEvent
from botocore.loaders import JSONFileLoader

from demo import signing_key
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.building.steps import MakeBinaryPackage
from hhvm_packaging.distros import Distro
from hhvm_packaging.orchestration import connections, job_trigger
from hhvm_packaging.orchestration.job_operator import RETRIES, JobOperator, RetryByFailure
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from hhvm_packaging.planning import packaging_files, target_suites
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.plans import BuildPlan, PublishPlan
from hhvm_packaging.publishing import candidates, exposure
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.upkeep.reaping import reap
from hhvm_packaging.workers.job import Artifact
from testing.ec2 import AIRFLOW, AMI_PARAMETER, REGION, Boot, emulated_ec2, until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from testing.ec2 import EC2

ROOT = Path(__file__).resolve().parents[1]
VERSION = "1.0.0"
DISTROS = (
    ("debian-12-bookworm", "bookworm"),
    ("debian-13-trixie", "trixie"),
    ("ubuntu-24.04-noble", "noble"),
)
ARCHITECTURES = ("amd64", "arm64")
HURRY = 0.1
"""What the delays between tries are multiplied with."""
_LATER = 24 * 60 * 60
"""Seconds."""
BUILD = """#!/usr/bin/env bash
set -euo pipefail
machine=$(jq -r .architecture "${OUT%/*}/job.json")
package=$(mktemp -d) version=$VERSION-1~${DISTRO##*-}
mkdir "$package/DEBIAN"
printf '%s: %s\\n' Package hhvm Version "$version" Architecture "$machine" \\
  Maintainer 'HHVM <hhvm@example.org>' Description 'a trivial build' >"$package/DEBIAN/control"
for second in 1 2 3; do echo "builds for $machine, second $second"; sleep 1; done
dpkg-deb --root-owner-group --build "$package" "$OUT/hhvm_${version}_$machine.deb"
"""


class Red(Exception):
    """A task failed for good. The message is what a person reads."""


@dataclass(frozen=True)
class Fault:
    """Something that AWS does in the first act."""

    name: str
    cause: str
    """What a reason must say of it, if it makes a task fail."""
    happen: Callable[[EC2, Random], None]


def _calls(code: str, action: str, most: int, **more: Any) -> Callable[[EC2, Random], None]:
    return lambda ec2, random: ec2.fail_calls(code, random.randint(1, most), action=action, **more)


def _launches(code: str, most: int, **more: Any) -> Callable[[EC2, Random], None]:
    return lambda ec2, random: ec2.fail_launches(code, random.randint(1, most), **more)


def _lose(end: Callable[[EC2, str], None]) -> Callable[[EC2, Random], None]:
    """Let an instance end at some time while the builds run."""

    def happen(ec2: EC2, random: Random) -> None:
        number, delay = random.randrange(6), random.uniform(0, 5)

        def wait_and_end() -> None:
            while not ec2.recovered.wait(0.2):
                launched = [name for launch in ec2.launches for name in launch.instances]
                if len(launched) > number:
                    if not ec2.recovered.wait(delay):
                        end(ec2, launched[number])
                    return

        thread = threading.Thread(target=wait_and_end, daemon=True)
        thread.start()

    return happen


FAULTS = (
    Fault(
        "EC2 throttles", "RequestLimitExceeded|API throttling", _calls("RequestLimitExceeded", "ec2:Desc", 12)
    ),
    Fault("launches throttled", "API throttling", _launches("RequestLimitExceeded", 12)),
    Fault("no capacity", "no capacity", _launches("InsufficientInstanceCapacity", 20)),
    Fault("no volumes", "no capacity", _launches("InsufficientVolumeCapacity", 3)),
    Fault("no spot quota", "account limit", lambda ec2, _: ec2.limit_spot(0)),
    Fault("vCPU quota", "account limit", _launches("VcpuLimitExceeded", 2)),
    Fault("listed late", "worker lost", lambda ec2, random: ec2.show_after(random.randint(2, 6))),
    Fault("answer lost", "Connection was closed|worker lost", lambda ec2, _: ec2.lose_launches()),
    Fault("answer 500", "InternalError|worker lost", lambda ec2, _: ec2.lose_launches("InternalError")),
    Fault(
        "no capacity after launch",
        "no capacity",
        lambda ec2, _: ec2.doom_launches("Server.InsufficientInstanceCapacity", 2),
    ),
    Fault("EBS quota", "account limit", lambda ec2, _: ec2.doom_launches("Client.VolumeLimitExceeded")),
    Fault("key for EBS", "Client.InternalError", lambda ec2, _: ec2.doom_launches("Client.InternalError")),
    Fault("instance lost", "worker lost", _lose(lambda ec2, name: ec2.kill(name))),
    Fault("spot reclaimed", "spot reclaimed|worker lost", _lose(lambda ec2, name: ec2.reclaim(name))),
    Fault("late network", "worker lost", lambda ec2, _: ec2.boot_next(Boot(network_after=4))),
    Fault(
        "no awscli", "worker lost", lambda ec2, _: ec2.boot_next(Boot(without=("aws",), network_after=600))
    ),
    Fault("S3 500", "InternalError", _calls("InternalError", "s3:", 30)),
    Fault("S3 503", "SlowDown", _calls("SlowDown", "s3:", 30)),
    Fault("S3 503 for instances", "SlowDown|worker lost", _calls("SlowDown", "s3:", 20, caller="i-")),
    Fault("slow S3", "", _calls("", "s3:", 60, seconds=0.5)),
    Fault(
        "write conflict",
        "changed by another publisher",
        _calls("ConditionalRequestConflict", "s3:", 2, conditional=True),
    ),
    Fault("credentials expired", "ExpiredToken", _calls("ExpiredToken", "s3:", 6, caller=AIRFLOW)),
    Fault("EC2 credentials expired", "RequestExpired", _calls("RequestExpired", "ec2:", 4, caller=AIRFLOW)),
    Fault("not authorized", "UnauthorizedOperation", _launches("UnauthorizedOperation", 1)),
)


@dataclass
class Outcome:
    """What became of the release of one seed."""

    seed: int
    faults: list[Fault]
    red: dict[str, str] = field(default_factory=dict)
    """Why tasks failed in the first act, by their names."""
    wrong: list[str] = field(default_factory=list)
    """What must not be."""
    tries: int = 0
    """Of all tasks together; without a fault there are seven."""
    launched: int = 0
    left: list[str] = field(default_factory=list)
    """The instances and volumes that are left."""
    twice: list[str] = field(default_factory=list)
    """The builds that did not succeed once."""
    seconds: float = 0

    def __str__(self) -> str:
        """A row of the table."""
        ends = "; ".join(f"{name}: {reason.splitlines()[0]}" for name, reason in self.red.items())
        end = f"red, then green: {ends}" if ends else "green"
        if self.wrong:
            end = f"WRONG: {'; '.join(self.wrong)} ({end})"
        names = ", ".join(fault.name for fault in self.faults)
        numbers = (
            f"{self.tries} | {self.launched} | {len(self.left)} | {len(self.twice)} | {self.seconds:.0f}"
        )
        return f"| {self.seed} | {names} | {end.replace('|', '/')} | {numbers} |"


HEADING = """| seed | faults | end | tries | instances | left | built twice | seconds |
|--:|---|---|--:|--:|--:|--:|--:|"""


class TaskInstance:
    """What Airflow gives a task."""

    dag_id, task_id = "hhvm_build", MakeBinaryPackage.task_id

    def __init__(self, run_id: str, map_index: int, first: int) -> None:
        self.run_id = run_id
        self.map_index, self.try_number, self.max_tries = map_index, first, first + RETRIES - 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Take what the links need."""


def run_tries(once: Callable[[TaskInstance], Any], ti: TaskInstance) -> None:
    """Run a task until it succeeds, with its retries. Raises Red."""
    policy = RetryByFailure()
    while True:
        try:
            once(ti)
        except AirflowFailException as error:
            raise Red(str(error)) from error
        except Exception as error:
            decision = policy.evaluate(error, ti.try_number, ti.max_tries)
            if decision.action is RetryAction.FAIL or ti.try_number > ti.max_tries:
                raise Red(str(error)) from error
            delay = decision.retry_delay
            time.sleep(delay.total_seconds() * HURRY if delay else 0)
            ti.try_number += 1
        else:
            return


async def _first_event(trigger: JobTrigger) -> Any:
    return await anext(aiter(trigger.run()))


def run_operator(plan: dict[str, Any], distro: str, ti: TaskInstance) -> None:
    """Run one try of a build as Airflow does: the task, its trigger, and the task again if it is resumed."""
    context = {"ti": ti}

    def operator() -> JobOperator:
        return JobOperator(task_id=ti.task_id, script=MakeBinaryPackage.script, plan=plan, distro=distro)

    try:
        operator().execute(context)
    except TaskDeferred as deferred:
        _, arguments = deferred.trigger.serialize()
        event = asyncio.run(_first_event(JobTrigger(**json.loads(json.dumps(arguments)))))
        if not isinstance(event, TaskSuccessEvent):
            operator().finish(context, event.payload, **(deferred.kwargs or {}))


@contextmanager
def deployed(ec2: EC2, root: Path) -> Generator[None]:
    """The deployment, by its environment: packaging files whose builds take no time, and the double's AWS."""
    for part in ("bin", "jobs", "distros"):
        shutil.copytree(ROOT / part, root / part, symlinks=True, dirs_exist_ok=True)
    (root / "jobs/make-binary-package").write_text(BUILD)
    extra = {"endpoint_url": ec2.endpoint, "region_name": REGION}
    connection = {"conn_type": "aws", "login": AIRFLOW, "password": "emulated", "extra": extra}
    machine = {"instance_types": ["c7i.large", "c7a.large"], "spot": True}
    variables = {
        "AIRFLOW_CONN_HHVM_AWS": json.dumps(connection),
        "HHVM_PACKAGING_WORKERS": "ec2",
        "HHVM_PACKAGING_ARCHITECTURES": json.dumps(ARCHITECTURES),
        "HHVM_PACKAGING_PACKAGING_ROOT": str(root),
        "HHVM_PACKAGING_LOCK_DIRECTORY": str(root),
        "HHVM_PACKAGING_POLL_INTERVAL": "5",
        "HHVM_PACKAGING_EC2__REGION": REGION,
        "HHVM_PACKAGING_EC2__IMAGE_PARAMETER": AMI_PARAMETER,
        "HHVM_PACKAGING_EC2__OTHER_IMAGES": json.dumps({"arm64": AMI_PARAMETER}),
        "HHVM_PACKAGING_EC2__MACHINES": json.dumps({MakeBinaryPackage.script: machine}),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        # A process with six triggers polls less often than one with one.
        patch.setattr(job_trigger, "_FIRST_MINUTE", 0)
        # Airflow has a process for each task, which reads botocore's models. Here one reads them for all.
        patch.setattr(JSONFileLoader, "load_file", cache(JSONFileLoader.load_file))
        settings.cache_clear()
        yield
    settings.cache_clear()


class Release:
    """The release of one seed."""

    def __init__(self, ec2: EC2, root: Path, signer: Signer, seed: int) -> None:
        self.ec2, self.signer, self.random = ec2, signer, Random(seed)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
        self.outcome = Outcome(seed, self.random.sample(FAULTS, self.random.randint(1, 4)))
        self.store = Store(ec2.client("s3"), settings())
        self.store.downloads.put(PUBLIC_KEY, signer.public_key())
        self.store.scratch.put(f"hhvm-{VERSION}.tar.gz", b"source")
        tarball = Artifact(name=f"hhvm-{VERSION}.tar.gz", size=6, sha256=sha256(b"source"), md5="")
        found = tuple(
            Distro(
                name=name,
                docker_base="debian:bookworm",
                distribution=suite,
                pkgver=f"1~{suite}",
                files_sha256="",
            ).on(architecture)
            for name, suite in DISTROS
            for architecture in ARCHITECTURES
        )
        common: dict[str, Any] = {
            "version": VERSION,
            "nightly": False,
            "commit": "",
            "packaging": packaging_files.upload(self.store, root),
            "packaging_revision": "",
            "distros": found,
        }
        self.plan, self.publish_plan = BuildPlan(**common), PublishPlan(**common)
        SourceManifest(version=VERSION, commit="", tarball=tarball, signed_by="somebody").write(
            self.store, self.plan.release
        )
        self.tries: dict[str, int] = {}
        """How many each task has had, by its name."""

    def run(self) -> Outcome:
        """Play both acts. Returns what became of the release."""
        began = time.monotonic()
        for fault in self.outcome.faults:
            fault.happen(self.ec2, self.random)
        self.outcome.red = self.act(self.plan.asked)
        self.outcome.wrong += self.unexplained()
        self.ec2.recover()
        if self.outcome.red:
            again = self.act(tuple(name for name in self.outcome.red if name in self.plan.asked))
            self.outcome.wrong += [f"red again, {name}: {reason}" for name, reason in again.items()]
        self.outcome.twice, self.outcome.left = self.built_twice(), self.left()
        self.outcome.wrong += [*self.unpublished(), *self.outcome.twice, *self.outcome.left]
        self.outcome.tries = sum(self.tries.values())
        self.outcome.launched = len({name for launch in self.ec2.launches for name in launch.instances})
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def act(self, distros: tuple[str, ...]) -> dict[str, str]:
        """Build, and publish if all is built. Returns why tasks failed, by their names."""
        plan, red = self.plan.model_dump(mode="json"), {}

        def build(name: str) -> None:
            run(name, partial(run_operator, plan, name), self.plan.asked.index(name))

        def run(name: str, once: Callable[[TaskInstance], Any], map_index: int = -1) -> None:
            first = self.tries.get(name, 0) + 1
            ti = TaskInstance(f"seed-{self.outcome.seed}", map_index, first)
            try:
                run_tries(once, ti)
            except Red as error:
                red[name] = str(error)
            self.tries[name] = ti.try_number

        with ThreadPoolExecutor(len(DISTROS) * len(ARCHITECTURES)) as builds:
            list(builds.map(build, distros))
        if not red:
            run("publish", lambda _: self.publish())
        return red

    def publish(self) -> None:
        """Propose, accept and expose."""
        store = connections.store()
        candidates.make_all(self.publish_plan, store, self.signer, settings())
        for name in self.plan.asked:
            candidate = Candidate.read(store, self.plan.release, name)
            if candidate and not candidate.fault:
                candidate.accept(store)
        exposure.update(self.publish_plan, store, self.signer, settings())

    def unexplained(self) -> list[str]:
        """The reasons of the first act that name no cause."""
        causes = "|".join(fault.cause for fault in self.outcome.faults if fault.cause) or "(?!)"
        return [
            f"no cause named, {name}: {reason}"
            for name, reason in self.outcome.red.items()
            if not re.search(causes, reason)
        ]

    def unpublished(self) -> list[str]:
        """What users are not offered."""
        return [
            f"{suite.suite} does not offer {distro.architecture}"
            for distro in self.plan.distros
            for suite in target_suites.list_distro_suites(distro, self.store, settings())
            if f"{VERSION}-{distro.pkgver}"
            not in {
                stanza.version
                for architecture, packages in suite.read().packages.items()
                for stanza in packages.stanzas
                if architecture == distro.architecture
            }
        ] or ([] if list(self.store.downloads.directories("debian/dists/")) else ["nothing is published"])

    def built_twice(self) -> list[str]:
        """The builds that succeeded more than once."""
        successes: dict[str, int] = {}
        for key in self.store.scratch.keys(keys.jobs(VERSION)):
            fields = keys.Scratch.WORKER_FILE.match(key)
            if fields and fields["worker_file"] == keys.RESULT:
                result = self.store.scratch.get_json(key) or {}
                successes[fields["job"]] = successes.get(fields["job"], 0) + (result["exit_status"] == 0)
        return [f"{job} was built {count} times" for job, count in successes.items() if count != 1]

    def left(self) -> list[str]:
        """What is left of the workers after the reaper, when all have expired."""
        no_task: Any = None
        list(reap(connections.worker(), no_task, now=time.time() + _LATER))
        try:
            until(lambda: not self._alive(), 600)
        except TimeoutError:
            return [f"{name} is left" for name in self._alive()]
        volumes = self.ec2.client("ec2").describe_volumes()["Volumes"]
        return [f"{volume['VolumeId']} is left" for volume in volumes]

    def _alive(self) -> list[str]:
        launched = {name for launch in self.ec2.launches for name in launch.instances}
        return [name for name in launched if self.ec2.state(name) != "terminated"]


def play(directory: Path, seed: int) -> Outcome:
    """Play the release of one seed, in an AWS of its own."""
    with ExitStack() as stack:
        ec2 = stack.enter_context(emulated_ec2())
        root = directory / str(seed)
        stack.enter_context(deployed(ec2, root))
        signer = stack.enter_context(Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]))
        return Release(ec2, root, signer, seed).run()
