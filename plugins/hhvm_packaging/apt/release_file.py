"""The Release file of a suite: when it was made, its indices by digest, what was withdrawn.

The rules are those of the Debian wiki's page DebianRepository/Format.
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
"""Origin and Label. Apt refuses a repository that changes them, so they stay."""

_WITHDRAWN = "HHVM-Withdrawn"


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
        return architectures_of(self.sha256)


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
        f"Architectures: {' '.join(architectures_of(indices))}",
        f"Components: {COMPONENT}",
        *([f"{_WITHDRAWN}:", *taken_back] if taken_back else []),
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
