"""Which suites a release is published in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hhvm_packaging.distros import Distro
from hhvm_packaging.planning import target_suites
from hhvm_packaging.release import Release
from hhvm_packaging.settings import Settings

BOOKWORM = Distro(
    name="debian-12-bookworm",
    docker_base="debian:bookworm",
    distribution="bookworm",
    pkgver="1~bookworm",
    files_sha256="",
)
RELEASE, NIGHTLY = Release("4.172.1", nightly=False), Release("2026.03.01", nightly=True)


def suites(release: Release, **settings: Any) -> tuple[str, ...]:
    return target_suites.choose_suites(release, BOOKWORM, Settings(**settings))


def test_releases_go_to_the_distribution_and_to_their_series_nightlies_to_the_distribution() -> None:
    assert suites(RELEASE) == ("bookworm", "bookworm-4.172")
    assert suites(NIGHTLY) == ("bookworm",)


def test_a_series_may_have_suites_of_its_own() -> None:
    long_term = {"4.172": ["DISTRO-lts-x.y"]}
    assert suites(RELEASE, suites=long_term) == ("bookworm-lts-4.172",)
    assert suites(Release("4.173.0", nightly=False), suites=long_term) == ("bookworm", "bookworm-4.173")
    assert suites(NIGHTLY, suites=long_term) == ("bookworm",)


def test_a_series_is_found_in_the_settings_however_it_is_padded() -> None:
    for name in ("26.09", "26.9"):
        long_term = {name: ["DISTRO-lts-x.y"]}
        assert suites(Release("26.09.29", nightly=False), suites=long_term) == ("bookworm-lts-26.09",)


def test_a_series_that_the_settings_name_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"26\.09 and 26\.9 are one series"):
        Settings(suites={"26.09": ["DISTRO"], "26.9": ["DISTRO"]})


def test_what_all_releases_go_to_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HHVM_PACKAGING_SUITES", '{"release": ["DISTRO"]}')
    assert suites(RELEASE) == ("bookworm",)
    assert suites(NIGHTLY) == ("bookworm",)


@pytest.mark.parametrize("name", ["bookworm", "DISTRO/x", "../DISTRO", "DISTRO\n", ""])
def test_what_is_no_suite_of_a_distribution_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings(suites={"release": [name]})


def test_a_release_is_in_some_suite() -> None:
    with pytest.raises(ValidationError):
        Settings(suites={"release": []})
