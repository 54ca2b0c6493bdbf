"""The pages that only show something. A GET changes nothing."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from hhvm_packaging.console import airflow
from hhvm_packaging.console.airflow import PUBLISH, WRAPPER
from hhvm_packaging.console.deployment import Deployed, Deployment
from hhvm_packaging.console.rendering import render
from hhvm_packaging.console.security import Asking, Visitor
from hhvm_packaging.planning.hold_records import DamagedRecord, Holds, Person, Question
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.release import Release
from hhvm_packaging.reporting import comparison
from hhvm_packaging.reporting.status import Row, State, Status
from hhvm_packaging.runs.api import ApiError
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import NotAResult, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hhvm_packaging.console.airflow import Building, Waiting
    from hhvm_packaging.planning.hold_records import Asked
    from hhvm_packaging.reporting.comparison import Comparison
    from hhvm_packaging.reporting.status import Cell
    from hhvm_packaging.runs.api import DagRun
    from hhvm_packaging.workers.attempts import Attempt
    from hhvm_packaging.workers.job import Gate

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

PAGE = 25
"""Versions on a page."""
NIGHTS = 30
_MOST_ATTEMPTS = 60
"""Attempts that a version's page shows; of more, the newest."""
_LOG = 1 << 20
"""Bytes at the end of a log that its page shows."""
_SCRIPTS = (
    "make-source-tarball",
    "make-binary-package",
    "publish-release-source",
    "verify-candidate",
    "verify-published",
)


@dataclass(frozen=True)
class Live:
    """What Airflow says at this moment."""

    builds: Sequence[Building] = ()
    waiting: Sequence[Waiting] = ()
    fault: str = ""
    """Why Airflow was not asked; empty if it was."""

    @classmethod
    def ask(cls, deployment: Deployment, visitor: Visitor) -> Live:
        """Ask it. If it does not answer, the pages say so and show the rest."""
        try:
            with deployment.airflow(visitor) as api:
                return cls(api.builds(), api.waiting())
        except ApiError as error:
            return cls(fault=str(error))

    def waiting_for(self, version: str) -> list[Waiting]:
        """The questions about a version."""
        return [
            waiting for waiting in self.waiting if version in waiting.label.partition(": ")[2].split(", ")
        ]

    def build(self, version: str, distro: str) -> Building | None:
        """The build of a version for a distribution that is under way."""
        return next((one for one in self.builds if (one.version, one.distro) == (version, distro)), None)


@dataclass(frozen=True)
class Night:
    """One day of the nightlies at a glance."""

    day: datetime.date
    row: Row | None
    """None if there is no nightly of that day."""

    @property
    def state(self) -> State:
        """The state of the whole nightly."""
        if self.row is None:
            return State.NOT_BUILT
        for state in (
            State.BUILDING,
            State.FAILED,
            State.WITHDRAWN,
            State.HELD,
            State.PUBLISHED,
            State.BUILT,
        ):
            if self.row.count(state):
                return State.FAILED if self.row.source_failure else state
        return State.FAILED if self.row.source_failure else State.NOT_BUILT


def find_nights(status: Status) -> list[Night]:
    """The nightlies of the last days, the oldest first."""
    known = {release.date: release for release in status.versions if release.nightly}
    today = status.now.date()
    days = [today - datetime.timedelta(days=number) for number in reversed(range(NIGHTS))]
    return [Night(day, status.row(known[day]) if day in known else None) for day in days]


def find_rows(status: Status, kind: str, find: str, page: int) -> tuple[list[Row], int]:
    """The versions of one page, and how many there are of that kind that contain the text ``find``."""
    releases = [
        release
        for release in status.versions
        if release.nightly == (kind == "nightlies") and find in release.version
    ]
    return [status.row(release) for release in releases[page * PAGE : (page + 1) * PAGE]], len(releases)


class Wanted(BaseModel):
    """Which versions the overview shows."""

    kind: Literal["releases", "nightlies"] = "releases"
    find: Annotated[str, Field(max_length=40)] = ""
    """A text that their versions contain."""
    page: Annotated[int, Field(ge=0, le=10_000)] = 0


InQuery = Annotated[Wanted, Query()]


@router.get("/")
def releases(request: Request, visitor: Asking, deployment: Deployed, wanted: InQuery) -> Response:
    """The overview. What Airflow knows is fetched by the page itself."""
    return _show_releases(request, "releases.html", visitor, deployment, Live(), wanted)


