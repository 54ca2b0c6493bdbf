"""What CloudFront is asked to forget after a publish, and that publishing waits until it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.publishing import cdn
from testing.ec2 import AIRFLOW, emulated_ec2
from testing.ec2_fixtures import distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.ec2 import EC2


@pytest.fixture(scope="module")
def ec2(base_images: None) -> Iterator[EC2]:
    with emulated_ec2() as ec2:
        yield ec2


def invalidations(ec2: EC2, distribution: str) -> list[list[str]]:
    """The paths of each that there is."""
    client = ec2.client("cloudfront")
    listed = client.list_invalidations(DistributionId=distribution)["InvalidationList"]["Items"]
    found = (client.get_invalidation(DistributionId=distribution, Id=each["Id"]) for each in listed)
    return [each["Invalidation"]["InvalidationBatch"]["Paths"]["Items"] for each in found]


def test_the_indices_of_each_repository_are_forgotten_and_no_file_of_the_pool(ec2: EC2) -> None:
    id_ = distribution(ec2)
    said = cdn.invalidate(
        ec2.client("cloudfront", AIRFLOW), id_, ["ubuntu", "debian", "debian"], "a-try", look=1
    )
    assert invalidations(ec2, id_) == [["/debian/dists/*", "/ubuntu/dists/*"]]
    assert said.startswith(f"{id_} has forgotten /debian/dists/*, /ubuntu/dists/* (invalidation ")


def test_it_returns_only_when_cloudfront_has_forgotten_them(ec2: EC2) -> None:
    cdn.invalidate(ec2.client("cloudfront", AIRFLOW), distribution(ec2), ["debian"], "a-try", look=1)
    made, *looks = [call.action for call in ec2.calls if call.caller == AIRFLOW][-3:]
    assert made == "cloudfront:CreateInvalidation"
    # The first look finds it under way.
    assert looks == ["cloudfront:GetInvalidation"] * 2


def test_a_distribution_that_is_not_there_is_refused_by_the_settings_name(ec2: EC2) -> None:
    with pytest.raises(cdn.NoDistribution, match="cdn_distribution: CloudFront has no distribution E0"):
        cdn.invalidate(ec2.client("cloudfront", AIRFLOW), "E0", ["debian"], "a-try")
