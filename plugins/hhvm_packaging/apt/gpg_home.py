"""A home for gpg that exists only while it is used, however its user ends."""

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
    """An empty GNUPGHOME that only this user can read; it and its agent are gone in the end.

    A process that is killed leaves its own, but not the lock on it: that one goes when the next is made.
    """
    # Alone, or another process would take a home that is not locked yet for one that was left.
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
    """Remove the homes that nobody uses any more, and end their agents."""
    for home in directory.glob(f"{_PREFIX}*"):
        # Its user may be removing it just now.
        with suppress(FileNotFoundError):
            lock = _open(home)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end_agent(home)
                # The agent removes its sockets meanwhile. Whatever stays is the next one's to remove.
                shutil.rmtree(home, ignore_errors=True)
            except BlockingIOError:
                pass  # In use.
            finally:
                os.close(lock)


def _open(home: Path) -> int:
    # The agent, which outlives a killed process, must not inherit it: the lock would stay.
    return os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _end_agent(home: Path) -> None:
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False, capture_output=True
    )
