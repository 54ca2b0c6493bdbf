"""Who may answer what is asked of certain users, in the deployment by docker-compose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.compose.auth_manager import AuthManager


@pytest.mark.parametrize(("name", "may"), [("alice", True), ("bob", False)])
def test_the_approvers_are_known_by_the_names_that_they_log_in_with(name: str, *, may: bool) -> None:
    user: Any = SimpleNamespace(get_id=lambda: "1", get_name=lambda: name)
    assert _manager().is_authorized_hitl_task(assigned_users={"alice"}, user=user) is may


def test_a_users_number_gives_no_right() -> None:
    user: Any = SimpleNamespace(get_id=lambda: "1", get_name=lambda: "mallory")
    assert not _manager().is_authorized_hitl_task(assigned_users={"1"}, user=user)


def _manager() -> AuthManager:
    return AuthManager()  # type: ignore[no-untyped-call]
