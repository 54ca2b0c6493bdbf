"""Taking back: a suite becomes what it was, and what it loses stays away until it is released again.

An old InRelease put back would not do: apt passes over one that is older than what it has. So the old
content is signed anew with a newer date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from debian.debian_support import Version

from hhvm_packaging.apt import index
from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.lock import DIRECTORY, fenced
from hhvm_packaging.apt.repository import carry_out
from hhvm_packaging.apt.snapshots import Snapshot, chain
from hhvm_packaging.apt.sources_index import ARCHITECTURE as SOURCE
from hhvm_packaging.apt.suite import Damaged, State, Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from hhvm_packaging.apt.index import Packages
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.store.buckets import Bucket


class CannotUndo(PackagingError):
    """What was asked for cannot be put back or released. Nothing was written. The message says why."""


@dataclass(frozen=True)
class Undone:
    """What an undo did."""

    added: tuple[str, ...]
    """What users are offered again, as "package version architecture"."""
    removed: tuple[str, ...]
    """What was withdrawn from them."""
    downgrade: str
    """The command for those who installed what was withdrawn; empty where nothing is left to go back to."""


def history(
    downloads: Bucket, scratch: Bucket, *, repository: str, suite: str, limit: int = 20
) -> list[Snapshot]:
    """The last ``limit`` states of the suite, newest first; the first is what users get now."""
    current = Suite(downloads, scratch, repository, suite).read()
    states = chain(scratch, repository, suite, current.snapshot)
    return [snapshot for snapshot, _ in zip(states, range(limit), strict=False)]


def undo(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    to: str,
    signer: Signer,
    locks: Path | None = None,
) -> Undone:
    """Put the suite back to its snapshot ``to``, a name from its ``history``; again does no harm.

    What the suite has and the snapshot has not is withdrawn: a publish leaves it out until ``release``.
    Nothing is written before every file that the snapshot names is seen to be there. Raises CannotUndo if
    the suite never was in that state, or if it holds what was withdrawn; Damaged if a file is gone;
    signing.BadSignature; store.Conflict if a publisher was faster (run it again).
    """
    target = Suite(downloads, scratch, repository, suite, memories=locks or DIRECTORY)
    with fenced(downloads, scratch, str(target), directory=locks):
        change = going_back(target, target.read(signer=signer), to, signer)
        carry_out(target, change, signer)
    return Undone(
        index.words(change.added), index.words(change.removed), downgrade(change.indices, change.removed)
    )


def going_back(target: Suite, current: State, to: str, signer: Signer) -> Change:
    """The change that puts the suite back to what it was.

    ``to`` is a snapshot's name, or a time as names begin with, which means the state of then. Raises
    CannotUndo; Damaged if a file of that state is gone; signing.BadSignature.
    """
    snapshot = _find(target, current, to)
    wanted = target.state(snapshot.in_release.encode(), None, signer=signer)
    if again := ", ".join(index.words(wanted.identities & current.withdrawn)):
        raise CannotUndo(
            f"{target}: the snapshot {snapshot.name} has what was withdrawn: {again}. Choose another one, or "
            "release that first."
        )
    _check_pool(target, wanted)
    removed = current.identities - wanted.identities
    return Change(current, wanted.indices, current.withdrawn | removed, f"undo to {snapshot.name}")


def withdrawing(target: Suite, current: State, version: str) -> Change:
    """The change that takes away HHVM ``version``, in whichever package revision, and nothing else.

    None of it may be left. Raises CannotUndo if the suite never had it.
    """
    offered = {identity for identity in current.identities if upstream(identity) == version}
    if not offered and version not in map(upstream, current.withdrawn):
        raise CannotUndo(f"{target}: HHVM {version} is not published there")
    indices = {name: entries.without(offered) for name, entries in current.indices.items()}
    return Change(current, indices, current.withdrawn | offered, f"undo {version}")


def release(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    version: str,
    signer: Signer,
    locks: Path | None = None,
) -> tuple[str, ...]:
    """Let the packages of a withdrawn Debian version be published again; the next publish brings them back.

    Returns them as "package version architecture"; none if nothing of that version is withdrawn. Raises
    Damaged; signing.BadSignature; store.Conflict if a publisher was faster (run it again).
    """
    target = Suite(downloads, scratch, repository, suite, memories=locks or DIRECTORY)
    with fenced(downloads, scratch, str(target), directory=locks):
        current = target.read(signer=signer)
        released = frozenset(identity for identity in current.withdrawn if identity[1] == version)
        if released:
            change = Change(current, current.indices, current.withdrawn - released, f"release {version}")
            target.commit(change, signer)
    return index.words(released)


def instead(
    indices: Mapping[str, Packages | Sources], withdrawn: Collection[index.Identity]
) -> tuple[str, ...]:
    """What users who installed ``withdrawn`` can go back to, the newest, as "package=version"."""
    names = {package for package, _, architecture in withdrawn if architecture != SOURCE}
    # In an index the newest version of a package is its last.
    newest = {
        entry.package: entry.version
        for entries in indices.values()
        for entry in entries.stanzas
        if entry.package in names and entry.architecture != SOURCE
    }
    return tuple(f"{package}={version}" for package, version in sorted(newest.items()))


def downgrade(indices: Mapping[str, Packages | Sources], withdrawn: Collection[index.Identity]) -> str:
    """The command for users who installed ``withdrawn``; empty if nothing is left for them."""
    wanted = " ".join(instead(indices, withdrawn))
    return wanted and f"apt-get update && apt-get install --allow-downgrades {wanted}"


@dataclass(frozen=True)
class Notice:
    """What users of a suite are to be told."""

    withdrawn: tuple[str, ...]
    """As "package version architecture"."""
    downgrade: str
    """As ``downgrade`` has it."""


def notice(downloads: Bucket, repository: str, suite: str) -> Notice | None:
    """What was withdrawn from the suite, and how to go back; None if nothing was."""
    target = Suite(downloads, downloads, repository, suite)
    content = downloads.get(f"{target.directory}InRelease")
    if content is None or not (withdrawn := target.release_of(content).withdrawn):
        return None
    return Notice(index.words(withdrawn), downgrade(target.state(content, None).indices, withdrawn))


def upstream(identity: index.Identity) -> str:
    """HHVM's own version in that of the package."""
    return Version(identity[1]).upstream_version or ""


