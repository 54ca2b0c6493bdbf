"""The Release file of a suite: its date, the digests of its indices, and the packages that were withdrawn.

The format is described in the Debian wiki, on the page DebianRepository/Format.
"""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import COMPONENT, InvalidIndex, fields, sha256
from hhvm_packaging.apt.packages_index import architectures_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.apt.index import Identity

ORIGIN = "HHVM"
"""Origin and Label. They must never change: apt refuses a repository that changes them."""

_WITHDRAWN = "HHVM-Withdrawn"


@dataclass(frozen=True)
class Release:
    """The fields of a Release file that we read."""

    date: datetime
    sha256: Mapping[str, str]
    """The digest of each form of an index, by its path relative to the suite."""
    withdrawn: frozenset[Identity] = frozenset()
    """Packages that were withdrawn. They stay away until somebody reinstates them."""

    @classmethod
    def parse(cls, content: bytes) -> Release:
        """Parse a Release file without its signature. Raises InvalidIndex."""
        try:
            found = fields(content.decode().strip("\n"))
            date = email.utils.parsedate_to_datetime(found["Date"])
            digests = {name: sha256 for sha256, _, name in _words(found["SHA256"])}
            withdrawn = frozenset(_words(found.get(_WITHDRAWN, "")))
        except (KeyError, ValueError) as error:
            raise InvalidIndex(f"Release: it needs the fields Date and SHA256: {error!r}") from error
        return cls(date.replace(tzinfo=date.tzinfo or UTC), digests, withdrawn)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The architectures that the suite has an index for, sorted."""
        return architectures_of(self.sha256)


def _words(field: str) -> list[tuple[str, str, str]]:
    """The three words of each line. Raises ValueError if a line has more or fewer."""
    return [(one, two, three) for one, two, three in map(str.split, filter(None, field.split("\n")))]


def render_release(
    suite: str, indices: Mapping[str, bytes], *, date: datetime, withdrawn: Iterable[Identity] = ()
) -> bytes:
    """The Release file of a suite. ``indices`` are all files that it names, by path relative to the suite.

    SHA-256 is the only digest: every apt since 2015 supports it. The withdrawn packages are in a field that
    apt ignores, so that they change in the same write as what users get.
    """
    lines_withdrawn = [f" {' '.join(identity)}" for identity in sorted(withdrawn)]
    lines = [
        f"Origin: {ORIGIN}",
        f"Label: {ORIGIN}",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Date: {email.utils.format_datetime(date.astimezone(UTC), usegmt=True)}",
        "Acquire-By-Hash: yes",
        f"Architectures: {' '.join(architectures_of(indices))}",
        f"Components: {COMPONENT}",
        *([f"{_WITHDRAWN}:", *lines_withdrawn] if lines_withdrawn else []),
        "SHA256:",
        *(f" {sha256(content)} {len(content)} {name}" for name, content in indices.items()),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def next_date(now: datetime, last: datetime | None) -> datetime:
    """The date of the next Release, in whole seconds: now, but always later than the ``last`` one.

    Apt ignores a Release that is older than the one it has.
    """
    now = now.replace(microsecond=0)
    return now if last is None else max(now, last + timedelta(seconds=1))
