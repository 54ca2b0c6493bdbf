"""Undoing: a suite gets an earlier state again, and what it loses is withdrawn until it is reinstated.

Putting an old InRelease back would not do: apt ignores one that is older than what it has. So the old content
is signed again with a new date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from debian.debian_support import Version

from hhvm_packaging.apt import index
from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.pool import list_lost
from hhvm_packaging.apt.snapshots import Snapshot, chain
from hhvm_packaging.apt.sources_index import ARCHITECTURE as SOURCE
from hhvm_packaging.apt.suite import Damaged
from hhvm_packaging.apt.versions import canonical
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import is_same_version
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hhvm_packaging.apt.packages_index import Packages
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.apt.suite import Suite


class CannotUndo(PackagingError):
    """What was asked for cannot be undone. Nothing was written. The message says why."""


@dataclass(frozen=True)
class Undone:
    """What an undo did."""

    added: tuple[str, ...]
    """The packages that users are offered again, as "package version architecture"."""
    removed: tuple[str, ...]
    """The packages that were withdrawn, likewise."""
    downgrade: str
    """The command for users who installed what was withdrawn; empty if there is no version to go back to."""


def read_history(suite: Suite, *, limit: int = 20) -> list[Snapshot]:
    """The last ``limit`` states of the suite, newest first. The first one is what users get now."""
    states = chain(suite.scratch, suite.repository, suite.suite, suite.read().snapshot)
    return [snapshot for snapshot, _ in zip(states, range(limit), strict=False)]


def undo(suite: Suite, to: str, signer: Signer) -> Undone:
    """Put the suite back to its snapshot ``to``, a name from its history. Running it again does no harm.

    What the suite has and the snapshot has not is withdrawn. Nothing is written before the pool is seen to
    have every file that the snapshot names. Raises CannotUndo if the suite never was in that state, or if
    that state has packages that are withdrawn; Damaged if a file is gone; signing.BadSignature; Conflict if
    another publisher was faster.
    """
    with suite.lock():
        change = go_back(suite, suite.read(signer=signer), to, signer)
        suite.carry_out(change, signer)
    return Undone(
        index.words(change.added), index.words(change.removed), downgrade(change.indices, change.removed)
    )


def go_back(suite: Suite, current: State, to: str, signer: Signer) -> Change:
    """The change that puts the suite back to an earlier state.

    ``to`` is a snapshot's name, or a time as names begin with, which means the state at that time. Raises
    CannotUndo; Damaged if a file of that state is gone; signing.BadSignature.
    """
    snapshot = _find(suite, current, to)
    wanted = suite.parse(index.encode(snapshot.in_release), None, signer=signer)
    if wanted.snapshot != snapshot.name:
        raise Damaged(
            f"{suite}: s3://{suite.scratch.name}/"
            f"{keys.snapshot(suite.repository, suite.suite, snapshot.name)} is not the state that its "
            "name says: choose another one"
        )
    if again := ", ".join(index.words(wanted.identities & current.withdrawn)):
        raise CannotUndo(
            f"{suite}: the snapshot {snapshot.name} has packages that were withdrawn: {again}. Choose "
            "another one, or release them again first."
        )
    _check_pool(suite, wanted)
    removed = current.identities - wanted.identities
    return Change(
        current,
        wanted.indices,
        current.withdrawn | removed,
        f"undo to {snapshot.name}",
        going_back_to=wanted.release,
    )


def withdraw(suite: Suite, current: State, version: str) -> Change:
    """The change that withdraws HHVM ``version``, in every package revision, and nothing else.

    Raises CannotUndo if the suite never had it.
    """
    offered = {identity for identity in current.identities if is_of(identity, version)}
    if not offered and not any(is_of(identity, version) for identity in current.withdrawn):
        raise CannotUndo(f"{suite}: HHVM {version} is not published there")
    indices = {name: entries.without(offered) for name, entries in current.indices.items()}
    return Change(current, indices, current.withdrawn | offered, f"undo {version}")


def reinstate(suite: Suite, version: str, signer: Signer) -> tuple[str, ...]:
    """Let the packages of a withdrawn Debian version be published again. The next publish offers them.

    Returns them as "package version architecture"; none if nothing of that version is withdrawn. Running it
    again does no harm. Raises Damaged; signing.BadSignature; Conflict if another publisher was faster.
    """
    with suite.lock():
        current = suite.read(signer=signer)
        reinstated = frozenset(
            identity for identity in current.withdrawn if canonical(identity[1]) == canonical(version)
        )
        withdrawn = current.withdrawn - reinstated
        suite.carry_out(Change(current, current.indices, withdrawn, f"release {version}"), signer)
    return index.words(reinstated)


def fallback_versions(
    indices: Mapping[str, Packages | Sources], withdrawn: Collection[index.Identity]
) -> tuple[str, ...]:
    """The newest packages that users of ``withdrawn`` ones can go back to, as "package=version"."""
    names = {package for package, _, architecture in withdrawn if architecture != SOURCE}
    left = {
        (entry.package, entry.version)
        for entries in indices.values()
        for entry in entries.stanzas
        if entry.package in names and entry.architecture != SOURCE
    }
    newest = dict(sorted(left, key=lambda entry: (entry[0], Version(entry[1]))))
    return tuple(f"{package}={version}" for package, version in newest.items())


def downgrade(indices: Mapping[str, Packages | Sources], withdrawn: Collection[index.Identity]) -> str:
    """The command for users who installed ``withdrawn`` packages; empty if there is nothing to go back to."""
    wanted = " ".join(fallback_versions(indices, withdrawn))
    return wanted and f"apt-get update && apt-get install --allow-downgrades {wanted}"


@dataclass(frozen=True)
class Notice:
    """What users of a suite must know."""

    withdrawn: tuple[str, ...]
    """As "package version architecture"."""
    downgrade: str
    """See ``downgrade``."""


def read_notice(suite: Suite) -> Notice | None:
    """Which packages are withdrawn from the suite, and how to go back; None if there are none."""
    content = suite.downloads.get(suite.key(keys.IN_RELEASE))
    if content is None or not (withdrawn := suite.parse_release(content).withdrawn):
        return None
    return Notice(index.words(withdrawn), downgrade(suite.parse(content, None).indices, withdrawn))


def upstream(identity: index.Identity) -> str:
    """HHVM's own version in the version of the package."""
    return Version(identity[1]).upstream_version or ""


def is_of(identity: index.Identity, version: str) -> bool:
    """Whether the package is of HHVM ``version``, however that is spelled, in any package revision."""
    return is_same_version(upstream(identity), version)


def _find(suite: Suite, current: State, to: str) -> Snapshot:
    seen = []
    for snapshot in chain(suite.scratch, suite.repository, suite.suite, current.snapshot):
        if to == snapshot.name or ("-" not in to and snapshot.name.partition("-")[0] <= to):
            return snapshot
        seen.append(snapshot.name)
    last = ", ".join(seen[:5]) or "none"
    raise CannotUndo(f"{suite}: it was never in a state {to!r}. Its last ones, newest first: {last}")


def _check_pool(suite: Suite, wanted: State) -> None:
    """Raises Damaged if the pool lacks a file that users would be offered."""
    if lost := list_lost(wanted.files, suite.repository, suite.downloads):
        raise Damaged(
            f"{suite}: the pool no longer has what the snapshot names: {', '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        )
