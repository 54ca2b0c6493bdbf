"""Which nightlies of a suite are too old to be offered."""

from __future__ import annotations

import datetime
import itertools

import pytest

from hhvm_packaging.publishing import nightlies
from hhvm_packaging.release import Release

FIRST = datetime.date(2026, 11, 1)


def of(day: str, package: str = "hhvm-nightly", architecture: str = "amd64") -> tuple[str, str, str]:
    return package, f"2026.{day}-1~bookworm", architecture


def test_a_nightly_of_before_the_first_day_is_too_old() -> None:
    assert nightlies.find_aged([of("10.31"), of("11.01"), of("11.20")], FIRST) == {of("10.31")}


def test_all_packages_and_revisions_of_a_nightly_leave_together() -> None:
    old = {
        of("10.31"),
        of("10.31", "hhvm-nightly-dev"),
        of("10.31", architecture="source"),
        ("hhvm-nightly", "2026.10.31-2~bookworm", "amd64"),
    }
    assert nightlies.find_aged([*old, of("11.20"), of("11.20", architecture="source")], FIRST) == old


@pytest.mark.parametrize("order", list(itertools.permutations(["01.01", "01.02", "01.03"])), ids=" ".join)
def test_the_newest_nightly_stays_however_old_it_is(order: tuple[str, ...]) -> None:
    assert nightlies.find_aged(map(of, order), FIRST) == {of("01.01"), of("01.02")}


def test_all_packages_of_the_newest_nightly_stay() -> None:
    newest = [of("01.02"), of("01.02", "hhvm-nightly-dev")]
    assert nightlies.find_aged([*newest, of("01.01", "hhvm-nightly-dev")], FIRST) == {
        of("01.01", "hhvm-nightly-dev")
    }


def test_an_architecture_that_is_built_no_longer_keeps_its_newest() -> None:
    arm = [of("01.01", architecture="arm64"), of("01.02", architecture="arm64")]
    assert nightlies.find_aged([*arm, of("11.20")], FIRST) == {arm[0]}


@pytest.mark.parametrize("architecture", ["all", "source"])
def test_what_is_for_all_architectures_stays_with_the_newest_nightly_of_each(architecture: str) -> None:
    arm = of("01.02", architecture="arm64")
    shared = [of(day, architecture=architecture) for day in ("01.01", "01.02", "11.20")]
    assert nightlies.find_aged([arm, of("11.20"), *shared], FIRST) == {shared[0]}


def test_the_newest_of_one_architecture_does_not_keep_the_same_day_of_another() -> None:
    day = of("01.02"), of("01.02", architecture="arm64")
    assert nightlies.find_aged([*day, of("11.20")], FIRST) == {day[0]}


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("hhvm", "1.0.0-1~bookworm"),
        ("hhvm", "2020.01.01-1~bookworm"),
        ("hhvm-nightly", "4.172.1-1~bookworm"),
        ("hhvm-nightly", "2020.02.30-1~bookworm"),
        ("hhvm-nightlyish", "2020.01.01-1~bookworm"),
    ],
)
def test_what_is_no_nightly_stays_for_good(package: str, version: str) -> None:
    assert nightlies.find_nightly((package, version, "amd64")) is None
    assert not nightlies.find_aged([(package, version, "amd64"), of("11.20")], FIRST)


def test_a_package_of_a_nightly_is_known_by_its_name_and_version() -> None:
    assert nightlies.find_nightly(of("11.20", "hhvm-nightly-dev")) == Release("2026.11.20", nightly=True)
