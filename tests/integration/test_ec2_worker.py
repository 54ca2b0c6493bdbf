"""Jobs on EC2: what an instance does, what is kept of it, and what is said and done when it fails."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.comms import TaskStatesResult
from typing_extensions import override

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration.job_operator import RETRIES, JobOperator
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.step import Step
from hhvm_packaging.settings import Ec2, Machine, Settings, settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Job, JobFailed, TryAgain
from testing.ec2 import AIRFLOW, AMI_PARAMETER, EC2, REGION, Boot, emulated_ec2
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "look-as-user"
"""What the jobs here are called; each test writes its own."""
FIRST, SECOND = AttemptId.new(1), AttemptId.new(2)


class Bench:
    """An EC2 worker, and packaging files whose job is a script of the test."""

    def __init__(self, root: Path, ec2: EC2) -> None:
        self.root, self.ec2 = root, ec2
        self.name = f"hhvm-test-{uuid.uuid4().hex}"
        self.settings = Settings(
            packaging_root=root,
            ec2=Ec2(
                region=REGION,
                keys_parameters="/hhvm-packaging/keys",
                machines={SCRIPT: Machine(instance_types=["c7i.large", "c7a.large"], bigger=["c7i.xlarge"])},
            ),
        )
        self.store = Store(ec2.client("s3", AIRFLOW), self.settings)
        client = ec2.client("ec2", AIRFLOW)

        def launch(parameters: dict[str, Any]) -> str:
            answer = client.run_instances(MinCount=1, MaxCount=1, **parameters)
            return str(answer["Instances"][0]["InstanceId"])

        self.worker = Ec2Worker(
            client, self.store, self.settings, image=lambda _: ec2.image_id, launch=launch
        )
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, root / part, symlinks=True)

    def job(self, script: str) -> Job:
        """The job that runs ``script``."""
        file = self.root / f"jobs/{SCRIPT}"
        file.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}\n")
        file.chmod(0o755)
        return Job(
            version="1.0.0",
            script=SCRIPT,
            packaging=packaging_files.upload(self.store, self.root),
            environment={},
            outputs="1.0.0/debian-12-bookworm/20261124T000000.000000Z-1/",
            time_limit=60,
        )

    def start(self, job: Job, attempt: AttemptId = FIRST) -> None:
        self.worker.start(self.name, attempt, job, {"hhvm.test": "yes"}, self.store)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)

    def ended(self, job: Job, attempt: AttemptId = FIRST) -> None:
        self.until(lambda: self.worker.phase(self.name, job, attempt) != "running")

    def instance(self) -> str:
        """The last one that was launched."""
        launched = self.ec2.launches[-1].instances
        return str(launched[-1])


@pytest.fixture
def ec2(job_image: str) -> Iterator[EC2]:
    """With minutes of sixty seconds, so that no timer ends an instance here, however busy this machine is."""
    with emulated_ec2() as ec2:
        yield ec2


@pytest.fixture
def bench(tmp_path: Path, ec2: EC2) -> Bench:
    return Bench(tmp_path, ec2)


def test_a_log_is_there_while_its_job_runs_and_ending_the_job_ends_its_instance(bench: Bench) -> None:
    job = bench.job("echo begun; sleep 600")
    bench.start(job)
    bench.until(lambda: bench.worker.log(bench.name, job, FIRST, 0) == b"begun\n")
    assert bench.worker.adopt(bench.name, job, bench.store) == FIRST
    bench.worker.remove(bench.name)
    bench.ec2.wait(bench.instance(), "terminated")
    assert bench.ec2.containers(bench.instance()) == []


def test_a_lost_worker_is_tried_again(bench: Bench) -> None:
    job = bench.job("echo begun; sleep 600")
    bench.start(job)
    bench.until(lambda: bench.worker.log(bench.name, job, FIRST, 0) == b"begun\n")
    bench.ec2.kill(bench.instance())
    assert bench.worker.phase(bench.name, job, FIRST) == "absent"
    with pytest.raises(TryAgain, match=r"(?s)worker lost: i-.*begun"):
        bench.worker.collect(bench.name, FIRST, job, bench.store)


@pytest.mark.slow
def test_what_was_too_small_is_tried_once_more_on_a_bigger_machine_with_twice_the_disk(bench: Bench) -> None:
    job = bench.job('touch "$HHVM_OOM_MARK"; exit 1')  # As if a container of it ran out of memory.
    bench.start(job)
    bench.ended(job)
    with pytest.raises(TryAgain, match=r"out of memory: exit status 1"):
        bench.worker.collect(bench.name, FIRST, job, bench.store)
    bench.start(job, SECOND)
    [volume] = bench.ec2.launches[-1].parameters["BlockDeviceMapping"]
    assert bench.ec2.launches[-1].parameters["InstanceType"] == "c7i.xlarge"
    assert int(volume["Ebs"]["VolumeSize"]) == 2 * bench.settings.ec2.machine(SCRIPT).disk
    bench.ended(job, SECOND)
    with pytest.raises(JobFailed, match=r"out of memory: exit status 1"):
        bench.worker.collect(bench.name, SECOND, job, bench.store)


def test_what_keeps_an_instance_from_beginning_is_in_its_log(bench: Bench) -> None:
    job = bench.job("true")
    bench.store.scratch.put(keys.packaging(job.packaging), b"other bytes")
    bench.start(job)
    bench.ended(job)
    with pytest.raises(TryAgain, match=r"(?s)worker lost: .*packaging\.tar\.gz: FAILED"):
        bench.worker.collect(bench.name, FIRST, job, bench.store)


def test_a_job_that_needs_them_finds_the_keys_and_its_user_data_has_none(bench: Bench) -> None:
    bench.ec2.client("ssm").put_parameter(
        Name="/hhvm-packaging/keys/id_ed25519",
        Value="a key",
        Type="SecureString",  # SSM keeps no last newline.
    )
    tarball = "hhvm-1.0.0.tar.gz"
    job = bench.job(f'stat -c %a ~/.ssh/id_ed25519; cp ~/.ssh/id_ed25519 "$OUT/{tarball}"')
    # Only those that make the source tarball may read them.
    job = job.model_copy(update={"needs_keys": True, "outputs": "", "output_names": (tarball,)})
    bench.start(job)
    bench.ended(job)
    bench.worker.collect(bench.name, FIRST, job, bench.store)
    assert bench.store.scratch.get(tarball) == b"a key\n"
    assert bench.worker.log(bench.name, job, FIRST, 0) == b"600\n"
    assert "a key" not in bench.ec2.launches[-1].user_data


def test_what_an_instance_without_tools_and_network_printed_is_in_the_failure(bench: Bench) -> None:
    bench.ec2.boot_next(Boot(without=("aws",), network_after=600))
    job = bench.job("true")
    bench.start(job)
    bench.ended(job)
    with pytest.raises(TryAgain, match=r"(?s)worker lost: .*The console of i-.*network is unreachable"):
        bench.worker.collect(bench.name, FIRST, job, bench.store)


def test_an_instance_that_ec2_lists_late_is_neither_lost_nor_launched_again(bench: Bench) -> None:
    bench.ec2.show_after(600)
    job = bench.job("sleep 600")
    bench.start(job)
    assert bench.worker.phase(bench.name, job, FIRST) == "running"
    assert bench.worker.adopt(bench.name, job, bench.store) == FIRST


@pytest.mark.slow
def test_of_a_log_each_byte_is_uploaded_once_while_its_job_runs(bench: Bench) -> None:
    job = bench.job("for each in 1 2 3; do echo $each; sleep 8; done; exec sleep 600")
    bench.start(job)
    bench.until(lambda: bench.worker.log(bench.name, job, FIRST, 0) == b"1\n2\n3\n")
    parts = attempts.read(bench.store, "1.0.0", bench.name, FIRST).log_parts
    assert len(parts) > 1
    assert sum(part.end - part.start for part in parts) == len("1\n2\n3\n")
    bench.ec2.kill(bench.instance())
    with pytest.raises(TryAgain, match=r"(?s)worker lost: i-.*1\n2\n3"):
        bench.worker.collect(bench.name, FIRST, job, bench.store)


def test_where_there_is_no_room_for_one_type_the_next_is_launched(bench: Bench) -> None:
    bench.ec2.fail_launches("InsufficientInstanceCapacity", times=9, instance_type="c7i.large")
    bench.start(bench.job("true"))
    # Each several times: botocore itself tries some errors again.
    types = [launch.parameters["InstanceType"] for launch in bench.ec2.launches]
    assert list(dict.fromkeys(types)) == ["c7i.large", "c7a.large"]
    assert bench.ec2.launches[-1].instances


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("InsufficientInstanceCapacity", "no capacity"),
        ("RequestLimitExceeded", "API throttling"),
        ("VcpuLimitExceeded", "account limit"),
    ],
)
def test_where_there_is_no_room_at_all_the_job_is_tried_again_later(
    bench: Bench, code: str, failure: str
) -> None:
    bench.ec2.fail_launches(code, times=9)
    with pytest.raises(
        TryAgain, match=f"{failure}: EC2 launched no instance: c7i.large in any subnet: {code}"
    ):
        bench.start(bench.job("true"))


@pytest.mark.slow
def test_every_launch_ends_with_its_power(bench: Bench) -> None:
    bench.start(bench.job("true"))
    [launch] = bench.ec2.launches
    assert launch.parameters["InstanceInitiatedShutdownBehavior"] == "terminate"


# The operator


class AJob(Step[BuildPlan]):
    """A step whose job is the script of the test."""

    script = SCRIPT
    plan_type = BuildPlan
    made: ClassVar[Job]

    @override
    def job(self, attempt: AttemptId) -> Job:
        return self.made


@pytest.fixture
def deployed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The bench as a deployment: settings from the environment, AWS through Airflow's connection."""
    connection = {
        "conn_type": "aws",
        "login": "airflow",
        "password": "emulated",
        "extra": {"endpoint_url": bench.ec2.endpoint, "region_name": REGION},
    }
    environment = {
        "AIRFLOW_CONN_HHVM_AWS": json.dumps(connection),
        "HHVM_PACKAGING_WORKERS": "ec2",
        "HHVM_PACKAGING_PACKAGING_ROOT": str(bench.root),
        "HHVM_PACKAGING_POLL_INTERVAL": "1",
        "HHVM_PACKAGING_EC2__REGION": REGION,
        "HHVM_PACKAGING_EC2__IMAGE_PARAMETER": AMI_PARAMETER,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(STEPS, SCRIPT, AJob)
    settings.cache_clear()
    yield bench
    settings.cache_clear()


class TaskInstance:
    """What Airflow would give the task."""

    dag_id, run_id, task_id, map_index = "dag", "run", "task", -1
    try_number, max_tries = 1, RETRIES

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def task(job: Job) -> JobOperator:
    AJob.made = job
    plan = BuildPlan(
        version="1.0.0", nightly=False, commit="", packaging=job.packaging, packaging_revision="", distros=()
    )
    return JobOperator(task_id="task", script=SCRIPT, plan=plan.model_dump(mode="json"))


def test_one_task_launches_waits_takes_in_and_terminates(deployed: Bench) -> None:
    instance = TaskInstance()
    operator = task(deployed.job('echo hello; echo made >"$OUT/made"'))
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({"ti": instance})
    [launched] = deployed.ec2.launches
    assert launched.caller == "airflow"
    assert launched.instances[0] in str(instance.pushed)
    event: Any = asyncio.run(anext(deferred.value.trigger.run()))
    assert "done" in event.xcoms["return_value"]
    deployed.ec2.wait(launched.instances[0], "terminated")


def test_a_task_that_is_run_again_attaches_to_its_instance_also_when_its_answer_was_lost(
    deployed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.ec2.lose_launches()
    operator = task(deployed.job("sleep 600"))
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute({"ti": TaskInstance()})
    assert len({name for launch in deployed.ec2.launches for name in launch.instances}) == 1
    Supervisor(monkeypatch, lambda _: TaskStatesResult(task_states={}))  # A person deleted the run.
    deferred.value.trigger.task_instance = TaskInstance()
    asyncio.run(deferred.value.trigger.on_kill())
    deployed.ec2.wait(deployed.instance(), "terminated")
