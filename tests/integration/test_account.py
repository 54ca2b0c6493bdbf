"""The stacks of ``deploy/aws``, deployed to moto as far as it has their resources."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from typing import TYPE_CHECKING, Any, get_args

import boto3
import pytest
from moto import mock_aws

from hhvm_packaging.settings import JobKind, Settings
from testing import account
from testing.account import AIRFLOW_ROLE, REGION, STACKS, TEMPLATES, worker_role
from testing.ec2 import identity

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "/test/image"
GIVEN = {"watch": {"Email": "releases@example.org"}, "workers": {"Image": IMAGE}}
IN_MOTO = ("storage", "key", "roles", "workers", "watch")
"""moto has no CloudFront distribution and no EC2 instance connect endpoint by template."""


@pytest.fixture(scope="module")
def outputs() -> Iterator[dict[str, dict[str, str]]]:
    """What the stacks say when they are deployed, by stack."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(), warnings.catch_warnings():
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        warnings.filterwarnings("ignore", message="Tried to parse .* but it's not supported by moto")
        image = client("ec2").register_image(Name="an-image", RootDeviceName="/dev/xvda")["ImageId"]
        client("ssm").put_parameter(Name=IMAGE, Value=image, Type="String")
        yield {
            stack: account.deploy(client("cloudformation"), stack, **GIVEN.get(stack, {}))
            for stack in IN_MOTO
        }


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


def test_the_deployed_roles_may_do_what_the_templates_say(outputs: object) -> None:
    assert set(account.statements()) == {AIRFLOW_ROLE, *map(worker_role, get_args(JobKind))}
    for role, statements in account.statements().items():
        assert identity.statements(role) == statements


def test_each_kind_of_job_has_an_instance_profile_with_its_own_role_alone(outputs: object) -> None:
    for kind in get_args(JobKind):
        name = Settings().ec2.instance_profile(kind)
        profile = client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        assert [role["RoleName"] for role in profile["Roles"]] == [name]


@pytest.mark.parametrize("name", ["Scratch", "Downloads"])
def test_the_buckets_are_private_versioned_and_encrypted(name: str) -> None:
    # Read from the template: moto takes few of a bucket's properties from one.
    bucket = account.read("storage")["Resources"][name]["Properties"]
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_nothing_reaches_a_worker_from_outside(outputs: dict[str, dict[str, str]]) -> None:
    [group] = json.loads(outputs["workers"]["SecurityGroups"].partition("=")[2])
    [found] = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert found["IpPermissions"] == []


def test_the_outputs_are_settings_that_are_accepted(
    outputs: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        line
        for stack, found in outputs.items()
        for name, line in found.items()
        if account.read(stack)["Outputs"][name]["Description"].startswith("settings.env")
    ]
    for line in lines:
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.ec2.subnets != []
    assert settings.ec2.security_groups != []
    assert settings.ec2.keys_parameters == "/hhvm-packaging/keys"
    assert settings.ec2.push_keys_parameters == "/hhvm-packaging/push-keys"
    image = client("ssm").get_parameter(Name=settings.ec2.image_parameter)["Parameter"]["Value"]
    assert image.startswith("ami-")


@pytest.mark.parametrize("stack", STACKS)
def test_a_template_is_one_that_cloudformation_reads(stack: str) -> None:
    text = (TEMPLATES / f"{stack}.yaml").read_text()
    # Neither moto nor cfn-lint says that CloudFormation refuses YAML's anchors, aliases and merge keys: see
    # "CloudFormation template formats" in its User Guide.
    assert not re.search(r"(^|[\s:\[{,-])[&*][A-Za-z]|<<:", re.sub(r'"[^"]*"|#.*', "", text))
    assert len(text) < 51200, "larger than what is sent without a bucket"


@pytest.mark.parametrize("stack", ["storage", "key"])
def test_what_cannot_be_made_again_stays_when_its_stack_is_deleted(stack: str) -> None:
    kept = ("AWS::S3::Bucket", "AWS::KMS::Key")
    resources = [each for each in account.read(stack)["Resources"].values() if each["Type"] in kept]
    assert resources
    for resource in resources:
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_policies_fit_into_a_role() -> None:
    # Ten thousand characters for all inline policies of a role, white space not counted: "IAM and AWS STS
    # quotas" in the IAM User Guide.
    for role, statements in account.statements().items():
        assert len(json.dumps(statements, separators=(",", ":"))) < 10_000, role


def test_the_cdn_may_list_the_bucket_so_that_a_missing_key_is_404() -> None:
    policy = account.read("storage")["Resources"]["DownloadsPolicy"]["Properties"]["PolicyDocument"]
    allowed = {
        statement["Action"]
        for statement in policy["Statement"]
        if statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    }
    assert allowed == {"s3:GetObject", "s3:ListBucket"}
    # With it a query string would list the bucket.
    for name in ("Brief", "Long"):
        cache = account.read("cdn")["Resources"][name]["Properties"]["CachePolicyConfig"]
        passed_on = cache["ParametersInCacheKeyAndForwardedToOrigin"]
        assert passed_on["QueryStringsConfig"] == {"QueryStringBehavior": "none"}


def test_the_cdn_keeps_the_public_key_for_a_minute_and_pool_files_for_a_year() -> None:
    resources = account.read("cdn")["Resources"]
    config = resources["Distribution"]["Properties"]["DistributionConfig"]
    patterns = {each["PathPattern"]: each["CachePolicyId"] for each in config["CacheBehaviors"]}
    assert patterns == {"*/pool/*": {"Ref": "Long"}, "*/by-hash/*": {"Ref": "Long"}}
    assert config["DefaultCacheBehavior"]["CachePolicyId"] == {"Ref": "Brief"}
    assert resources["Brief"]["Properties"]["CachePolicyConfig"]["MaxTTL"] == 60
    assert resources["Long"]["Properties"]["CachePolicyConfig"]["MaxTTL"] == 365 * 24 * 3600


@pytest.mark.skipif(shutil.which("node") is None, reason="the CDN's function is JavaScript")
def test_the_page_of_a_directory_is_its_listing() -> None:
    code = account.read("cdn")["Resources"]["DirectoryPages"]["Properties"]["FunctionCode"]
    paths = {
        "/": "/index.html",
        "/debian/dists/": "/debian/dists/index.html",
        "/debian/x.deb": "/debian/x.deb",
    }
    ask = (
        f"{code}; for (const uri of {json.dumps(list(paths))}) console.log(handler({{request: {{uri}}}}).uri)"
    )
    answer = subprocess.run(["node", "--eval", ask], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == list(paths.values())
