"""What the quality gates note in their containers, where code of the packages may write anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from jobs import notes

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.workers.job import Gate


def read(directory: Path, off: tuple[str, ...] = (), **noted: str) -> dict[str, Gate]:
    """The gates by their names, as Airflow reads them, if the containers noted that."""
    from hhvm_packaging.workers.job import Gate

    for container, text in noted.items():
        (directory / container).mkdir()
        (directory / container / "notes").write_text(text)
    return {gate["name"]: Gate.model_validate(gate) for gate in notes.read(directory, off)}


def test_what_nobody_noted_has_not_passed(tmp_path: Path) -> None:
    for gate in read(tmp_path).values():
        assert (gate.verdict, gate.words) == ("failed", ("it has no result: the job's log says why",))


def test_what_was_found_counts_whatever_else_was_noted(tmp_path: Path) -> None:
    service = read(tmp_path, fresh="found\tservice\tit is mute\npassed\tservice\tit answers\n")["service"]
    assert (service.verdict, service.words) == ("failed", ("it is mute", notes.ADVICE["service"]))


def test_a_container_speaks_of_its_own_gates_alone(tmp_path: Path) -> None:
    said = "".join(f"passed\t{name}\tall is well\n" for names in notes.GATES.values() for name in names)
    found = read(tmp_path, fresh=said)
    assert {name for name, gate in found.items() if gate.verdict == "passed"} == set(notes.GATES["fresh"])


def test_what_is_switched_off_is_skipped_whatever_was_noted(tmp_path: Path) -> None:
    found = read(tmp_path, ("lintian",), look="found\tlintian\tan error\n")
    assert (found["lintian"].verdict, found["lintian"].words) == ("skipped", ("gates.lintian is off",))


MANY = "".join(f"found\tlintian\t{number}\n" for number in range(1_000))


@pytest.mark.parametrize(
    "text",
    ["found\tlintian\t" + "x" * 10_000, "found\tlintian\t\x1b[2J", "found\tlintian\tx\n" * 99_999, MANY],
    ids=["a long line", "control characters", "the same again and again", "many lines"],
)
def test_whatever_is_noted_is_a_gate_that_airflow_reads(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, look=text)["lintian"].verdict == "failed"


def test_it_is_said_how_much_is_left_out(tmp_path: Path) -> None:
    text = "".join(f"found\tfiles\t{number} is gone\n" for number in range(100))
    words = read(tmp_path, look=text)["files"].words
    assert words[-2:] == ("and 72 more", notes.ADVICE["files"])


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("passed\tlintian\tall is well\n")
    (tmp_path / "look").mkdir()
    path = tmp_path / "look/notes"
    make = {"link": lambda: path.symlink_to(tmp_path / "secret"), "pipe": lambda: os.mkfifo(path)}
    make.get(kind, path.mkdir)()
    assert read(tmp_path)["lintian"].verdict == "failed"
