"""The note of a run, which people read in Airflow's lists: what the run is for, and what became of it.

Airflow renders notes as Markdown. A person may have written one: theirs stays, below ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.reporting import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 1000
"""The most characters of a note that Airflow's API takes."""
_LONGEST_LINE = 160
"""Characters of one line of what we write, before it is escaped."""
_BEGINNING = "**HHVM "
"""How the paragraph of a note begins that is ours."""


def write(versions: Iterable[str], distros: Iterable[str], state: str) -> str:
    """The note of a run that is under way. ``state`` is what it does, such as ``building``."""
    return _write(f"HHVM {', '.join(versions)} for {', '.join(distros)}: {state}", ())


def write_outcome(versions: Iterable[str], report: str) -> str:
    """The note of a run that has ended, from its report or from why it failed: all but the details."""
    first, *lines = find_headlines(report) or [""]
    return _write(first if first.startswith("HHVM ") else f"HHVM {', '.join(versions)}: {first}", lines)


def find_headlines(report: str) -> list[str]:
    """The lines of a report that are not indented: the details of each follow it indented."""
    return [line for line in report.splitlines() if line.strip() and not line[0].isspace()]


def put(note: str, ours: str) -> str:
    """The note with our paragraph replaced by ``ours``, which is cut by whole lines.

    If what a person wrote leaves too little room, it stays as it is.
    """
    first, _, rest = note.partition("\n\n")
    theirs = rest if first.startswith(_BEGINNING) else note
    room = LONGEST - (len(theirs) + 2 if theirs else 0)
    title, *lines = ours.splitlines()
    if len(title) > room:
        return note
    fitting = _fit(title, lines, room)
    return f"{fitting}\n\n{theirs}" if theirs else fitting


def _fit(title: str, lines: Sequence[str], room: int) -> str:
    for count in range(len(lines), -1, -1):
        left = [f"- and {len(lines) - count} more"] if count < len(lines) else []
        text = "\n".join([title, *lines[:count], *left])
        if len(text) <= room:
            return text
    return title


def _write(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"**{_line(title)}**", *(f"- {_line(line)}" for line in lines)])


def _line(text: str) -> str:
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return markdown.escape(cut)
