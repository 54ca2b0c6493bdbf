"""A change of a suite: the state that it is to get, before anything of it is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.packages_index import Packages
    from hhvm_packaging.apt.pool import PoolFile
    from hhvm_packaging.apt.release_file import File, Release
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.apt.state import State


@dataclass(frozen=True)
class Change:
    """From the state ``current`` to these indices."""

    current: State
    indices: Mapping[str, Packages | Sources]
    """By name."""
    withdrawn: frozenset[Identity]
    """All packages that are withdrawn after the change."""
    reason: str
    """Why the suite changes; its snapshot keeps it."""
    files: tuple[PoolFile, ...] = ()
    """The files of the new packages. The pool may lack them."""
    going_back_to: Release | None = None
    """The earlier Release whose other files the suite gets again; None if it keeps those that it has."""
    version: str = ""
    """The version of HHVM that the new packages were built of; empty if each package's own says it."""
    own: frozenset[Identity] = frozenset()
    """Those of the new packages that the publisher has made itself, of no version of HHVM."""

    def __bool__(self) -> bool:
        """Whether anything changes."""
        others = self.current.release.others if self.current.release else {}
        return (self.indices, self.withdrawn, self.others) != (
            self.current.indices,
            self.current.withdrawn,
            others,
        )

    def start_rendering(self) -> None:
        """Start to make the files of the indices in threads: thousands of packages take a while."""
        _ = self.rendering

    @cached_property
    def rendering(self) -> dict[str, Future[bytes]]:
        """The files of the indices, which threads are making, by the names that users get them by."""
        pool = ThreadPoolExecutor()
        forms = (entries.forms(name) for name, entries in self.indices.items())
        rendering = {name: pool.submit(make) for files in forms for name, make in files.items()}
        pool.shutdown(wait=False)
        return rendering

    @property
    def contents(self) -> dict[str, bytes]:
        """The files of the indices, by the names that users get them by."""
        return {name: rendered.result() for name, rendered in self.rendering.items()}

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each uncompressed index, by name. Equal digests mean equal packages for users."""
        return {name: sha256(self.rendering[name].result()) for name in self.indices}

    @cached_property
    def identities(self) -> frozenset[Identity]:
        """All packages that users are offered after the change."""
        return frozenset(entry.identity for entries in self.indices.values() for entry in entries.stanzas)

    @property
    def others(self) -> Mapping[str, File]:
        """The files of the suite that are no indices of packages, after the change."""
        release = self.going_back_to or self.current.release
        return release.others if release else {}

    @property
    def added(self) -> frozenset[Identity]:
        """The packages that users are not offered before the change."""
        return self.identities - self.current.identities

    @cached_property
    def corrected(self) -> frozenset[Identity]:
        """The packages of which users are told something else than before the change."""
        before = {name: set(entries.stanzas) for name, entries in self.current.indices.items()}
        changed = {
            entry.identity
            for name, entries in self.indices.items()
            if entries is not self.current.indices.get(name)
            for entry in entries.stanzas
            if entry not in before.get(name, ())
        }
        return frozenset(changed & self.current.identities)

    @property
    def added_files(self) -> Iterator[tuple[Identity, str, str]]:
        """Each file of the added packages: its package, its name, its SHA-256."""
        for entries in self.indices.values():
            for entry in entries.stanzas:
                if entry.identity in self.added:
                    yield from ((entry.identity, name, digest) for name, digest in entry.digests)

    @property
    def removed(self) -> frozenset[Identity]:
        """The packages that users are no longer offered after the change."""
        return self.current.identities - self.identities
