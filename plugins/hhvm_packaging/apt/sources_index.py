"""The index of source packages, Sources.

The format is described in the Debian wiki, on the page DebianRepository/Format, and in Debian policy 5.4 and
5.6.21.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hhvm_packaging.apt.index import COMPONENT, Entry, Index, InvalidIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.apt.index import Paragraph

ARCHITECTURE = "source"
"""The architecture in the identity of a source package."""
SOURCES = f"{COMPONENT}/source/Sources"
"""The path of the index, relative to its suite."""

_DIRECTORY = re.compile(r"^Directory:.*\n?", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source package."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    md5: str


@dataclass(frozen=True)
class Source(Entry):
    """One source package in a Sources index; its SHA-256 is that of its .dsc file."""

    directory: str
    """The directory of its files, relative to the repository; empty if it has none yet."""
    files: tuple[SourceFile, ...]

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of each file."""
        return tuple((file.name, file.sha256) for file in self.files)

    @classmethod
    def _of(cls, text: str, found: Paragraph) -> Self:
        package, version = found["Package"], found["Version"]
        md5 = {name: digest for digest, _, name in _lines(found["Files"])}
        files = tuple(
            SourceFile(name, int(size), sha256, md5.get(name, ""))
            for sha256, size, name in _lines(found["Checksums-Sha256"])
        )
        dsc = [file.sha256 for file in files if file.name.endswith(".dsc")]
        if len(dsc) != 1 or set(md5) != {file.name for file in files}:
            raise InvalidIndex(
                f"{package!r}: Files and Checksums-Sha256 must name the same files, one a .dsc"
            )
        directory = found.find("Directory") or ""
        return cls(text, package, version, ARCHITECTURE, dsc[0], directory, files)

    def at(self, directory: str) -> Source:
        """The same package with its files in another directory, relative to the repository."""
        text = f"{_DIRECTORY.sub('', self.text).rstrip()}\nDirectory: {directory}"
        return replace(self, text=text, directory=directory)


class Sources(Index[Source]):
    """A Sources index."""

    NAME = SOURCES

    @staticmethod
    def _entry() -> type[Source]:
        return Source

    @property
    def contents(self) -> Iterator[tuple[str, SourceFile]]:
        """Path of each file of each source package, with its size and SHA-256."""
        return (
            (f"{source.directory}/{file.name}".removeprefix("./"), file)
            for source in self.stanzas
            for file in source.files
        )


def _lines(field: str) -> list[list[str]]:
    """The words of each line of a field, "digest size name". Raises InvalidIndex."""
    lines = [line.split() for line in field.strip().split("\n")]
    if any(len(words) != 3 or not words[1].isdecimal() for words in lines):
        raise InvalidIndex(f"{field!r} is not a list of files")
    return lines
