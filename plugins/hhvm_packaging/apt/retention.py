"""Retention: which files a suite's users may still need, and which may be deleted.

Everything that a kept state names stays: clients and caches may have its InRelease, and an undo may go back
to it. A state is kept as long as its snapshot exists. Files are deleted before snapshots. So the files that
only one state names are deleted by the run after the one that deletes its snapshot, and an undo can go back
to every snapshot that exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.state import State, parse_index
from hhvm_packaging.apt.suite import Damaged
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from hhvm_packaging.apt.release_file import Release
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.store.buckets import Bucket, Entry


class UnknownHistory(PackagingError):
    """The history of a suite is incomplete, so none of its files may be deleted. The message says why."""


@dataclass(frozen=True)
class History:
    """All kept states of a suite, and the files that they name."""

    target: Suite
    since: datetime
    """States that were replaced before this time need not be kept."""
    snapshots: tuple[Snapshot, ...]
    """Newest first. The first one is what users get now."""
    indices: frozenset[str]
    """The keys of the by-hash files."""
    files: frozenset[str]
    """The keys of the files in the pool."""
    packages: frozenset[index.Identity]

    @classmethod
    def read(cls, target: Suite, since: datetime) -> History:
        """Read every state that users got at any time after ``since``, and older ones that still exist.

        Raises UnknownHistory if one of the former is gone or lacks an index; Damaged or index.InvalidIndex if
        the suite itself is broken.
        """
        snapshots = tuple(_snapshots(target, since))
        indices: set[str] = set()
        files: set[str] = set()
        packages: set[index.Identity] = set()
        seen: set[bytes] = set()
        for snapshot in snapshots:
            try:
                release = target.parse_release(index.encode(snapshot.in_release))
                state = _parse_unseen(seen, target, release)
                indices |= {keys.by_hash(target.key(name), digest) for name, digest in release.sha256.items()}
                files |= {keys.in_repository(target.repository, path) for path, _ in state.files}
            except (Damaged, index.InvalidIndex, keys.InvalidField) as error:
                raise UnknownHistory(f"{target}: the state {snapshot.name} is incomplete: {error}") from error
            packages |= state.identities
        return cls(target, since, snapshots, frozenset(indices), frozenset(files), frozenset(packages))

    def unnamed_indices(self) -> list[Entry]:
        """The by-hash files of the suite that no kept state names."""
        entries = unnamed(self.target.downloads, self.target.directory, self.indices, self.since)
        return [entry for entry in entries if keys.Downloads.BY_HASH.match(entry.key)]

    def outdated(self) -> list[Entry]:
        """The snapshots of states that were replaced before ``since``, or that were never committed.

        Oldest first: if a deletion in this order stops, the remaining snapshots form a chain without a gap.
        """
        where = self.target.repository, self.target.suite
        replaced = zip(self.snapshots[1:], self.snapshots, strict=False)
        kept = [*self.snapshots[:1], *(snapshot for snapshot, by in replaced if by.date >= self.since)]
        named = {keys.snapshot(*where, snapshot.name) for snapshot in kept}
        return unnamed(self.target.scratch, keys.snapshots(*where), named, self.since)


def unnamed(bucket: Bucket, prefix: str, named: Collection[str], since: datetime) -> list[Entry]:
    """The objects under ``prefix`` whose keys are not ``named`` and that were written before ``since``.

    Newer ones may belong to a publish under way: it writes files before it commits the index that names them.
    """
    return [entry for entry in bucket.entries(prefix) if entry.modified < since and entry.key not in named]


def _parse_unseen(seen: set[bytes], target: Suite, release: Release) -> State:
    """The entries of a state whose paragraphs are not in ``seen``. Adds its paragraphs to ``seen``.

    To parse a paragraph is slow, and consecutive states share nearly all of them.
    """

    def new(name: str) -> bytes:
        paragraphs = set(target.fetch_index(name, release).split(b"\n\n")) - seen
        seen.update(paragraphs)
        return b"\n\n".join(paragraphs)

    return State(indices={name: parse_index(name, new(name)) for name in release.indices})


def _snapshots(target: Suite, since: datetime) -> list[Snapshot]:
    """The existing snapshots, newest first. Raises UnknownHistory if they do not reach back to ``since``."""
    found: list[Snapshot] = []
    current = target.read()
    if not current.in_release:
        snapshots = keys.snapshots(target.repository, target.suite)
        if any(target.downloads.keys(target.directory)) or any(target.scratch.keys(snapshots)):
            raise UnknownHistory(f"{target}: it has no InRelease, but it has indices or snapshots")
    name = current.snapshot
    while name:
        snapshot = Snapshot.read(target.scratch, target.repository, target.suite, name)
        if snapshot is None:
            if not found or found[-1].date >= since:
                raise UnknownHistory(f"{target}: the snapshot {name} is gone")
            break
        found.append(snapshot)
        name = snapshot.previous
    return found
