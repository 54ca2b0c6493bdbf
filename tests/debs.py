"""Small Debian packages, made here without dpkg-deb: thousands of them in a second."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from functools import cached_property

from hhvm_packaging.jobs import Artifact


@dataclass(frozen=True)
class Deb:
    """A package that installs a program, hhvm, that says its version."""

    version: str
    package: str = "hhvm"
    architecture: str = "amd64"
    extra: str = ""
    """More lines of its control file."""

    @property
    def name(self) -> str:
        return f"{self.package}_{self.version}_{self.architecture}.deb"

    @property
    def control(self) -> str:
        return (
            f"Package: {self.package}\nArchitecture: {self.architecture}\nVersion: {self.version}\n"
            f"Maintainer: HHVM <hhvm@example.org>\n{self.extra}"
            "Description: A virtual machine \u2013 for Hack\n  Oddly   spaced\n .\n and long.\n"
        )

    @cached_property
    def content(self) -> bytes:
        program = f"#!/bin/sh\necho HHVM {self.version}\n".encode()
        directories = dict.fromkeys(["./", "./usr/", "./usr/bin/"])
        return _ar({
            "debian-binary": b"2.0\n",
            "control.tar.gz": _tar({"./": None, "./control": self.control.encode()}),
            "data.tar.gz": _tar({**directories, f"./usr/bin/{self.package}": program}),
        })

    @cached_property
    def artifact(self) -> Artifact:
        """As a job records it; the stanza is what apt-ftparchive would write."""
        md5, sha1, sha256, sha512 = (
            hashlib.new(algorithm, self.content, usedforsecurity=False).hexdigest()
            for algorithm in ("md5", "sha1", "sha256", "sha512")
        )
        control, description = self.control.rstrip("\n").split("Description:")
        stanza = (
            f"{control}Filename: ./{self.name}\nSize: {len(self.content)}\n"
            f"MD5sum: {md5}\nSHA1: {sha1}\nSHA256: {sha256}\nSHA512: {sha512}\n"
            f"Description:{description}"
        )
        return Artifact(name=self.name, size=len(self.content), sha256=sha256, md5=md5, stanza=stanza)

    @property
    def key(self) -> str:
        """Where the tests keep it in scratch."""
        return f"build/{self.name}"


def _tar(members: dict[str, bytes | None]) -> bytes:
    """Files by name, directories where there is no content; gzipped, the same bytes each time."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o644 if name.endswith("control") else 0o755
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return gzip.compress(file.getvalue(), compresslevel=1, mtime=0)


def _ar(members: dict[str, bytes]) -> bytes:
    content = b"!<arch>\n"
    for name, data in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content