def _find(target: Suite, current: State, to: str) -> Snapshot:
    seen = []
    for snapshot in chain(target.scratch, target.repository, target.suite, current.snapshot):
        if to == snapshot.name or ("-" not in to and snapshot.name.partition("-")[0] <= to):
            return snapshot
        seen.append(snapshot.name)
    last = ", ".join(seen[:5]) or "none"
    raise CannotUndo(f"{target}: it was never in a state {to!r}. Its last ones, newest first: {last}")


def _check_pool(target: Suite, wanted: State) -> None:
    """Raises Damaged if the pool lacks a file that users would be offered."""
    named = {keys.in_repository(target.repository, path): size for path, size in files(wanted)}
    directories = {f"{key.rpartition('/')[0]}/" for key in named}
    there = {entry.key: entry.size for prefix in directories for entry in target.downloads.entries(prefix)}
    if lost := sorted(key for key, size in named.items() if there.get(key) != size):
        raise Damaged(
            f"{target}: the pool has no longer what the snapshot names: {', '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        )


def files(state: State) -> Iterator[tuple[str, int]]:
    """The files that users are offered, relative to the repository, and their sizes in bytes."""
    for packages in state.packages.values():
        yield from ((stanza.filename, stanza.size) for stanza in packages.stanzas)
    for source in state.sources.stanzas:
        yield from ((f"{source.directory}/{file.name}", file.size) for file in source.files)
