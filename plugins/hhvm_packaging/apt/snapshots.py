"""What a suite was: one snapshot for each commit, each naming the one that it replaced."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.store.buckets import Bucket


@dataclass(frozen=True)
class Snapshot:
    """One commit of a suite. Only those that InRelease leads back to were ever seen by users."""

    name: str
    """When it was made and of what: people choose by it."""
    date: datetime
    reason: str
    """What made the commit: ``publish``, ``undo to NAME`` or ``release``."""
    previous: str | None
    """The name of the one that this one replaced; None for the first."""
    added: tuple[str, ...]
    """As "package version architecture", like ``removed``."""
    removed: tuple[str, ...]
    in_release: str
    """InRelease as it was signed."""

    @staticmethod
    def name_of(date: datetime, release: bytes) -> str:
        """The name of the snapshot of this Release file."""
        return f"{date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{index.sha256(release)[:12]}"

    @classmethod
    def read(cls, scratch: Bucket, repository: str, suite: str, name: str) -> Snapshot | None:
        """The suite's snapshot of that name, or None where there is none."""
        found = scratch.get_json(keys.snapshot(repository, suite, name))
        if found is None:
            return None
        date, added, removed = datetime.fromisoformat(found["date"]), found["added"], found["removed"]
        return cls(**found | {"date": date, "added": tuple(added), "removed": tuple(removed)})

    def write(self, scratch: Bucket, repository: str, suite: str) -> None:
        """Keep it."""
        content = json.dumps(asdict(self) | {"date": self.date.isoformat()}, indent=2).encode()
        scratch.put(keys.snapshot(repository, suite, self.name), content, "application/json")


def chain(scratch: Bucket, repository: str, suite: str, newest: str | None) -> Iterator[Snapshot]:
    """The snapshots from ``newest`` back to the first, as far as they were kept."""
    while newest and (snapshot := Snapshot.read(scratch, repository, suite, newest)):
        yield snapshot
        newest = snapshot.previous
