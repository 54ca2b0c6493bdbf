"""A release of HHVM: its version, and the names that follow from it."""

from __future__ import annotations

import datetime
import itertools
import re
from dataclasses import dataclass

from hhvm_packaging.errors import PackagingError

NIGHTLY = "nightly"
"""This version stands for the nightly of the run's own date."""
PACKAGE = "hhvm"
"""The package of releases."""
NIGHTLY_PACKAGE = "hhvm-nightly"
"""The package of nightlies. A nightly's other packages are named ``hhvm-nightly-...``."""

KEYRING_PACKAGE = "hhvm-archive-keyring"
"""The package with the keys that sign the repositories. It has no version of HHVM's."""

ALLOWED_FORM = (
    "X.Y.Z (a release, such as 4.172.1 or 26.09.29; Y and Z from 1 to 9 may be written 01 to 09), "
    "YYYY.MM.DD (a nightly) or the word nightly"
)

# HHVM pads the month and the day of a release by date, never the year. No other zero may be added: 026.9.29
# and 26.009.29 would be further spellings that nobody uses.
_NUMBER = "(?:0[1-9]?|[1-9][0-9]{0,4})"
_RELEASE = rf"(?:0|[1-9][0-9]{{0,2}})\.{_NUMBER}\.{_NUMBER}"
_DATE = (
    r"[0-9]{4}\.(?:"
    r"(?:0[13578]|1[02])\.(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)\.(?:0[1-9]|[12][0-9]|30)"
    r"|02\.(?:0[1-9]|1[0-9]|2[0-9]))"
)
VERSION_PATTERN = rf"^(?:{NIGHTLY}|{_RELEASE}|{_DATE})$(?!\n)"
r"""For forms: it means the same in JSON Schema, Python and JavaScript. It ends with ``$(?!\n)`` because
Python's ``$`` also matches before a trailing newline, and JavaScript has no ``\Z``."""


class InvalidVersion(PackagingError):
    """Not a version of HHVM. The message names the value and the allowed form."""

    def __init__(self, version: object, reason: str = "") -> None:
        super().__init__(f"version: {version!r} is not allowed{reason}. Allowed: {ALLOWED_FORM}.")


def numbers(version: str) -> tuple[int, ...] | None:
    """The parts of a version as numbers, by which versions are compared. None for any other text."""
    # Not str.isdigit, which takes digits of every script.
    return tuple(map(int, version.split("."))) if re.fullmatch(r"[0-9]+(?:\.[0-9]+)*", version) else None


def is_same_version(one: str, other: str) -> bool:
    """Whether two texts are spellings of one version, as 26.09.29 and 26.9.29 are.

    Debian's comparison (deb-version(7)) takes them for equal, too.
    """
    return one == other or (numbers(one) is not None and numbers(one) == numbers(other))


@dataclass(frozen=True)
class Release:
    """One version and the names that follow from it.

    Two releases are equal if they are spelled alike. A release has one spelling, that of its tag:
    ``planning/spelling.py`` finds it.
    """

    version: str
    nightly: bool

    @classmethod
    def parse(cls, version: object, *, today: datetime.date) -> Release:
        """The release that ``version`` names; ``today`` (UTC) is what ``nightly`` stands for.

        Raises InvalidVersion for anything but the allowed forms, and for a nightly of the future.
        """
        if not isinstance(version, str):
            raise InvalidVersion(version)
        if version == NIGHTLY:
            version = f"{today:%Y.%m.%d}"
        if re.fullmatch(_RELEASE, version):
            return cls(version, nightly=False)
        if not re.fullmatch(_DATE, version):
            raise InvalidVersion(version)
        try:
            date = datetime.date(*map(int, version.split(".")))
        except ValueError as error:
            raise InvalidVersion(version, f" ({error})") from error
        if date > today:
            raise InvalidVersion(version, f" (a nightly of the future; today is {today:%Y.%m.%d})")
        return cls(version, nightly=True)

    @classmethod
    def find(cls, version: str) -> Release | None:
        """The release of exactly that version, whatever the date is today. None if it is not a version."""
        try:
            return None if version == NIGHTLY else cls.parse(version, today=datetime.date.max)
        except InvalidVersion:
            return None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The parts of the version as numbers. Releases are compared and sorted by these."""
        return tuple(map(int, self.version.split(".")))

    @property
    def spellings(self) -> tuple[Release, ...]:
        """This release in every spelling that is allowed, its own first. A nightly has one only."""
        if self.nightly:
            return (self,)
        major, minor, patch = self.numbers
        found = [
            Release(f"{major}.{y}.{z}", nightly=False)
            for y, z in itertools.product(_spell(minor), _spell(patch))
        ]
        return (self, *(release for release in found if release != self))

    @property
    def package(self) -> str:
        """The name of the source package and of the main binary package."""
        return NIGHTLY_PACKAGE if self.nightly else PACKAGE

    @property
    def name(self) -> str:
        """Package and version. The source tarball and its top directory are named so."""
        return f"{self.package}-{self.version}"

    @property
    def date(self) -> datetime.date:
        """The UTC day of a nightly. Raises ValueError for a release."""
        if not self.nightly:
            raise ValueError(f"{self.version} is a release, not a nightly")
        return datetime.date(*map(int, self.version.split(".")))

    @property
    def tag(self) -> str:
        """The git tag of a release."""
        return f"HHVM-{self.version}"

    @property
    def series(self) -> str:
        """The first two parts of the version."""
        return self.version.rpartition(".")[0]

    @property
    def branch(self) -> str | None:
        """The git branch of a release's series. None for a nightly."""
        return None if self.nightly else f"HHVM-{self.series}"

    @property
    def branches(self) -> tuple[str, ...]:
        """That branch in every spelling that is allowed, its own first. None for a nightly."""
        return tuple(dict.fromkeys(release.branch for release in self.spellings if release.branch))


def _spell(number: int) -> tuple[str, ...]:
    """How the second or third part of a version may be written."""
    return (str(number), f"{number:02}") if 1 <= number <= 9 else (str(number),)
