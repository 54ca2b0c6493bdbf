"""The pages on which people start something. Each says first what it would do; only a POST does it."""

from __future__ import annotations

import datetime
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from hhvm_packaging import distros as distro_files
from hhvm_packaging.console import airflow, checks, pages
from hhvm_packaging.console.airflow import BUILD, PUBLISH, WRAPPER
from hhvm_packaging.console.deployment import Deployed, Deployment
from hhvm_packaging.console.rendering import render
from hhvm_packaging.console.security import Asking, Visitor, refuse_unless
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning.request import IF_ONE_FAILS, LIFT_HOLDS
from hhvm_packaging.planning.request import Request as Asked
from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.release import ALLOWED_FORM
from hhvm_packaging.reporting import markdown, run_notes
from hhvm_packaging.reporting.status import Row, State
from hhvm_packaging.runs.api import ApiError

if TYPE_CHECKING:
    from collections.abc import Generator

    from hhvm_packaging.release import Release

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

SEE_OTHER = 303


# A new release


Text = Annotated[str, Field(max_length=200)]


class ReleaseForm(BaseModel):
    """What a person filled in."""

    version: Text = ""
    distros: Annotated[list[str], Field(max_length=100)] = []
    hold_until: Text = ""
    require_approval: bool = False
    force: bool = False
    if_one_fails: Text = IF_ONE_FAILS[0]
    packaging_ref: Text = ""

    @property
    def values(self) -> dict[str, Any]:
        """The values of the form of hhvm_build_and_publish."""
        # A browser's field of a time has no time zone; the page says that it is UTC.
        time = self.hold_until.strip()
        return {
            "version": self.version.strip(),
            "distros": self.distros,
            "hold_until": f"{time}Z" if time and len(time) <= len("2026-11-24T10:00:00") else time or None,
            "require_approval": self.require_approval,
            "force": self.force,
            "if_one_fails": self.if_one_fails,
            "packaging_ref": self.packaging_ref.strip() or None,
        }


InQuery = Annotated[ReleaseForm, Query()]
InForm = Annotated[ReleaseForm, Form()]


@router.get("/new")
def show_form(request: Request, visitor: Asking, deployment: Deployed, asked: InQuery) -> Response:
    """The form of a new release."""
    chosen = asked if asked.distros else asked.model_copy(update={"distros": list(deployment.distros())})
    return _show_form(request, visitor, deployment, chosen)


@router.get("/new/preview")
def show_preview(request: Request, visitor: Asking, deployment: Deployed, asked: InQuery) -> Response:
    """What would happen, while one types."""
    found = checks.preview(deployment, asked.values) if asked.version.strip() else None
    return render(
        request,
        "preview.html",
        visitor,
        preview=found,
        allowed=ALLOWED_FORM,
        may_release=visitor.may_trigger(WRAPPER),
    )


@router.post("/new")
def start_release(request: Request, visitor: Asking, deployment: Deployed, asked: InForm) -> Response:
    """Start a release, as the form says."""
    refuse_unless(visitor.may_trigger(WRAPPER), "start a release")
    preview = checks.preview(deployment, asked.values)
    if not preview.may_start or preview.request is None:
        return _show_form(request, visitor, deployment, asked, status=422)
    version = preview.request.version
    run_id = _run_id("release", version, deployment)
    note = run_notes.write([version], preview.request.distros, "queued")
    _trigger(deployment, visitor, WRAPPER, run_id, asked.values | {"version": version}, note)
    return _to_version(request, version, f"Started: run {run_id}")


def _show_form(
    request: Request, visitor: Visitor, deployment: Deployment, asked: ReleaseForm, status: int = 200
) -> Response:
    known = distro_files.names(deployment.settings.packaging_root)
    current = deployment.distros()
    return render(
        request,
        "new.html",
        visitor,
        status,
        asked=asked,
        current=current,
        others=[name for name in known if name not in current],
        allowed=ALLOWED_FORM,
        if_one_fails=IF_ONE_FAILS,
        preview=checks.preview(deployment, asked.values) if asked.version.strip() else None,
        may_release=visitor.may_trigger(WRAPPER),
    )


# What is done with a version that is there


@dataclass(frozen=True)
class Action:
    """Something that a person may do with a version that is there."""

    title: str
    """Of the page; it has the version."""
    button: str
    consequence: str
    """What happens, in words for who must decide."""
    values: dict[str, Any]
    """Of the form of hhvm_publish_release."""
    needs_reason: bool = False
    dangerous: bool = False


