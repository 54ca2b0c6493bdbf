"""Who may do what in the UI: Airflow's users and roles, kept in its database, each person by a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

if TYPE_CHECKING:
    from airflow.providers.fab.auth_manager.models import User


class AuthManager(FabAuthManager):
    """The provider's, which knows the approvers of a release by the names that they log in with.

    The stock one compares them with the users' numbers in the database.
    """

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: User) -> bool:
        """Whether the user is one of those who may answer."""
        return user.get_name() in assigned_users
