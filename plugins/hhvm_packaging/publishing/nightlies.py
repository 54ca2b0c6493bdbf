"""The nightlies of a suite, and which of them are too old to be offered."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.sources_index import ARCHITECTURE as SOURCE
from hhvm_packaging.apt.undo import upstream
from hhvm_packaging.release import NIGHTLY_PACKAGE, Release
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


def find_nightly(identity: Identity) -> Release | None:
    """The nightly that the package belongs to; None if it belongs to none."""
    if not f"{identity[0]}-".startswith(f"{NIGHTLY_PACKAGE}-"):
        return None
    release = Release.find(upstream(identity))
    return release if release and release.nightly else None


def list_days(repository: str, store: Store) -> set[date]:
    """The days whose nightlies have files in the repository's pool."""
    start = keys.nightly_pool(repository)
    found = set()
    for key in store.downloads.keys(start):
        version = key.removeprefix(start).partition("_")[2].partition("-")[0]
        if (release := Release.find(version)) and release.nightly:
            found.add(release.date)
    return found


def first_day(now: datetime, settings: Settings) -> date:
    """The first day whose nightlies are offered. An older nightly is offered only if it is the newest."""
    return now.date() - timedelta(days=settings.nightly_days)


def find_aged(identities: Iterable[Identity], first: date) -> frozenset[Identity]:
    """The packages of nightlies from before the day ``first``.

    Each architecture keeps its newest nightly, so that users have one if nightlies stop. The packages for
    all architectures and the source stay as long as one architecture keeps the nightly.
    """
    days = {identity: found.date for identity in identities if (found := find_nightly(identity))}
    newest: dict[str, date] = {}
    for (_, _, architecture), day in days.items():
        newest[architecture] = max(day, newest.get(architecture, day))

    def is_newest(identity: Identity, day: date) -> bool:
        architecture = identity[2]
        return day in newest.values() if architecture in ("all", SOURCE) else day == newest[architecture]

    return frozenset(
        identity for identity, day in days.items() if day < first and not is_newest(identity, day)
    )


def remove_aged(current: State, first: date) -> Change:
    """The change that removes aged nightlies from a suite. It does not withdraw them: they are not bad."""
    gone = find_aged(current.identities, first)
    indices = {name: entries.without(gone) for name, entries in current.indices.items()}
    return Change(current, indices, current.withdrawn, f"prune nightlies of before {first:%Y.%m.%d}")
