"""What a job made, found by looking: names, sizes and digests are never those that the job says.

The job's result has only what cannot be seen from outside: an entry for the index, which counts for the very
bytes that it was made of, and why a file is not published.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging import plain_file
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.plain_file import NotPlain
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path
    from typing import BinaryIO

    from hhvm_packaging.store.buckets import Bucket, Entry
    from hhvm_packaging.workers.job import Job, Result

MOST_FILES = 1_000
"""More than that are refused."""
_LONGEST_REASON = 200
_PART = 1 << 20
_OTHERS = re.compile(r"[^ -~]+")


class BadOutputs(PackagingError):
    """What a job made is not what it may make. The message says what."""


@dataclass(frozen=True)
class _Identity:
    """What changes whenever the bytes of a file do; nobody can set the time of the last change."""

    size: int
    changed: int


def upload(out: Path, job: Job, result: Result, scratch: Bucket) -> Result:
    """Upload the files in the directory ``out``. Returns the ``result`` with what was found there.

    Nothing is uploaded if there is a name that the job must not use. Raises BadOutputs.
    """
    with _opened(out) as directory:
        names, left_out = _list(directory)
        destinations = {name: _destination(job, name) for name in names}
        artifacts = [_upload(directory, name, key, scratch) for name, key in destinations.items()]
    return _seen(result, artifacts, left_out)


def take(made: str, job: Job, result: Result, scratch: Bucket) -> Result:
    """Copy what an instance has uploaded below ``made``. Returns the ``result`` with what was found there.

    What is described are the copies, which the instance cannot change. Nothing is copied if there is a name
    that the job must not use. Raises BadOutputs.
    """
    destinations = {
        entry: _destination(job, entry.key.removeprefix(made)) for entry in _uploaded(made, job, scratch)
    }
    artifacts = []
    for entry, key in destinations.items():
        name = entry.key.removeprefix(made)
        if (head := scratch.head(entry.key)) is None:
            raise BadOutputs(f"{name} was removed while it was copied")
        scratch.copy_from(scratch, entry.key, key, content_type="application/octet-stream", checked=head)
        size, sha256, md5 = scratch.digest(key)
        artifacts.append(Artifact(name=name, size=size, sha256=sha256, md5=md5))
    return _seen(result, artifacts, {})


def none(result: Result) -> Result:
    """The ``result`` of a job that makes nothing, whatever it says."""
    return _seen(result, (), {})


def measure(out: Path) -> int:
    """How many bytes ``upload`` would upload. Raises BadOutputs."""
    with _opened(out) as directory:
        names, _ = _list(directory)
        return sum(os.stat(name, dir_fd=directory, follow_symlinks=False).st_size for name in names)


def measure_uploaded(made: str, job: Job, scratch: Bucket) -> int:
    """How many bytes ``take`` would copy and read. Raises BadOutputs."""
    return sum(entry.size for entry in _uploaded(made, job, scratch))


@contextmanager
def _opened(out: Path) -> Generator[int]:
    """The open directory ``out``, in which names are looked up whatever becomes of its path."""
    try:
        directory = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BadOutputs(f"{out.name} is no directory: {error.strerror}") from error
    try:
        yield directory
    finally:
        os.close(directory)


def _list(directory: int) -> tuple[list[str], dict[str, str]]:
    """The names of the files, in order; and by name, why others are none. Raises BadOutputs."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number == MOST_FILES:
                raise BadOutputs(f"it left more than {MOST_FILES:,} files")
            if fault := plain_file.describe_fault(entry.stat(follow_symlinks=False).st_mode):
                left_out[_shown(entry.name)] = fault
            else:
                names.append(entry.name)
    return sorted(names), left_out


def _destination(job: Job, name: str) -> str:
    """The key of the file ``name``. Raises BadOutputs if the job must not make a file of that name."""
    if job.output_names and name not in job.output_names:
        raise BadOutputs(f"it left {_shown(name)}, but may leave {', '.join(job.output_names)} alone")
    try:
        name.encode()
        return keys.output(job.outputs or "", name)
    except (UnicodeEncodeError, keys.InvalidField) as error:
        raise BadOutputs(f"the name {_shown(name)} of a file that it left is not allowed") from error


def _upload(directory: int, name: str, key: str, scratch: Bucket) -> Artifact:
    """Upload one file, and describe the bytes that were uploaded. Raises BadOutputs."""
    try:
        with plain_file.open_plain(name, directory=directory) as file:
            before = _identify(file)
            size, sha256, md5 = _digest(file)
            # The open file, whatever is at its path by now.
            path = f"/proc/self/fd/{file.fileno()}"
            scratch.upload(path, key, content_type="application/octet-stream", sha256=sha256)
            if size != before.size or _identify(file) != before:
                raise BadOutputs(f"{name} changed while it was uploaded")
    except NotPlain as error:
        raise BadOutputs(f"{name} changed while it was uploaded: {error}") from error
    except FileNotFoundError as error:
        raise BadOutputs(f"{name} was removed while it was to be uploaded") from error
    return Artifact(name=name, size=size, sha256=sha256, md5=md5)


def _identify(file: BinaryIO) -> _Identity:
    found = os.fstat(file.fileno())
    return _Identity(found.st_size, found.st_ctime_ns)


def _digest(file: BinaryIO) -> tuple[int, str, str]:
    """Size, SHA-256 and MD5 of a file."""
    size, digests = 0, (hashlib.sha256(), hashlib.md5(usedforsecurity=False))
    while part := file.read(_PART):
        size += len(part)
        for digest in digests:
            digest.update(part)
    sha256, md5 = (digest.hexdigest() for digest in digests)
    return size, sha256, md5


def _uploaded(made: str, job: Job, scratch: Bucket) -> list[Entry]:
    """Every object that an instance has uploaded as an output of the job. Raises BadOutputs."""
    if job.outputs is None:
        return []
    found = []
    for entry in scratch.entries(made):
        found.append(entry)
        if len(found) > MOST_FILES:
            raise BadOutputs(f"it left more than {MOST_FILES:,} files")
    return found


def _seen(result: Result, artifacts: Iterable[Artifact], left_out: dict[str, str]) -> Result:
    """The ``result`` with the artifacts that were found, and with what it says of these very files."""
    claimed = {(one.name, one.size, one.sha256): one.stanza for one in result.artifacts}
    found = tuple(
        one.model_copy(update={"stanza": claimed.get((one.name, one.size, one.sha256))}) for one in artifacts
    )
    reasons = {
        one.name: _OTHERS.sub(" ", result.left_out[one.name])[:_LONGEST_REASON]
        for one in found
        if one.name in result.left_out
    }
    return result.model_copy(update={"artifacts": found, "left_out": {**left_out, **reasons}})


def _shown(name: str) -> str:
    """A name for a message."""
    return name if name.isascii() and name.isprintable() else ascii(name)
