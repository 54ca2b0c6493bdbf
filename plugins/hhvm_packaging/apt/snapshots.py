"""What a suite was: one snapshot for each commit, each naming the one that it replaced."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.apt import index
from hhvm_packaging.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.store import Bucket


log = logging.getLogger(__name__)


class Snapshot(BaseModel):
    """One commit of a suite. Only those that InRelease leads back to were ever seen by users."""

    model_config = ConfigDict(frozen=True)

    name: str
    """When it was made and of what: people choose by it."""
    date: datetime
    reason: str
    """What made the commit: ``publish``, ``undo to NAME`` or ``release``."""
    previous: str | None
    """The name of the one that this one replaced; None for the first."""
    added: tuple[str, ...] = ()
    """As "package version architecture", like ``removed``."""
    removed: tuple[str, ...] = ()
    in_release: str
    """InRelease as it was signed."""

    @staticmethod
    def name_of(date: datetime, release: bytes) -> str:
        """The name of the snapshot of this Release file."""
        return f"{date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{index.sha256(release)[:12]}"

    @classmethod
    def read(cls, scratch: Bucket, repository: str, suite: str, name: str) -> Snapshot | None:
        """The suite's snapshot of that name, or None where there is none."""
        content = scratch.get(Store.snapshot(repository, suite, name))
        return None if content is None else cls.model_validate_json(content)

    def write(self, scratch: Bucket, repository: str, suite: str) -> None:
        """Keep it, and warn if the store does not keep this machine's publishers from those of others."""
        content = self.model_dump_json(indent=2).encode()
        key = Store.snapshot(repository, suite, self.name)
        if not scratch.put_new(key, content, "application/json"):
            log.warning(
                "%s %s: the store does not support conditional writes; a lock keeps publishers on this "
                "machine apart, but not those on another",
                repository,
                suite,
            )


def chain(scratch: Bucket, repository: str, suite: str, newest: str | None) -> Iterator[Snapshot]:
    """The snapshots from ``newest`` back to the first, as far as they were kept."""
    while newest and (snapshot := Snapshot.read(scratch, repository, suite, newest)):
        yield snapshot
        newest = snapshot.previous
