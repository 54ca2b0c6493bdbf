"""One driver at a time on one data directory."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


@contextmanager
def hold(file: Path, busy: Callable[[int], None]) -> Generator[None]:
    """Hold the lock inside the block. The kernel releases it however the process ends.

    If another process holds it, ``busy`` is called once with its id, and then this waits.
    """
    with _locked(file, busy) as stream:
        os.ftruncate(stream.fileno(), 0)
        os.write(stream.fileno(), str(os.getpid()).encode())
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _locked(file: Path, busy: Callable[[int], None]) -> IO[str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        stream = file.open("a+")
        _acquire(stream.fileno(), busy)
        # The holder before us may have removed the file that we opened.
        with suppress(FileNotFoundError):
            if file.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        stream.close()


def _acquire(descriptor: int, busy: Callable[[int], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        busy(int(os.pread(descriptor, 20, 0) or 0))
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def end_holder(pid: int) -> None:
    """End the process that holds the lock."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        with suppress(psutil.TimeoutExpired):
            process.wait(5)
            return
        process.kill()
