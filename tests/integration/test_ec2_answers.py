"""What follows each of EC2's answers. Nothing runs on the instances here, so the tests are quick."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.backends import get_backend
from moto.moto_api._internal.models import moto_api_backend

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import aws
from hhvm_packaging.settings import Ec2, Machine, Settings, settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.upkeep.reaping import reap
from hhvm_packaging.workers.ec2 import WORK_TAG, Ec2Worker
from hhvm_packaging.workers.job import Failure, Job, JobFailed, TryAgain
from testing.ec2.demands import ACCOUNT, REGION
from testing.ec2.emulator import api_alone
from testing.ec2.gateway import IMDS, Fault, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "hhvm-test"
FIRST = AttemptId.new(1)
JOB = Job(version="1.0.0", script="a-job", packaging="0" * 64, environment={}, time_limit=60)


class Bench:
    """An EC2 worker whose instances are there, and do nothing."""

    def __init__(self, gateway: Gateway, endpoint: str) -> None:
        self.gateway = gateway
        self.endpoint = endpoint
        self.settings = Settings(
            poll_interval=1,
            ec2=Ec2(region=REGION, machines={"look-as-user": Machine()}),
        )
        self.ec2, s3 = self.client("ec2"), self.client("s3")
        for bucket in (self.settings.scratch_bucket, self.settings.downloads_bucket):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.store = Store(s3, self.settings)
        self.image = self.ec2.register_image(Name="debian", RootDeviceName="/dev/sda1")["ImageId"]
        self.worker = self.another_process()

    def another_process(self) -> Ec2Worker:
        """The worker as another process has it, which remembers nothing."""
        return Ec2Worker(self.ec2, self.store, self.settings, image=lambda _: self.image, launch=self.launch)

    def client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="emulated",  # ruff: ignore[hardcoded-password-func-arg]
            config=Config(retries={"total_max_attempts": 1}),
        )

    def launch(self, parameters: dict[str, Any]) -> str:
        parameters.pop("IamInstanceProfile")
        answer = self.ec2.run_instances(MinCount=1, MaxCount=1, **parameters)
        return str(answer["Instances"][0]["InstanceId"])

    def start(self, *, spot: bool = False) -> str:
        """Start the job. Returns the instance's id."""
        machine = Machine(instance_types=["small", "other"], spot=spot)
        ec2 = self.settings.ec2.model_copy(update={"machines": {JOB.script: machine}})
        self.worker.settings = self.settings.model_copy(update={"ec2": ec2})
        return self.worker.start(NAME, FIRST, JOB, {"hhvm.test": "yes"}, self.store).split()[-1]

    def fail(self, code: str, *, market: str | None = None, times: int = 99) -> None:
        self.gateway.faults.append(Fault(code, times, launches=False, market=market))

    def end(self, instance: str, code: str) -> None:
        """Let EC2 end the instance for a reason."""
        self.ec2.terminate_instances(InstanceIds=[instance])
        found: Any = get_backend("ec2")[ACCOUNT][REGION].get_instance(instance)
        found.state_reason.code, found.state_reason.message = code, f"{code}: as the test wants it"

    def asked(self) -> list[tuple[str, str]]:
        """The types and markets that EC2 was asked for, one after the other."""
        return [
            (
                launch.parameters["InstanceType"],
                launch.parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand"),
            )
            for launch in self.gateway.launches
        ]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # They take seconds.
    moto_api_backend.reset()
    with api_alone() as (gateway, endpoint):
        yield Bench(gateway, endpoint)
    moto_api_backend.reset()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InsufficientInstanceCapacity", 500),
        ("UnfulfillableCapacity", 500),
        ("RequestLimitExceeded", 503),
        ("VcpuLimitExceeded", 400),
    ],
)
def test_the_tests_ec2_refuses_with_ec2s_http_status(bench: Bench, code: str, status: int) -> None:
    bench.fail(code)
    with pytest.raises(ClientError) as error:
        bench.ec2.run_instances(ImageId=bench.image, MinCount=1, MaxCount=1, MetadataOptions=IMDS)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


# Refused launches


