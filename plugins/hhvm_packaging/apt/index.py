"""Apt's indices, Packages and Release: bytes in, bytes out.

The rules are those of the Debian wiki's page DebianRepository/Format.
"""

from __future__ import annotations

import bisect
import email.utils
import gzip
import hashlib
import lzma
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeAlias, TypeVar

from debian.debian_support import Version

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

ORIGIN = "HHVM"
"""Origin and Label. Apt refuses a repository that changes them, so they stay."""
COMPONENT = "main"
ARCHITECTURE = "amd64"
"""Of machines that HHVM is built for where nothing else is said."""
PACKAGES = f"{COMPONENT}/binary-{ARCHITECTURE}/Packages"
"""The index of the binary packages, relative to its suite, as Release names it."""
VARIANTS = (PACKAGES, f"{PACKAGES}.gz", f"{PACKAGES}.xz")
"""The names under which users get that index."""

Identity: TypeAlias = tuple[str, str, str]
"""What apt tells packages apart by: name, version, architecture."""

_NAME = re.compile(r"[!-,.-9;-~][!-9;-~]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PACKAGES = re.compile(rf"{COMPONENT}/binary-([a-z0-9-]+)/Packages")
_WITHDRAWN = "HHVM-Withdrawn"
# With a newline in front it is found three times as fast as by the beginning of a line.
_NEEDED = re.compile(r"\n(Package|Version|Architecture|Filename|Size|MD5sum|SHA256):(.*)")
_FILENAME = re.compile(r"^Filename:.*$", re.MULTILINE | re.IGNORECASE)


class InvalidIndex(PackagingError):
    """Not a Packages or Release file. The message says what is wrong with it."""


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


def names(index: str) -> tuple[str, str, str]:
    """The names under which users get an index."""
    return index, f"{index}.gz", f"{index}.xz"


def _order(stanza: Entry) -> tuple[str, Version, str]:
    return stanza.package, Version(stanza.version), stanza.architecture


@dataclass(frozen=True)
class Release:
    """What a Release file says: when it was made, the digests of the indices, what was withdrawn."""

    date: datetime
    sha256: Mapping[str, str]
    """By the index's name, relative to the suite."""
    withdrawn: frozenset[Identity] = frozenset()
    """What was taken back and is not to return unasked."""

    @classmethod
    def parse(cls, content: bytes) -> Release:
        """Read a Release file without a signature around it. Raises InvalidIndex."""
        try:
            found = fields(content.decode().strip("\n"))
            date = email.utils.parsedate_to_datetime(found["Date"])
            digests = {name: sha256 for sha256, _, name in _words(found["SHA256"])}
            withdrawn = frozenset(_words(found.get(_WITHDRAWN, "")))
        except (KeyError, ValueError) as error:
            raise InvalidIndex(f"Release: Date and SHA256 are needed, but {error!r}") from error
        return cls(date.replace(tzinfo=date.tzinfo or UTC), digests, withdrawn)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those that the suite has an index for."""
        return _architectures(self.sha256)


def _words(field: str) -> list[tuple[str, str, str]]:
    """Of each line, which has three. Raises ValueError."""
    return [(one, two, three) for one, two, three in map(str.split, filter(None, field.split("\n")))]


def render_release(
    suite: str, indices: Mapping[str, bytes], *, date: datetime, withdrawn: Iterable[Identity] = ()
) -> bytes:
    """The Release file of ``suite`` for ``indices``, by their names relative to it.

    SHA-256 is the only digest: every apt since 2015 takes it, and the weaker ones add nothing to it. Apt
    passes over the field with what was withdrawn, which belongs here because it must change in the very
    write that changes what users get.
    """
    taken_back = [f" {' '.join(identity)}" for identity in sorted(withdrawn)]
    lines = [
        f"Origin: {ORIGIN}",
        f"Label: {ORIGIN}",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Date: {email.utils.format_datetime(date.astimezone(UTC), usegmt=True)}",
        "Acquire-By-Hash: yes",
        f"Architectures: {' '.join(_architectures(indices))}",
        f"Components: {COMPONENT}",
        *([f"{_WITHDRAWN}:", *taken_back] if taken_back else []),
        "SHA256:",
        *(f" {sha256(content)} {len(content)} {name}" for name, content in indices.items()),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def packages_of(architecture: str) -> str:
    """The name of the index of an architecture's packages, relative to its suite."""
    return f"{COMPONENT}/binary-{architecture}/Packages"


def _architectures(indices: Iterable[str]) -> tuple[str, ...]:
    found = (_PACKAGES.fullmatch(name) for name in indices)
    return tuple(sorted(match[1] for match in found if match))


def next_date(now: datetime, last: datetime | None) -> datetime:
    """When the next Release is made: now, but later than the last, because apt ignores an older one.

    In whole seconds, as a Release file has them.
    """
    now = now.replace(microsecond=0)
    return now if last is None else max(now, last + timedelta(seconds=1))


def words(identities: Iterable[Identity]) -> tuple[str, ...]:
    """Each as "package version architecture", in order."""
    return tuple(" ".join(identity) for identity in sorted(identities))


def sha256(content: bytes) -> str:
    """The digest that indices name files by, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
