"""The state of a suite: what its InRelease says and what the indices that it names hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from hhvm_packaging.apt.packages_index import packages_of
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.sources_index import SOURCES, Sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.packages_index import Packages
    from hhvm_packaging.apt.release_file import Release


@dataclass(frozen=True)
class State:
    """A suite as InRelease has it. Without arguments: a suite that was never published."""

    etag: str | None = None
    """Of InRelease."""
    text: bytes = b""
    """InRelease without its signature. The file Release has the same bytes."""
    release: Release | None = None
    packages: Mapping[str, Packages] = field(default_factory=dict)
    """By architecture."""
    sources: Sources = field(default_factory=Sources)

    @cached_property
    def identities(self) -> frozenset[Identity]:
        """All packages that users are offered."""
        packages = (stanza for entries in self.packages.values() for stanza in entries.stanzas)
        return frozenset(entry.identity for entry in chain(packages, self.sources.stanzas))

    @property
    def indices(self) -> dict[str, Packages | Sources]:
        """All indices, by name."""
        packages = {packages_of(architecture): entries for architecture, entries in self.packages.items()}
        has_sources = self.release is not None and SOURCES in self.release.sha256
        return packages | ({SOURCES: self.sources} if has_sources else {})

    @property
    def files(self) -> Iterator[tuple[str, int]]:
        """The files that users are offered: path relative to the repository, and size in bytes."""
        for packages in self.packages.values():
            yield from ((stanza.filename, stanza.size) for stanza in packages.stanzas)
        for source in self.sources.stanzas:
            yield from ((f"{source.directory}/{file.name}", file.size) for file in source.files)

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
