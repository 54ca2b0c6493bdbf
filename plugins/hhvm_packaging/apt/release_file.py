"""The Release file of a suite: what identifies it, its date, the digests of its files, what was withdrawn.

The format is described in the Debian wiki, on the page DebianRepository/Format. A suite that another tool
made keeps the fields that it has. It gets none of those that identify it: apt refuses a suite whose identity
changes.
"""

from __future__ import annotations

import email.utils
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import (
    COMPONENT,
    InvalidIndex,
    Paragraph,
    decode,
    encode,
    fields,
    is_index,
    sha256,
    stem,
)
from hhvm_packaging.apt.packages_index import architectures_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hhvm_packaging.apt.index import Identity

ORIGIN = "HHVM"
"""Origin and Label of a new suite. They must never change: apt refuses a repository that changes them."""

MAX_FUTURE = timedelta(seconds=10)
"""How far in the future a date may be for apt: its option Acquire::Max-FutureTime, see apt.conf(5)."""

_WITHDRAWN = "HHVM-Withdrawn"
_DIGESTS = frozenset({"md5sum", "sha1", "sha256", "sha512"})
_COMPUTED = _DIGESTS | {_WITHDRAWN.lower()}
"""Fields that are never carried over, in lower case."""


@dataclass(frozen=True)
class File:
    """A file that a Release names."""

    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Release:
    """A Release file."""

    date: datetime
    files: Mapping[str, File]
    """Each form of an index, and what else the suite has, by its path relative to the suite."""
    withdrawn: frozenset[Identity] = frozenset()
    """Packages that were withdrawn. They stay away until somebody reinstates them."""
    fields: Paragraph = field(default_factory=Paragraph)
    """All other fields, without those of digests."""
    valid_for: timedelta | None = None
    """How long after its date it is valid; None for good."""

    @classmethod
    def parse(cls, content: bytes) -> Release:
        """Parse a Release file without its signature. Raises InvalidIndex."""
        found = fields(decode(content).strip("\n"))
        try:
            date = _parse_date(found["Date"])
            files = {name: File(sha256, int(size)) for sha256, size, name in _words(found["SHA256"])}
            withdrawn = frozenset(_words(found.find(_WITHDRAWN) or ""))
        except (KeyError, ValueError) as error:
            raise InvalidIndex(f"Release: it needs the fields Date and SHA256: {error!r}") from error
        kept = Paragraph((name, value) for name, value in found.items() if name.lower() not in _COMPUTED)
        return cls(date, files, withdrawn, kept, _parse_period(date, found.find("Valid-Until")))

    @cached_property
    def sha256(self) -> Mapping[str, str]:
        """The digest of each file."""
        return {name: file.sha256 for name, file in self.files.items()}

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """The paths of the indices of packages, of all components: those of their uncompressed forms."""
        return tuple(sorted({stem(name) for name in self.files if is_index(stem(name))}))

    @property
    def others(self) -> Mapping[str, File]:
        """The files that are no form of an index of packages, nor made from one, as patches are."""
        return {
            name: file
            for name, file in self.files.items()
            if not is_index(stem(name)) and not is_index(name.removesuffix(".diff/Index"))
        }

    @property
    def architectures(self) -> tuple[str, ...]:
        """The architectures that our component has an index for, sorted."""
        return architectures_of(self.indices)

    @property
    def by_hash(self) -> bool:
        """Whether the suite promises each file under its digest."""
        return (self.fields.find("Acquire-By-Hash") or "").lower() == "yes"

    @property
    def valid_until(self) -> datetime | None:
        """When apt begins to refuse it; None for never."""
        return None if self.valid_for is None else self.date + self.valid_for

    @property
    def signed_by(self) -> tuple[str, ...]:
        """The fingerprints of the keys that alone may sign the next Release; none if any trusted key may."""
        found = (self.fields.find("Signed-By") or "").replace(",", " ").split()
        return tuple(fingerprint.rstrip("!").upper() for fingerprint in found)


