"""A directory that all processes of this user on this machine share: locks, and keys while they are used.

Its place is fixed: processes that are to find each other's locks must not each follow a TMPDIR.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Generator

# Short, as the sockets of gpg's agent lie below it; alone() sees to it that nobody else made it.
PATH = Path(f"/tmp/hhvm-packaging-{os.geteuid()}")  # ruff: ignore[hardcoded-temp-file]


class NotOurs(PackagingError):
    """Somebody else could read or replace what is kept in the directory."""


@contextmanager
def alone() -> Generator[Path]:
    """The directory, made if it is absent, while no other process is in this ``with`` statement.

    Nobody but this user can read it. Raises NotOurs if it is somebody else's.
    """
    try:
        PATH.mkdir(mode=0o700, exist_ok=True)
        directory = os.open(PATH, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotOurs(f"{PATH} must be a directory of this user's own: {error}") from error
    try:
        if os.fstat(directory).st_uid != os.geteuid():
            raise NotOurs(f"{PATH} must be a directory of this user's own, but is another user's")
        os.fchmod(directory, 0o700)
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield PATH
    finally:
        os.close(directory)
