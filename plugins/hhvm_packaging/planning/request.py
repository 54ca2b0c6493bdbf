"""Requests: what a person or a wrapper asked for, checked before anything starts."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import ALLOWED_FORM, InvalidVersion, Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Action: TypeAlias = Literal["publish", "undo", "release again"]
PUBLISH: Final = "publish"
UNDO: Final = "undo"
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

GIT_REF = "the name of a git branch or tag, or a commit"
GIT_REF_PATTERN = r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$(?!\n)"
"""No leading dash, so that git takes it for no option; no range, no ``@{...}``."""

T = TypeVar("T")


class Refused(PackagingError):
    """The request is not one that can be carried out. Nothing was started."""


class Request(BaseModel):
    """What a person or a wrapper asked for."""

    model_config = ConfigDict(frozen=True)

    version: str
    distros: tuple[str, ...]
    today: datetime.date
    """The run's own date, UTC."""
    action: Action = PUBLISH
    undo_to: str | None = None
    """A snapshot's name, or a time as such names begin with; None for the state without the version."""
    dry_run: bool = False
    if_one_fails: IfOneFails = AS_USUAL
    packaging_ref: str | None = None
    """A branch, tag or commit of this project; None for what is usual."""
    force: bool = False
    """Whether what is built and not published is built again."""
    hold_until: datetime.datetime | None = None
    """Nothing is public before that time."""
    require_approval: bool = False
    """Whether nothing is public before a person approves."""
    if_a_version_fails: IfAVersionFails = "the others go on"
    """Of several versions that were asked for at once."""

    @property
    def release(self) -> Release:
        """The release that is asked for."""
        return Release.parse(self.version, today=self.today)

    @property
    def holds_all(self) -> bool:
        """Whether one distribution that fails keeps back the others."""
        return self.if_one_fails == HOLD_ALL or (self.if_one_fails == AS_USUAL and not self.release.nightly)

    @classmethod
    def check(
        cls,
        params: Mapping[str, Any],
        conf: Mapping[str, Any] | None,
        *,
        known: Iterable[str],
        run_date: datetime.date,
    ) -> Request:
        """The request that a run's ``params`` and ``conf`` make; ``known`` are the distributions there are.

        ``params`` are those that the form has, ``conf`` whatever the run was given.

        The form checks the same, but not every way to start a run passes it. Raises Refused, naming
        the field and the allowed form.
        """
        _refuse_unknown(params, conf)
        known = sorted(known)
        try:
            release = Release.parse(params["version"], today=run_date)
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
            today=run_date,
            action=_one_of(ACTIONS, "action", params),
            undo_to=_text(params, "undo_to", UNDO_TO_PATTERN, UNDO_TO),
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
        return request

    @classmethod
    def check_several(
        cls,
        params: Mapping[str, Any],
        conf: Mapping[str, Any] | None,
        *,
        known: Iterable[str],
        run_date: datetime.date,
    ) -> tuple[Request, ...]:
        """The requests, in their order, of a run whose ``params`` have ``versions``; otherwise like check."""
        _refuse_unknown(params, conf)
        asked, known = params["versions"], list(known)
        if not isinstance(asked, list | tuple) or not asked:
            raise Refused(
                f"versions: {asked!r} is not allowed. Allowed: a list of at least one of {ALLOWED_FORM}."
            )
        try:
            versions = [Release.parse(version, today=run_date).version for version in asked]
        except InvalidVersion as error:
            raise Refused(f"versions: {str(error).removeprefix('version: ')}") from error
        if twice := sorted({version for version in versions if versions.count(version) > 1}):
            raise Refused(f"versions: {', '.join(twice)} is there more than once. Allowed: each once.")
        return tuple(
            cls.check({**params, "version": version}, None, known=known, run_date=run_date)
            for version in versions
        )


def only_dry_run(params: Mapping[str, Any], conf: Mapping[str, Any] | None) -> bool:
    """Whether a run that can be asked for nothing else is to be a dry one. Raises Refused."""
    _refuse_unknown(params, conf)
    return _one_of((False, True), "dry_run", params)


def _refuse_unknown(params: Mapping[str, Any], conf: Mapping[str, Any] | None) -> None:
    if unknown := sorted(set(conf or {}) - set(params)):
        raise Refused(f"{', '.join(unknown)}: no such parameter. Allowed: {', '.join(params)}.")


def _one_of(allowed: tuple[T, ...], name: str, params: Mapping[str, Any]) -> T:
    """The parameter, where the run has it, else the first of those allowed. Raises Refused."""
    value = params.get(name, allowed[0])
    # By type too: JSON's 0 is not false.
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise Refused(f"{name}: {value!r} is not allowed. Allowed: {', '.join(map(str, allowed))}.")
    found: T = value
    return found


def _text(params: Mapping[str, Any], name: str, pattern: str, allowed: str) -> str | None:
    """The parameter, None where it is not given. Raises Refused."""
    # An emptied field of the form arrives as null or as an empty text.
    value = params.get(name) or None
    if value is not None and not (isinstance(value, str) and re.match(pattern, value)):
        raise Refused(f"{name}: {value!r} is not allowed. Allowed: {allowed}.")
    return value


def _time(params: Mapping[str, Any], name: str) -> datetime.datetime | None:
    """The parameter as a time in UTC, None where it is not given. Raises Refused."""
    text = _text(params, name, HOLD_UNTIL_PATTERN, HOLD_UNTIL)
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC) if text else None
    except ValueError as error:
        raise Refused(f"{name}: {text!r} is not allowed ({error}). Allowed: {HOLD_UNTIL}.") from error