ACTIONS = {
    "publish": Action(
        "Publish HHVM {}",
        "Publish",
        "What is built and not held is checked with each distribution's own apt. Then users are offered it.",
        {"action": "publish"},
    ),
    "dry-run": Action(
        "What would publishing HHVM {} change?",
        "Show what would change",
        "A run writes the new indices where no user sees them, and its report says what would change. "
        "Nothing becomes public.",
        {"action": "publish", "dry_run": True},
    ),
    "dry-run-undo": Action(
        "What would undoing HHVM {} change?",
        "Show what would change",
        "A run writes the indices without this version where no user sees them, and its report says what "
        "would change. Nothing that is public changes.",
        {"action": "undo", "dry_run": True},
    ),
    "undo": Action(
        "Undo HHVM {}",
        "Withdraw it from all users",
        "Users are no longer offered this version. Who has installed it keeps it until they go back by hand. "
        "Nothing offers it again, also no resumed run, until somebody chooses Release again.",
        {"action": "undo"},
        dangerous=True,
    ),
    "release-again": Action(
        "Release HHVM {} again",
        "Offer it to users again",
        "What was withdrawn of this version is offered to users again, with the same packages.",
        {"action": "release again"},
    ),
    "lift-holds": Action(
        "Lift the holds of HHVM {}",
        "Lift the holds and publish",
        "It is published now, in spite of the time or the missing approval. Your name and the reason stay in "
        "the reports of this version.",
        {"action": LIFT_HOLDS},
        needs_reason=True,
        dangerous=True,
    ),
}


@router.get("/versions/{version}/actions/{name}")
def confirm(request: Request, version: str, name: str, visitor: Asking, deployment: Deployed) -> Response:
    """What an action would do, with the button that does it."""
    release = pages.find_release(version, deployment)
    return _confirm(request, release, _action(name), name, visitor, deployment)


