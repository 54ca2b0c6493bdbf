"""Who an instance is to IAM, and to itself."""

from __future__ import annotations

import json
from typing import Any

from moto.backends import get_backend

from testing import account
from testing.ec2.demands import ACCOUNT, REGION


def role(instance: str) -> Any:
    """Moto's role of the instance's profile; None if it has none."""
    backend: Any = get_backend("ec2")[ACCOUNT][REGION]
    association = backend.iam_instance_profile_associations.get(instance)
    if association is None:
        return None
    [found] = association.iam_instance_profile.roles
    return found


def user_id(instance: str) -> str | None:
    """The instance's aws:userid, ``ROLE:INSTANCE``; None if it has no role.

    See "Information available in requests for all principals" in the IAM User Guide.
    """
    found = role(instance)
    return f"{found.id}:{instance}" if found else None


def statements(role_name: str) -> list[dict[str, Any]]:
    """What the role may do, as it was deployed; nothing without a role."""
    if not role_name:
        return []
    backend: Any = get_backend("iam")[ACCOUNT]["aws"]
    documents = backend.get_role(role_name).policies.values()
    # CloudFormation leaves objects, and IAM's own calls text.
    return account.join(each if isinstance(each, dict) else json.loads(each) for each in documents)


def describe(user_id: str) -> str:
    """The answer to GetCallerIdentity."""
    role, _, instance = user_id.partition(":")
    return (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{instance}</Arn><UserId>{user_id}</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
