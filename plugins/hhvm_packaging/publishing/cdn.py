"""Invalidates what the content delivery network has cached of the downloads bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_cloudfront import CloudFrontClient

LOOK = 5
"""Seconds between two requests for the state of an invalidation."""
PATIENCE = 10 * 60
"""How long an invalidation may take, in seconds. Most take less than a minute."""


class NoDistribution(PackagingError):
    """The settings name a CloudFront distribution that does not exist."""


def find_paths(repositories: Iterable[str]) -> list[str]:
    """The paths of the indices of these repositories, as CloudFront takes them."""
    # One path per repository: CloudFront allows 15 wildcards at a time, and suites are many.
    return [f"/{keys.suites(repository)}*" for repository in sorted(set(repositories))]


def invalidate(
    cloudfront: CloudFrontClient,
    distribution: str,
    repositories: Iterable[str],
    reference: str,
    *,
    look: int = LOOK,
) -> str:
    """Invalidate the indices of these repositories, and wait for it. Return what was done, for people.

    Files in the pool never change, so they stay cached. ``reference`` identifies the request: CloudFront
    takes two requests with the same reference for one. ``look`` is LOOK. Raises NoDistribution; botocore's
    ClientError, and its WaiterError after PATIENCE.
    """
    paths = find_paths(repositories)
    try:
        made = cloudfront.create_invalidation(
            DistributionId=distribution,
            InvalidationBatch={
                "Paths": {"Quantity": len(paths), "Items": paths},
                "CallerReference": reference,
            },
        )
    except cloudfront.exceptions.NoSuchDistribution as error:
        raise NoDistribution(
            f"cdn_distribution: CloudFront has no distribution {distribution} in this account"
        ) from error
    invalidation = made["Invalidation"]["Id"]
    cloudfront.get_waiter("invalidation_completed").wait(
        DistributionId=distribution,
        Id=invalidation,
        WaiterConfig={"Delay": look, "MaxAttempts": PATIENCE // look},
    )
    return f"{distribution} has forgotten {', '.join(paths)} (invalidation {invalidation})"
