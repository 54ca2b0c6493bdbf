"""The state of a suite: what its InRelease says and what the indices that it names hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging.apt.packages_index import Packages, packages_of
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.sources_index import SOURCES, Sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.release_file import Release


@dataclass(frozen=True)
class State:
    """A suite as InRelease has it. Without arguments: a suite that was never published."""

    etag: str | None = None
    """Of InRelease; None if there is none."""
    text: bytes = b""
    """InRelease without its signature. The file Release has the same bytes."""
    release: Release | None = None
    indices: Mapping[str, Packages | Sources] = field(default_factory=dict)
    """All indices of packages, of all components, by name."""
    in_release: bytes = b""
    """InRelease as users get it; empty if they get Release and Release.gpg only."""

    @property
    def packages(self) -> Mapping[str, Packages]:
        """The packages of our component, by architecture."""
        architectures = self.release.architectures if self.release else ()
        found = {architecture: self.indices.get(packages_of(architecture)) for architecture in architectures}
        return {
            architecture: entries for architecture, entries in found.items() if isinstance(entries, Packages)
        }

    @property
    def sources(self) -> Sources:
        """The source packages of our component."""
        found = self.indices.get(SOURCES)
        return found if isinstance(found, Sources) else Sources()

    @cached_property
    def identities(self) -> frozenset[Identity]:
        """All packages that users are offered."""
        return frozenset(entry.identity for entries in self.indices.values() for entry in entries.stanzas)

    @property
    def files(self) -> Iterator[tuple[str, int]]:
        """The files that users are offered: path relative to the repository, and size in bytes."""
        for entries in self.indices.values():
            yield from entries.files

    @property
    def release_etag(self) -> str | None:
        """The ETag of the file Release once the plain names are those of this state; None for no suite.

        Release is the last plain name that a publisher writes, so this ETag says that all are written.
        """
        return f'"{hashlib.md5(self.text, usedforsecurity=False).hexdigest()}"' if self.text else None

    @property
    def withdrawn(self) -> frozenset[Identity]:
        """Packages that were withdrawn: a publish leaves them out until somebody reinstates them."""
        return self.release.withdrawn if self.release else frozenset()

    @property
    def snapshot(self) -> str | None:
        """The name of this state's snapshot; None for a suite that was never published."""
        return Snapshot.name_of(self.release.date, self.text) if self.release else None


def parse_index(name: str, content: bytes) -> Packages | Sources:
    """An uncompressed index of packages by its name. Raises InvalidIndex."""
    return Sources.parse(content) if name.endswith("Sources") else Packages.parse(content)
