"""Reading files that somebody else made: no link is followed, nothing but a file is opened."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = {stat.S_ISLNK: "it is a link", stat.S_ISDIR: "it is a directory", stat.S_ISREG: ""}


class NotPlain(PackagingError):
    """What is there is no file, or more than was asked for. The message says what it is."""


def describe_fault(mode: int) -> str:
    """Why what has that mode, as ``os.lstat`` gives it, is no plain file; empty if it is one."""
    fault = next((words for is_kind, words in _KINDS.items() if is_kind(mode)), "it is no file")
    if not fault and mode & (stat.S_ISUID | stat.S_ISGID):
        return "it is set-user-ID or set-group-ID"
    return fault


def open_plain(path: Path | str, *, directory: int | None = None) -> BinaryIO:
    """Open a file to read. A relative ``path`` is one in the open ``directory``, if that is given.

    Only the last part of the path is known to be no link. Raises NotPlain, also for a file with the
    set-user-ID bit or the set-group-ID bit; OSError, such as FileNotFoundError.
    """
    # Not opened before it is known: that has an effect on a device or a pipe.
    if fault := describe_fault(os.stat(path, dir_fd=directory, follow_symlinks=False).st_mode):
        raise NotPlain(fault)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    file = os.fdopen(descriptor, "rb")
    if fault := describe_fault(os.fstat(descriptor).st_mode):
        file.close()
        raise NotPlain(fault)
    return file


def read(path: Path, limit: int) -> bytes:
    """The bytes of a file. Raises NotPlain if there are more than ``limit``; else as ``open_plain``."""
    with open_plain(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise NotPlain(f"it is larger than {limit:,} bytes")
    return content


def read_end(path: Path, limit: int) -> bytes:
    """The last bytes of a file, ``limit`` at most. Raises as ``open_plain``."""
    with open_plain(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)
