"""The packaging files: what workers need of one revision of this project, as one archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.store import Store

_PARTS = ("bin", "distros", "jobs")


class DigestMismatch(PackagingError):
    """What was fetched is not what was asked for."""


def pack(root: Path) -> bytes:
    """The packaging files under ``root``, as a tar.gz whose bytes depend on nothing but their content."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for part in _PARTS:
            tar.add(root / part, part, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def upload(store: Store, root: Path) -> str:
    """Keep the packaging files of ``root`` in scratch. Returns their SHA-256, by which they are fetched."""
    archive = pack(root)
    sha256 = hashlib.sha256(archive).hexdigest()
    if store.scratch.head(store.packaging(sha256)) is None:
        store.scratch.put(store.packaging(sha256), archive, "application/gzip")
    return sha256


def unpack(store: Store, sha256: str, directory: Path) -> None:
    """Unpack the packaging files with that digest. Raises DigestMismatch if they are not there or differ."""
    key = store.packaging(sha256)
    archive = store.scratch.get(key)
    if archive is None or hashlib.sha256(archive).hexdigest() != sha256:
        fault = "is missing" if archive is None else "has other bytes than its name says"
        raise DigestMismatch(f"s3://{store.scratch.name}/{key} {fault}; clear `plan` to upload it again")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # The links point into the build containers, which the stricter filter "data" refuses. As an
        # attribute, because Python before 3.11.4 has no filters.
        tar.extraction_filter = getattr(tarfile, "tar_filter", lambda member, _: member)
        tar.extractall(directory)  # ruff: ignore[tarfile-unsafe-members]


def revision(root: Path) -> str:
    """The git commit of ``root``, with ``-dirty`` if there are uncommitted edits; ``unknown`` outside git."""
    described = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
