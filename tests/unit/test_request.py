"""Which requests are carried out, and in which words the others are refused."""

import datetime
import re
from typing import Any

import pytest

from hhvm_packaging.planning.request import Refused, Request, only_dry_run
from tests.unit.test_release import NOT_VERSIONS

KNOWN = ["debian-12-bookworm", "debian-13-trixie"]
PUBLISHING = {"action": "publish", "undo_to": None, "dry_run": False, "if_one_fails": "as usual"}
NOT_REFS = ["--upload-pack=id", "main..1.0", "main\n", "main:distros", "a b", "$(id)", "main@{1}", 1]
NOT_TIMES = [
    "tomorrow",
    "2026-11-24",
    "2026-11-24T10:00:00",
    "2026-13-01T00:00:00Z",
    "2026-11-24T10:00:00Z\n",
    5,
]
TIMES = ["2026-11-24T10:00:00Z", "2026-11-24T10:00:00.000Z", "2026-11-24T11:00:00+01:00"]
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
        ("action", "revert", "publish, undo, release again, lift holds"),
        ("action", None, "publish, undo, release again, lift holds"),
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


def test_holds_are_lifted_with_a_reason() -> None:
    asked = check({"action": "lift holds", "reason": "it is public elsewhere"})
    assert (asked.action, asked.reason) == ("lift holds", "it is public elsewhere")


@pytest.mark.parametrize("reason", [None, "", "why", "     ", "one line\nand another", "x" * 501, 12345])
def test_holds_are_not_lifted_without_a_reason(reason: Any) -> None:
    with pytest.raises(Refused, match=r"^reason: .* Allowed: why the holds are lifted, in one line"):
        check({"action": "lift holds", "reason": reason})


def test_a_reason_is_for_lifting_holds_alone_and_that_is_no_dry_run() -> None:
    with pytest.raises(Refused, match=r"^reason: the action lift holds needs one, and no other has one"):
        check({"reason": "it is public elsewhere"})
    with pytest.raises(Refused, match=r"^dry_run: the action lift holds lifts holds"):
        check({"action": "lift holds", "reason": "it is public elsewhere", "dry_run": True})


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


@pytest.mark.parametrize("time", TIMES)
def test_a_release_is_held_until_a_time_whichever_zone_it_is_given_in(time: str) -> None:
    assert check({"hold_until": time}).hold_until == datetime.datetime(2026, 11, 24, 10, tzinfo=datetime.UTC)


@pytest.mark.parametrize("time", NOT_TIMES)
def test_what_is_no_time_holds_nothing_and_is_refused(time: Any) -> None:
    with pytest.raises(Refused, match=r"^hold_until: .* Allowed: a time such as 2026-11-24T10:00:00Z"):
        check({"hold_until": time})


@pytest.mark.parametrize("value", ["true", 1, None])
def test_an_approval_that_may_have_been_meant_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match=r"^require_approval: .* Allowed: False, True"):
        check({"require_approval": value})


@pytest.mark.parametrize(
    ("version", "if_one_fails", "holds_all"),
    [
        ("1.0.0", "as usual", True),
        ("nightly", "as usual", False),
        ("1.0.0", "publish the others", False),
        ("nightly", "hold all", True),
    ],
)
def test_as_usual_holds_releases_and_publishes_nightlies(
    version: str, if_one_fails: str, holds_all: bool
) -> None:
    assert check({"version": version, "if_one_fails": if_one_fails}).holds_all is holds_all


def check_several(versions: Any, **more: Any) -> list[Request]:
    """The requests of a run with these versions."""
    given = {"versions": versions, "distros": KNOWN, **more}
    return list(Request.check_several(given, given, known=KNOWN, run_date=TODAY))


def test_several_versions_are_several_requests_in_the_order_given() -> None:
    found = check_several(["1.0.2", "nightly", "1.0.0"], require_approval=True, if_a_version_fails="hold all")
    assert [request.version for request in found] == ["1.0.2", "2026.11.22", "1.0.0"]
    assert all(request.require_approval and request.if_a_version_fails == "hold all" for request in found)


NO_LISTS: list[Any] = [[], None, "1.0.0", {}]


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        *((value, "is not allowed. Allowed: a list of at least one of X.Y.Z") for value in NO_LISTS),
        (["1.0.0", "4.26"], "'4.26' is not allowed. Allowed: X.Y.Z"),
        (["1.0.0", None], "None is not allowed. Allowed: X.Y.Z"),
        (["1.0.0", "1.0.1", "1.0.0"], "1.0.0 is there more than once. Allowed: each once"),
        (["nightly", "2026.11.22"], "2026.11.22 is there more than once"),
        (["26.09.29", "26.9.30", "26.9.29"], "26.09.29 and 26.9.29 are the same version. Allowed: each once"),
    ],
)
def test_a_bad_list_of_versions_is_refused_by_field_and_allowed_form(versions: Any, reason: str) -> None:
    with pytest.raises(Refused, match=f"^versions: .*{re.escape(reason)}"):
        check_several(versions)


def test_one_version_is_no_parameter_of_several() -> None:
    with pytest.raises(Refused, match=r"^version: no such parameter\. Allowed: versions, distros"):
        Request.check_several(
            {"versions": ["1.0.0"], "distros": KNOWN}, {"version": "1.0.1"}, known=KNOWN, run_date=TODAY
        )


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
