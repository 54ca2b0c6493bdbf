"""The files of a build, checked before any of them becomes part of a repository.

What a job says of them counts for nothing but their names and digests. The digests are compared with the
bytes in the store, and the entries of the indices are made here from the packages themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging import package_claims
from hhvm_packaging.apt import build_record, control_member, index, source_description
from hhvm_packaging.apt.build_record import InvalidRecord
from hhvm_packaging.apt.packages_index import Stanza
from hhvm_packaging.apt.pool import PoolFile, Unpublishable
from hhvm_packaging.apt.sources_index import Source
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from hhvm_packaging.store.buckets import Bucket
    from hhvm_packaging.workers.job import Artifact

# Debian policy 5.6.1 (package), 5.6.12 (version, whose epoch file names leave out) and 5.6.8.
_PACKAGE, _VERSION = "(?P<package>[a-z0-9][a-z0-9+.-]+)", "(?P<version>[0-9][A-Za-z0-9.+~-]*)"
_DEB = re.compile(rf"{_PACKAGE}_{_VERSION}_(?P<architecture>[a-z0-9-]+)\.d?deb")
# dpkg-source(1), "SOURCE PACKAGE FORMATS".
_DSC = re.compile(rf"{_PACKAGE}_{_VERSION}\.dsc")
# deb-buildinfo(5); the architecture may be "source".
_RECORD = re.compile(rf"{_PACKAGE}_{_VERSION}_[a-z0-9-]+\.buildinfo")
_SOURCE_FILE = re.compile(rf"{_PACKAGE}_{_VERSION}\.(?:dsc|diff\.gz|tar\.(?:gz|bz2|lzma|xz)(?:\.asc)?)")

# What an index says of a package, or dpkg of an installed one, and no package of itself.
_NOT_IN_CONTROL = ("Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Description-md5", "Status")


@dataclass(frozen=True)
class Build:
    """Where the files of a build are, and what they may be."""

    repository: str
    pool: str
    """The directory of the files, as keys.pool has it."""
    packages: Mapping[str, Artifact]
    """The binary packages, by their keys in scratch."""
    sources: Mapping[str, Artifact]
    """The files of source packages, by their keys in scratch."""
    architectures: Collection[str]
    claims: package_claims.Allowed = package_claims.NONE
    records: Mapping[str, Artifact] = field(default_factory=dict)
    """The .buildinfo files, by their keys in scratch. No index names them: they lie beside the packages."""


@dataclass(frozen=True)
class Incoming:
    """What a publish adds: entries of the indices, with the files of each."""

    content: Mapping[str, tuple[Stanza | Source, tuple[PoolFile, ...]]]
    """Entry and files, by the file name of the .deb or .dsc."""

    @classmethod
    def read(
        cls, where: str, build: Build, scratch: Bucket, downloads: Bucket, *, at_once: int = 1
    ) -> Incoming:
        """Check the files of a build by their bytes, in scratch or, if they are published, in the pool.

        ``where`` begins the messages. Raises Unpublishable; buckets.Changed.
        """
        _check_names(where, build)
        look = _Look(where, build, scratch, downloads)
        records = {key: record for key, record in build.records.items() if look.has(key, record)}
        artifacts = {**build.packages, **build.sources, **records}
        looks = [partial(look.at, key, artifact) for key, artifact in artifacts.items()]
        seen = dict(zip(artifacts, run_all(looks, at_once=at_once), strict=True))
        content: dict[str, tuple[Stanza | Source, tuple[PoolFile, ...]]] = {}
        for key, package in build.packages.items():
            content[package.name] = _package(where, seen[key], build), (seen[key].file,)
        for name, source, found in _sources(where, {key: seen[key] for key in build.sources}, build.pool):
            content[name] = source, tuple(seen[key].file for key in found)
        for key in records:
            for name in _described(where, seen[key], seen.values()):
                content[name] = content[name][0], (*content[name][1], seen[key].file)
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


@dataclass(frozen=True)
class _Seen:
    """An artifact whose bytes were checked."""

    file: PoolFile
    text: str = ""
    """The control file of a .deb, or the .dsc, or the .buildinfo."""

    @property
    def artifact(self) -> Artifact:
        return self.file.artifact


@dataclass(frozen=True)
class _Look:
    """Looks at the files of one build."""

    where: str
    build: Build
    scratch: Bucket
    downloads: Bucket

    def at(self, key: str, artifact: Artifact) -> _Seen:
        """Compare a file with its digest, and read what it says of itself. Raises Unpublishable."""
        file = PoolFile(
            artifact, key, keys.in_repository(self.build.repository, self.build.pool + artifact.name)
        )
        start: Callable[[int], bytes]
        built = self.scratch.head(key)
        if built and self.scratch.holds(key, built, artifact):
            file = file.checked(built)
            start = partial(self.scratch.get_start, key, built)
        else:
            # What was published long ago is in the pool alone.
            public = self.downloads.head(file.pool_key)
            if public is None or not self.downloads.holds(file.pool_key, public, artifact):
                raise file.not_built(built, self.scratch, self.where)
            start = partial(self.downloads.get_start, file.pool_key, public)
        return _Seen(file, self._text(artifact, start))

    def has(self, key: str, record: Artifact) -> bool:
        """Whether there is a .buildinfo. One of a build of long ago was never published, and is gone."""
        pool_key = keys.in_repository(self.build.repository, self.build.pool + record.name)
        return self.scratch.head(key) is not None or self.downloads.head(pool_key) is not None

    def _text(self, artifact: Artifact, start: Callable[[int], bytes]) -> str:
        try:
            if _DEB.fullmatch(artifact.name):
                return control_member.read_control(start, artifact.size)
            if _DSC.fullmatch(artifact.name):
                return source_description.read(start, artifact)
            if _RECORD.fullmatch(artifact.name):
                return build_record.read(start, artifact)
        except (control_member.InvalidDeb, source_description.InvalidDsc, InvalidRecord) as error:
            raise Unpublishable(f"{self.where}: {artifact.name}: {error}") from error
        return ""


def _check_names(where: str, build: Build) -> None:
    """Check the names of all files. Raises Unpublishable."""
    for grammar, files, what in (
        (_DEB, build.packages, "a Debian package's file name"),
        (_SOURCE_FILE, build.sources, "the name of a source package's file"),
        (_RECORD, build.records, "the name of a .buildinfo file"),
    ):
        for artifact in files.values():
            if not grammar.fullmatch(artifact.name):
                raise Unpublishable(f"{f'{where}: {artifact.name}'!r} is not {what}")


def _described(where: str, record: _Seen, seen: Iterable[_Seen]) -> list[str]:
    """The names of the .deb and .dsc files that a .buildinfo describes. Raises Unpublishable."""
    known = {one.artifact.name: one.artifact for one in seen}
    return build_record.find_described(f"{where}: {record.artifact.name}", record.text, known)


def _package(where: str, seen: _Seen, build: Build) -> Stanza:
    """The entry of a .deb. Raises Unpublishable if the package is not what its name says, or claims more."""
    artifact = seen.artifact
    name = _DEB.fullmatch(artifact.name)
    if name is None:
        raise Unpublishable(f"{f'{where}: {artifact.name}'!r} is not a Debian package's file name")
    where = f"{where}: {artifact.name}"
    if name["architecture"] not in (*build.architectures, "all"):
        raise Unpublishable(f"{where}: the suite is for {', '.join(build.architectures)} and all")
    control = seen.text.strip("\n")
    try:
        fields = index.fields(control)
        for field in _NOT_IN_CONTROL:
            if fields.find(field) is not None:
                raise index.InvalidIndex(f"it has the field {field}, which no package has")
        stanza = Stanza.parse(
            f"{control}\nFilename: {build.pool}{artifact.name}\n"
            f"Size: {artifact.size}\nSHA256: {artifact.sha256}"
        )
    except index.InvalidIndex as error:
        raise Unpublishable(f"{where}: its control file: {error}") from error
    _agree(
        where,
        ("Package", stanza.package, name["package"]),
        ("Version", stanza.version.rpartition(":")[2], name["version"]),
        ("Architecture", stanza.architecture, name["architecture"]),
    )
    if fault := build.claims.refuse(package_claims.find_claims(fields)):
        raise Unpublishable(f"{where}: {fault}: see docs/operating.md, What a package may claim")
    return stanza


def _sources(where: str, seen: Mapping[str, _Seen], pool: str) -> Iterator[tuple[str, Source, list[str]]]:
    """For each .dsc: its name, its entry, and the keys of its files. What was seen is by key.

    Raises Unpublishable if a .dsc, its name and the digests disagree, if a file of a .dsc is missing, or if
    no .dsc names a file.
    """
    left = {one.artifact.name: key for key, one in seen.items()}
    shared = {name: key for name, key in left.items() if not _DSC.fullmatch(name)}
    unused = set(shared)
    for name in sorted(set(left) - set(shared)):
        source = _source(f"{where}: {name}", seen[left[name]])
        found = []
        for file in source.files:
            if file.name not in left:
                raise Unpublishable(f"{where}: {name}: its file {file.name} was not built")
            artifact = seen[left[file.name]].artifact
            _agree(
                f"{where}: {name}: {file.name}",
                ("size", file.size, artifact.size),
                ("SHA-256", file.sha256, artifact.sha256),
                ("MD5", file.md5, artifact.md5),
            )
            found.append(left[file.name])
        unused -= {file.name for file in source.files}
        yield name, source.at(pool.rstrip("/")), found
    if unused:
        raise Unpublishable(f"{where}: {', '.join(sorted(unused))}: no .dsc names it")


def _source(where: str, seen: _Seen) -> Source:
    name = _DSC.fullmatch(seen.artifact.name)
    if name is None:
        raise Unpublishable(f"{where!r} is not a source package's file name")
    try:
        source = Source.parse(seen.text)
    except index.InvalidIndex as error:
        raise Unpublishable(f"{where}: {error}") from error
    _agree(
        where,
        ("Package", source.package, name["package"]),
        ("Version", source.version.rpartition(":")[2], name["version"]),
    )
    return source


def _agree(where: str, *facts: tuple[str, object, object]) -> None:
    for what, here, there in facts:
        if here != there:
            raise Unpublishable(f"{where}: it says {what} {here}, but it is {there}")
