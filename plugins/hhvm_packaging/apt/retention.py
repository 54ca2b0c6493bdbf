"""Deleting index files that nobody can want any more."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.lock import fenced
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.store import Store

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from hhvm_packaging.store import Bucket

log = logging.getLogger(__name__)


def prune_by_hash(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    keep: timedelta,
    now: datetime | None = None,
    locks: Path | None = None,
) -> list[str]:
    """Delete the suite's by-hash files that are older than ``keep`` and that no state of that time names.

    A state is of that time until ``keep`` after it was replaced: clients and caches may hold its InRelease,
    and an undo may go back to it. No publish or undo may run meanwhile (the pool ``publish``). Returns the
    deleted keys: none if the history of that time is not complete. Raises Damaged, index.InvalidIndex.
    """
    target = Suite(downloads, scratch, repository, suite)
    since = (now or datetime.now(UTC)) - keep
    with fenced(downloads, scratch, str(target), directory=locks):
        named = _named(target, scratch, since)
        if named is None:
            return []
        old = [
            entry.key
            for entry in downloads.entries(target.directory)
            if "/by-hash/" in entry.key and entry.modified < since and entry.key not in named
        ]
        for key in old:
            downloads.delete(key)
    return old


def _named(target: Suite, scratch: Bucket, since: datetime) -> set[str] | None:
    """The by-hash files of all states that were current at ``since`` or later; None if one is unknown."""
    current = target.read()
    if current.release is None:
        return set()
    named = _files(target, current.release)
    replaced, name = current.release.date, current.snapshot
    newest = True
    while newest or (name and replaced >= since):
        snapshot = Snapshot.read(scratch, target.repository, target.suite, name or "")
        if snapshot is None:
            log.warning("%s: the snapshot %s is gone; no by-hash file is deleted", target, name)
            return None
        named |= _files(target, target.release_of(snapshot.in_release.encode()))
        replaced, name, newest = snapshot.date, snapshot.previous, False
    return named


def _files(target: Suite, release: index.Release) -> set[str]:
    return {Store.by_hash(target.directory + name, digest) for name, digest in release.sha256.items()}