@router.get("/table")
def table(request: Request, visitor: Asking, deployment: Deployed, wanted: InQuery) -> Response:
    """The part of the overview that changes, with what runs now."""
    live = Live.ask(deployment, visitor)
    return _show_releases(request, "releases_table.html", visitor, deployment, live, wanted)


def _show_releases(
    request: Request, template: str, visitor: Visitor, deployment: Deployment, live: Live, wanted: Wanted
) -> Response:
    status = deployment.status(airflow.by_version(live.builds))
    rows, total = find_rows(status, wanted.kind, wanted.find.strip(), wanted.page)
    return render(
        request,
        template,
        visitor,
        rows=rows,
        total=total,
        distros=status.distros,
        nights=find_nights(status),
        facts=deployment.facts(),
        live=live,
        **dict(wanted),
        pages=-(-total // PAGE),
        now=status.now,
    )


# One version


@dataclass(frozen=True)
class Tried:
    """One attempt at a step of a version."""

    step: str
    distro: str
    attempt: Attempt
    reason: str
    """Why it failed; empty if it did not."""
    seconds: int | None
    """How long it took; None if nobody knows."""

    @property
    def state(self) -> str:
        """What became of it."""
        if self.reason:
            return "failed"
        return "done" if keys.RESULT in {*self.attempt.files, *self.attempt.worker_files} else "no result"


def find_release(version: str, deployment: Deployment) -> Release:
    """The release of the version in a page's address. Raises 404 if it is none, in words."""
    release = Release.find(version)
    if release is None:
        raise HTTPException(404, f"{version[:40]!r} is not a version of HHVM")
    known = {other.numbers: other for other in deployment.status().versions}
    return known.get(release.numbers, release)


def list_attempts(deployment: Deployment, release: Release) -> list[Tried]:
    """The newest attempts at all jobs of a version, the newest first."""
    found = [
        (job, attempt)
        for job, tried in attempts.of_subject(deployment.store, release.version).items()
        for attempt in tried
    ]
    newest = sorted(found, key=lambda one: one[1].id, reverse=True)[:_MOST_ATTEMPTS]
    reads = (partial(_read_attempt, deployment, release, job, attempt) for job, attempt in newest)
    return run_all(reads, at_once=deployment.settings.requests_at_once)


def _read_attempt(deployment: Deployment, release: Release, job: str, attempt: Attempt) -> Tried:
    failed = attempt.failed(deployment.store)
    reason = f"{failed.failure}: {failed.reason}" if failed else ""
    key = attempt.worker_key(keys.RESULT) or (
        attempt.key(keys.RESULT) if keys.RESULT in attempt.files else None
    )
    seconds = None
    if key and (content := deployment.store.scratch.get(key)):
        try:
            result = Result.parse(content)
            seconds = round((result.finished - result.started).total_seconds())
        except NotAResult:
            pass
    step, distro = _parse_job(job, release)
    return Tried(step, distro, attempt, reason, seconds)


def _parse_job(job: str, release: Release) -> tuple[str, str]:
    """The step and the distribution of a job's name, see workers/job.py."""
    rest = job.removeprefix(f"hhvm-{release.version}-").rpartition("-")[0]
    for script in _SCRIPTS:
        if f"{rest}-".startswith(f"{script}-"):
            return script, rest[len(script) + 1 :]
    return rest, ""


def find_before(status: Status, release: Release, distro: str) -> Release | None:
    """The version before this one that was built for the distribution, of the same kind."""
    for other in status.versions:
        if other.nightly == release.nightly and other.numbers < release.numbers:
            entry = status.index.versions.get(other.version)
            if entry and distro in entry.packages:
                return other
    return None


@dataclass(frozen=True)
class Build:
    """What there is to know of one distribution's packages of a version, before and after they are public."""

    comparison: Comparison
    gates: tuple[Gate, ...]
    """What the quality gates found; none of a build of before there were any."""


def find_builds(
    deployment: Deployment, status: Status, release: Release, asked: Asked | None = None
) -> list[Build]:
    """The packages of each distribution that a version is built for; with ``asked``, those builds alone."""
    store = deployment.store

    def find(distro: str) -> Build | None:
        if asked:
            key = keys.attempt_manifest(asked.packages[distro].directory)
            after = store.scratch.read_model(PackageManifest, key)
        else:
            after = PackageManifest.read(store, release, distro)
        if after is None:
            return None
        before = find_before(status, release, distro)
        older = PackageManifest.read(store, before, distro) if before else None
        return Build(deployment.compare(after, older), after.gates)

    entry = status.index.versions.get(release.version)
    names = sorted(asked.packages if asked else entry.packages if entry else ())
    found = run_all((partial(find, name) for name in names), at_once=deployment.settings.requests_at_once)
    return [one for one in found if one]


def find_commits(status: Status, release: Release) -> tuple[str, str]:
    """The commit of the version before this one, and of this one; empty where it is not known."""
    entry = status.index.versions.get(release.version)
    after = entry.source.commit if entry and entry.source else ""
    for other in status.versions:
        if other.nightly == release.nightly and other.numbers < release.numbers:
            before = status.index.versions.get(other.version)
            if before and before.source:
                return before.source.commit, after
    return "", after


def install_lines(cell: Cell, row: Row, deployment: Deployment) -> list[str]:
    """What users type to install the version; none if they are not offered it."""
    if not cell.suites:
        return []
    repository, _, suite = cell.suites[0].partition(" ")
    published, keyring = deployment.settings.published, "/etc/apt/keyrings/hhvm.asc"
    source = f"deb [signed-by={keyring}] {published(repository)} {suite} main"
    return [
        f"curl -fsSL --create-dirs -o {keyring} {published(keys.PUBLIC_KEY)}",
        f"echo '{source}' > /etc/apt/sources.list.d/hhvm.list",
        f"apt-get update && apt-get install {row.release.package}={comparison.newest(cell.public)}",
    ]


def find_fallback(status: Status, cell: Cell, release: Release) -> str:
    """What users of the distribution would be offered after an undo; empty if there would be nothing."""
    offered = {
        version
        for suite in cell.suites
        for version in status.index.suites[suite].offered
        if version not in cell.public and (found := _release_of(version)) and found.nightly == release.nightly
    }
    return comparison.newest(offered)


def _release_of(version: str) -> Release | None:
    return Release.find(version.rpartition("-")[0])


@router.get("/versions/{version}")
def show_version(
    request: Request,
    version: str,
    visitor: Asking,
    deployment: Deployed,
    said: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """Everything about one version."""
    release = find_release(version, deployment)
    live = Live.ask(deployment, visitor)
    status = deployment.status(airflow.by_version(live.builds))
    row = status.row(release)
    try:
        holds: Holds | None = Holds.read(deployment.store, release.version, deployment.settings)
        damage = ""
    except DamagedRecord as error:
        holds, damage = None, str(error)
    return render(
        request,
        "version.html",
        visitor,
        release=release,
        row=row,
        live=live,
        runs=_find_runs(deployment, visitor, release),
        holds=holds,
        damage=damage,
        attempts=list_attempts(deployment, release),
        builds=find_builds(deployment, status, release),
        commits=find_commits(status, release),
        repository=_web_address(deployment.settings.public_repository),
        installs={cell.distro: install_lines(cell, row, deployment) for cell in row.cells},
        fallbacks={cell.distro: find_fallback(status, cell, release) for cell in row.cells},
        may_publish=visitor.may_trigger(PUBLISH),
        may_release=visitor.may_trigger(WRAPPER),
        may_clear=visitor.may_clear(airflow.BUILD),
        published=deployment.settings.published,
        keys=keys,
        now=status.now,
        said=said,
    )


def _find_runs(deployment: Deployment, visitor: Visitor, release: Release) -> list[tuple[str, DagRun]]:
    try:
        with deployment.airflow(visitor) as api:
            return api.runs_of(release.version)
    except ApiError:
        return []


def _web_address(repository: str) -> str:
    """The address of a repository's pages; empty if it has none."""
    return repository.removesuffix(".git") if repository.startswith("https://") else ""


@router.get("/versions/{version}/logs/{job}/{attempt}")
def show_log(
    request: Request, version: str, job: str, attempt: str, visitor: Asking, deployment: Deployed
) -> Response:
    """The end of the log of one attempt."""
    release = find_release(version, deployment)
    found = next(
        (
            one
            for one in attempts.of_job(deployment.store, release.version, _field(job))
            if str(one.id) == attempt
        ),
        None,
    )
    if found is None or found.log_key is None:
        raise HTTPException(
            404, "There is no such log. It may have been deleted: logs are kept for scratch_days"
        )
    head = deployment.store.scratch.head(found.log_key)
    start = max(0, (head.size if head else 0) - _LOG)
    text = deployment.store.scratch.get_from(found.log_key, start).decode(errors="replace")
    step, distro = _parse_job(job, release)
    return render(
        request,
        "log.html",
        visitor,
        release=release,
        step=step,
        distro=distro,
        attempt=found,
        text=text,
        left_out=start,
        failed=found.failed(deployment.store),
        url=found.log(deployment.store),
    )


def _field(job: str) -> str:
    """The name of a job in an address, or 404."""
    try:
        keys.attempts("canary", job)
    except keys.InvalidField as error:
        raise HTTPException(404, "There is no such job") from error
    return job


@router.get("/versions/{version}/manifests/{distro}", response_class=PlainTextResponse)
def show_manifest(version: str, distro: str, deployment: Deployed) -> Response:
    """The manifest of a distribution's packages, or of the source, as it is stored."""
    release = find_release(version, deployment)
    try:
        key = keys.source(release) if distro == "source" else keys.manifest(release, distro)
    except keys.InvalidField as error:
        raise HTTPException(404, "There is no such distribution") from error
    content = deployment.store.scratch.get(key)
    if content is None:
        raise HTTPException(404, "Nothing is built of that")
    return Response(content, media_type="application/json")


# Approvals


@dataclass(frozen=True)
class Decision:
    """A question, with what one decides by."""

    waiting: Waiting
    question: Question | None
    objections: tuple[str, ...]
    """Why the visitor may not approve; none if they may."""
    builds: dict[str, list[Build]]
    """What is asked for, by version."""
    commits: dict[str, tuple[str, str]]
    """The commits before and after, by version."""
    missing: dict[str, tuple[str, ...]]
    """The distributions that were asked for and are not built, by version."""


def decide(deployment: Deployment, waiting: Waiting, visitor: Visitor) -> Decision:
    """What there is to know for an answer."""
    questions = Question.read_all(deployment.store, waiting.dag_id, waiting.run_id)
    question = questions[waiting.number - 1] if 0 < waiting.number <= len(questions) else None
    status = deployment.status()
    objections: list[str] = []
    if not visitor.may_answer(waiting.dag_id):
        objections.append("Your role in Airflow may not answer")
    asked: Sequence[Asked] = question.asked if question else ()
    rows = {}
    for one in asked:
        release = Release(one.version, nightly=bool((found := Release.find(one.version)) and found.nightly))
        rows[one.version] = release
        if objection := _find_objection(deployment, one, question, visitor):
            objections.append(objection)
    return Decision(
        waiting,
        question,
        tuple(dict.fromkeys(objections)),
        {one.version: find_builds(deployment, status, rows[one.version], one) for one in asked},
        {version: find_commits(status, release) for version, release in rows.items()},
        {
            one.version: tuple(
                cell.distro
                for cell in status.row(rows[one.version]).cells
                if cell.distro not in one.packages and cell.distro in status.distros
            )
            for one in asked
        },
    )


def _find_objection(
    deployment: Deployment, asked: Asked, question: Question | None, visitor: Visitor
) -> str | None:
    try:
        holds = Holds.read(deployment.store, asked.version, deployment.settings)
    except DamagedRecord as error:
        return str(error)
    by = Person(id=visitor.id, name=visitor.name)
    return holds.objection(by, question.asker.by if question else "")


def find_waiting(deployment: Deployment, visitor: Visitor) -> list[Waiting]:
    """The questions that wait. Raises 502 if Airflow does not answer."""
    live = Live.ask(deployment, visitor)
    if live.fault:
        raise HTTPException(502, f"Airflow does not say what waits: {live.fault}")
    return list(live.waiting)


@router.get("/approvals")
def show_approvals(
    request: Request,
    visitor: Asking,
    deployment: Deployed,
    said: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """What waits for a decision, with what one decides by."""
    waiting = find_waiting(deployment, visitor)
    decisions = [decide(deployment, one, visitor) for one in waiting]
    return render(
        request,
        "approvals.html",
        visitor,
        decisions=decisions,
        said=said,
        settings=deployment.settings,
        repository=_web_address(deployment.settings.public_repository),
        now=deployment.now(),
    )
