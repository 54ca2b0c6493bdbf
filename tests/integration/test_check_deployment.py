"""``bin/check-deployment`` on an account that is right, and on accounts that are not."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_api._internal.models import moto_api_backend
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from hhvm_packaging.settings import Ec2, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.upkeep.deployment_checks import Deployment, Verdict
from testing import account
from testing.account import AIRFLOW_ROLE, REGION, worker_role
from testing.ec2 import AMI_PARAMETER, account_api
from testing.ec2.emulator import QuietHandler, api_alone
from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.upkeep.deployment_checks import Finding

ROOT = Path(__file__).resolve().parents[2]
KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


@dataclass
class Cdn:
    """A server before the downloads bucket, as deploy/aws/cdn.yaml has CloudFront."""

    s3: Any
    missing: int = 404
    has_directory_pages: bool = True
    age: int = 12
    changed: dict[str, bytes] = field(default_factory=dict)
    """What it still has of another state, by key."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        key = Request(environ).path.lstrip("/")
        if self.has_directory_pages and (not key or key.endswith("/")):
            key += "index.html"
        try:
            content = (
                self.changed.get(key) or self.s3.get_object(Bucket="hhvm-downloads", Key=key)["Body"].read()
            )
        except self.s3.exceptions.ClientError:
            return Response(status=self.missing)(environ, start_response)
        return Response(content, headers={"Age": str(self.age)})(environ, start_response)


@dataclass
class Account:
    """An account with all that is deployed, and its CDN."""

    endpoint: str
    settings: Settings
    cdn: Cdn

    def client(self, service: str) -> Any:
        return client(self.endpoint, service)

    def check(self, part: str = "check") -> dict[str, Finding]:
        """What all checks find, or one of them alone."""
        found = getattr(Deployment(self.settings, self.client, None, AIRFLOW_ROLE), part)()
        return {finding.check: finding for finding in found}