@router.post("/versions/{version}/actions/{name}")
def act(
    request: Request,
    version: str,
    name: str,
    visitor: Asking,
    deployment: Deployed,
    distros: Annotated[list[str] | None, Form(max_length=100)] = None,
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Start the run that does it."""
    action, release = _action(name), pages.find_release(version, deployment)
    refuse_unless(visitor.may_trigger(PUBLISH), "publish, or undo that")
    row = deployment.status().row(release)
    values = {
        "version": release.version,
        "distros": list(distros or choose_distros(name, row)),
        **action.values,
        **({"reason": reason.strip()} if action.needs_reason else {}),
    }
    try:
        today = deployment.now().date()
        known = distro_files.names(deployment.settings.packaging_root)
        Asked.check(values, None, known=known, run_date=today, today=today)
    except PackagingError as error:
        return _confirm(request, release, action, name, visitor, deployment, str(error), reason, 422)
    run_id = _run_id(name, release.version, deployment)
    note = run_notes.write([release.version], values["distros"], f"{name.replace('-', ' ')}, queued")
    _trigger(deployment, visitor, PUBLISH, run_id, values, note)
    return _to_version(request, release.version, f"Started: run {run_id}")


def choose_distros(name: str, row: Row) -> list[str]:
    """The distributions that an action is about, if nobody says which: those for which it does something."""
    wanted = {
        "undo": (State.PUBLISHED,),
        "dry-run-undo": (State.PUBLISHED,),
        "release-again": (State.WITHDRAWN,),
    }.get(name, (State.BUILT, State.HELD, State.PUBLISHED, State.FAILED))
    return [cell.distro for cell in row.cells if cell.state in wanted and cell.version]


def _action(name: str) -> Action:
    if name not in ACTIONS:
        raise HTTPException(404, "There is no such action")
    return ACTIONS[name]


def _confirm(
    request: Request,
    release: Release,
    action: Action,
    name: str,
    visitor: Visitor,
    deployment: Deployment,
    fault: str = "",
    reason: str = "",
    status_code: int = 200,
) -> Response:
    status = deployment.status()
    row = status.row(release)
    chosen = choose_distros(name, row)
    return render(
        request,
        "confirm.html",
        visitor,
        status_code,
        release=release,
        row=row,
        action=action,
        name=name,
        chosen=chosen,
        fallbacks={
            cell.distro: pages.find_fallback(status, cell, release) for cell in row.cells if cell.suites
        },
        may=visitor.may_trigger(PUBLISH),
        fault=fault,
        reason=reason,
    )


# Resuming


@router.post("/versions/{version}/resume")
def resume(
    request: Request,
    version: str,
    visitor: Asking,
    deployment: Deployed,
    distro: Annotated[str, Form(max_length=100)] = "",
    anew: Annotated[bool, Form()] = False,
) -> Response:
    """Have what failed run again: of a distribution, or of the source if ``distro`` is empty.

    ``anew``: with the packaging files as they are now. Otherwise those of the run's plan are used.
    """
    release = pages.find_release(version, deployment)
    entry = deployment.index().versions.get(release.version)
    failure = entry.failures.get(distro) if entry else None
    if failure is None:
        raise HTTPException(
            409, f"Nothing of HHVM {release.version} has failed there: look at its page again"
        )
    refuse_unless(visitor.may_clear(failure.dag_id), f"have tasks of {failure.dag_id} run again")
    task, index = ("plan", -1) if anew else (failure.step, failure.map_index)
    with _asking(deployment, visitor, "resume it") as api:
        done = api.resume(failure.dag_id, failure.run_id, task, index)
    return _to_version(request, release.version, f"Resumed: {done}")


@router.post("/versions/{version}/resume-now")
def resume_now(
    request: Request,
    version: str,
    visitor: Asking,
    deployment: Deployed,
    distro: Annotated[str, Form(max_length=100)],
) -> Response:
    """Have the failed build of a run that is under way run again."""
    release = pages.find_release(version, deployment)
    refuse_unless(visitor.may_clear(BUILD), f"have tasks of {BUILD} run again")
    with _asking(deployment, visitor, "resume it") as api:
        failed = [
            one
            for one in api.builds()
            if one.failed and (one.version, one.distro) == (release.version, distro)
        ]
        if not failed:
            raise HTTPException(409, f"No build of HHVM {release.version} for {distro} has failed now")
        one = failed[-1]
        done = api.resume(BUILD, one.run_id, BuildTask.MAKE_BINARY_PACKAGE, one.map_index)
    return _to_version(request, release.version, f"Resumed: {done}")


# Approvals


@router.post("/approvals")
def answer(
    request: Request,
    visitor: Asking,
    deployment: Deployed,
    dag_id: Annotated[str, Form(max_length=250)],
    run_id: Annotated[str, Form(max_length=250)],
    map_index: Annotated[int, Form()],
    decision: Annotated[str, Form(pattern="^(approve|reject)$")],
) -> Response:
    """Answer a question that waits."""
    refuse_unless(visitor.may_answer(dag_id), "answer that")
    found = next(
        (
            one
            for one in pages.find_waiting(deployment, visitor)
            if (one.dag_id, one.run_id, one.map_index) == (dag_id, run_id, map_index)
        ),
        None,
    )
    if found is None:
        raise HTTPException(409, "This is not asked any more: somebody was faster, or it was built again")
    approve = decision == "approve"
    if approve and (objections := pages.decide(deployment, found, visitor).objections):
        raise HTTPException(403, ". ".join(objections))
    with _asking(deployment, visitor, "take the answer") as api:
        api.decide(found, approve=approve)
    done = "approved" if approve else "rejected"
    return _to(request, "/approvals", f"{found.subject.removeprefix('Publish ').rstrip('?')}: {done}")


# Details


@contextmanager
def _asking(deployment: Deployment, visitor: Visitor, what: str) -> Generator[airflow.Airflow]:
    """Airflow with the visitor's rights. Raises 502 if it does not do it; ``what`` completes "did not"."""
    with deployment.airflow(visitor) as api:
        try:
            yield api
        except ApiError as error:
            raise HTTPException(502, f"Airflow did not {what}: {error.detail or error}") from error


def _trigger(
    deployment: Deployment, visitor: Visitor, dag_id: str, run_id: str, conf: dict[str, Any], note: str
) -> None:
    given = {name: value for name, value in conf.items() if value is not None}
    by = markdown.escape(f"Asked for by {visitor.name} in the console")
    with _asking(deployment, visitor, "start it") as api:
        api.start(dag_id, run_id, given, f"{note}\n\n{by}")


def _run_id(what: str, version: str, deployment: Deployment) -> str:
    """The id of a run that is started here: people read it in lists."""
    now: datetime.datetime = deployment.now()
    return f"{what}-{version}-{now:%Y%m%dT%H%M%S}"


def _to_version(request: Request, version: str, said: str) -> Response:
    return _to(request, f"/versions/{version}", said)


def _to(request: Request, path: str, said: str) -> Response:
    base = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{base}{path}?{urlencode({'said': said})}", SEE_OTHER)
