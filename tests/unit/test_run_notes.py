"""What a run's note says, and that nothing in it changes how the note reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging.reporting import markdown, run_notes
from tests.unit.test_markdown import TEXTS

REPORT = """HHVM 1.0.1: 1 failed
FAILED HHVM 1.0.1, debian-13-trixie, make_binary_package: job failed: exit status 2
  page: http://localhost/
  | error: no such thing
built  debian-12-bookworm: hhvm 1.0.1-1~bookworm
       built in 61 min
deployed revision: 0123456"""


def test_a_run_that_begins_is_noted_with_its_versions_distributions_and_what_it_does() -> None:
    note = run_notes.write(["1.0.0", "1.0.1"], ["debian-12-bookworm", "debian-13-trixie"], "building")
    said = "HHVM 1.0.0, 1.0.1 for debian-12-bookworm, debian-13-trixie: building"
    assert note == f"**{markdown.escape(said)}**"


def test_a_run_that_has_ended_is_noted_with_the_headlines_of_its_report() -> None:
    assert markdown.unescape(run_notes.write_outcome(["1.0.1"], REPORT)).splitlines() == [
        "**HHVM 1.0.1: 1 failed**",
        "- FAILED HHVM 1.0.1, debian-13-trixie, make_binary_package: job failed: exit status 2",
        "- built debian-12-bookworm: hhvm 1.0.1-1~bookworm",
        "- deployed revision: 0123456",
    ]


def test_an_outcome_that_names_no_version_is_noted_with_that_of_the_run() -> None:
    note = run_notes.write_outcome(["4.26"], "nothing was built, because `plan` failed")
    assert markdown.unescape(note) == "**HHVM 4.26: nothing was built, because `plan` failed**"


def test_what_a_person_noted_stays_below_ours_however_often_that_changes() -> None:
    note = "for the *September* sprint\n\nask Anna"
    for state in ("building", "publishing"):
        note = run_notes.put(note, run_notes.write(["1.0.0"], ["debian-12-bookworm"], state))
    title, _, theirs = note.partition("\n\n")
    assert "publishing" in title
    assert "building" not in note
    assert theirs == "for the *September* sprint\n\nask Anna"


def test_a_note_without_room_for_ours_stays_as_it_is() -> None:
    theirs = "x" * run_notes.LONGEST
    assert run_notes.put(theirs, run_notes.write(["1.0.0"], ["debian-12-bookworm"], "building")) == theirs


def test_what_does_not_fit_is_counted() -> None:
    report = "\n".join(["HHVM 1.0.0: 99 failed", *(f"FAILED {number}" for number in range(99))])
    note = run_notes.put("", run_notes.write_outcome(["1.0.0"], report))
    assert len(note) <= run_notes.LONGEST
    *shown, last = note.splitlines()
    assert last == f"- and {99 - (len(shown) - 1)} more"


@given(TEXTS, st.text(max_size=run_notes.LONGEST))
def test_a_note_is_never_longer_than_airflow_takes_and_always_has_what_a_person_wrote(
    report: str, theirs: str
) -> None:
    note = run_notes.put(theirs, run_notes.write_outcome(["1.0.0"], report))
    assert len(note) <= run_notes.LONGEST
    assert note.endswith(theirs.partition("\n\n")[2] if theirs.startswith("**HHVM ") else theirs)


@given(TEXTS)
def test_nothing_in_a_report_means_anything_in_its_note(report: str) -> None:
    for line in run_notes.write_outcome(["1.0.0"], report).splitlines():
        text = line.removeprefix("- ").removeprefix("**").removesuffix("**")
        assert markdown.escape(markdown.unescape(text)) == text
