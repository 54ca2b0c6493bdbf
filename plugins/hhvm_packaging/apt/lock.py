"""One publisher of a machine at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging import private_directory
from hhvm_packaging.store.buckets import Conflict

if TYPE_CHECKING:
    from collections.abc import Generator

    from hhvm_packaging.store.buckets import Bucket

DIRECTORY = private_directory.PATH
"""Where lock files are, unless a caller says otherwise. All publishers of a machine must use the same."""
WAIT = 60.0
"""How long to wait for another publisher, in seconds; a commit takes a few."""


@contextmanager
def fenced(bucket: Bucket, scratch: Bucket, what: str, *, directory: Path | None = None) -> Generator[None]:
    """Keep this machine's other publishers from changing ``what`` in ``bucket`` meanwhile.

    Those of other machines only a store can refuse that supports conditional writes. Which does, it does not
    say before a write, so the lock is held before anything is read, whatever the store. Raises Conflict if
    another publisher still holds it after ``WAIT`` seconds.
    """
    with exclusive((directory or DIRECTORY) / f"{name_of(bucket, what)}.lock", wait=WAIT):
        yield


def name_of(bucket: Bucket, what: str) -> str:
    """How files of this machine are named that concern ``what`` in that bucket of that store."""
    place = f"{bucket.s3.meta.endpoint_url} {bucket.name} {what}"
    return f"hhvm-publish-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


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
