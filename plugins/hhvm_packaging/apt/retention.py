"""What a suite's users may still need, and what nobody can want any more.

All stays that a kept state names: clients and caches may hold its InRelease, and an undo may go back to it.
A state is kept as long as its snapshot, and a snapshot is deleted after what it does not name: so whatever
only that state names goes when a later run finds the snapshot gone, and every snapshot that there is can
be put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.packages_index import Packages, packages_of
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.sources_index import SOURCES, Sources
from hhvm_packaging.apt.state import State
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
    """It is not known what users of a suite may have. The message names what is missing."""


@dataclass(frozen=True)
class History:
    """All states of a suite that are kept, and what they name."""

    target: Suite
    since: datetime
    """A state that was replaced before this need not be kept."""
    snapshots: tuple[Snapshot, ...]
    """Newest first; the first is what users get now."""
    indices: frozenset[str]
    """The by-hash files, by their keys."""
    files: frozenset[str]
    """The files of the pool, likewise."""
    packages: frozenset[index.Identity]

    @classmethod
    def read(cls, target: Suite, since: datetime) -> History:
        """The suite's history, with every state that was current ``since``.

        Raises UnknownHistory if one of them is gone; Damaged or index.InvalidIndex if the suite is broken.
        """
        snapshots = tuple(_snapshots(target, since))
        indices: set[str] = set()
        files: set[str] = set()
        packages: set[index.Identity] = set()
        seen: set[bytes] = set()
        for snapshot in snapshots:
            try:
                release = target.parse_release(snapshot.in_release.encode())
                state = _beyond(seen, target, release)
                indices |= {
                    keys.by_hash(target.directory + name, digest) for name, digest in release.sha256.items()
                }
                files |= {keys.in_repository(target.repository, path) for path, _ in state.files}
            except (Damaged, index.InvalidIndex, keys.InvalidField) as error:
                raise UnknownHistory(f"{target}: the state {snapshot.name} is not whole: {error}") from error
            packages |= state.identities
        return cls(target, since, snapshots, frozenset(indices), frozenset(files), frozenset(packages))

    def unnamed_indices(self) -> list[Entry]:
        """The suite's by-hash files that none of these states names."""
        entries = unnamed(self.target.downloads, self.target.directory, self.indices, self.since)
        return [entry for entry in entries if keys.Downloads.BY_HASH.match(entry.key)]

    def outdated(self) -> list[Entry]:
        """The snapshots of states that were replaced before ``since``, or that users never had.

        Oldest first: whatever is deleted of them in this order, what is left leads back without a gap.
        """
        where = self.target.repository, self.target.suite
        replaced = zip(self.snapshots[1:], self.snapshots, strict=False)
        kept = [*self.snapshots[:1], *(snapshot for snapshot, by in replaced if by.date >= self.since)]
        named = {keys.snapshot(*where, snapshot.name) for snapshot in kept}
        return unnamed(self.target.scratch, keys.snapshots(*where), named, self.since)


def unnamed(bucket: Bucket, prefix: str, named: Collection[str], since: datetime) -> list[Entry]:
    """The objects under ``prefix`` that are not among ``named`` and were written before ``since``.

    What is newer may be on its way: a publish writes files before it commits what names them.
    """
    return [entry for entry in bucket.entries(prefix) if entry.modified < since and entry.key not in named]


def _beyond(seen: set[bytes], target: Suite, release: Release) -> State:
    """What the state names beyond the paragraphs ``seen``, which has all of them afterwards.

    Reading a paragraph takes long, and states that follow each other have nearly all of them in common.
    """

    def new(name: str) -> bytes:
        paragraphs = set(target.fetch_index(name, release).split(b"\n\n")) - seen
        seen.update(paragraphs)
        return b"\n\n".join(paragraphs)

    packages = {
        architecture: Packages.parse(new(packages_of(architecture))) for architecture in release.architectures
    }
    sources = Sources.parse(new(SOURCES)) if SOURCES in release.sha256 else Sources()
    return State(packages=packages, sources=sources)


def _snapshots(target: Suite, since: datetime) -> list[Snapshot]:
    """As far back as they were kept. Raises UnknownHistory if that is not as far as ``since``."""
    found: list[Snapshot] = []
    current = target.read()
    if current.release is None:
        snapshots = keys.snapshots(target.repository, target.suite)
        if any(target.downloads.keys(target.directory)) or any(target.scratch.keys(snapshots)):
            raise UnknownHistory(f"{target}: it has no InRelease, but had one or was to have one")
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
