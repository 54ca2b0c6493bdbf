"""What the indices of binary packages and of source packages have in common.

An index is a file of paragraphs, one for each package; a paragraph is a list of fields. The format is
described in the Debian wiki, on the page DebianRepository/Format.
"""

from __future__ import annotations

import bisect
import bz2
import gzip
import hashlib
import lzma
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Self, TypeAlias, TypeVar

from debian.debian_support import Version

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from hhvm_packaging.store.buckets import Content

COMPONENT = "main"
"""The only component of our suites."""

Identity: TypeAlias = tuple[str, str, str]
"""What identifies a package for apt: name, version, architecture."""

_NAME = re.compile(r"[!-,.-9;-~][!-9;-~]*")
_INDEX = re.compile(r"(?:.+/)?(?:binary-[^/]+/Packages|source/Sources)")

DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    # All are about as small, but gz unpacks fastest.
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
    "": bytes,
}
"""How to read the forms of an index that apt and we know, by suffix; what is best to fetch comes first."""
_COMPRESSED = re.compile(r"\.(?:gz|xz|bz2|lzma|lz4|zst)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class InvalidIndex(PackagingError):
    """A Packages, Sources or Release file is invalid. The message says what is wrong."""


class AlreadyPublished(PackagingError):
    """A file or a package of the same name is published with other bytes. The message has both digests."""


class Paragraph(dict[str, str]):
    """The fields of a paragraph, in their order and by their names as written.

    A look-up finds a field whatever the case of its name (Debian policy 5.1).
    """

    def __missing__(self, name: str) -> str:
        for known, value in self.items():
            if known.lower() == name.lower():
                return value
        raise KeyError(name)

    def find(self, name: str) -> str | None:
        """The field's value; None if there is no such field."""
        try:
            return self[name]
        except KeyError:
            return None


def fields(text: str) -> Paragraph:
    """The fields of one paragraph. A value includes its continuation lines.

    Rejects text that parsers read differently (Debian policy 5.1): an empty line, a repeated field, a control
    character. Raises InvalidIndex.
    """
    # python-debian does the same, but takes seconds for some thousand packages.
    found = Paragraph()
    seen: set[str] = set()
    name = ""
    if control := _CONTROL.search(text):
        raise InvalidIndex(f"it has the control character {control[0]!r}")
    for line in text.split("\n"):
        if line[:1] in (" ", "\t") and name and not line.isspace():
            found[name] += f"\n{line}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise InvalidIndex(f"{line[:80]!r} is not a field")
        if name.lower() in seen:
            raise InvalidIndex(f"it has the field {name} twice")
        seen.add(name.lower())
        found[name] = value.strip()
    return found


@dataclass(frozen=True)
class Entry(ABC):
    """One paragraph of an index. Its text is kept byte for byte, with the fields that are not parsed."""

    text: str
    """The paragraph without its last newline."""
    package: str
    version: str
    architecture: str
    """The architecture of the .deb; ``source`` for a source package."""
    sha256: str
    """The digest of the .deb or .dsc, in hexadecimal."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse one paragraph. Raises InvalidIndex if it is malformed or lacks a field that apt needs."""
        text = text.strip("\n")
        if "\n\n" in text:
            raise InvalidIndex("it has more than one paragraph, but describes one package")
        return cls._from(text, fields(text))

    @classmethod
    def parse_published(cls, text: str) -> Self:
        """Parse a paragraph of a published index, which was checked before it was published.

        Raises InvalidIndex if it lacks a field that apt needs.
        """
        return cls.parse(text)

    @classmethod
    def _from(cls, text: str, found: Paragraph) -> Self:
        try:
            return cls._of(text, found)
        except KeyError as error:
            raise InvalidIndex(f"{found.find('Package') or text[:80]!r}: field {error} is missing") from error

    @classmethod
    @abstractmethod
    def _of(cls, text: str, found: Paragraph) -> Self:
        """Make an entry of a paragraph's text and fields. Raises KeyError if one is missing; InvalidIndex."""

    @property
    def identity(self) -> Identity:
        """Name, version and architecture."""
        return self.package, self.version, self.architecture


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Index(ABC, Generic[E]):
    """The packages of a suite, sorted by name, then version in Debian's order, then architecture."""

    stanzas: tuple[E, ...] = ()

    NAME: ClassVar[str]
    """The default path of the uncompressed index, relative to its suite."""

    @staticmethod
    @abstractmethod
    def _entry() -> type[E]:
        """The class of the entries."""

    @property
    @abstractmethod
    def contents(self) -> Iterator[tuple[str, Content]]:
        """The files that the index names: path relative to the repository, with size and SHA-256."""

    @property
    def files(self) -> Iterator[tuple[str, int]]:
        """The files that the index names: path relative to the repository, and size in bytes."""
        return ((path, content.size) for path, content in self.contents)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parse an uncompressed index, in the order that it has. Raises InvalidIndex."""
        text, entry = decode(content), cls._entry()
        return cls(tuple(entry.parse_published(part) for part in text.split("\n\n") if part.strip("\n")))

    def render(self) -> bytes:
        """The uncompressed index. An empty line follows each paragraph."""
        return encode("\n\n".join([*(stanza.text for stanza in self.stanzas), ""]))

    def sorted(self) -> Self:
        """The same packages in the order of an index. That of other tools is another one.

        Raises InvalidIndex if a version is none.
        """
        return type(self)(tuple(sorted(self.stanzas, key=_order)))

    def add(self, stanzas: Iterable[E]) -> Self:
        """A new index with these entries too, or this one if it has all of them.

        An entry for the same file replaces the one that is there: that may say something else of it. Raises
        AlreadyPublished if there is an entry of the same identity with another SHA-256.
        """
        known = {stanza.identity: stanza for stanza in self.stanzas}
        merged = list(self.stanzas)
        corrected = False
        for stanza in stanzas:
            there = known.get(stanza.identity)
            if there is None:
                known[stanza.identity] = stanza
                # To compare versions is slow, and the entries that are there are sorted already.
                bisect.insort(merged, stanza, key=_order)
            elif there.sha256 != stanza.sha256:
                raise AlreadyPublished(
                    f"{' '.join(stanza.identity)} is published with SHA-256 {there.sha256}, but this one has "
                    f"{stanza.sha256}. What is published is immutable: publish another version."
                )
            elif there.text != stanza.text:
                merged[merged.index(there)] = stanza
                corrected = True
        return type(self)(tuple(merged)) if corrected or len(merged) != len(self.stanzas) else self

    def without(self, identities: Collection[Identity]) -> Self:
        """A new index without these packages, or this one if it has none of them."""
        left = tuple(stanza for stanza in self.stanzas if stanza.identity not in identities)
        return self if len(left) == len(self.stanzas) else type(self)(left)

    def forms(self, name: str | None = None) -> dict[str, Callable[[], bytes]]:
        """Functions that render the index plain, gzipped and xzipped, by the path of each form.

        ``name`` is the path of the plain form, relative to the suite. A function returns the same bytes each
        time that it is called.
        """
        content = self.render()
        # With thousands of packages the default levels take as long as all requests, and save little.
        gz = partial(gzip.compress, content, compresslevel=6, mtime=0)
        xz = partial(lzma.compress, content, preset=0)
        return dict(zip(names(name or self.NAME), (lambda: content, gz, xz), strict=True))


def names(index: str) -> tuple[str, str, str]:
    """The paths of an index's three forms: plain, gzipped, xzipped. ``index`` is the first of them."""
    return index, f"{index}.gz", f"{index}.xz"


def stem(name: str) -> str:
    """The path of a file without the suffix of its compression: what all forms of an index have in common."""
    head, dot, suffix = name.rpartition(".")
    return head if _COMPRESSED.fullmatch(dot + suffix) else name


def is_index(name: str) -> bool:
    """Whether a file of that path, relative to the suite, is an uncompressed index of packages."""
    return _INDEX.fullmatch(name) is not None


def decode(content: bytes) -> str:
    """The text of an index, of whatever encoding: ``encode`` gives back the same bytes."""
    return content.decode(errors=_ERRORS)


def encode(text: str) -> bytes:
    """The bytes of a text that ``decode`` returned, or of any other text in UTF-8."""
    return text.encode(errors=_ERRORS)


_ERRORS: Final = "surrogateescape"


def _order(stanza: Entry) -> tuple[str, Version, str]:
    try:
        return stanza.package, Version(stanza.version), stanza.architecture
    except ValueError as error:
        raise InvalidIndex(f"{stanza.package!r}: Version: {stanza.version!r} is no version") from error


def words(identities: Iterable[Identity]) -> tuple[str, ...]:
    """Each identity as "package version architecture", sorted."""
    return tuple(" ".join(identity) for identity in sorted(identities))


def sha256(content: bytes) -> str:
    """The SHA-256 of the content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
