"""Who an instance is to IAM, and to itself."""

from __future__ import annotations

from typing import Any

from moto.backends import get_backend

from testing.ec2.demands import ACCOUNT, REGION


def user_id(instance: str) -> str | None:
    """The instance's aws:userid, ``ROLE:INSTANCE``; None if it has no role.

    See "Information available in requests for all principals" in the IAM User Guide.
    """
    backend: Any = get_backend("ec2")[ACCOUNT][REGION]
    association = backend.iam_instance_profile_associations.get(instance)
    if association is None:
        return None
    [role] = association.iam_instance_profile.roles
    return f"{role.id}:{instance}"


def describe(user_id: str) -> str:
    """The answer to GetCallerIdentity."""
    role, _, instance = user_id.partition(":")
    return (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{instance}</Arn><UserId>{user_id}</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
