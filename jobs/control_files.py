"""Debian's control files (deb822): .dsc, .changes, and a package's control. Bytes in, fields out.

The formats are in Debian policy 5.3 (control), 5.4 (.dsc) and 5.5 (.changes), and in dsc(5).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import subprocess
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from debian import deb822

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LISTS = {
    "Checksums-Sha256": ("sha256", "sha256"),
    "Checksums-Sha1": ("sha1", "sha1"),
    "Files": ("md5", "md5sum"),
}
"""The fields that list files: the algorithm of the digests, and what the parser calls them."""
_FIELD = re.compile(rb"([!-9;-~]+):")


class Unusable(Exception):
    """A file is not what it has to be. The message names the file and, where it is a field's, the field."""


class Listed(NamedTuple):
    """A file that a .dsc or a .changes names."""

    name: str
    size: int
    """Bytes."""
    digests: dict[str, str]
    """In hexadecimal, by algorithm."""


def read_package(path: Path) -> str:
    """The control file of a binary package, without its last newline. Raises Unusable."""
    text = _decode(path.name, _dpkg_deb(path, "--info", path, "control")).strip("\n")
    _require(path.name, deb822.Deb822(text), "Package", "Version", "Architecture")
    return text


def check_package(path: Path) -> None:
    """List a binary package's files: if they cannot be unpacked, its control file may still be good.

    Raises Unusable.
    """
    _dpkg_deb(path, "--contents", path, discard=True)


def check_tarball(path: Path) -> None:
    """Read a tarball of a source package to its end. Raises Unusable."""
    opens: Any = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}.get(path.suffix, open)
    try:
        with opens(path, "rb") as content:
            with tarfile.open(fileobj=content, mode="r|") as tarball:
                for _ in tarball:
                    pass
            # What follows the last file has the digest of all.
            while content.read(1 << 20):
                pass
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise Unusable(f"{path.name}: is not a whole tarball: {error}") from error


def read_text(path: Path) -> str:
    """The fields of a .dsc or .changes as text, without a signature around them. Raises Unusable."""
    try:
        lines = deb822.Deb822.split_gpg_and_payload(iter(path.read_bytes().splitlines(keepends=True)))[1]
    except (EOFError, ValueError) as error:
        raise Unusable(f"{path.name}: is empty or cut: {error}") from error
    return _decode(path.name, b"\n".join(line.rstrip(b"\r\n") for line in lines)).strip("\n")


def parse_source(name: str, text: str) -> deb822.Dsc:
    """The fields of a .dsc. ``name`` is the file's. Raises Unusable if it lacks what an index needs."""
    fields: deb822.Dsc = _require(name, deb822.Dsc(text), "Source", "Version", "Checksums-Sha256", "Files")
    listed = fields.get("Package-List", [])
    if not isinstance(listed, list) or any("package-type" not in entry for entry in listed):
        raise Unusable(f"{name}: field Package-List is no list of packages")
    return fields


def parse_changes(name: str, text: str) -> deb822.Changes:
    """The fields of a .changes. Raises Unusable if it lacks what it is read for."""
    fields: deb822.Changes = _require(name, deb822.Changes(text), "Source", "Checksums-Sha256", "Files")
    return fields


def list_files(name: str, fields: deb822.Dsc | deb822.Changes) -> list[Listed]:
    """The files that a .dsc or .changes names. Raises Unusable if it does not say the same of each."""
    found: dict[str, Listed] = {}
    lists = {field: names for field, names in _LISTS.items() if field in fields}
    for field, (algorithm, parsed) in lists.items():
        try:
            entries = [(entry["name"], int(entry["size"]), entry[parsed]) for entry in fields[field]]
        except (KeyError, ValueError, TypeError) as error:
            raise Unusable(f"{name}: field {field} is no list of files") from error
        for file, size, digest in entries:
            there = found.setdefault(file, Listed(file, size, {}))
            if there.size != size:
                raise Unusable(f"{name}: its fields name different sizes of {file!r}")
            there.digests[algorithm] = digest
    if partial := [file for file, listed in found.items() if len(listed.digests) != len(lists)]:
        raise Unusable(f"{name}: its fields {', '.join(lists)} do not all name {partial[0]!r}: it is cut")
    if odd := [file for file in found if "/" in file or file in ("", ".", "..")]:
        raise Unusable(f"{name}: names {odd[0]!r}, which is no file name")
    return list(found.values())


def _decode(name: str, content: bytes) -> str:
    field = "?"
    for line in content.split(b"\n"):
        if found := _FIELD.match(line):
            field = found[1].decode()
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise Unusable(
                f"{name}: field {field} is not UTF-8: it has the byte 0x{line[error.start]:02x}. "
                "Write debian/control and debian/changelog in UTF-8 (Debian policy 5.1)"
            ) from error
    return content.decode()


def _require(name: str, fields: Any, *required: str) -> Any:
    missing: Iterable[str] = [field for field in required if not fields.get(field)]
    if missing:
        raise Unusable(f"{name}: has no field {', '.join(missing)}: it is cut, or no such file at all")
    return fields


def _dpkg_deb(path: Path, *command: str | Path, discard: bool = False) -> bytes:
    done = subprocess.run(
        ["dpkg-deb", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if discard else subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Its messages in English, to know which are warnings; and tar without anybody's options.
        env={**os.environ, "LC_ALL": "C.UTF-8", "TAR_OPTIONS": ""},
        check=False,
    )
    lines = done.stderr.decode(errors="replace").splitlines()
    complaint = "; ".join(line for line in lines if not line.startswith("dpkg-deb: warning:"))
    # What it complains of counts, whatever its exit status says.
    if done.returncode or complaint:
        raise Unusable(f"{path.name}: is not a whole Debian package: {complaint or done.returncode}")
    return done.stdout or b""
