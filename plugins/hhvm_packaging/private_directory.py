"""A private directory that all processes of this user on this machine share, for locks and gpg homes.

Its path does not depend on TMPDIR: processes with different environments must find each other's locks.
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

# Short, because the paths of the gpg agent's sockets are. alone() checks whose directory it is.
PATH = Path(f"/tmp/hhvm-packaging-{os.geteuid()}")  # ruff: ignore[hardcoded-temp-file]


class NotOurs(PackagingError):
    """The directory belongs to another user, who could read and replace its files."""


@contextmanager
def alone() -> Generator[Path]:
    """Return the directory, for the only process that is in this ``with`` statement.

    Creates it if it does not exist; only this user can read it. Raises NotOurs if another user owns it.
    """
    try:
        PATH.mkdir(mode=0o700, exist_ok=True)
        directory = os.open(PATH, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotOurs(f"{PATH} must be a directory that this user owns: {error}") from error
    try:
        if os.fstat(directory).st_uid != os.geteuid():
            raise NotOurs(f"{PATH} must be a directory that this user owns, but another user owns it")
        os.fchmod(directory, 0o700)
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield PATH
    finally:
        os.close(directory)
