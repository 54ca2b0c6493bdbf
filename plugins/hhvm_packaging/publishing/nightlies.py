"""Nightlies in a suite: which of them are too old to be offered."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.undo import upstream
from hhvm_packaging.release import NIGHTLY_PACKAGE, Release

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.settings import Settings


def nightly(identity: Identity) -> Release | None:
    """The nightly that the package is of; None if it is of none."""
    if not f"{identity[0]}-".startswith(f"{NIGHTLY_PACKAGE}-"):
        return None
    release = Release.find(upstream(identity))
    return release if release and release.nightly else None


def first_day(now: datetime, settings: Settings) -> date:
    """The day of the oldest nightly that is offered without being the newest."""
    return now.date() - timedelta(days=settings.nightly_days)


def aged(identities: Iterable[Identity], first: date) -> frozenset[Identity]:
    """The packages of nightlies of before the day ``first``.

    Of each architecture the newest nightly is left out: where nightlies have stopped, users keep the last.
    """
    days = {identity: found.date for identity in identities if (found := nightly(identity))}
    newest: dict[str, date] = {}
    for (_, _, architecture), day in days.items():
        newest[architecture] = max(day, newest.get(architecture, day))
    return frozenset(identity for identity, day in days.items() if day < first and day not in newest.values())


def ageing(current: State, first: date) -> Change:
    """The change that takes such packages out of a suite, without withdrawing them: they are not bad."""
    gone = aged(current.identities, first)
    indices = {name: entries.without(gone) for name, entries in current.indices.items()}
    return Change(current, indices, current.withdrawn, f"prune nightlies of before {first:%Y.%m.%d}")