def client(endpoint: str, service: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="operator",
        aws_secret_access_key="emulated",  # ruff: ignore[hardcoded-password-func-arg]
    )


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    moto_api_backend.reset()
    with api_alone() as (_, endpoint):
        account.deploy(client(endpoint, "cloudformation"), "roles")
        s3 = client(endpoint, "s3")
        for bucket in ("hhvm-scratch", "hhvm-downloads"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        for key in (PUBLIC_KEY, keys.listing(""), keys.listing("debian/")):
            s3.put_object(Bucket="hhvm-downloads", Key=key, Body=KEY)
        image = client(endpoint, "ec2").register_image(Name="an-image", RootDeviceName="/dev/xvda")["ImageId"]
        client(endpoint, "ssm").put_parameter(Name=AMI_PARAMETER, Value=image, Type="String")
        cdn = Cdn(s3)
        server = make_server("127.0.0.1", 0, cdn, threaded=True, request_handler=QuietHandler)
        ec2 = Ec2(
            image_parameter=AMI_PARAMETER,
            keys_parameters="/hhvm-packaging/keys",
            push_keys_parameters="/hhvm-packaging/push-keys",
        )
        with serving(server):
            url = f"http://127.0.0.1:{server.server_port}"
            settings = Settings(workers="ec2", public_url=url, cdn_distribution="E123", ec2=ec2)  # type: ignore[arg-type]
            yield Account(endpoint, settings, cdn)
    moto_api_backend.reset()


def test_an_account_that_is_right_is_found_right(aws: Account) -> None:
    before = objects(aws)
    found = aws.check()
    assert found.pop("Airflow").verdict is Verdict.UNKNOWN, "nobody said where it is"
    assert {each.check: each.seen for each in found.values() if each.verdict is not Verdict.RIGHT} == {}
    assert {f"role {worker_role(kind)}" for kind in ("source", "build", "look", "push")} < set(found)
    assert objects(aws) == before, "it changes nothing"


def objects(aws: Account) -> list[Any]:
    """What is in the buckets."""
    s3 = aws.client("s3")
    return [
        [(each["Key"], each["ETag"]) for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        for bucket in ("hhvm-scratch", "hhvm-downloads")
    ]


TOO_MUCH = {
    AIRFLOW_ROLE: [
        ("s3:PutObject", "arn:aws:s3:::hhvm-downloads/*"),
        ("iam:PassRole", "*"),
        ("ec2:RunInstances", "*"),
    ],
    "hhvm-worker-build": [("ssm:GetParametersByPath", "*")],
    "hhvm-worker-look": [("s3:GetObject", "arn:aws:s3:::hhvm-scratch/*")],
    "hhvm-worker-source": [("s3:PutObject", "arn:aws:s3:::hhvm-scratch/jobs/*")],
    "hhvm-worker-push": [("s3:ListBucket", "*")],
}
"""Rights that a role must not have."""


def test_a_role_that_may_do_too_much_is_found(aws: Account) -> None:
    for role, added in TOO_MUCH.items():
        statements = [
            {"Sid": f"Added{number}", "Effect": "Allow", "Action": action, "Resource": resource}
            for number, (action, resource) in enumerate(added)
        ]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        aws.client("iam").put_role_policy(RoleName=role, PolicyName="added", PolicyDocument=document)
    found = aws.check("check_roles")
    for role, added in TOO_MUCH.items():
        assert found[f"role {role}"].verdict is Verdict.WRONG
        assert "roles.yaml" in found[f"role {role}"].advice
        for action, _ in added:
            assert f"it may {action} on" in found[f"role {role}"].seen


def test_a_role_that_may_do_too_little_is_found(aws: Account) -> None:
    roles, iam = (AIRFLOW_ROLE, "hhvm-worker-build"), aws.client("iam")
    for role in roles:
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=name)
    found = aws.check("check_roles")
    for role in roles:
        seen = found[f"role {role}"]
        assert (seen.verdict, "it may not s3:GetObject on" in seen.seen) == (Verdict.WRONG, True)


def test_an_instance_profile_that_is_not_there_is_found(aws: Account) -> None:
    ec2 = aws.settings.ec2.model_copy(update={"instance_profiles": {"push": "hhvm-pusher"}})
    aws.settings = aws.settings.model_copy(update={"ec2": ec2})
    assert aws.check("check_roles")["role for push"].seen == "there is no instance profile hhvm-pusher"


def test_a_cdn_that_answers_403_for_a_missing_key_is_found(aws: Account) -> None:
    aws.cdn.missing = 403
    found = aws.check("check_public_url")["a missing key"]
    assert (found.verdict, "s3:ListBucket" in found.advice) == (Verdict.WRONG, True)


def test_a_cdn_without_pages_of_directories_is_found(aws: Account) -> None:
    aws.cdn.has_directory_pages = False
    assert aws.check("check_public_url")["the page of /debian/"].verdict is Verdict.WRONG


def test_a_cdn_that_keeps_the_public_key_too_long_is_found(aws: Account) -> None:
    aws.cdn.age = 3600
    assert "3600 s" in aws.check("check_public_key")["public key's age"].seen
    aws.cdn.changed = {PUBLIC_KEY: b"a key that was replaced"}
    assert aws.check("check_public_key")["public key"].verdict is Verdict.WRONG


def test_quotas_that_do_not_suffice_are_found(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(account_api.QUOTAS, "L-1216C47A", 32.0)
    found = aws.check("check_quotas")["quota of on-demand vCPUs"]
    assert (found.verdict, found.seen) == (
        Verdict.WRONG,
        "32, but workers_at_once is 10, which may need 160",
    )


def test_what_cannot_be_checked_is_said_and_the_rest_is_checked(aws: Account) -> None:
    aws.settings = aws.settings.model_copy(update={"scratch_bucket": "hhvm-another", "workers": "docker"})
    found = aws.check()
    assert "NoSuchBucket" in found["store"].seen
    assert found["a missing key"].verdict is Verdict.RIGHT


def test_the_command_says_it_in_plain_words_and_as_json_and_ends_with_a_status(aws: Account) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "operator",
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "HHVM_PACKAGING_PUBLIC_URL": str(aws.settings.public_url),
    }
    command = [str(ROOT / "bin/check-deployment")]
    aws.cdn.missing = 403
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 1, told.stderr
    assert "wrong    a missing key: " in told.stdout
    assert "what to do: the CDN needs s3:ListBucket" in told.stdout
    aws.cdn.missing = 404
    told = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2, "Airflow was not checked"
    verdicts = {each["check"]: each["verdict"] for each in json.loads(told.stdout)}
    assert (verdicts["a missing key"], verdicts["Airflow"]) == ("right", "unknown")
