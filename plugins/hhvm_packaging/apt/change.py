"""A change of a suite: what it is to become in place of what it is, before anything of it is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from hhvm_packaging.apt.incoming import PoolFile
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.apt.suite import State


@dataclass(frozen=True)
class Change:
    """From ``current`` to these indices."""

    current: State
    indices: Mapping[str, index.Packages | Sources]
    """By name."""
    withdrawn: frozenset[index.Identity]
    """What is not to return unasked from then on."""
    reason: str
    """As snapshots keep it."""
    files: tuple[PoolFile, ...] = ()
    """What the indices name and the pool may still lack."""

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return (self.indices, self.withdrawn) != (self.current.indices, self.current.withdrawn)

    def begin(self) -> None:
        """Begin to make the files of the indices, which for thousands of packages takes a while."""
        _ = self.making

    @cached_property
    def making(self) -> dict[str, Future[bytes]]:
        """The files of the indices, which are being made, by the names that users get them by."""
        pool = ThreadPoolExecutor()
        forms = (entries.forms(name) for name, entries in self.indices.items())
        making = {name: pool.submit(make) for files in forms for name, make in files.items()}
        pool.shutdown(wait=False)
        return making

    @property
    def contents(self) -> dict[str, bytes]:
        """The files of the indices, by the names that users get them by."""
        return {name: made.result() for name, made in self.making.items()}

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each index that is not compressed, by name: equal where users get the same."""
        return {name: index.sha256(self.making[name].result()) for name in self.indices}

    @cached_property
    def identities(self) -> frozenset[index.Identity]:
        """All that users are to be offered."""
        return frozenset(entry.identity for entries in self.indices.values() for entry in entries.stanzas)

    @property
    def added(self) -> frozenset[index.Identity]:
        """What users are offered only from then on."""
        return self.identities - self.current.identities

    @property
    def removed(self) -> frozenset[index.Identity]:
        """What users are no longer offered."""
        return self.current.identities - self.identities