@pytest.mark.parametrize(
    "code",
    ["InsufficientInstanceCapacity", "UnfulfillableCapacity", "InsufficientVolumeCapacity", "Unsupported"],
)
def test_without_capacity_the_next_type_is_asked_for_and_then_another_try_follows(
    bench: Bench, code: str
) -> None:
    bench.fail(code)
    with pytest.raises(
        TryAgain, match=f"no capacity: EC2 launched no instance: small in any subnet: {code};"
    ):
        bench.start()
    assert bench.asked() == [("small", "on-demand"), ("other", "on-demand")]


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "InsufficientInstanceCapacity"])
def test_where_the_spot_market_has_none_the_machine_is_on_demand(bench: Bench, code: str) -> None:
    bench.fail(code, market="spot")
    assert bench.start(spot=True).startswith("i-")
    assert bench.asked()[-1] == ("small", "on-demand")


def test_a_reached_quota_is_not_asked_again_at_once_and_says_what_to_do(bench: Bench) -> None:
    bench.fail("VcpuLimitExceeded")
    with pytest.raises(
        TryAgain, match=r"account limit: .*VcpuLimitExceeded \(see the account's Service Quotas"
    ):
        bench.start()
    assert bench.asked() == [("small", "on-demand")]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UnauthorizedOperation", "the role of the AWS connection does not allow it"),
        ("InvalidAMIID.NotFound", "see the setting ec2, image_parameter"),
        ("InvalidSubnetID.NotFound", "see the setting ec2, subnets"),
        ("SignatureDoesNotMatch", "see the AWS connection's credentials"),
        ("AnErrorOfTomorrow", "AnErrorOfTomorrow"),
    ],
)
def test_what_somebody_has_to_change_fails_the_job_in_words(bench: Bench, code: str, words: str) -> None:
    bench.fail(code)
    with pytest.raises(JobFailed, match=f"the job failed: EC2 launched no instance: .*{words}"):
        bench.start()


def test_throttling_is_tried_again_later(bench: Bench) -> None:
    bench.fail("RequestLimitExceeded")
    with pytest.raises(TryAgain, match="API throttling") as error:
        bench.start()
    assert error.value.failure is Failure.THROTTLED


@pytest.mark.parametrize("code", ["InternalError", "ServiceUnavailable", "RequestExpired"])
def test_where_it_is_unknown_whether_ec2_launched_the_next_try_looks_first(bench: Bench, code: str) -> None:
    bench.gateway.faults.append(Fault(code, 1, launches=True))
    with pytest.raises(ClientError, match=code):
        bench.start()
    assert bench.another_process().adopt(NAME, JOB, bench.store) == FIRST


# Instances that EC2 ended


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("Server.InsufficientInstanceCapacity", Failure.CAPACITY),
        ("Client.VolumeLimitExceeded", Failure.LIMIT),
        ("Client.InternalError", Failure.JOB),
        ("Client.InvalidSnapshot.NotFound", Failure.JOB),
        ("Server.SpotInstanceTermination", Failure.RECLAIMED),
        ("Server.InternalError", Failure.LOST),
        ("Client.UserInitiatedShutdown", Failure.LOST),
    ],
)
def test_the_reason_of_its_end_decides_what_follows(bench: Bench, code: str, failure: Failure) -> None:
    bench.end(bench.start(), code)
    assert bench.another_process().phase(NAME, JOB, FIRST) == "absent"
    with pytest.raises((TryAgain, JobFailed), match=code) as error:
        bench.worker.collect(NAME, FIRST, JOB, bench.store)
    assert isinstance(error.value, TryAgain | JobFailed)
    assert error.value.failure is failure


# What waiting costs


def test_a_look_at_a_running_job_lists_its_files_once_and_reads_what_is_new_of_its_log(bench: Bench) -> None:
    worker = f"AROA1:{bench.start()}"
    part = keys.worker_file("1.0.0", NAME, FIRST, worker, "log/000000000000")
    bench.store.scratch.put(part, b"a line\n")
    calls: list[str] = []
    bench.store.scratch.s3.meta.events.register(
        "before-call.s3", lambda model, **_: calls.append(model.name), "count"
    )
    assert bench.worker.look(NAME, JOB, FIRST, 0) == ("running", b"a line\n")
    assert bench.worker.look(NAME, JOB, FIRST, len(b"a line\n")) == ("running", b"")
    assert calls == ["ListObjectsV2", "GetObject", "ListObjectsV2"]


