"""A release of HHVM: its version, and the names that follow from it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from hhvm_packaging.errors import PackagingError

NIGHTLY = "nightly"
"""This version stands for the nightly of the run's own date."""
PACKAGE = "hhvm"
"""The package of releases."""
NIGHTLY_PACKAGE = "hhvm-nightly"
"""The package of nightlies. A nightly's other packages are named ``hhvm-nightly-...``."""

ALLOWED_FORM = "X.Y.Z (a release, such as 4.172.1), YYYY.MM.DD (a nightly) or the word nightly"

_NUMBER = "(?:0|[1-9][0-9]{0,4})"
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


@dataclass(frozen=True)
class Release:
    """One version and the names that follow from it."""

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
    def branch(self) -> str | None:
        """The git branch of a release's series. None for a nightly."""
        return None if self.nightly else f"HHVM-{self.version.rpartition('.')[0]}"
