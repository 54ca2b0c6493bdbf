"""What a version says, and which strings are none."""

import datetime
import re

import pytest

from hhvm_packaging.release import ALLOWED_FORM, VERSION_PATTERN, InvalidVersion, Release

TODAY = datetime.date(2026, 11, 22)

NOT_VERSIONS = [
    "4.26",
    "4.136.0-dev",
    "2026.13.40",
    "2026.00.10",
    "2026.02.30",
    "2026.04.31",
    "2026.1.2",
    "1.0.0;id",
    "$(id)",
    "../1.0.0",
    "1.0.0\n",
    "\n1.0.0",
    " 1.0.0",
    "1.0.0 ",
    "01.0.0",
    "1.00.0",
    "1.0.0.0",
    "1234.5.6",
    "12345.1.1",
    "\u0661.0.0",
    "v1.0.0",
    "HHVM-1.0.0",
    "Nightly",
    "nightly\n",
    "",
]


@pytest.mark.parametrize("version", NOT_VERSIONS)
def test_what_is_not_a_version_is_refused_by_name_with_the_allowed_form(version: str) -> None:
    with pytest.raises(InvalidVersion) as refusal:
        Release.parse(version, today=TODAY)
    assert str(refusal.value).startswith(f"version: {version!r}")
    assert ALLOWED_FORM in str(refusal.value)


@pytest.mark.parametrize("version", [None, 4, 4.26, ["1.0.0"], {"version": "1.0.0"}, True])
def test_what_is_not_a_string_is_refused(version: object) -> None:
    with pytest.raises(InvalidVersion):
        Release.parse(version, today=TODAY)


@pytest.mark.parametrize("version", NOT_VERSIONS)
def test_the_forms_pattern_refuses_them_too(version: str) -> None:
    assert not re.search(VERSION_PATTERN, version)


@pytest.mark.parametrize("version", ["nightly", "1.0.0", "4.172.1", "3.30.12", "2026.11.22", "2024.02.29"])
def test_the_forms_pattern_takes_every_version(version: str) -> None:
    assert re.search(VERSION_PATTERN, version)


def test_the_29th_of_february_is_a_nightly_in_leap_years_only() -> None:
    assert Release.parse("2024.02.29", today=TODAY).nightly
    with pytest.raises(InvalidVersion, match="day is out of range"):
        Release.parse("2025.02.29", today=TODAY)


def test_a_nightly_of_the_future_is_refused() -> None:
    with pytest.raises(InvalidVersion, match="future"):
        Release.parse("2026.11.23", today=TODAY)


def test_nightly_is_the_nightly_of_today() -> None:
    assert Release.parse("nightly", today=TODAY) == Release("2026.11.22", nightly=True)


def test_a_release_is_the_package_hhvm_from_its_tag() -> None:
    release = Release.parse("4.172.1", today=TODAY)
    assert (release.package, release.name, release.tag) == ("hhvm", "hhvm-4.172.1", "HHVM-4.172.1")


def test_a_nightly_is_the_package_hhvm_nightly() -> None:
    release = Release.parse("2026.11.22", today=TODAY)
    assert (release.package, release.name) == ("hhvm-nightly", "hhvm-nightly-2026.11.22")
