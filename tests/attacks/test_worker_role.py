"""An instance, with the role of docs/iam/worker.json, writes below its own aws:userid and nowhere else."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.moto_api._internal.models import moto_api_backend

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch
from testing.ec2.demands import REGION
from testing.ec2.emulator import api_alone
from testing.ec2.gateway import IMDS
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
    "nightly": ["2026.11.28"],
    "number": ["1"],
    "release": ["1.0.0"],
    "repository": ["debian"],
    "run_digest": ["0" * 16],
    "run_id": ["manual__2026-11-28T10:00:00+00:00", OWN],
    "sha256": ["0" * 64],
    "snapshot": [OWN],
    "subject": ["1.0.0", "canary"],
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


@pytest.mark.parametrize("template", Scratch)
def test_an_instance_writes_below_its_own_name_and_nothing_else(template: Scratch) -> None:
    worker = Policy("worker")
    for values in itertools.product(*(FIELDS[field] for field in template.fields)):
        fields = dict(zip(template.fields, values, strict=True))
        key = template.build(**fields)
        is_own = template is Scratch.WORKER_FILE and fields["worker"] == OWN
        assert worker.allows(writes(key)) == is_own, key


def test_a_caller_without_a_name_writes_nothing() -> None:
    key = Scratch.WORKER_FILE.build(
        subject="1.0.0", job="a-job", attempt=ATTEMPT, worker=OWN, worker_file=keys.RESULT
    )
    assert Policy("worker").allows(writes(key))
    assert not Policy("worker").allows(writes(key, None))
    assert not Policy("worker").allows(writes(key.replace(OWN, "${aws:userid}"), None))


# The same at the API: two instances of one role


class Account:
    """An AWS account whose instances are only names."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.bucket, self.profile = Settings().scratch_bucket, Settings().ec2.instance_profile
        iam = self.client("iam", "test")
        iam.create_role(RoleName=self.profile, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=self.profile)
        iam.add_role_to_instance_profile(InstanceProfileName=self.profile, RoleName=self.profile)
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

    def launch(self) -> str:
        ec2 = self.client("ec2", "test")
        answer = ec2.run_instances(
            ImageId=ec2.register_image(Name=str(uuid.uuid4()), RootDeviceName="/dev/xvda")["ImageId"],
            MinCount=1,
            MaxCount=1,
            MetadataOptions=IMDS,
            IamInstanceProfile={"Name": self.profile},
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
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    moto_api_backend.reset()
    with api_alone() as (_, endpoint):
        yield Account(endpoint)
    moto_api_backend.reset()


def test_one_instance_cannot_leave_a_result_for_another_of_the_same_role(account: Account) -> None:
    first, second = account.launch(), account.launch()
    assert account.user_id(first).partition(":")[2] == first
    account.write(first, account.user_id(first))
    with pytest.raises(ClientError, match=r"docs/iam/worker\.json does not allow s3:PutObject"):
        account.write(second, account.user_id(first))
    account.write(second, account.user_id(second))
