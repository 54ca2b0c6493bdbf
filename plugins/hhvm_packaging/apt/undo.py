"""Taking back: a suite becomes what it was, and what it loses stays away until it is released again.

An old InRelease put back would not do: apt passes over one that is older than what it has. So the old
content is signed anew with a newer date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.lock import fenced
from hhvm_packaging.apt.snapshots import Snapshot, chain
from hhvm_packaging.apt.suite import Damaged, State, Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store import Bucket


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
    target = Suite(downloads, scratch, repository, suite)
    with fenced(downloads, scratch, str(target), directory=locks):
        current = target.read(trusted=signer.public_key())
        snapshot = _find(target, scratch, current, to)
        wanted = target.state(snapshot.in_release.encode(), None, trusted=signer.public_key())
        if again := wanted.identities & current.withdrawn:
            raise CannotUndo(
                f"{target}: the snapshot {to} has what was withdrawn: {', '.join(_words(again))}. Choose "
                "another one, or release that first."
            )
        if wanted.release is None or current.release is None:
            raise CannotUndo(f"{target}: nothing is published")
        contents = {name: target.load(name, wanted.release) for name in wanted.release.sha256}
        _check_pool(target, wanted)
        added, removed = wanted.identities - current.identities, current.identities - wanted.identities
        if wanted.release.sha256 == current.release.sha256:
            target.complete(current.text, current.release, signer)
        else:
            target.commit(
                contents,
                current,
                signer,
                reason=f"undo to {to}",
                added=added,
                removed=removed,
                withdrawn=current.withdrawn | removed,
            )
    return Undone(_words(added), _words(removed), _downgrade(wanted, removed))


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
    target = Suite(downloads, scratch, repository, suite)
    with fenced(downloads, scratch, str(target), directory=locks):
        current = target.read(trusted=signer.public_key())
        released = {identity for identity in current.withdrawn if identity[1] == version}
        if released and current.release:
            target.commit(
                {name: target.load(name, current.release) for name in current.release.sha256},
                current,
                signer,
                reason=f"release {version}",
                withdrawn=current.withdrawn - released,
            )
    return _words(released)


def _find(target: Suite, scratch: Bucket, current: State, name: str) -> Snapshot:
    for snapshot in chain(scratch, target.repository, target.suite, current.snapshot):
        if snapshot.name == name:
            return snapshot
    raise CannotUndo(f"{target}: it was never in a state {name!r}; its history names those that it was in")


def _check_pool(target: Suite, wanted: State) -> None:
    """Raises Damaged if the pool lacks a file that users would be offered."""
    named = {Store.in_repository(target.repository, path): size for path, size in _files(wanted)}
    directories = {f"{key.rpartition('/')[0]}/" for key in named}
    there = {entry.key: entry.size for prefix in directories for entry in target.downloads.entries(prefix)}
    if lost := sorted(key for key, size in named.items() if there.get(key) != size):
        raise Damaged(
            f"{target}: the pool has no longer what the snapshot names: {', '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        )


def _files(state: State) -> Iterator[tuple[str, int]]:
    """The files that users are offered, relative to the repository, and their sizes in bytes."""
    for packages in state.packages.values():
        yield from ((stanza.filename, stanza.size) for stanza in packages.stanzas)
    for source in state.sources.stanzas:
        yield from ((f"{source.directory}/{file.name}", file.size) for file in source.files)


def _downgrade(state: State, removed: frozenset[index.Identity]) -> str:
    names = {package for package, _, architecture in removed if architecture != "source"}
    # In an index the newest version of a package is its last.
    newest = {
        stanza.package: stanza.version
        for packages in state.packages.values()
        for stanza in packages.stanzas
        if stanza.package in names
    }
    if not newest:
        return ""
    wanted = " ".join(f"{package}={version}" for package, version in sorted(newest.items()))
    return f"apt-get update && apt-get install --allow-downgrades {wanted}"


def _words(identities: frozenset[index.Identity] | set[index.Identity]) -> tuple[str, ...]:
    return tuple(" ".join(identity) for identity in sorted(identities))
