"""Small Debian packages, made here without dpkg-deb: thousands of them in a second."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from hhvm_packaging.workers.job import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable


class Built(Protocol):
    """A file that a build made."""

    @property
    def content(self) -> bytes:
        """Its bytes."""

    @property
    def artifact(self) -> Artifact:
        """As a job's result lists it."""

    @property
    def key(self) -> str:
        """Where a build leaves it in scratch."""


@dataclass(frozen=True)
class Deb:
    """A package that installs a program, hhvm, that says its version."""

    version: str
    package: str = "hhvm"
    architecture: str = "amd64"
    extra: str = ""
    """More lines of its control file."""
    suffix: str = "deb"
    """``deb``, or ``ddeb`` for Ubuntu's automatic debug packages."""

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.package}_{self.version}_{self.architecture}.{self.suffix}"

    @property
    def control(self) -> str:
        """Its control file."""
        return (
            f"Package: {self.package}\nArchitecture: {self.architecture}\nVersion: {self.version}\n"
            f"Maintainer: HHVM <hhvm@example.org>\n{self.extra}"
            "Description: A virtual machine \u2013 for Hack\n  Oddly   spaced\n .\n and long.\n"
        )

    @cached_property
    def content(self) -> bytes:
        """Its bytes, the same for the same fields."""
        program = f"#!/bin/sh\necho HHVM {self.version}\n".encode()
        return package(self.control.encode(), f"./usr/bin/{self.package}", program)

    @cached_property
    def artifact(self) -> Artifact:
        """As a job records it; the stanza is what apt-ftparchive would write."""
        md5, sha1, sha256, sha512 = (
            digest(algorithm, self.content) for algorithm in ("md5", "sha1", "sha256", "sha512")
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


@dataclass(frozen=True)
class SourceFile:
    """One file of a source package."""

    name: str
    content: bytes
    paragraph: str | None = None
    """Of a .dsc, what an index has of it before the lists of files."""
    others: tuple[SourceFile, ...] = ()
    """Of a .dsc, the files that it names."""

    @property
    def key(self) -> str:
        """Where the tests keep it in scratch."""
        return f"build/{self.name}"

    @cached_property
    def artifact(self) -> Artifact:
        """As a job records it."""
        stanza = self.paragraph and self.paragraph + listed([self, *self.others])
        return Artifact(
            name=self.name,
            size=len(self.content),
            sha256=digest("sha256", self.content),
            md5=digest("md5", self.content),
            stanza=stanza,
        )


def package(control: bytes, path: str, content: bytes) -> bytes:
    """A binary package with any control file, which installs one file in /usr/bin."""
    directories = dict.fromkeys(["./", "./usr/", "./usr/bin/"])
    return archive(control, tar({**directories, path: content}))


def archive(control: bytes, data: bytes) -> bytes:
    """A binary package with any control file, whose archive of files is ``data``, whatever that is."""
    return ar({
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar({"./": None, "./control": control}),
        "data.tar.gz": data,
    })


def source(deb: Deb) -> list[SourceFile]:
    """The source package of ``deb``; its upstream tarball is that of all with the same upstream version."""
    upstream = deb.version.rpartition("-")[0]
    orig = SourceFile(f"{deb.package}_{upstream}.orig.tar.gz", tar({"./hhvm": upstream.encode()}))
    debian = SourceFile(
        f"{deb.package}_{deb.version}.debian.tar.gz", tar({"./debian/control": deb.control.encode()})
    )
    text = f"Binary: {deb.package}\nArchitecture: any\nVersion: {deb.version}\n"
    dsc = f"Format: 3.0 (quilt)\nSource: {deb.package}\n{text}{listed([orig, debian])}"
    name = f"{deb.package}_{deb.version}.dsc"
    paragraph = f"Package: {deb.package}\n{text}"
    return [SourceFile(name, dsc.encode(), paragraph, (orig, debian)), orig, debian]


def build_record(version: str, files: Iterable[Built], architecture: str = "amd64") -> SourceFile:
    """The .buildinfo of hhvm that describes these files of its build."""
    lines = "".join(f" {file.artifact.sha256} {file.artifact.size} {file.artifact.name}\n" for file in files)
    text = f"Format: 1.0\nSource: hhvm\nVersion: {version}\nChecksums-Sha256:\n{lines}"
    return SourceFile(f"hhvm_{version}_{architecture}.buildinfo", text.encode())


def listed(files: Iterable[SourceFile]) -> str:
    """The fields that name the files of a source package."""
    lines = ""
    for field, algorithm in (("Checksums-Sha256", "sha256"), ("Files", "md5")):
        lines += f"{field}:\n"
        for file in files:
            lines += f" {digest(algorithm, file.content)} {len(file.content)} {file.name}\n"
    return lines


def digest(algorithm: str, content: bytes) -> str:
    """The digest of some bytes, in hexadecimal."""
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def tar(members: dict[str, bytes | None]) -> bytes:
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


def ar(members: dict[str, bytes]) -> bytes:
    """An ar archive with these members."""
    content = b"!<arch>\n"
    for name, data in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content