# Launch times


def since_launch(bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time pass."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


def test_a_launch_that_took_minutes_does_not_shorten_the_wait_for_ec2s_list(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = AttemptId(FIRST.began.replace(year=FIRST.began.year - 1), 1)
    key = keys.launched("1.0.0", NAME, early, "i-0123456789abcdef0")
    bench.worker._record_time(key)  # ruff: ignore[private-member-access]
    assert bench.worker.phase(NAME, JOB, early) == "running"
    assert bench.worker.launched(NAME, JOB, early) == pytest.approx(time.time(), abs=60)
    since_launch(bench, monkeypatch, 301)
    assert bench.worker.phase(NAME, JOB, early) == "absent"


def test_without_an_answer_ec2_is_waited_for_a_minute_from_the_request(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.fail("InternalError")
    with pytest.raises(ClientError):
        bench.start()
    assert bench.worker.phase(NAME, JOB, FIRST) == "running"
    since_launch(bench, monkeypatch, 61)
    assert bench.worker.phase(NAME, JOB, FIRST) == "absent"


def test_a_healthy_instance_that_was_taken_for_absent_is_adopted_and_not_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = bench.start()
    with pytest.raises(TryAgain, match=f"{instance} is running: its time is not over") as error:
        bench.worker.collect(NAME, FIRST, JOB, bench.store)
    assert error.value.failure is None
    assert bench.worker.adopt(NAME, JOB, bench.store) == FIRST
    since_launch(bench, monkeypatch, JOB.time_limit + bench.settings.grace + 1)
    with pytest.raises(JobFailed, match=f"time limit: {instance} did not end within 60 s"):
        bench.worker.collect(NAME, FIRST, JOB, bench.store)


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped", "shutting-down"])
def test_the_end_of_a_job_terminates_its_instance_in_whatever_state_it_is(bench: Bench, state: str) -> None:
    instance = bench.start()
    found: Any = get_backend("ec2")[ACCOUNT][REGION].get_instance(instance)
    found._state.name = state  # ruff: ignore[private-member-access]  # moto has no public way
    assert bench.another_process().phase(NAME, JOB, FIRST) == (
        "running" if state in ("pending", "running") else "absent"
    )
    bench.worker.remove(NAME)
    bench.worker.remove(NAME)
    assert found.state == "terminated"


# What is not ours


def test_an_instance_with_our_deployments_tag_but_no_job_is_left_alone(bench: Bench) -> None:
    instance = bench.start()
    tags = [{"Key": WORK_TAG, "Value": bench.settings.scratch_bucket}]
    specification = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]
    bench.ec2.run_instances(
        ImageId=bench.image, MinCount=1, MaxCount=1, MetadataOptions=IMDS, TagSpecifications=specification
    )
    bench.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8, TagSpecifications=specification[1:])
    assert bench.worker.phase(NAME, JOB, FIRST) == "running"
    assert [ended.found.id for ended in reap(bench.worker, cast("Any", None), now=0)] == [instance]


def test_the_root_device_is_the_images_own(bench: Bench) -> None:
    bench.start()
    [volume] = bench.gateway.launches[-1].parameters["BlockDeviceMapping"]
    assert volume["DeviceName"] == "/dev/sda1"


# Clients


def connect(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    connection = {"conn_type": "aws", "login": "test", "password": "emulated", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_HHVM_AWS", json.dumps(connection))
    settings.cache_clear()


def test_every_client_repeats_what_fails_for_a_passing_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(
        monkeypatch, region_name=REGION, endpoint_url=bench.endpoint, config_kwargs={"connect_timeout": 7}
    )
    for service in ("s3", "ec2", "ssm", "kms", "cloudfront"):
        config = aws.client(service).meta.config
        assert config.retries == {"mode": "standard", "total_max_attempts": 6}
        assert config.connect_timeout == 7
