"""What apt's indices of packages have in common: paragraphs of fields, in order. Bytes in, bytes out.

The rules are those of the Debian wiki's page DebianRepository/Format.
"""

from __future__ import annotations

import bisect
import gzip
import hashlib
import lzma
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeAlias, TypeVar

from debian.debian_support import Version

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

COMPONENT = "main"

Identity: TypeAlias = tuple[str, str, str]
"""What apt tells packages apart by: name, version, architecture."""

_NAME = re.compile(r"[!-,.-9;-~][!-9;-~]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class InvalidIndex(PackagingError):
    """Not a Packages, Sources or Release file. The message says what is wrong with it."""


class AlreadyPublished(PackagingError):
    """The name is published with other bytes. The message has the digests of both."""


def fields(text: str) -> dict[str, str]:
    """The fields of one paragraph with their continuation lines, by their names as they are written.

    Strict where parsers differ, so that all of them read the same (Debian policy 5.1): no empty line, no
    field twice, no control character. Raises InvalidIndex. By hand, because python-debian takes seconds
    for some thousand packages.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    name = ""
    if control := _CONTROL.search(text):
        raise InvalidIndex(f"the control character {control[0]!r}")
    for line in text.split("\n"):
        if line[:1] in (" ", "\t") and name and not line.isspace():
            found[name] += f"\n{line}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise InvalidIndex(f"{line[:80]!r} is no field")
        if name.lower() in seen:
            raise InvalidIndex(f"the field {name} twice")
        seen.add(name.lower())
        found[name] = value.strip()
    return found


@dataclass(frozen=True)
class Entry(ABC):
    """One paragraph of an index. All that is not read here is kept byte for byte."""

    text: str
    """Without its last newline."""
    package: str
    version: str
    architecture: str
    """As a .deb has it; ``source`` for a source package."""
    sha256: str
    """Of the file that stands for all of it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """One paragraph. Raises InvalidIndex if it is not one, or lacks what apt needs of it."""
        text = text.strip("\n")
        if "\n\n" in text:
            raise InvalidIndex("more than one paragraph where one package is described")
        return cls._from(text, fields(text))

    @classmethod
    def published(cls, text: str) -> Self:
        """As ``parse``, of an index whose paragraphs were checked when they came."""
        return cls.parse(text)

    @classmethod
    def _from(cls, text: str, found: Mapping[str, str]) -> Self:
        try:
            return cls._of(text, found)
        except KeyError as error:
            raise InvalidIndex(f"{found.get('Package', text[:80])!r}: no field {error}") from error

    @classmethod
    @abstractmethod
    def _of(cls, text: str, found: Mapping[str, str]) -> Self:
        """From the text and its fields. Raises KeyError or InvalidIndex."""

    @property
    def identity(self) -> Identity:
        """What apt tells packages apart by."""
        return self.package, self.version, self.architecture


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Index(ABC, Generic[E]):
    """The packages of a suite, in order: by name, then version in Debian's order, then architecture."""

    stanzas: tuple[E, ...] = ()

    NAME: ClassVar[str]
    """Where it is by default, relative to its suite, as Release names it."""

    @staticmethod
    @abstractmethod
    def _entry() -> type[E]:
        """What its paragraphs are."""

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read an index that is not compressed. Raises InvalidIndex."""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise InvalidIndex(f"not UTF-8: {error}") from error
        entry = cls._entry()
        return cls(tuple(entry.published(part) for part in text.split("\n\n") if part.strip("\n")))

    def render(self) -> bytes:
        """The index as a file: each paragraph is followed by an empty line."""
        return "\n\n".join([*(stanza.text for stanza in self.stanzas), ""]).encode()

    def add(self, stanzas: Iterable[E]) -> Self:
        """With the stanzas that are new, each at its place.

        This very index if it has them all. Raises AlreadyPublished, with both digests, if it has the
        same package, version and architecture with another SHA-256.
        """
        known = {stanza.identity: stanza for stanza in self.stanzas}
        merged = list(self.stanzas)
        for stanza in stanzas:
            there = known.get(stanza.identity)
            if there is None:
                known[stanza.identity] = stanza
                # Comparing versions is slow, so the thousands that are in order are not sorted again.
                bisect.insort(merged, stanza, key=_order)
            elif there.sha256 != stanza.sha256:
                raise AlreadyPublished(
                    f"{' '.join(stanza.identity)} is published with SHA-256 {there.sha256}, but this one has "
                    f"{stanza.sha256}. What is published is immutable: publish another version."
                )
        return self if len(merged) == len(self.stanzas) else type(self)(tuple(merged))

    def without(self, identities: Collection[Identity]) -> Self:
        """All but these packages; this very index if it has none of them."""
        left = tuple(stanza for stanza in self.stanzas if stanza.identity not in identities)
        return self if len(left) == len(self.stanzas) else type(self)(left)

    def forms(self, name: str | None = None) -> dict[str, Callable[[], bytes]]:
        """What makes the index, by each name that users get it by; the same bytes whenever it is called.

        ``name`` is that of the one that is not compressed, relative to the suite.
        """
        content = self.render()
        # At thousands of packages their own defaults take as long as all requests to save little.
        gz = partial(gzip.compress, content, compresslevel=6, mtime=0)
        xz = partial(lzma.compress, content, preset=0)
        return dict(zip(names(name or self.NAME), (lambda: content, gz, xz), strict=True))


def names(index: str) -> tuple[str, str, str]:
    """The names under which users get an index."""
    return index, f"{index}.gz", f"{index}.xz"


def _order(stanza: Entry) -> tuple[str, Version, str]:
    return stanza.package, Version(stanza.version), stanza.architecture


def words(identities: Iterable[Identity]) -> tuple[str, ...]:
    """Each as "package version architecture", in order."""
    return tuple(" ".join(identity) for identity in sorted(identities))


def sha256(content: bytes) -> str:
    """The digest that indices name files by, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