def _words(text: str) -> list[tuple[str, str, str]]:
    """The three words of each line. Raises ValueError if a line has more or fewer."""
    return [(one, two, three) for one, two, three in map(str.split, filter(None, text.split("\n")))]


def _parse_date(text: str) -> datetime:
    """A date of a Release. Raises ValueError."""
    date = email.utils.parsedate_to_datetime(text)
    return date.replace(tzinfo=date.tzinfo or UTC)


def _parse_period(date: datetime, valid_until: str | None) -> timedelta | None:
    """How long a Release of that date is valid. Raises InvalidIndex."""
    if valid_until is None:
        return None
    try:
        return _parse_date(valid_until) - date
    except ValueError as error:
        raise InvalidIndex(f"Release: Valid-Until: {valid_until!r} is no time") from error


def render_release(
    suite: str,
    indices: Mapping[str, bytes],
    *,
    date: datetime,
    withdrawn: Iterable[Identity] = (),
    last: Release | None = None,
    others: Mapping[str, File] | None = None,
) -> bytes:
    """The Release file of a suite. ``indices`` are the files of all indices, by path relative to the suite.

    ``last`` is what the suite has now: its fields are kept, in their order, but for what changes with each
    Release. ``others`` are files that the suite keeps. SHA-256 is the only digest: every apt since 2015
    supports it. The withdrawn packages are in a field that apt ignores, so that they change in the same write
    as what users get. Raises InvalidIndex if the Release would never be valid.
    """
    if last and last.valid_for is not None and last.valid_for <= timedelta(0):
        raise InvalidIndex(
            f"Release: its Valid-Until, {last.valid_until}, is not later than its Date: no apt would accept "
            "it. Correct that with the tool that made the suite"
        )
    lines = [
        f"{name}:{value}" if value[:1] in ("", "\n") else f"{name}: {value}"
        for name, value in _fields(suite, indices, date, last)
    ]
    if withdrawn := sorted(withdrawn):
        lines += [f"{_WITHDRAWN}:", *(f" {' '.join(identity)}" for identity in withdrawn)]
    files = {name: File(sha256(content), len(content)) for name, content in indices.items()} | dict(
        others or {}
    )
    lines += ["SHA256:", *(f" {file.sha256} {file.size} {name}" for name, file in files.items())]
    return encode("".join(f"{line}\n" for line in lines))


def _fields(
    suite: str, indices: Iterable[str], date: datetime, last: Release | None
) -> Iterator[tuple[str, str]]:
    """The fields of a Release without digests: those of ``last`` in their order, then those that it lacks."""
    if last is None:
        yield from (("Origin", ORIGIN), ("Label", ORIGIN), ("Suite", suite), ("Codename", suite))
    kept = last.fields if last else Paragraph()
    new = {
        "Date": _format_date(date),
        "Acquire-By-Hash": "yes",
        "Architectures": _with(kept.find("Architectures") or "", architectures_of(indices)),
        "Components": _with(kept.find("Components") or "", [COMPONENT]),
    }
    if last and last.valid_for is not None:
        new["Valid-Until"] = _format_date(date + last.valid_for)
    changed = {name.lower(): value for name, value in new.items()}
    yield from ((name, changed.get(name.lower(), value)) for name, value in kept.items())
    has = {name.lower() for name in kept}
    yield from ((name, value) for name, value in new.items() if name.lower() not in has)


def _with(text: str, needed: Iterable[str]) -> str:
    """The words of a field, followed by those that are needed and are not among them.

    A component may be written with a directory in front, as in ``updates/main``.
    """
    words = text.split()
    has = {word.rpartition("/")[2] for word in words}
    return " ".join([*words, *(word for word in needed if word not in has)])


def _format_date(date: datetime) -> str:
    return email.utils.format_datetime(date.astimezone(UTC), usegmt=True)


def next_date(now: datetime, last: datetime | None) -> datetime:
    """The date of the next Release, in whole seconds: now, but always later than the ``last`` one.

    Apt ignores a Release that is older than the one it has.
    """
    now = now.replace(microsecond=0)
    return now if last is None else max(now, last + timedelta(seconds=1))
