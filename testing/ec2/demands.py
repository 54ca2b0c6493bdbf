"""What a call needs of a policy: its actions, its resources, and what the conditions look at."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from moto.backends import get_backend

from testing import account
from testing.ec2.policy import Demand

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT, REGION = account.ACCOUNT, account.REGION
_EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}:"


def of_s3(action: str, resource: str) -> Iterator[Demand]:
    """A call on ``BUCKET`` or ``BUCKET/KEY``."""
    yield Demand(action, f"arn:aws:s3:::{resource}")


def of_ec2(action: str, parameters: dict[str, Any]) -> Iterator[Demand]:
    """A call on EC2; the parameters are nested, as on the wire."""
    if action == "RunInstances":
        yield from _of_launch(parameters)
    elif action.startswith("Describe"):
        yield Demand(f"ec2:{action}", "*")
    else:
        backend = get_backend("ec2")[ACCOUNT][REGION]
        named = parameters.get("InstanceId", ())
        resources = [("instance", name) for name in ([named] if isinstance(named, str) else named)]
        resources += [("volume", parameters["VolumeId"])] if "VolumeId" in parameters else []
        for kind, name in resources or [("", "*")]:
            tags = {tag["key"]: tag["value"] for tag in backend.describe_tags({"resource-id": [name]})}
            context = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
            yield Demand(f"ec2:{action}", f"{_EC2}{kind}/{name}", context)


def of_cloudfront(method: str, path: str) -> Iterator[Demand]:
    """A call on CloudFront: ``/2020-05-31/distribution/ID/invalidation`` and so on."""
    parts = path.strip("/").split("/")[1:]
    collection = parts[-1 if len(parts) % 2 else -2]
    verb = {"POST": "Create", "GET": "Get"}[method]
    resource = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{parts[1]}" if len(parts) > 1 else "*"
    yield Demand(f"cloudfront:{verb}{collection.capitalize()}", resource)


def of_json(service: str, action: str, content: bytes) -> Iterator[Demand]:
    """A call on Systems Manager or KMS."""
    parameters = json.loads(content)
    if (service, action) == ("ssm", "GetParameter"):
        # Those that AWS publishes are nobody's.
        name, account = parameters["Name"], "" if parameters["Name"].startswith("/aws/") else ACCOUNT
        yield Demand("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{account}:parameter{name}")
    elif (service, action) == ("ssm", "GetParametersByPath"):
        yield Demand(
            "ssm:GetParametersByPath", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{parameters['Path']}"
        )
    elif (service, action) == ("kms", "Decrypt"):
        # moto's ciphertext begins with the key's id.
        key = base64.b64decode(parameters["CiphertextBlob"])[:36].decode()
        aliases = list(get_backend("kms")[ACCOUNT][REGION].keys[key].aliases)
        context = {"kms:ResourceAliases": aliases}
        yield Demand("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}", context)
    else:
        yield Demand(f"{service}:{action}", "*")


def _of_launch(parameters: dict[str, Any]) -> Iterator[Demand]:
    """See "Example policies" and "Grant permission to tag resources" in the EC2 User Guide."""
    tags = {
        specification["ResourceType"]: {tag["Key"]: tag.get("Value", "") for tag in specification["Tag"]}
        for specification in parameters.get("TagSpecification", ())
    }
    metadata = parameters.get("MetadataOptions", {})
    options = {
        "ec2:MetadataHttpTokens": metadata.get("HttpTokens", "optional"),
        "ec2:MetadataHttpPutResponseHopLimit": metadata.get("HttpPutResponseHopLimit", "2"),
    }
    spot = parameters.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    for kind in {"instance", "volume", "network-interface", *(["spot-instances-request"] if spot else [])}:
        requested = {f"aws:RequestTag/{key}": value for key, value in tags.get(kind, {}).items()}
        context = {**requested, **(options if kind == "instance" else {})}
        yield Demand("ec2:RunInstances", f"{_EC2}{kind}/*", context)
        if requested:
            context = {**requested, "ec2:CreateAction": "RunInstances"}
            yield Demand("ec2:CreateTags", f"{_EC2}{kind}/*", context)
    yield Demand("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/{parameters['ImageId']}")
    yield Demand("ec2:RunInstances", f"{_EC2}subnet/{parameters.get('SubnetId', 'subnet-default')}")
    for group in parameters.get("SecurityGroupId", ["sg-default"]):
        yield Demand("ec2:RunInstances", f"{_EC2}security-group/{group}")
    if profile := parameters.get("IamInstanceProfile", {}).get("Name"):
        # The tests' profiles have a role of the same name.
        role = f"arn:aws:iam::{ACCOUNT}:role/{profile}"
        yield Demand("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
