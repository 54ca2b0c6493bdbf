"""The entry of a source package in the Sources index, made from its .dsc.

The formats are in Debian policy 5.4 and 5.6.21, and in dsc(5).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hhvm_packaging.workers.job import Artifact

LIMIT = 1024**2
"""Bytes. A .dsc may not be larger."""

_LISTS = {
    "checksums-sha1": "sha1",
    "checksums-sha256": "sha256",
    "checksums-sha512": "sha512",
    "files": "md5",
}
_DROPPED = ("directory",)


class InvalidDsc(PackagingError):
    """A file is no .dsc. The message says why."""


def read(start: Callable[[int], bytes], dsc: Artifact) -> str:
    """The paragraph for the index, which lists the .dsc itself among the files. ``start(n)`` reads n bytes.

    Raises InvalidDsc.
    """
    if not 0 < dsc.size <= LIMIT:
        raise InvalidDsc(f"it has {dsc.size:,} bytes; a .dsc has 1 to {LIMIT:,}")
    content = start(dsc.size)
    if hashlib.sha256(content).hexdigest() != dsc.sha256:
        raise InvalidDsc("it was changed while it was checked. Run it again")
    try:
        text = strip_signature(content).decode().strip("\n")
        found = index.fields(text)
    except (UnicodeDecodeError, index.InvalidIndex) as error:
        raise InvalidDsc(f"its text: {error}") from error
    source = found.find("Source")
    if source is None or found.find("Package") is not None:
        raise InvalidDsc("it must have the field Source, and not the field Package")
    lines = [f"Package: {source}"]
    for name, value in found.items():
        lower = name.lower()
        if lower in _LISTS:
            digest = hashlib.new(_LISTS[lower], content, usedforsecurity=False).hexdigest()
            own = f" {digest} {dsc.size} {dsc.name}"
            lines.append("\n".join([f"{name}:", own, *filter(None, value.split("\n"))]))
        elif lower not in (*_DROPPED, "source"):
            lines.append(f"{name}:{value}" if value.startswith("\n") else f"{name}: {value}")
    return "\n".join(lines)


def strip_signature(content: bytes) -> bytes:
    """The text without a signature around it, which only those know who sent it to Debian's archive.

    Raises InvalidDsc.
    """
    if not content.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return content
    from debian import deb822

    try:
        lines = deb822.Deb822.split_gpg_and_payload(iter(content.splitlines(keepends=True)))[1]
    except (EOFError, ValueError) as error:
        raise InvalidDsc(f"its signature is cut: {error}") from error
    return b"\n".join(line.rstrip(b"\r\n") for line in lines)
