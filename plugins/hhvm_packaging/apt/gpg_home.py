"""A temporary home directory for gpg, which is removed even if the process that uses it is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging import private_directory

if TYPE_CHECKING:
    from collections.abc import Generator

_PREFIX = "gpg-"


@contextmanager
def temporary_home() -> Generator[Path]:
    """An empty GNUPGHOME that only this user can read. It is removed after the block, and its agent ended.

    A process that is killed leaves its home, but the kernel releases the lock on it. The next process that
    makes a home removes those without a lock.
    """
    # One process at a time: another one would remove a home that is made but not locked yet.
    with private_directory.alone() as directory:
        _sweep(directory)
        made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=directory)
        home = Path(made.name)
        lock = _open(home)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield home
    finally:
        _end_agent(home)
        made.cleanup()
        os.close(lock)


def _sweep(directory: Path) -> None:
    """Remove the homes that no process uses, and end their agents."""
    for home in directory.glob(f"{_PREFIX}*"):
        # The process that uses it may be removing it.
        with suppress(FileNotFoundError):
            lock = _open(home)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end_agent(home)
                # The agent removes its sockets at the same time. The next process removes whatever is left.
                shutil.rmtree(home, ignore_errors=True)
            except BlockingIOError:
                pass  # A process uses it.
            finally:
                os.close(lock)


def _open(home: Path) -> int:
    # The agent outlives a killed process. If it inherited the descriptor, the lock would stay.
    return os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _end_agent(home: Path) -> None:
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False, capture_output=True
    )
