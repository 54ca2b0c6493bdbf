"""What the quality gates note in their containers, and what it means.

A gate's container leaves a file of lines ``VERDICT<tab>GATE<tab>WORDS``: ``passed``, ``skipped``, or
``found`` with one thing that was found. Code of the packages runs in most of these containers and may write
anything: a container speaks of its own gates alone, and of what it writes no more is read than is needed.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

GATES = {
    "fresh": ("install", "service", "removal", "leftovers", "autopkgtest"),
    "upgrade": ("upgrade", "downgrade"),
    "look": ("lintian", "files", "symbols", "sizes"),
}
"""Which gates there are, by the container that notes them."""
ADVICE = {
    "service": "Start it as its unit does, in bin/make-interactive-container, and read what it says",
    "leftovers": "Remove it in the postrm, if purge is its argument; or let the package own it",
    "downgrade": "Users who are sent back to the published version by an undo cannot install it",
    "autopkgtest": "The whole output of the tests is in the job's log",
    "lintian": "Repair it, or say in debian/PACKAGE.lintian-overrides why it is right",
    "files": "Say so in the announcement if that is meant; else see debian/*.install",
    "symbols": "Programs that use them stop working: give the library another soname, or keep them",
    "sizes": "Look for debug information, or for files that are there twice",
}
"""What to do about what is found."""
MOST_WORDS, LONGEST = 30, 400
"""Lines of a gate, and characters of a line: more is no result, see plugins/hhvm_packaging/workers/job.py."""
_MOST = 1 << 20
"""Bytes that are read of a container's notes."""
_OTHERS = re.compile(r"[^ -~]+")
_NO_RESULT = "it has no result: the job's log says why"


def read(directory: Path, off: Collection[str]) -> list[dict[str, Any]]:
    """What all gates found, as a result.json has it. ``directory`` has a directory for each container."""
    found = []
    for container, names in GATES.items():
        noted = _parse(_read(directory / container / "notes"))
        found += [judge(name, noted.get(name, []), is_off=name in off) for name in names]
    return found


def judge(name: str, noted: Iterable[tuple[str, str]], *, is_off: bool = False) -> dict[str, Any]:
    """One gate by its notes, each a verdict and words. What nobody noted has not passed."""
    if is_off:
        return {"name": name, "verdict": "skipped", "words": [f"gates.{name} is off"]}
    words: dict[str, list[str]] = {}
    for verdict, text in noted:
        words.setdefault(verdict, []).extend([text] if text else [])
    if "found" in words or not words:
        lines = list(dict.fromkeys(words.get("found") or [_NO_RESULT]))
        if (room := MOST_WORDS - 2) < len(lines):
            lines = [*lines[:room], f"and {len(lines) - room} more"]
        advice = [ADVICE[name]] if words and name in ADVICE else []
        return {"name": name, "verdict": "failed", "words": [*lines, *advice]}
    verdict = "skipped" if "skipped" in words else "passed"
    return {"name": name, "verdict": verdict, "words": words[verdict][:MOST_WORDS]}


def describe(gate: dict[str, Any]) -> list[str]:
    """A gate as lines of the job's log."""
    verdict = "found something" if gate["verdict"] == "failed" else gate["verdict"]
    return [f"{gate['name']}: {verdict}", *(f"  {line}" for line in gate["words"])]


def write(gates: list[dict[str, Any]], path: Path) -> None:
    """Write what jobs/run takes into the result."""
    path.write_text(json.dumps(gates))


def _read(path: Path) -> str:
    """The text of a file that a container wrote; empty if there is none, or it is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, _MOST).decode(errors="replace")
    finally:
        os.close(descriptor)


def _parse(text: str) -> dict[str, list[tuple[str, str]]]:
    """The notes by gate."""
    noted: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        verdict, _, rest = line.partition("\t")
        name, _, words = rest.partition("\t")
        if verdict in ("passed", "skipped", "found"):
            noted.setdefault(name, []).append((verdict, " ".join(_OTHERS.sub("?", words).split())[:LONGEST]))
    return noted
