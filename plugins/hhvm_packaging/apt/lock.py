"""A lock that one publisher of a machine holds at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hhvm_packaging import private_directory
from hhvm_packaging.store.buckets import Conflict

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from hhvm_packaging.store.buckets import Bucket

DIRECTORY = private_directory.PATH
"""Where lock files are by default."""
WAIT = 60.0
"""How long to wait for another publisher, in seconds; a commit takes a few."""


@contextmanager
def hold_lock(bucket: Bucket, what: str, *, directory: Path, wait: float = WAIT) -> Generator[None]:
    """Keep the other publishers of this machine from changing ``what`` in ``bucket`` inside the block.

    Publishers of other machines are refused by a store that supports conditional writes. Whether the store
    does is known only after a write, so the lock is always held before anything is read. Raises Conflict if
    another publisher still holds it after ``wait`` seconds.
    """
    place = f"{bucket.s3.meta.endpoint_url} {bucket.name} {what}"
    name = f"hhvm-publish-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    with hold_file(directory / name, wait=wait):
        yield


@contextmanager
def hold_file(path: Path, *, wait: float) -> Generator[None]:
    """Hold the file's lock inside the block. The kernel releases it when the process ends, however it ends.

    Raises Conflict if another process still holds it after ``wait`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never deleted: a process that waits for it would lock a file that nobody else sees.
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise Conflict(f"another publisher has held {path} for {wait:.0f} seconds")
            time.sleep(0.05)
        yield
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
