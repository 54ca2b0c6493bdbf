"""The index of binary packages, Packages."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hhvm_packaging.apt.index import COMPONENT, Entry, Index, InvalidIndex, Paragraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ARCHITECTURE = "amd64"
"""The architecture that HHVM is built for by default."""
PACKAGES = f"{COMPONENT}/binary-{ARCHITECTURE}/Packages"
"""The path of that architecture's index, relative to its suite."""

_PACKAGES = re.compile(rf"{COMPONENT}/binary-([a-z0-9-]+)/Packages")
# Three times as fast with a newline in front as with ``^`` and re.MULTILINE.
_NEEDED = re.compile(r"\n(Package|Version|Architecture|Filename|Size|MD5sum|SHA256):(.*)", re.IGNORECASE)
_FILENAME = re.compile(r"^Filename:.*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Stanza(Entry):
    """One package in a Packages index."""

    filename: str
    """The path of the .deb, relative to the repository."""
    md5: str | None
    size: int
    """Bytes."""

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of the .deb."""
        return ((self.filename.rpartition("/")[2], self.sha256),)

    @classmethod
    def parse_published(cls, text: str) -> Self:
        """Parse only the fields that are needed: thousands of whole paragraphs take most of a publish."""
        text = text.strip("\n")
        found = Paragraph((name, value.strip()) for name, value in _NEEDED.findall(f"\n{text}"))
        return cls._from(text, found)

    @classmethod
    def _of(cls, text: str, found: Paragraph) -> Self:
        try:
            size = int(found["Size"])
        except ValueError as error:
            raise InvalidIndex(f"{found['Package']!r}: Size: {found['Size']!r} is not a number") from error
        return cls(
            text,
            package=found["Package"],
            version=found["Version"],
            architecture=found["Architecture"],
            sha256=found["SHA256"],
            filename=found["Filename"],
            md5=found.find("MD5sum"),
            size=size,
        )

    def at(self, filename: str) -> Stanza:
        """The same package with the .deb at another path, relative to the repository."""
        text = _FILENAME.sub(lambda _: f"Filename: {filename}", self.text, count=1)
        return replace(self, text=text, filename=filename)


class Packages(Index[Stanza]):
    """A Packages index."""

    NAME = PACKAGES

    @staticmethod
    def _entry() -> type[Stanza]:
        return Stanza

    @property
    def contents(self) -> Iterator[tuple[str, Stanza]]:
        """Path of each .deb, with its size and SHA-256."""
        return ((stanza.filename.removeprefix("./"), stanza) for stanza in self.stanzas)

    def find(self, package: str, version: str, architecture: str = ARCHITECTURE) -> Stanza | None:
        """The stanza of a package; None if it is not in the index."""
        wanted = (package, version, architecture)
        return next((stanza for stanza in self.stanzas if stanza.identity == wanted), None)


def packages_of(architecture: str) -> str:
    """The path of an architecture's index, relative to its suite."""
    return f"{COMPONENT}/binary-{architecture}/Packages"


def architectures_of(indices: Iterable[str]) -> tuple[str, ...]:
    """The architectures that have a Packages index among these paths, sorted."""
    found = (_PACKAGES.fullmatch(name) for name in indices)
    return tuple(sorted(match[1] for match in found if match))
