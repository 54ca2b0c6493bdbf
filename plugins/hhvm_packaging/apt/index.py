"""Apt's indices, Packages and Release: bytes in, bytes out.

The rules are those of the Debian wiki's page DebianRepository/Format.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import lzma
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from debian import deb822
from debian.debian_support import Version

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORIGIN = "HHVM"
"""Origin and Label. Apt refuses a repository that changes them, so they stay."""
COMPONENT = "main"
ARCHITECTURE = "amd64"
PACKAGES = f"{COMPONENT}/binary-{ARCHITECTURE}/Packages"
"""The index of the binary packages, relative to its suite, as Release names it."""
VARIANTS = (PACKAGES, f"{PACKAGES}.gz", f"{PACKAGES}.xz")
"""The names under which users get the index."""

_FILENAME = re.compile(r"^Filename:.*$", re.MULTILINE | re.IGNORECASE)


class InvalidIndex(PackagingError):
    """Not a Packages or Release file. The message says what is wrong with it."""


class AlreadyPublished(PackagingError):
    """The name is published with other bytes. The message has the digests of both."""


@dataclass(frozen=True)
class Stanza:
    """One package in a Packages index. All that is not read here is kept byte for byte."""

    text: str
    """Without its last newline."""
    package: str
    version: str
    architecture: str
    filename: str
    """Relative to the repository."""
    sha256: str
    md5: str | None
    size: int
    """Bytes."""

    @classmethod
    def parse(cls, text: str) -> Stanza:
        """One paragraph. Raises InvalidIndex if it is not one, or lacks what apt needs of it."""
        text = text.strip("\n")
        if "\n\n" in text:
            raise InvalidIndex("more than one paragraph where one package is described")
        fields = deb822.Deb822(text.encode())
        try:
            return cls(
                text,
                package=fields["Package"],
                version=fields["Version"],
                architecture=fields["Architecture"],
                filename=fields["Filename"],
                sha256=fields["SHA256"],
                md5=fields.get("MD5sum"),
                size=int(fields["Size"]),
            )
        except KeyError as error:
            raise InvalidIndex(f"{fields.get('Package', text[:80])!r}: no field {error}") from error
        except ValueError as error:
            raise InvalidIndex(f"{fields['Package']!r}: Size: {fields['Size']!r} is no number") from error

    def at(self, filename: str) -> Stanza:
        """The same package at another place, relative to the repository."""
        text = _FILENAME.sub(lambda _: f"Filename: {filename}", self.text, count=1)
        return replace(self, text=text, filename=filename)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What apt tells packages apart by."""
        return self.package, self.version, self.architecture


@dataclass(frozen=True)
class Packages:
    """A Packages index."""

    stanzas: tuple[Stanza, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> Packages:
        """Read a Packages file. Raises InvalidIndex."""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise InvalidIndex(f"not UTF-8: {error}") from error
        return cls(tuple(Stanza.parse(part) for part in re.split(r"\n{2,}", text.strip("\n")) if part))

    def render(self) -> bytes:
        """The Packages file: each paragraph is followed by an empty line."""
        return "".join(f"{stanza.text}\n\n" for stanza in self.stanzas).encode()

    def find(self, package: str, version: str, architecture: str = ARCHITECTURE) -> Stanza | None:
        """The package's stanza; None where it is not in the index."""
        wanted = (package, version, architecture)
        return next((stanza for stanza in self.stanzas if stanza.identity == wanted), None)

    def add(self, stanzas: Iterable[Stanza]) -> Packages:
        """With the stanzas that are new, by package, then version in Debian's order, then architecture.

        Equal to this index if it has them all. Raises AlreadyPublished, with both digests, if it has the
        same package, version and architecture with another SHA-256.
        """
        known = {stanza.identity: stanza for stanza in self.stanzas}
        for stanza in stanzas:
            there = known.setdefault(stanza.identity, stanza)
            if there.sha256 != stanza.sha256:
                raise AlreadyPublished(
                    f"{' '.join(stanza.identity)} is published with SHA-256 {there.sha256}, but this one has "
                    f"{stanza.sha256}. What is published is immutable: publish another version."
                )
        if len(known) == len(self.stanzas):
            return self
        return Packages(tuple(sorted(known.values(), key=_order)))

    def variants(self) -> dict[str, bytes]:
        """The index under each name of VARIANTS; the same bytes whenever it is rendered."""
        content = self.render()
        return dict(
            zip(VARIANTS, (content, gzip.compress(content, mtime=0), lzma.compress(content)), strict=True)
        )


def _order(stanza: Stanza) -> tuple[str, Version, str]:
    return stanza.package, Version(stanza.version), stanza.architecture


@dataclass(frozen=True)
class Release:
    """What a Release file says: when it was made, and the digests of the indices."""

    date: datetime
    sha256: Mapping[str, str]
    """By the index's name, relative to the suite."""

    @classmethod
    def parse(cls, content: bytes) -> Release:
        """Read a Release file without a signature around it. Raises InvalidIndex."""
        fields = deb822.Release(content)
        try:
            date = email.utils.parsedate_to_datetime(fields["Date"])
            digests = {entry["name"]: entry["sha256"] for entry in fields["SHA256"]}
        except (KeyError, ValueError) as error:
            raise InvalidIndex(f"Release: Date and SHA256 are needed, but {error!r}") from error
        return cls(date.replace(tzinfo=date.tzinfo or UTC), digests)


def render_release(suite: str, indices: Mapping[str, bytes], *, date: datetime) -> bytes:
    """The Release file of ``suite`` for ``indices``, by their names relative to it.

    SHA-256 is the only digest: every apt since 2015 takes it, and the weaker ones add nothing to it.
    """
    lines = [
        f"Origin: {ORIGIN}",
        f"Label: {ORIGIN}",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Date: {email.utils.format_datetime(date.astimezone(UTC), usegmt=True)}",
        "Acquire-By-Hash: yes",
        f"Architectures: {ARCHITECTURE}",
        f"Components: {COMPONENT}",
        "SHA256:",
        *(f" {sha256(content)} {len(content)} {name}" for name, content in indices.items()),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def next_date(now: datetime, last: datetime | None) -> datetime:
    """When the next Release is made: now, but later than the last, because apt ignores an older one.

    In whole seconds, as a Release file has them.
    """
    now = now.replace(microsecond=0)
    return now if last is None else max(now, last + timedelta(seconds=1))


def sha256(content: bytes) -> str:
    """The digest that indices name files by, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
