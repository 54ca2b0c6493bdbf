"""The control member of a binary package: what the package itself says of itself.

The format is described in deb(5). It is read more strictly than dpkg reads it: where two readers could see
two control files, or one of them something else than the other, the package is refused.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_READ = 64 * 1024
"""Bytes. The control member of nearly every package is within the first ones of the file."""
LIMIT = 16 * 1024**2
"""Bytes. A control member may not be larger, neither compressed nor uncompressed."""

_MAGIC = b"!<arch>\n"
_HEADER = 60
_MEMORY = 256 * 1024**2
_VERSION = b"2.0\n"
_BLOCK = 512


class InvalidDeb(PackagingError):
    """A file is not a binary package, or has something that a package has not. The message says what."""


def read_control(start: Callable[[int], bytes], size: int) -> str:
    """The text of the control file of a package of ``size`` bytes. ``start(n)`` returns its first n bytes.

    ``start`` is called once for nearly every package, and otherwise once more. Raises InvalidDeb.
    """
    found = _read_member(start, size)
    if "control" not in found:
        raise InvalidDeb("its control archive has no control file")
    return _decode(found["control"])


def read_files(start: Callable[[int], bytes], size: int) -> dict[str, str] | None:
    """The MD5 of each file that the package installs, by its path without a leading slash.

    They are what the package says: its ``md5sums``, which debhelper makes. None if it has none. The arguments
    are those of read_control. Raises InvalidDeb.
    """
    sums = _read_member(start, size).get("md5sums")
    if sums is None:
        return None
    lines = (line.partition("  ") for line in sums.decode(errors="replace").splitlines())
    return {path.removeprefix("./"): md5 for md5, _, path in lines if path}


def _read_member(start: Callable[[int], bytes], size: int) -> dict[str, bytes]:
    """The files of the control archive, by name."""
    content = start(min(size, FIRST_READ))
    name, length = _read_header(content, len(_MAGIC), "the first member")
    if name != "debian-binary" or length != len(_VERSION):
        raise InvalidDeb(f"its first member is {name!r} of {length} bytes, not debian-binary")
    version_at = len(_MAGIC) + _HEADER
    if content[version_at : version_at + length] != _VERSION:
        raise InvalidDeb(f"its format is {content[version_at : version_at + length]!r}, not {_VERSION!r}")
    control_header = version_at + length
    name, length = _read_header(content, control_header, "the second member")
    if name not in _DECOMPRESS:
        raise InvalidDeb(f"its second member is {name!r}, not {', '.join(_DECOMPRESS)}")
    if length > LIMIT:
        raise InvalidDeb(f"its {name} has {length:,} bytes; more than {LIMIT:,} are not read")
    begin = control_header + _HEADER
    end = begin + length + length % 2 + _HEADER
    if end > len(content):
        if end > size:
            raise InvalidDeb("it ends within its control member")
        content = start(end)
        if len(content) < end:
            raise InvalidDeb("it ends within its control member")
    _check_last(content, end - _HEADER, size)
    return _unpack(_DECOMPRESS[name](content[begin : begin + length], name))


def _read_header(content: bytes, at: int, what: str) -> tuple[str, int]:
    """Name and size of the member of an ar archive whose header is ``at``."""
    if not content.startswith(_MAGIC):
        raise InvalidDeb("it is no ar archive")
    header = content[at : at + _HEADER]
    found = re.fullmatch(rb"([!-~]+) {0,15}.{32}([0-9]{1,10}) {0,9}`\n", header, re.DOTALL)
    if len(header) != _HEADER or found is None or len(found[1]) > 16:
        raise InvalidDeb(f"the header of {what} is {header!r}")
    if content[at + 16 : at + 48].strip(b"0123456789 "):
        raise InvalidDeb(f"the header of {what} is {header!r}")
    return found[1].decode().removesuffix("/"), int(found[2])


def _check_last(content: bytes, at: int, size: int) -> None:
    """Check that the files of the package follow, and that nothing follows them."""
    name, length = _read_header(content, at, "the third member")
    if re.fullmatch(r"data\.tar(\.(gz|xz|zst|bz2|lzma))?", name) is None:
        raise InvalidDeb(f"its third member is {name!r}, not data.tar")
    end = at + _HEADER + length
    if size not in (end, end + length % 2):
        raise InvalidDeb(f"its {name} ends at byte {end:,}, but it has {size:,} bytes")


def _gunzip(content: bytes, name: str) -> bytes:
    return _decompress(zlib.decompressobj(wbits=31), zlib.error, content, name)


def _unxz(content: bytes, name: str) -> bytes:
    return _decompress(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), lzma.LZMAError, content, name)


def _decompress(stream: Any, fault: type[Exception], content: bytes, name: str) -> bytes:
    """At most LIMIT bytes and one more, by a decompressor of the standard library."""
    try:
        found: bytes = stream.decompress(content, LIMIT + 1)
    except fault as error:
        raise InvalidDeb(f"its {name} cannot be decompressed: {error}") from error
    return _whole(found, name, stream.eof, stream.unused_data)


def _unzstd(content: bytes, name: str) -> bytes:
    import zstandard

    stream = zstandard.ZstdDecompressor(max_window_size=_MEMORY)
    try:
        if zstandard.frame_content_size(content) > LIMIT:
            return _whole(bytes(LIMIT + 1), name, True, b"")
        found = stream.decompress(content, max_output_size=LIMIT, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise InvalidDeb(f"its {name} cannot be decompressed: {error}") from error
    return _whole(found, name, True, b"")


def _plain(content: bytes, name: str) -> bytes:  # ruff: ignore[unused-function-argument]  # as the others
    return content


def _whole(content: bytes, name: str, ended: bool, rest: bytes) -> bytes:
    if len(content) > LIMIT:
        raise InvalidDeb(f"its {name} has more than {LIMIT:,} bytes when it is decompressed")
    if not ended:
        raise InvalidDeb(f"its {name} is cut")
    if rest:
        raise InvalidDeb(f"its {name} has {len(rest)} bytes behind its end")
    return content


_DECOMPRESS: dict[str, Callable[[bytes, str], bytes]] = {
    "control.tar.xz": _unxz,
    "control.tar.zst": _unzstd,
    "control.tar.gz": _gunzip,
    "control.tar": _plain,
}


def _unpack(archive: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    end = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                name = _check_member(member)
                if name in found:
                    raise InvalidDeb(f"its control archive has {name!r} twice")
                found[name] = archive[member.offset_data : member.offset_data + member.size]
                if len(found[name]) != member.size:
                    raise InvalidDeb("its control archive is cut")
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            if tar.pax_headers:
                raise InvalidDeb("its control archive has pax headers")
    except (tarfile.TarError, ValueError) as error:
        raise InvalidDeb(f"its control archive is no tar archive: {error}") from error
    # Other readers go on where this one stopped.
    if archive[end:].strip(b"\0"):
        raise InvalidDeb(f"its control archive has something behind byte {end:,}, where it ends")
    return found


def _check_member(member: tarfile.TarInfo) -> str:
    """The name of a member without ``./``; empty for the directory itself."""
    shown = member.name[:80]
    # A long name, a sparse file or a pax header takes more than one block before the content.
    if member.pax_headers or member.sparse is not None or member.offset_data - member.offset != _BLOCK:
        raise InvalidDeb(f"its control archive has {shown!r} with an extended header")
    if member.isdir() and member.name in (".", "./", ""):
        return ""
    name = member.name.removeprefix("./")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise InvalidDeb(f"its control archive has {shown!r}, which is no file")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidDeb(f"its control archive has {shown!r}, which is no control file's name")
    return name


def _decode(control: bytes) -> str:
    try:
        return control.decode()
    except UnicodeDecodeError as error:
        before = control[: error.start].decode().splitlines() or [""]
        field = next((line for line in reversed(before) if line[:1] not in ("", " ", "\t")), "")
        raise InvalidDeb(
            f"its control file is not UTF-8: byte {error.start:,}, in the field {field.partition(':')[0]!r}"
        ) from error
