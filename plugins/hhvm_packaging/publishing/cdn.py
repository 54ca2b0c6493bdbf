"""The content delivery network before the downloads bucket: having it forget what a publish replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_cloudfront import CloudFrontClient

LOOK = 5
"""Seconds between looks at an invalidation, which takes CloudFront seconds to minutes."""
PATIENCE = 10 * 60
"""How long one may take, in seconds."""


class NoDistribution(PackagingError):
    """The settings name a CloudFront distribution that is not there."""


def invalidate(
    cloudfront: CloudFrontClient,
    distribution: str,
    repositories: Iterable[str],
    reference: str,
    *,
    look: int = LOOK,
) -> str:
    """Have CloudFront forget the indices of these repositories, and return when it has, saying so.

    Files of the pool never change, so those it may keep. ``reference`` is the request's own: the same one
    sent twice is one invalidation. Raises NoDistribution; botocore's ClientError, and its WaiterError after
    PATIENCE.
    """
    # With a path for each suite, a few publishes would reach the 15 wildcards that may be under way.
    paths = [f"/{keys.suites(repository)}*" for repository in sorted(set(repositories))]
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
