"""Running other programs. If one fails, the error has its last lines."""

from __future__ import annotations

import subprocess
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_LAST_LINES = 20


class CommandFailed(Exception):
    """A program did not end with status 0. The message has its last lines."""


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Run a program, pass each line of it to ``say``, and return the last lines. Raises CommandFailed."""
    with subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        last: deque[str] = deque(maxlen=_LAST_LINES)
        for line in process.stdout or ():
            last.append(line.rstrip())
            say(line.rstrip())
    output = "\n".join(last)
    if process.returncode != 0:
        raise CommandFailed(f"{command[0]} ended with status {process.returncode}\n{output}")
    return output
