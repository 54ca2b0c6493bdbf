"""A .buildinfo file: which files a build made, and with what; see deb-buildinfo(5).

It is published beside the packages, for whoever wants to build them again and compare. What it says of the
files that are published must be so. What it says of the build is what the build said.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index, source_description
from hhvm_packaging.apt.pool import Unpublishable
from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hhvm_packaging.workers.job import Artifact

LIMIT = 1024**2
"""Bytes. A .buildinfo may not be larger. It names each package that was installed."""


class InvalidRecord(PackagingError):
    """A file is no .buildinfo. The message says why."""


def read(start: Callable[[int], bytes], record: Artifact) -> str:
    """The fields of a .buildinfo as text. ``start(n)`` reads n bytes. Raises InvalidRecord."""
    if not 0 < record.size <= LIMIT:
        raise InvalidRecord(f"it has {record.size:,} bytes; a .buildinfo has 1 to {LIMIT:,}")
    content = start(record.size)
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise InvalidRecord("it was changed while it was checked. Run it again")
    try:
        return source_description.strip_signature(content).decode().strip("\n")
    except (UnicodeDecodeError, source_description.InvalidDsc) as error:
        raise InvalidRecord(f"its text: {error}") from error


def find_described(where: str, text: str, known: Mapping[str, Artifact]) -> list[str]:
    """The names of the .deb and .dsc files of the build that a .buildinfo describes.

    ``known`` are the build's files by name. Raises Unpublishable if it has another digest or size of one, or
    describes none of them.
    """
    try:
        listed = index.fields(text).find("Checksums-Sha256") or ""
        lines = [line.split() for line in listed.strip().split("\n")]
        files = {name: (digest, int(size)) for digest, size, name in lines}
    except (index.InvalidIndex, ValueError) as error:
        raise Unpublishable(f"{where}: is no .buildinfo: {error}") from error
    for name, facts in files.items():
        if (artifact := known.get(name)) and facts != (artifact.sha256, artifact.size):
            raise Unpublishable(
                f"{where}: it says of {name} SHA-256 {facts[0]} and {facts[1]:,} bytes, but it has "
                f"{artifact.sha256} and {artifact.size:,}"
            )
    if described := [name for name in files if name in known and name.endswith((".deb", ".ddeb", ".dsc"))]:
        return described
    raise Unpublishable(f"{where}: it describes none of the packages that are published")
