"""What EC2 says when it does not run an instance, and what follows: one table of its error codes.

The codes of refused calls are from "Error codes for the Amazon EC2 API" in the EC2 API Reference, those of
instances that ended from "StateReason" there and "Troubleshoot instance launch issues" in the EC2 User Guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from hhvm_packaging.workers.job import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.exceptions import ClientError


class Then(Enum):
    """What follows a refused launch."""

    ELSEWHERE = auto()
    """The next option is tried at once: another type, subnet or market."""
    OTHER_MARKET = auto()
    """The options of the same market are left out. Another try follows later if there are no others."""
    LATER = auto()
    """Another try of the task follows later."""
    LOOK_FIRST = auto()
    """EC2 may have launched it. The task's next try looks for it before it launches another."""
    SIGN_IN_AGAIN = auto()
    """The credentials had expired, or the clock is wrong. The task's next try gets new ones."""
    FAIL = auto()
    """Somebody has to change something."""


@dataclass(frozen=True)
class Answer:
    """What an error code means."""

    failure: Failure
    then: Then
    advice: str = ""
    """What to do, for people."""


def _all(answer: Answer, *codes: str) -> dict[str, Answer]:
    return dict.fromkeys(codes, answer)


_NO_CAPACITY = Answer(Failure.CAPACITY, Then.ELSEWHERE)
_QUOTA = Answer(
    Failure.LIMIT,
    Then.OTHER_MARKET,
    "see the account's Service Quotas, and the setting workers_at_once",
)
_MAY_RUN = Answer(Failure.LOST, Then.LOOK_FIRST)
_EXPIRED = Answer(
    Failure.LOST, Then.SIGN_IN_AGAIN, "see the AWS connection's credentials, and this machine's clock"
)


def _refused(advice: str) -> Answer:
    return Answer(Failure.JOB, Then.FAIL, advice)


_ANSWERS: Mapping[str, Answer] = {
    **_all(
        _NO_CAPACITY,
        "InsufficientAddressCapacity",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientVolumeCapacity",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",  # this type in this zone
        "VolumeTypeNotAvailableInZone",
    ),
    **_all(
        _QUOTA,
        "InstanceLimitExceeded",
        "MaxIOPSLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "NetworkInterfaceLimitExceeded",
        "ResourceLimitExceeded",
        "VcpuLimitExceeded",
        "VolumeLimitExceeded",
    ),
    "PendingVerification": Answer(
        Failure.LIMIT, Then.LATER, "AWS verifies the account, which takes up to four hours"
    ),
    **_all(
        Answer(Failure.THROTTLED, Then.LATER),
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    ),
    **_all(
        _MAY_RUN,
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
    ),
    **_all(_EXPIRED, "ExpiredToken", "ExpiredTokenException", "RequestExpired"),
    **_all(
        _refused("see the AWS connection's credentials"),
        "AuthFailure",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ),
    **_all(
        _refused("the role of the AWS connection does not allow it, see docs/permissions.md"),
        "AccessDenied",
        "UnauthorizedOperation",
    ),
    **_all(_refused("AWS has blocked the account, see its Support Center"), "Blocked", "OptInRequired"),
    **_all(
        _refused("see the setting ec2, image_parameter and image_parameters"),
        "InvalidAMIID.Malformed",
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Unavailable",
    ),
    **_all(
        _refused("see the setting ec2, subnets"),
        "InvalidSubnet",
        "InvalidSubnet.Conflict",
        "InvalidSubnetID.NotFound",
        "MissingInput",
        "VPCIdNotSpecified",
    ),
    **_all(
        _refused("see the setting ec2, security_groups"),
        "InvalidGroup.NotFound",
        "InvalidSecurityGroupID.NotFound",
        "InvalidSecurity.RequestHasExpired",
    ),
    **_all(
        _refused("see the setting ec2, machines"),
        "InvalidBlockDeviceMapping",
        "InvalidInstanceType",
        "UnsupportedOperation",
    ),
    **_all(
        _refused("the account's key for EBS volumes is not usable for this role, see docs/permissions.md"),
        "InvalidKmsKey.InvalidState",
        "KMSKeyNotAccessibleFault",
    ),
    **_all(
        _refused(""),
        "IdempotentParameterMismatch",
        "InvalidParameterCombination",
        "InvalidParameterValue",
    ),
}

_SERVER_ERROR = 500


def of_launch(error: ClientError) -> Answer:
    """What a refused RunInstances means, and what follows. A code that is not listed goes by its status."""
    known = _ANSWERS.get(error.response["Error"]["Code"])
    if known:
        return known
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return _MAY_RUN if status >= _SERVER_ERROR else _refused("")


_ENDS: Mapping[str, tuple[Failure, str]] = {
    "Server.InsufficientInstanceCapacity": (Failure.CAPACITY, "EC2 had no capacity for it after all"),
    "Server.SpotInstanceShutdown": (Failure.RECLAIMED, "was reclaimed"),
    "Server.SpotInstanceTermination": (Failure.RECLAIMED, "was reclaimed"),
    "Client.VolumeLimitExceeded": (
        Failure.LIMIT,
        "got no volume: the account's quota for EBS storage is reached, see Service Quotas",
    ),
    "Client.InternalError": (
        Failure.JOB,
        "could not start, most often because the role of the AWS connection may not use the account's key "
        "for EBS volumes, see docs/permissions.md",
    ),
    "Client.InvalidSnapshot.NotFound": (
        Failure.JOB,
        "could not start: a snapshot of its image is gone, see the setting ec2, image_parameter",
    ),
}
"""The StateReason of instances that EC2 itself ended. All others mean that the worker was lost."""


def of_end(code: str) -> tuple[Failure, str] | None:
    """What the StateReason of an instance that left no result means, in words that follow its id.

    None if it says no more than that the instance is gone.
    """
    return _ENDS.get(code)
