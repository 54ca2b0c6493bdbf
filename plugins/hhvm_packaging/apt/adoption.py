"""Adoption: the first commit to a suite that another tool made, and what changes for its users.

A publish adopts as well. Adopting first lets people see the difference, and makes the histories of all suites
of a repository known at once: pruning needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.pool import list_lost
from hhvm_packaging.apt.release_file import Release
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.suite import FOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.apt.suite import Suite


@dataclass(frozen=True)
class Adoption:
    """What adopting a suite changes for its users. No package is added or removed."""

    snapshot: str
    """The name of the state that it has now, for an undo."""
    packages: int
    kept: tuple[str, ...]
    """The fields of Release that stay as they are."""
    changed: tuple[str, ...]
    """The fields that users get besides, or with another value."""
    lost: tuple[str, ...]
    """The fields that go."""
    new_files: tuple[str, ...]
    lost_files: tuple[str, ...]
    stale_files: tuple[str, ...]
    """The files that stay as they are, although they may describe the packages."""
    lost_from_pool: tuple[str, ...]
    """The keys of files that the indices name and the pool lacks."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"  {self.packages} packages stay; none is added"
        for what, items in (
            ("stays", self.kept),
            ("users get", self.changed),
            ("goes", self.lost),
            ("new files", self.new_files),
            ("files that Release names no more", self.lost_files),
            ("files that stay as they are and are never updated", self.stale_files),
            ("warning: missing in the pool, so users cannot install it", self.lost_from_pool),
        ):
            if items:
                yield f"  {what}: {_listed(items)}"
        yield f"  to go back to the state as it is now: undo to {self.snapshot}"


def find(suite: Suite, signer: Signer) -> Adoption | None:
    """What adopting the suite would change; None if it is ours already, or was never published.

    Raises what prevents it: signing.BadSignature, index.InvalidIndex, suite.Damaged, suite.ForeignKey.
    """
    change = _adoption(suite, suite.read(signer=signer))
    return None if change is None else _describe(suite, change, signer)


def adopt(suite: Suite, signer: Signer) -> Adoption | None:
    """Adopt the suite. Returns what changed for its users; None as ``find``. Running it again does no harm.

    Raises as ``find``; Conflict if another publisher was faster.
    """
    with suite.lock():
        change = _adoption(suite, suite.read(signer=signer))
        if change is None:
            return None
        done = _describe(suite, change, signer)
        suite.commit(change, signer)
    return done


def _adoption(suite: Suite, current: State) -> Change | None:
    if current.snapshot is None:
        return None
    snapshot = Snapshot.read(suite.scratch, suite.repository, suite.suite, current.snapshot)
    if snapshot is not None and snapshot.reason != FOUND:
        return None
    return Change(current, current.indices, current.withdrawn, "adopt")


def _describe(suite: Suite, change: Change, signer: Signer) -> Adoption:
    text = suite.sign(change, signer).text
    old, new = Release.parse(change.current.text), Release.parse(text)
    # With the fields of digests, which Release has apart.
    before, after = (
        index.fields(index.decode(release).strip("\n")) for release in (change.current.text, text)
    )
    same = [name for name, value in old.fields.items() if new.fields.find(name) == value]
    return Adoption(
        snapshot=change.current.snapshot or "",
        packages=len(change.identities),
        kept=_fields(same, old.fields),
        changed=_fields(
            (name for name in new.fields if name not in {*same, "Date", "Valid-Until"}), new.fields
        ),
        lost=tuple(name for name in before if after.find(name) is None),
        new_files=tuple(sorted(set(new.files) - set(old.files))),
        lost_files=tuple(sorted(set(old.files) - set(new.files))),
        stale_files=tuple(sorted(new.others)),
        lost_from_pool=tuple(list_lost(change.current.files, suite.repository, suite.downloads)),
    )


def _fields(names: Iterable[str], values: index.Paragraph) -> tuple[str, ...]:
    return tuple(f"{name}: {' '.join(values[name].split())}" for name in names)


def _listed(items: Sequence[str], most: int = 12) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
