"""Who is asking, and what they may do: Airflow's own login and permissions.

This is the only module here that uses names of Airflow's core. They are not public: its test says whether a
new Airflow still has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import get_user, requires_access_view
from airflow.configuration import conf
from fastapi import Depends, HTTPException, Request

if TYPE_CHECKING:
    from collections.abc import Callable

may_look = requires_access_view(AccessView.PLUGINS)
"""The dependency of every route: refuses who is not logged in, and who may not see plugins."""

_TRIGGER = ("POST", DagAccessEntity.RUN)
_CLEAR = ("PUT", DagAccessEntity.TASK_INSTANCE)
_ANSWER = ("PUT", DagAccessEntity.HITL_DETAIL)
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Visitor:
    """Who is asking."""

    id: str
    name: str
    token: str
    """The JSON Web Token of the login, for Airflow's public API."""
    user: Any
    """As the auth manager knows them."""

    def may_trigger(self, dag_id: str) -> bool:
        """Whether they may start a run of the DAG."""
        return self._may(*_TRIGGER, dag_id)

    def may_clear(self, dag_id: str) -> bool:
        """Whether they may have tasks of the DAG run again."""
        return self._may(*_CLEAR, dag_id)

    def may_answer(self, dag_id: str) -> bool:
        """Whether they may answer what a run of the DAG asks."""
        return self._may(*_ANSWER, dag_id)

    def _may(self, method: Any, entity: DagAccessEntity, dag_id: str) -> bool:
        allowed: bool = get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=DagDetails(id=dag_id), user=self.user
        )
        return allowed


def visitor(request: Request, user: Annotated[Any, Depends(get_user)]) -> Visitor:
    """The dependency that tells who is asking. Refuses who is not logged in."""
    kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = bearer if kind.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    return Visitor(str(user.get_id()), str(user.get_name()), token, user)


Asking = Annotated[Visitor, Depends(visitor)]


def refuse_unless(allowed: bool, what: str) -> None:
    """Refuse what a visitor may not do; ``what`` completes "You may not"."""
    if not allowed:
        raise HTTPException(403, f"You may not {what}. Ask who administers Airflow for that permission")


def same_origin(request: Request) -> None:
    """The dependency of every route: refuses changes that another site's page asks for.

    Airflow's session is a cookie, which the browser would send with them.
    """
    if request.method in _SAFE or request.headers.get("Authorization", "").lower().startswith("bearer "):
        return
    site = request.headers.get("Sec-Fetch-Site")
    own = {request.headers.get("Host", ""), urlsplit(conf.get("api", "base_url", fallback="") or "").netloc}
    source = urlsplit(request.headers.get("Origin") or request.headers.get("Referer") or "").netloc
    if site == "same-origin" or (site is None and source and source in own):
        return
    raise HTTPException(403, "This was asked for by another site's page, so nothing was changed")


def login_url(next_url: str) -> str:
    """Where people log in; they come back to ``next_url``."""
    return str(get_auth_manager().get_url_login(next_url=next_url))


def airflow_url() -> str:
    """The address of Airflow's own pages, without a trailing slash."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def sign_in_as(app: Any, find: Callable[..., Any]) -> None:
    """For tests: take who is asking from ``find`` instead of from a token."""
    app.dependency_overrides[get_user] = find
