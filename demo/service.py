"""Runs one service of a stack in this process, after any earlier process of that service has ended.

The supervisor runs ``python -m demo.service NAME VAR DAGS_FOLDER``. A service that was killed may leave
children (the scheduler's tasks, say), which would do the same work beside their successors.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from demo.stack import Stack, kill


def main(name: str, var: str, dags_folder: str) -> None:
    """Replace this process with the service."""
    stack = Stack(Path(var), dags_folder=Path(dags_folder))
    while left := stack.processes(name):
        kill(left)
    os.umask(0o022)  # What is published, everyone may read.
    command = stack.command(name)
    os.execve(command[0], command, stack.environment(name))  # ruff: ignore[start-process-with-no-shell]


if __name__ == "__main__":
    main(*sys.argv[1:])
