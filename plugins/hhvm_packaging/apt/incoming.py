"""The files of a build, checked before any of them becomes part of a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.packages_index import Stanza
from hhvm_packaging.apt.pool import PoolFile, Unpublishable
from hhvm_packaging.apt.sources_index import Source
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hhvm_packaging.workers.job import Artifact

# Debian policy 5.6.1 (package), 5.6.12 (version, whose epoch file names leave out) and 5.6.8.
_PACKAGE, _VERSION = "(?P<package>[a-z0-9][a-z0-9+.-]+)", "(?P<version>[0-9][A-Za-z0-9.+~-]*)"
_DEB = re.compile(rf"{_PACKAGE}_{_VERSION}_(?P<architecture>[a-z0-9-]+)\.d?deb")
# dpkg-source(1), "SOURCE PACKAGE FORMATS".
_DSC = re.compile(rf"{_PACKAGE}_{_VERSION}\.dsc")
_SOURCE_FILE = re.compile(rf"{_PACKAGE}_{_VERSION}\.(?:dsc|diff\.gz|tar\.(?:gz|bz2|lzma|xz)(?:\.asc)?)")


@dataclass(frozen=True)
class Incoming:
    """What a publish adds: entries of the indices, with the files of each."""

    content: Mapping[str, tuple[Stanza | Source, tuple[PoolFile, ...]]]
    """Entry and files, by the file name of the .deb or .dsc."""

    @classmethod
    def check(
        cls,
        where: str,
        repository: str,
        pool: str,
        packages: Mapping[str, Artifact],
        sources: Mapping[str, Artifact],
        architectures: Collection[str],
    ) -> Incoming:
        """Check artifacts, given by their keys in scratch, for a suite of ``repository``.

        ``where`` begins the messages; ``pool`` is the directory of the files, as keys.pool has it. Raises
        Unpublishable.
        """

        def pool_file(key: str, artifact: Artifact) -> PoolFile:
            return PoolFile(artifact, key, keys.in_repository(repository, pool + artifact.name))

        content: dict[str, tuple[Stanza | Source, tuple[PoolFile, ...]]] = {}
        for key, package in packages.items():
            content[package.name] = _package(where, package, pool, architectures), (pool_file(key, package),)
        for name, source, found in _sources(where, sources, pool):
            content[name] = source, tuple(pool_file(key, sources[key]) for key in found)
        return cls(content)

    def without(self, identities: Collection[index.Identity]) -> Incoming:
        """All but these packages."""
        return Incoming({
            name: (entry, files)
            for name, (entry, files) in self.content.items()
            if entry.identity not in identities
        })

    @property
    def entries(self) -> list[Stanza | Source]:
        """The entries for the indices."""
        return [entry for entry, _ in self.content.values()]

    @property
    def names(self) -> dict[str, index.Identity]:
        """The identity of each .deb or .dsc, by its file name."""
        return {name: entry.identity for name, (entry, _) in self.content.items()}

    @property
    def files(self) -> list[PoolFile]:
        """The files for the pool, each once: source packages share their upstream tarball."""
        return list({file.pool_key: file for _, files in self.content.values() for file in files}.values())


def _package(where: str, artifact: Artifact, pool: str, architectures: Collection[str]) -> Stanza:
    """The entry of a .deb. Raises Unpublishable if its stanza, its name and its digests disagree."""
    name = _DEB.fullmatch(artifact.name)
    if name is None:
        raise Unpublishable(f"{f'{where}: {artifact.name}'!r} is not a Debian package's file name")
    where = f"{where}: {artifact.name}"
    if name["architecture"] not in (*architectures, "all"):
        raise Unpublishable(f"{where}: the suite is for {', '.join(architectures)} and all")
    stanza = _parsed(where, Stanza, artifact)
    _agree(
        where,
        ("Package", stanza.package, name["package"]),
        ("Version", stanza.version.rpartition(":")[2], name["version"]),
        ("Architecture", stanza.architecture, name["architecture"]),
        ("Size", stanza.size, artifact.size),
        ("SHA256", stanza.sha256, artifact.sha256),
        ("MD5sum", stanza.md5 or artifact.md5, artifact.md5),
    )
    return stanza.at(pool + artifact.name)


def _sources(
    where: str, artifacts: Mapping[str, Artifact], pool: str
) -> Iterator[tuple[str, Source, list[str]]]:
    """For each .dsc: its name, its entry, and the keys of its files. ``artifacts`` are by key.

    Raises Unpublishable if an entry, a name and the digests disagree, if a file of a .dsc is missing, or if
    no .dsc names a file.
    """
    left = {artifact.name: key for key, artifact in artifacts.items()}
    for name in left:
        if not _SOURCE_FILE.fullmatch(name):
            raise Unpublishable(f"{f'{where}: {name}'!r} is not the name of a source package's file")
    shared = {name: key for name, key in left.items() if not _DSC.fullmatch(name)}
    unused = set(shared)
    for name in sorted(set(left) - set(shared)):
        source = _source(f"{where}: {name}", artifacts[left[name]])
        keys = []
        for file in source.files:
            if file.name not in left:
                raise Unpublishable(f"{where}: {name}: its file {file.name} was not built")
            artifact = artifacts[left[file.name]]
            _agree(
                f"{where}: {name}: {file.name}",
                ("size", file.size, artifact.size),
                ("SHA-256", file.sha256, artifact.sha256),
                ("MD5", file.md5, artifact.md5),
            )
            keys.append(left[file.name])
        unused -= {file.name for file in source.files}
        yield name, source.at(pool.rstrip("/")), keys
    if unused:
        raise Unpublishable(f"{where}: {', '.join(sorted(unused))}: no .dsc names it")


def _source(where: str, dsc: Artifact) -> Source:
    source, name = _parsed(where, Source, dsc), _DSC.fullmatch(dsc.name)
    if name is None:
        raise Unpublishable(f"{where!r} is not a source package's file name")
    _agree(
        where,
        ("Package", source.package, name["package"]),
        ("Version", source.version.rpartition(":")[2], name["version"]),
    )
    return source


def _parsed(where: str, kind: type[index.E], artifact: Artifact) -> index.E:
    try:
        return kind.parse(artifact.stanza or "")
    except index.InvalidIndex as error:
        raise Unpublishable(f"{where}: its stanza: {error}") from error


def _agree(where: str, *facts: tuple[str, object, object]) -> None:
    for what, here, there in facts:
        if here != there:
            raise Unpublishable(f"{where}: its stanza says {what} {here}, but it is {there}")
