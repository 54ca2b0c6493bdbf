"""Snapshots: the history of a suite. Each commit has one, which names the one before it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import DamagedObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.store.buckets import Bucket


@dataclass(frozen=True)
class Snapshot:
    """One commit of a suite. Users saw only the commits that the current one leads back to."""

    name: str
    """Its date and the start of a digest. People choose a snapshot by its name."""
    date: datetime
    reason: str
    """Why the suite changed, for example ``publish``, ``undo to NAME`` or ``release VERSION``."""
    previous: str | None
    """The name of the snapshot before this one; None for the first."""
    added: tuple[str, ...]
    """Packages that the commit added, each as "package version architecture"."""
    removed: tuple[str, ...]
    """Packages that the commit removed, likewise."""
    in_release: str
    """The signed InRelease of the commit, as index.decode reads its bytes."""
    committed: bool = False
    """Whether users have got this state. False may also mean that it is not recorded."""

    def as_committed(self) -> Snapshot:
        """The same, of which users have got the state."""
        return replace(self, committed=True)

    @staticmethod
    def name_of(date: datetime, release: bytes) -> str:
        """The name of the snapshot whose Release file has this date and these bytes."""
        return f"{date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{index.sha256(release)[:12]}"

    @classmethod
    def read(cls, scratch: Bucket, repository: str, suite: str, name: str) -> Snapshot | None:
        """The suite's snapshot of that name; None if there is none."""
        found = scratch.get_json(keys.snapshot(repository, suite, name))
        if found is None:
            return None
        try:
            date, added, removed = datetime.fromisoformat(found["date"]), found["added"], found["removed"]
            return cls(**found | {"date": date, "added": tuple(added), "removed": tuple(removed)})
        except (KeyError, TypeError, ValueError) as error:
            key = keys.snapshot(repository, suite, name)
            raise DamagedObject(scratch.name, key, f"it is no snapshot: {error!r}") from error

    def write(self, scratch: Bucket, repository: str, suite: str) -> None:
        """Store the snapshot in scratch."""
        content = json.dumps(asdict(self) | {"date": self.date.isoformat()}, indent=2).encode()
        scratch.put(keys.snapshot(repository, suite, self.name), content, "application/json")


def chain(scratch: Bucket, repository: str, suite: str, newest: str | None) -> Iterator[Snapshot]:
    """The snapshots from ``newest`` back to the first one, or to the first one that was deleted."""
    while newest and (snapshot := Snapshot.read(scratch, repository, suite, newest)):
        yield snapshot
        newest = snapshot.previous
