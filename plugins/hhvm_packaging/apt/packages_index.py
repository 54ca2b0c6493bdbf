"""Apt's index of binary packages, Packages: bytes in, bytes out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hhvm_packaging.apt.index import COMPONENT, Entry, Index, InvalidIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ARCHITECTURE = "amd64"
"""The architecture of machines that HHVM is built for, where nothing else is said."""
PACKAGES = f"{COMPONENT}/binary-{ARCHITECTURE}/Packages"
"""The index of that architecture, relative to its suite, as Release names it."""

_PACKAGES = re.compile(rf"{COMPONENT}/binary-([a-z0-9-]+)/Packages")
# With a newline in front, the expression is three times as fast as with the start of a line.
_NEEDED = re.compile(r"\n(Package|Version|Architecture|Filename|Size|MD5sum|SHA256):(.*)")
_FILENAME = re.compile(r"^Filename:.*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Stanza(Entry):
    """One package in a Packages index."""

    filename: str
    """Relative to the repository."""
    md5: str | None
    size: int
    """Bytes."""

    @classmethod
    def published(cls, text: str) -> Self:
        """Without a look at the other fields, which for thousands of packages takes most of a publish."""
        text = text.strip("\n")
        return cls._from(text, {name: value.strip() for name, value in _NEEDED.findall(f"\n{text}")})

    @classmethod
    def _of(cls, text: str, found: Mapping[str, str]) -> Self:
        try:
            size = int(found["Size"])
        except ValueError as error:
            raise InvalidIndex(f"{found['Package']!r}: Size: {found['Size']!r} is no number") from error
        return cls(
            text,
            package=found["Package"],
            version=found["Version"],
            architecture=found["Architecture"],
            sha256=found["SHA256"],
            filename=found["Filename"],
            md5=found.get("MD5sum"),
            size=size,
        )

    def at(self, filename: str) -> Stanza:
        """The same package at another place, relative to the repository."""
        text = _FILENAME.sub(lambda _: f"Filename: {filename}", self.text, count=1)
        return replace(self, text=text, filename=filename)


class Packages(Index[Stanza]):
    """A Packages index."""

    NAME = PACKAGES

    @staticmethod
    def _entry() -> type[Stanza]:
        return Stanza

    def find(self, package: str, version: str, architecture: str = ARCHITECTURE) -> Stanza | None:
        """The package's stanza; None where it is not in the index."""
        wanted = (package, version, architecture)
        return next((stanza for stanza in self.stanzas if stanza.identity == wanted), None)


def packages_of(architecture: str) -> str:
    """The name of the index of an architecture's packages, relative to its suite."""
    return f"{COMPONENT}/binary-{architecture}/Packages"


def architectures_of(indices: Iterable[str]) -> tuple[str, ...]:
    """The architectures whose packages the indices of these names list, sorted."""
    found = (_PACKAGES.fullmatch(name) for name in indices)
    return tuple(sorted(match[1] for match in found if match))
