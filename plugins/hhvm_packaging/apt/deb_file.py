"""Debian packages of a few files, made without dpkg: the same content gives the same bytes.

The format is described in deb(5), the control file in deb-control(5).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def make(
    control: Mapping[str, str], files: Mapping[str, bytes], *, conffiles: Iterable[str] = (), time: int
) -> bytes:
    """Return a package that installs these files, by their absolute paths, for everybody to read.

    ``control`` are the fields of its control file; Installed-Size is added. Dpkg keeps what an administrator
    changes in ``conffiles``. ``time`` is that of all files, in seconds since 1970.
    """
    size = sum(-(-len(content) // 1024) for content in files.values())
    fields = {**control, "Installed-Size": str(size)}
    description = fields.pop("Description")
    text = "".join(f"{name}: {value}\n" for name, value in fields.items()) + f"Description: {description}\n"
    sums = "".join(
        f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {path.lstrip('/')}\n"
        for path, content in files.items()
    )
    members = {"/control": text.encode(), "/md5sums": sums.encode()}
    if listed := "".join(f"{path}\n" for path in conffiles):
        members["/conffiles"] = listed.encode()
    return _ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.gz": _tar(members, time),
            "data.tar.gz": _tar(files, time),
        },
        time,
    )


def _tar(files: Mapping[str, bytes], time: int) -> bytes:
    """The files and their directories, gzipped."""
    directories = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted({*directories, *files}):
            member = tarfile.TarInfo(f".{path}")
            member.mtime, member.uname, member.gname = time, "root", "root"
            if path in directories:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size, member.mode = len(files[path]), 0o644
                tar.addfile(member, io.BytesIO(files[path]))
    return gzip.compress(out.getvalue(), mtime=0)


def _ar(members: Mapping[str, bytes], time: int) -> bytes:
    content = b"!<arch>\n"
    for name, data in members.items():
        content += f"{name:<16}{time:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content
