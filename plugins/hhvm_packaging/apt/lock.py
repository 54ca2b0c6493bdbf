"""One publisher at a time, where the store itself cannot tell two apart."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging.store import Conflict

if TYPE_CHECKING:
    from collections.abc import Generator

    from hhvm_packaging.store import Bucket

log = logging.getLogger(__name__)

DIRECTORY = Path(tempfile.gettempdir())
"""Where lock files are, unless a caller says otherwise. All publishers of a machine must use the same."""
WAIT = 60.0
"""How long to wait for another publisher, in seconds; a commit takes a few."""


@contextmanager
def fenced(bucket: Bucket, scratch: Bucket, what: str, *, directory: Path | None = None) -> Generator[None]:
    """See to it that nobody else changes ``what`` in ``bucket`` unnoticed while the ``with`` statement runs.

    A store that supports conditional writes refuses the slower of two writers, so nothing is done here.
    For any other, a file lock keeps this machine's publishers apart. Raises Conflict if another one still
    holds it after ``WAIT`` seconds.
    """
    if scratch.conditional_writes():
        yield
        return
    place = f"{bucket.s3.meta.endpoint_url} {bucket.name} {what}"
    name = f"hhvm-publish-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    path = (directory or DIRECTORY) / name
    log.info(
        "%s: the store does not support conditional writes; the lock %s keeps publishers on this machine "
        "apart, but not those on another",
        what,
        path,
    )
    with exclusive(path, wait=WAIT):
        yield


@contextmanager
def exclusive(path: Path, *, wait: float) -> Generator[None]:
    """Hold the file's lock; the kernel ends it with the process, however that ends.

    Raises Conflict if another process still holds it after ``wait`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never deleted: who waits for it would then lock a file that nobody else sees.
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait
        while not _locked(file):
            if time.monotonic() > deadline:
                raise Conflict(f"another publisher has held {path} for {wait:.0f} seconds")
            time.sleep(0.05)
        yield
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
