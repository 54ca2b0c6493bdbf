"""The archive of packaging files that every job runs, at one revision."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.store.buckets import Store

_OPTIONS = ("TAR_OPTIONS", "GZIP")
"""Variables with options that somebody else wants for tar and gzip."""


class DigestMismatch(PackagingError):
    """The archive is missing, or is not the one that its name says."""


def unpack(store: Store, sha256: str, directory: Path) -> None:
    """Unpack the archive with that digest. Raises DigestMismatch if it is missing or differs."""
    key = keys.packaging(sha256)
    archive = store.scratch.get(key)
    if archive is None or hashlib.sha256(archive).hexdigest() != sha256:
        fault = "is missing" if archive is None else "has other bytes than its name says"
        raise DigestMismatch(
            f"s3://{store.scratch.name}/{key} {fault}; clear `plan` of hhvm_build to upload it again"
        )
    directory.mkdir(exist_ok=True)
    extract(archive, directory)


def extract(archive: bytes, directory: Path) -> None:
    """Extract a tar archive, gzipped, into a directory. Raises CalledProcessError if tar cannot."""
    # As on instances, and faster than in Python. It, too, writes nothing outside of the directory.
    modes = ["--no-same-owner", "--preserve-permissions"]  # The same for every user and umask.
    subprocess.run(
        ["tar", "--extract", "--gzip", *modes, "--directory", str(directory)],
        input=archive,
        env={name: value for name, value in os.environ.items() if name not in _OPTIONS},
        check=True,
    )
