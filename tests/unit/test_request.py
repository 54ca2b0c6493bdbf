"""Which requests are carried out, and in which words the others are refused."""

import datetime
from typing import Any

import pytest

from hhvm_packaging.request import Refused, Request, only_dry_run
from tests.unit.test_release import NOT_VERSIONS

KNOWN = ["debian-12-bookworm", "debian-13-trixie"]
PUBLISHING = {"action": "publish", "undo_to": None, "dry_run": False, "if_one_fails": "as usual"}
NOT_REFS = ["--upload-pack=id", "main..1.0", "main\n", "main:distros", "a b", "$(id)", "main@{1}", 1]
TODAY = datetime.date(2026, 11, 22)


def check(params: dict[str, Any] | None = None, conf: dict[str, Any] | None = None) -> Request:
    """The request of a run with these parameters, as far as they differ from the form's defaults."""
    given = {"version": "nightly", "distros": KNOWN, **PUBLISHING} | (params or {})
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
    with pytest.raises(Refused, match=r"^verison: no such parameter\. Allowed: version, distros, "):
        check(conf={"verison": "1.0.0"})


def test_a_distribution_that_is_asked_for_twice_is_worked_on_once() -> None:
    assert check({"distros": ["debian-13-trixie"] * 2}).distros == ("debian-13-trixie",)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("action", "revert", "publish, undo, release again"),
        ("action", None, "publish, undo, release again"),
        ("dry_run", "yes", "False, True"),
        ("dry_run", 1, "False, True"),
        ("if_one_fails", "panic", "as usual, publish the others, hold all"),
        ("undo_to", "yesterday", "YYYYMMDDTHHMMSSZ .* or a snapshot's name"),
        ("undo_to", "20261122T000000Z\n", "YYYYMMDDTHHMMSSZ .* or a snapshot's name"),
        ("undo_to", 20261122, "YYYYMMDDTHHMMSSZ .* or a snapshot's name"),
    ],
)
def test_how_to_publish_is_refused_by_field_and_allowed_form(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(Refused, match=f"^{name}: .* Allowed: {allowed}"):
        check({"action": "undo", name: value})


@pytest.mark.parametrize("to", [None, ""])
def test_an_undo_without_a_snapshot_takes_back_the_version_alone(to: str | None) -> None:
    assert check({"action": "undo", "undo_to": to}).undo_to is None


@pytest.mark.parametrize("to", ["20261122T000000Z", "20261122T000000Z-0123456789ab"])
def test_an_undo_goes_back_to_a_time_or_to_a_snapshot(to: str) -> None:
    assert check({"action": "undo", "undo_to": to}).undo_to == to


def test_a_snapshot_without_an_undo_is_refused() -> None:
    with pytest.raises(Refused, match=r"^undo_to: is for the action undo alone"):
        check({"undo_to": "20261122T000000Z"})


@pytest.mark.parametrize("ref", ["HHVM-1.0", "main", "0123abcd" * 5, "refs/heads/HHVM-1.0", None, ""])
def test_the_packaging_files_come_from_any_revision_that_git_can_name(ref: str | None) -> None:
    assert check({"packaging_ref": ref}).packaging_ref == (ref or None)


@pytest.mark.parametrize("ref", NOT_REFS)
def test_what_git_might_take_for_something_else_is_refused(ref: Any) -> None:
    with pytest.raises(Refused, match=r"^packaging_ref: .* Allowed: the name of a git branch or tag, or a"):
        check({"packaging_ref": ref})


def test_a_forced_build_is_asked_for_in_so_many_words() -> None:
    assert (check().force, check({"force": True}).force) == (False, True)
    with pytest.raises(Refused, match=r"^force: 'true' is not allowed\. Allowed: False, True"):
        check({"force": "true"})


@pytest.mark.parametrize("value", [True, False])
def test_a_run_may_be_asked_only_whether_it_is_dry(value: bool) -> None:
    assert only_dry_run({"dry_run": value}, {"dry_run": value}) is value


@pytest.mark.parametrize(
    ("params", "conf"),
    [({"dry_run": False}, {"dryrun": True}), ({"dry_run": "true"}, {}), ({"dry_run": None}, None)],
)
def test_what_may_have_been_meant_as_a_dry_run_is_none_that_deletes(params: Any, conf: Any) -> None:
    with pytest.raises(Refused, match="dry_run"):
        only_dry_run(params, conf)
