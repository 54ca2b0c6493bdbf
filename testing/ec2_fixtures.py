"""EC2 as the tests have it: fresh for each test, with hours that last a minute."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from testing.ec2 import EC2, emulated_ec2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@pytest.fixture
def ec2(base_images: None) -> Iterator[EC2]:
    """An EC2 whose instances run; nothing is left of them."""
    with emulated_ec2(seconds_per_minute=1) as ec2:
        yield ec2


def distribution(ec2: EC2) -> str:
    """The id of a CloudFront distribution, made for it."""
    origin = {"Id": "downloads", "DomainName": "hhvm-downloads.s3.amazonaws.com"}
    config: dict[str, Any] = {
        "CallerReference": str(uuid.uuid4()),
        "Comment": "",
        "Enabled": True,
        "Origins": {"Quantity": 1, "Items": [{**origin, "S3OriginConfig": {"OriginAccessIdentity": ""}}]},
        "DefaultCacheBehavior": {"TargetOriginId": "downloads", "ViewerProtocolPolicy": "allow-all"},
    }
    made = ec2.client("cloudfront").create_distribution(DistributionConfig=config)
    return str(made["Distribution"]["Id"])
