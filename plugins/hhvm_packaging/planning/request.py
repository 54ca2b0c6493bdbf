"""Requests: what a person or a wrapper DAG asked for, checked before anything starts."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import ALLOWED_FORM, NIGHTLY, InvalidVersion, Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Action: TypeAlias = Literal["publish", "undo", "release again", "lift holds"]
PUBLISH: Final = "publish"
UNDO: Final = "undo"
LIFT_HOLDS: Final = "lift holds"
"""Publish in spite of holds, and record who lifted them and why."""
ACTIONS: tuple[Action, ...] = get_args(Action)

IfOneFails: TypeAlias = Literal["as usual", "publish the others", "hold all"]
AS_USUAL: Final = "as usual"
"""Releases hold all; nightlies publish the others."""
IF_ONE_FAILS: tuple[IfOneFails, ...] = get_args(IfOneFails)

IfAVersionFails: TypeAlias = Literal["the others go on", "hold all"]
HOLD_ALL: Final = "hold all"
IF_A_VERSION_FAILS: tuple[IfAVersionFails, ...] = get_args(IfAVersionFails)

HOLD_UNTIL = "a time such as 2026-11-24T10:00:00Z"
HOLD_UNTIL_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})$(?!\n)"

UNDO_TO = "YYYYMMDDTHHMMSSZ (a time, UTC) or a snapshot's name"
UNDO_TO_PATTERN = r"^[0-9]{8}T[0-9]{6}Z(?:-[0-9a-f]{12})?$(?!\n)"

REASON = "why the holds are lifted, in one line of 5 to 500 characters"
REASON_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{5,500}$(?!\n)"

DISTRO_PATTERN = r"^[^./\s][^/\n]*$(?!\n)"
"""What may be the name of a directory under distros/."""

GIT_REF = "the name of a git branch or tag, or a commit"
GIT_REF_PATTERN = r"^(?!.*\.\.)(?!refs/(?!heads/|tags/))[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$(?!\n)"
"""No leading dash, which git would read as an option; no range, no ``@{...}``, no ``refs/pull/...``."""

T = TypeVar("T")


class Refused(PackagingError):
    """The request is refused. Nothing was started. The message names the field and what it may be."""


class Request(BaseModel):
    """What a person or a wrapper DAG asked for. Its JSON is what the wrappers' task ``plan`` returns."""

    model_config = ConfigDict(frozen=True)

    version: str
    distros: tuple[str, ...]
    today: datetime.date
    """The day on which the run was planned, UTC. A nightly of that day is what there is now."""
    action: Action = PUBLISH
    undo_to: str | None = None
    """The name of the snapshot to return to, or its time; None to remove this version only."""
    reason: str | None = None
    """Why holds are lifted."""
    dry_run: bool = False
    if_one_fails: IfOneFails = AS_USUAL
    packaging_ref: str | None = None
    """A branch, tag or commit of this project; None for the default packaging files."""
    force: bool = False
    """Whether packages that are built, but not published, are built again."""
    hold_until: datetime.datetime | None = None
    """Nothing is published before this time (UTC)."""
    require_approval: bool = False
    """Whether a person must approve before anything is published."""
    build_run: str = ""
    """The run of hhvm_build whose plan says what is meant; empty for the last plan of the version."""
    if_a_version_fails: IfAVersionFails = "the others go on"
    """Whether the other versions of the same run are published if one is not built."""

    @property
    def release(self) -> Release:
        """The release that is asked for."""
        return Release.parse(self.version, today=self.today)

    @property
    def holds_all(self) -> bool:
        """Whether no distribution is published if one of them fails."""
        return self.if_one_fails == HOLD_ALL or (self.if_one_fails == AS_USUAL and not self.release.nightly)

    @classmethod
    def check(
        cls,
        params: Mapping[str, Any],
        conf: Mapping[str, Any] | None,
        *,
        known: Iterable[str],
        run_date: datetime.date,
        today: datetime.date | None = None,
    ) -> Request:
        """Make the request of a run, and check it.

        ``params`` are the run's values of the form's fields; ``conf`` is everything that the run was given.
        ``run_date`` is what the word ``nightly`` means; ``today`` is the last day whose nightly there may be,
        by default the same. ``known`` are the names of all distributions. The form makes the same checks, but
        a run can be started without the form. Raises Refused, naming the field and what it may be.
        """
        _refuse_unknown(params, conf)
        known = sorted(known)
        try:
            release = _parse(params["version"], run_date, today)
        except InvalidVersion as error:
            raise Refused(str(error)) from error
        asked = params["distros"]
        if (
            not isinstance(asked, list | tuple)
            or not asked
            or not all(isinstance(name, str) for name in asked)
        ):
            raise Refused(
                f"distros: {asked!r} is not allowed. Allowed: a list of at least one of {', '.join(known)}."
            )
        if missing := [name for name in asked if name not in known]:
            raise Refused(f"distros: {', '.join(missing)}: not in distros/. Allowed: {', '.join(known)}.")
        request = cls(
            version=release.version,
            distros=tuple(dict.fromkeys(asked)),
            today=today or run_date,
            action=_one_of(ACTIONS, "action", params),
            undo_to=_text(params, "undo_to", UNDO_TO_PATTERN, UNDO_TO),
            reason=_text(params, "reason", REASON_PATTERN, REASON),
            dry_run=_one_of((False, True), "dry_run", params),
            if_one_fails=_one_of(IF_ONE_FAILS, "if_one_fails", params),
            packaging_ref=_text(params, "packaging_ref", GIT_REF_PATTERN, GIT_REF),
            force=_one_of((False, True), "force", params),
            hold_until=_time(params, "hold_until"),
            require_approval=_one_of((False, True), "require_approval", params),
            if_a_version_fails=_one_of(IF_A_VERSION_FAILS, "if_a_version_fails", params),
        )
        if request.undo_to and request.action != UNDO:
            raise Refused(f"undo_to: is for the action {UNDO} alone, not for {request.action}.")
        lifts = request.action == LIFT_HOLDS
        if lifts != bool(request.reason and request.reason.strip()):
            raise Refused(
                f"reason: the action {LIFT_HOLDS} needs one, and no other has one. Allowed: {REASON}."
            )
        if lifts and request.dry_run:
            raise Refused(f"dry_run: the action {LIFT_HOLDS} lifts holds, so it is never a dry run.")
        return request

    @classmethod
    def check_several(
        cls,
        params: Mapping[str, Any],
        conf: Mapping[str, Any] | None,
        *,
        known: Iterable[str],
        run_date: datetime.date,
        today: datetime.date | None = None,
    ) -> tuple[Request, ...]:
        """The requests of a run whose ``params`` have ``versions``, in their order. Otherwise like check."""
        _refuse_unknown(params, conf)
        asked, known = params["versions"], list(known)
        if not isinstance(asked, list | tuple) or not asked:
            raise Refused(
                f"versions: {asked!r} is not allowed. Allowed: a list of at least one of {ALLOWED_FORM}."
            )
        try:
            releases = [_parse(version, run_date, today) for version in asked]
        except InvalidVersion as error:
            raise Refused(f"versions: {str(error).removeprefix('version: ')}") from error
        _refuse_twice(releases)
        return tuple(
            cls.check(
                {**params, "version": release.version}, None, known=known, run_date=run_date, today=today
            )
            for release in releases
        )


