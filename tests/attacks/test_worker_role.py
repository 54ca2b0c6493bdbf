"""An instance, whatever its kind of job, writes below its own aws:userid and nowhere else."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any, get_args

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.moto_api._internal.models import moto_api_backend

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.settings import JobKind, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch
from testing import account
from testing.account import worker_role
from testing.ec2.demands import REGION
from testing.ec2.emulator import api_alone
from testing.ec2.gateway import AIRFLOW, IMDS
from testing.ec2.policy import Demand, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTEMPT = "20261128T100000.000000Z-1"
OWN, ANOTHERS = "AROA0123456789:i-0123456789abcdef0", "AROA0123456789:i-fedcba9876543210f"
FIELDS = {
    "artifact": ["hhvm_1.0.0-1_amd64.deb", ATTEMPT, OWN],
    "attempt": [ATTEMPT],
    "candidate_file": ["dists/bookworm/InRelease", f"dists/{OWN}/x", f"{OWN}/x"],
    "dag_id": ["hhvm_build", OWN],
    "distro": ["debian-12-bookworm", OWN],
    "instance": [OWN.partition(":")[2]],
    "job": ["hhvm-1.0.0-look-0123456789ab"],
    "job_file": [keys.JOB, keys.LOG, keys.RESULT, keys.FAILURE, OWN],
    "keyring_file": ["hhvm-archive-keyring_1_all.deb"],
    "nightly": ["2026.11.28"],
    "number": ["1"],
    "release": ["1.0.0"],
    "repository": ["debian"],
    "run_digest": ["0" * 16],
    "run_id": ["manual__2026-11-28T10:00:00+00:00", OWN],
    "sha256": ["0" * 64],
    "snapshot": [OWN],
    "subject": ["1.0.0", "canary", "dependencies"],
    "suite": ["bookworm", OWN],
    "suite_kind": ["nightly", OWN],
    "version": ["1.0.0", "2026.11.28"],
    "worker": [OWN, ANOTHERS, f"X{OWN}", f"{OWN}0", "AROA1:i-0"],
    "worker_file": [keys.LOG, keys.RESULT, "out/hhvm.deb", "manifest.json"],
}
"""Values of each field; a name like the instance's own is what the role's patterns may let pass."""


def writes(key: str, user_id: str | None = OWN) -> Demand:
    context = {"aws:userid": user_id} if user_id else {}
    return Demand("s3:PutObject", f"arn:aws:s3:::hhvm-scratch/{key}", context)


@pytest.mark.parametrize("kind", get_args(JobKind))
@pytest.mark.parametrize("template", Scratch)
def test_an_instance_writes_below_its_own_name_and_nothing_else(template: Scratch, kind: JobKind) -> None:
    worker = Policy(worker_role(kind))
    for values in itertools.product(*(FIELDS[field] for field in template.fields)):
        fields = dict(zip(template.fields, values, strict=True))
        key = template.build(**fields)
        is_own = template is Scratch.WORKER_FILE and fields["worker"] == OWN
        assert worker.allows(writes(key)) == is_own, key


def test_a_caller_without_a_name_writes_nothing() -> None:
    key = Scratch.WORKER_FILE.build(
        subject="1.0.0", job="a-job", attempt=ATTEMPT, worker=OWN, worker_file=keys.RESULT
    )
    assert Policy(worker_role("build")).allows(writes(key))
    assert not Policy(worker_role("build")).allows(writes(key, None))
    assert not Policy(worker_role("build")).allows(writes(key.replace(OWN, "${aws:userid}"), None))


# The same at the API: two instances of one role


class Account:
    """An AWS account whose instances are only names."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.bucket = Settings().scratch_bucket
        account.deploy(self.client("cloudformation", "test"), "roles")
        self.client("s3", "test").create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )

    def client(self, service: str, caller: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self._endpoint,
            region_name=REGION,
            aws_access_key_id=caller,
            aws_secret_access_key="emulated",  # ruff: ignore[hardcoded-password-func-arg]
        )

    def launch(self, kind: JobKind = "build") -> str:
        ec2 = self.client("ec2", "test")
        answer = ec2.run_instances(
            ImageId=ec2.register_image(Name=str(uuid.uuid4()), RootDeviceName="/dev/xvda")["ImageId"],
            MinCount=1,
            MaxCount=1,
            MetadataOptions=IMDS,
            IamInstanceProfile={"Name": worker_role(kind)},
        )
        return str(answer["Instances"][0]["InstanceId"])

    def user_id(self, instance: str) -> str:
        """What the instance learns of itself."""
        return str(self.client("sts", instance).get_caller_identity()["UserId"])

    def write(self, instance: str, worker: str) -> None:
        """Let an instance write a result below some name."""
        key = keys.worker_file("1.0.0", "a-job", AttemptId.parse(ATTEMPT), worker, keys.RESULT)
        self.client("s3", instance).put_object(Bucket=self.bucket, Key=key, Body=b"{}")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    moto_api_backend.reset()
    with api_alone() as (_, endpoint):
        yield Account(endpoint)
    moto_api_backend.reset()


def test_one_instance_cannot_leave_a_result_for_another_of_the_same_role(aws: Account) -> None:
    first, second = aws.launch(), aws.launch()
    assert aws.user_id(first).partition(":")[2] == first
    aws.write(first, aws.user_id(first))
    with pytest.raises(ClientError, match=r"hhvm-worker-build of deploy/aws does not allow s3:PutObject"):
        aws.write(second, aws.user_id(first))
    aws.write(second, aws.user_id(second))


KEYS = {"source": "/hhvm-packaging/keys", "push": "/hhvm-packaging/push-keys"}


@pytest.mark.parametrize("kind", get_args(JobKind))
def test_an_instance_reads_the_git_key_of_its_own_kind_of_job_and_no_other(
    aws: Account, kind: JobKind
) -> None:
    for path in KEYS.values():
        aws.client("ssm", "test").put_parameter(Name=f"{path}/id_ed25519", Value="a key", Type="SecureString")
    ssm = aws.client("ssm", aws.launch(kind))
    for owner, path in KEYS.items():
        if owner == kind:
            assert ssm.get_parameters_by_path(Path=path, WithDecryption=True)["Parameters"]
        else:
            with pytest.raises(
                ClientError, match=rf"hhvm-worker-{kind} .* does not allow ssm:GetParametersBy"
            ):
                ssm.get_parameters_by_path(Path=path, WithDecryption=True)


def test_an_instance_without_a_role_may_do_nothing(aws: Account) -> None:
    answer = aws.client("ec2", "test").run_instances(
        ImageId=aws.client("ec2", "test").register_image(Name="bare", RootDeviceName="/dev/xvda")["ImageId"],
        MinCount=1,
        MaxCount=1,
        MetadataOptions=IMDS,
    )
    with pytest.raises(ClientError, match="does not allow s3:GetObject"):
        aws.client("s3", answer["Instances"][0]["InstanceId"]).get_object(Bucket=aws.bucket, Key="x")


@pytest.mark.parametrize("caller", ["the worker", AIRFLOW])
def test_nobody_lets_metadata_reach_further_once_an_instance_runs(aws: Account, caller: str) -> None:
    instance = aws.launch()
    ec2 = aws.client("ec2", instance if caller == "the worker" else caller)
    with pytest.raises(ClientError, match="AccessDenied"):
        ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=2)
    [found] = aws.client("ec2", "test").describe_instances(InstanceIds=[instance])["Reservations"]
    assert found["Instances"][0]["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
