"""What the form of a new release says while one types: what is wrong, and what would happen."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from hhvm_packaging import distros
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import nightly_days, source_tarball, spelling
from hhvm_packaging.planning.request import Refused, Request
from hhvm_packaging.reporting.status import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from hhvm_packaging.console.deployment import Deployment
    from hhvm_packaging.release import Release
    from hhvm_packaging.reporting.status import Row, Status


class Sign(StrEnum):
    """How a line is meant."""

    WRONG = "wrong"
    """Nothing can be started before it is mended."""
    MIND = "mind"
    """It can be started, but not all of it may happen."""
    GOOD = "good"
    """It is there, or well."""
    TO_DO = "to do"
    """It would be done."""


@dataclass(frozen=True)
class Line:
    """One line of what would happen."""

    sign: Sign
    text: str


@dataclass(frozen=True)
class Preview:
    """What would happen if the form were sent now."""

    request: Request | None
    """None if the form has an error."""
    lines: tuple[Line, ...]

    @property
    def may_start(self) -> bool:
        """Whether nothing is wrong."""
        return self.request is not None and not any(line.sign is Sign.WRONG for line in self.lines)

    @property
    def version(self) -> str:
        """The version in the spelling of its tag; empty if there is none."""
        return self.request.version if self.request else ""


def preview(deployment: Deployment, params: Mapping[str, Any]) -> Preview:
    """What would happen with these values of the form ``hhvm_build_and_publish``.

    They are checked as its task ``plan`` does, in the same words.
    """
    now = deployment.now()
    known = deployment.status()
    try:
        request = Request.check(
            params,
            None,
            known=distros.names(deployment.settings.packaging_root),
            run_date=nightly_days.find_run_date(now, None, now),
            today=nightly_days.latest_day(now),
        )
    except Refused as error:
        return Preview(None, (Line(Sign.WRONG, str(error)),))
    try:
        request = spelling.settle(request, deployment.store, deployment.settings)
    except PackagingError as error:
        return Preview(request, (Line(Sign.WRONG, str(error)),))
    row = known.row(request.release)
    lines = [
        *_describe_source(request.release, row, deployment),
        *_describe_packages(request, row, known),
        *_describe_holds(request, row),
    ]
    return Preview(request, tuple(lines))


def _describe_source(release: Release, row: Row, deployment: Deployment) -> list[Line]:
    lines = [_find_tag(release, deployment)]
    if row.entry.source and row.entry.source.signed_by:
        lines.append(Line(Sign.GOOD, "The signed source tarball is there; it is not made again"))
    elif lines[0].sign is not Sign.WRONG:
        lines.append(Line(Sign.TO_DO, "The source tarball is made and signed"))
    return lines


@dataclass
class _Tags:
    """What a repository answered, for some seconds: people type letter by letter."""

    lifetime: float = 20
    known: dict[tuple[str, str], tuple[float, Line]] = field(default_factory=dict)


_tags = _Tags()


def _find_tag(release: Release, deployment: Deployment) -> Line:
    """Whether the repository has what the version is made from."""
    repository = source_tarball.repository(release, deployment.settings)
    at, line = _tags.known.get((repository, release.version), (0.0, None))
    if line is None or time.monotonic() - at > _tags.lifetime:
        line = _ask_for_tag(release, repository)
        _tags.known = {(repository, release.version): (time.monotonic(), line)}
    return line


def _ask_for_tag(release: Release, repository: str) -> Line:
    if release.nightly:
        return Line(
            Sign.TO_DO, f"Its commit is the last one of {release.version} (UTC) on the default branch"
        )
    try:
        found = source_tarball.find_tagged(release, repository)
    except PackagingError as error:
        return Line(
            Sign.MIND, f"The staging repository does not answer, so the tag was not looked for: {error}"
        )
    if not found:
        return Line(
            Sign.WRONG,
            f"{release.tag} is not tagged on the staging repository. Tag it there, or mend the version",
        )
    return Line(Sign.GOOD, f"{found[0].tag} is tagged on the staging repository")


def _describe_packages(request: Request, row: Row, known: Status) -> list[Line]:
    lines = []
    states = {cell.distro: cell for cell in row.cells}
    to_build = []
    for distro in request.distros:
        cell = states.get(distro)
        state = cell.state if cell else State.NOT_BUILT
        version = cell.version if cell else ""
        match state:
            case State.PUBLISHED:
                text = f"{distro}: {version} is published already. It stays as it is; bump PKGVER to rebuild"
                lines.append(Line(Sign.MIND if request.force else Sign.GOOD, text))
            case State.WITHDRAWN:
                text = (
                    f"{distro}: {version} was withdrawn. It is not offered again by this; use Release again"
                )
                lines.append(Line(Sign.MIND, text))
            case State.BUILDING:
                lines.append(Line(Sign.MIND, f"{distro}: it is being built now"))
            case State.BUILT | State.HELD if not request.force:
                text = f"{distro}: {version} is built already, unless its packaging files have changed"
                lines.append(Line(Sign.GOOD, text))
            case _:
                to_build.append(distro)
    lines += [Line(Sign.TO_DO, f"{distro}: is built{_usually(distro, known)}") for distro in to_build]
    if all(states.get(name) and states[name].state is State.PUBLISHED for name in request.distros):
        lines.append(Line(Sign.MIND, f"HHVM {request.version} is published already: nothing would change"))
    return lines


def _usually(distro: str, known: Status) -> str:
    """How long the last builds of a distribution took, in words."""
    took = [
        seconds
        for release in known.versions[:20]
        for cell in known.row(release).cells
        if cell.distro == distro and (seconds := cell.seconds) is not None
    ]
    return f", which usually takes {describe_seconds(int(median(took)))}" if took else ""


def describe_seconds(seconds: int) -> str:
    """A duration for people, such as ``61 min``."""
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def _describe_holds(request: Request, row: Row) -> list[Line]:
    lines = []
    if row.until:
        lines.append(Line(Sign.MIND, f"It is held until {_time(row.until)}, as was asked for before"))
    if row.needs_approval:
        lines.append(Line(Sign.MIND, "It is held for an approval, as was asked for before"))
    if request.hold_until:
        lines.append(Line(Sign.TO_DO, f"Nothing is public before {_time(request.hold_until)}"))
    if request.require_approval:
        lines.append(Line(Sign.TO_DO, "It waits for an approval; nothing is public before"))
    if not lines:
        lines.append(Line(Sign.TO_DO, "What is built is checked with apt and then published"))
    return lines


def _time(at: datetime.datetime) -> str:
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"


def form_values(version: str, distros: Sequence[str], **others: Any) -> dict[str, Any]:
    """The values of the DAG's form, of what a person filled in here."""
    return {"version": version.strip(), "distros": list(distros), **others}