def _parse(version: object, run_date: datetime.date, today: datetime.date | None) -> Release:
    """The release. The word ``nightly`` means that of the run's date."""
    asked = f"{run_date:%Y.%m.%d}" if version == NIGHTLY else version
    return Release.parse(asked, today=today or run_date)


def only_dry_run(params: Mapping[str, Any], conf: Mapping[str, Any] | None) -> bool:
    """Whether a run is a dry one, of a DAG that has no other parameter. Raises Refused."""
    _refuse_unknown(params, conf)
    return _one_of((False, True), "dry_run", params)


def _refuse_twice(releases: Iterable[Release]) -> None:
    """Raises Refused if a release is there twice, be it in two spellings."""
    spelled: dict[tuple[int, ...], list[str]] = {}
    for release in releases:
        spelled.setdefault(release.numbers, []).append(release.version)
    for versions in spelled.values():
        if len(set(versions)) > 1:
            raise Refused(f"versions: {' and '.join(versions)} are the same version. Allowed: each once.")
        if len(versions) > 1:
            raise Refused(f"versions: {versions[0]} is there more than once. Allowed: each once.")


def _refuse_unknown(params: Mapping[str, Any], conf: Mapping[str, Any] | None) -> None:
    if unknown := sorted(set(conf or {}) - set(params)):
        raise Refused(f"{', '.join(unknown)}: no such parameter. Allowed: {', '.join(params)}.")


def _one_of(allowed: tuple[T, ...], name: str, params: Mapping[str, Any]) -> T:
    """The parameter's value; if the form does not have it, the first of ``allowed``. Raises Refused."""
    value = params.get(name, allowed[0])
    # The type must be the same too: in Python 0 == False.
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise Refused(f"{name}: {value!r} is not allowed. Allowed: {', '.join(map(str, allowed))}.")
    found: T = value
    return found


def _text(params: Mapping[str, Any], name: str, pattern: str, allowed: str) -> str | None:
    """The parameter's value, which must match ``pattern``; None if it is not given. Raises Refused."""
    # A field that a person emptied arrives as null or as an empty string.
    value = params.get(name) or None
    if value is not None and not (isinstance(value, str) and re.match(pattern, value)):
        raise Refused(f"{name}: {value!r} is not allowed. Allowed: {allowed}.")
    return value


def _time(params: Mapping[str, Any], name: str) -> datetime.datetime | None:
    """The parameter's value as a time in UTC; None if it is not given. Raises Refused."""
    text = _text(params, name, HOLD_UNTIL_PATTERN, HOLD_UNTIL)
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC) if text else None
    except ValueError as error:
        raise Refused(f"{name}: {text!r} is not allowed ({error}). Allowed: {HOLD_UNTIL}.") from error
