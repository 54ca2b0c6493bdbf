"""Which requests are carried out, and in which words the others are refused."""

import datetime
from typing import Any

import pytest

from hhvm_packaging.plans import Refused, Request
from tests.unit.test_release import NOT_VERSIONS

KNOWN = ["debian-12-bookworm", "debian-13-trixie"]
TODAY = datetime.date(2026, 11, 22)


def check(params: dict[str, Any] | None = None, conf: dict[str, Any] | None = None) -> Request:
    """The request of a run with these parameters, as far as they differ from the form's defaults."""
    given = {"version": "nightly", "distros": KNOWN} | (params or {})
    return Request.check(given, conf, known=KNOWN, run_date=TODAY)


def test_without_a_word_it_is_the_nightly_of_the_runs_date_for_all_distributions() -> None:
    request = check()
    assert (request.version, request.distros) == ("2026.11.22", tuple(KNOWN))
    assert request.release.nightly


def test_a_release_for_one_distribution_is_taken_as_asked() -> None:
    request = check({"version": "1.0.0", "distros": ["debian-13-trixie"]})
    assert (request.version, request.distros) == ("1.0.0", ("debian-13-trixie",))


@pytest.mark.parametrize("version", [*NOT_VERSIONS, None, 4.26])
def test_a_bad_version_is_refused_by_field_and_allowed_form(version: Any) -> None:
    with pytest.raises(Refused, match=r"^version: .* Allowed: X\.Y\.Z"):
        check({"version": version})


@pytest.mark.parametrize("distros", [[], None, "debian-12-bookworm", [1], {}, [[]]])
def test_what_is_no_list_of_distributions_is_refused_by_field_and_allowed_form(distros: Any) -> None:
    with pytest.raises(Refused, match=r"^distros: .* Allowed: a list of at least one of debian-12-bookworm"):
        check({"distros": distros})


@pytest.mark.parametrize("name", ["debian-99-nothing", "../distros", "", "debian-12-bookworm\n"])
def test_an_unknown_distribution_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(Refused, match=r"not in distros/\. Allowed: debian-12-bookworm, debian-13-trixie"):
        check({"distros": ["debian-12-bookworm", name]})


def test_a_misspelt_parameter_does_not_mean_tonights_nightly() -> None:
    with pytest.raises(Refused, match=r"^verison: no such parameter\. Allowed: version and distros\.$"):
        check(conf={"verison": "1.0.0"})


def test_a_distribution_that_is_asked_for_twice_is_worked_on_once() -> None:
    assert check({"distros": ["debian-13-trixie"] * 2}).distros == ("debian-13-trixie",)
