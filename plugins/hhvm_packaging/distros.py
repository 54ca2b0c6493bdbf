"""The distributions: each is a directory under distros/, checked when it is loaded."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.release import Release

PACKAGING_MOUNT = Path("/opt/hhvm-packaging")
"""The packaging files inside a build container. Links in distros/ point there."""

PACKAGE_SCRIPT = Path("bin/make-debianish-package")

_ID = re.compile(r"(?P<system>[a-z]+)-[0-9]+(\.[0-9]+)*(-[a-z]+)?")
_SYSTEMS = ("debian", "ubuntu")
_CODENAME = re.compile(r"[a-z]+")
_PKGVER = re.compile(r"[0-9]+~(?P<codename>[a-z]+)")
# [registry[:port]/]path[:tag][@digest], see https://github.com/distribution/reference.
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


class InvalidDistro(PackagingError):
    """A distribution's directory is not valid. The message names the directory, the fault and the remedy."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"distros/{name}: {fault}")


class Distro(BaseModel):
    """One distribution that HHVM is packaged for."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The directory's name: DISTRO-VERSION[-NAME], such as debian-12-bookworm."""
    docker_base: str
    """The image that packages are built in."""
    distribution: str
    """The codename, which is also the suite's name."""
    pkgver: str
    """The package revision, such as 1~bookworm."""
    files_sha256: str
    """Digest of all packaging files that the build uses."""

    @property
    def repository(self) -> str:
        """The apt repository that holds the suite: debian or ubuntu."""
        return self.name.partition("-")[0]

    def package_version(self, release: Release) -> str:
        """The full Debian version of the release's packages for this distribution."""
        return f"{release.version}-{self.pkgver}"


def names(packaging: Path) -> list[str]:
    """The names of all directories under ``packaging``/distros, invalid ones included."""
    return sorted(entry.name for entry in (packaging / "distros").iterdir() if entry.is_dir())


def load(packaging: Path, name: str) -> Distro:
    """Read and check the distribution ``name``. Raises InvalidDistro."""
    if name not in names(packaging):
        raise InvalidDistro(name, f"there is no such directory. There are: {', '.join(names(packaging))}")
    identity = _ID.fullmatch(name)
    if not identity or identity["system"] not in _SYSTEMS:
        raise InvalidDistro(
            name, "the directory's name must be DISTRO-NUMERIC_VERSION[-NAME], DISTRO debian or ubuntu"
        )
    directory = packaging / "distros" / name
    docker_base = _line(directory, "DOCKER_BASE")
    if not _IMAGE.fullmatch(docker_base):
        raise InvalidDistro(name, f"DOCKER_BASE says {docker_base!r}, which is not an image name")
    distribution = _line(directory, "DISTRIBUTION")
    if not _CODENAME.fullmatch(distribution):
        raise InvalidDistro(name, f"DISTRIBUTION says {distribution!r}, which is not a codename")
    pkgver = _line(directory, "PKGVER")
    revision = _PKGVER.fullmatch(pkgver)
    if not revision or revision["codename"] != distribution:
        raise InvalidDistro(
            name, f"PKGVER says {pkgver!r}; it must be NUMBER~{distribution}, as DISTRIBUTION is"
        )
    for required in ("make-package", "debian/control", "debian/rules"):
        if not _resolve(packaging, directory / required).is_file():
            raise InvalidDistro(name, f"the required file {required} is missing")
    return Distro(
        name=name,
        docker_base=docker_base,
        distribution=distribution,
        pkgver=pkgver,
        files_sha256=_digest(packaging, directory),
    )


def _line(directory: Path, name: str) -> str:
    try:
        return (directory / name).read_text().removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidDistro(directory.name, f"the required file {name} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDistro(directory.name, f"{name} cannot be read: {error}") from error


def _resolve(packaging: Path, path: Path) -> Path:
    """Follow links as inside a build container, without leaving ``packaging``."""
    resolved = packaging
    for part in path.relative_to(packaging).parts:
        resolved /= part
        for _ in range(8):
            if not resolved.is_symlink():
                break
            target = resolved.readlink()
            if target.is_relative_to(PACKAGING_MOUNT):
                resolved = _resolve(packaging, packaging / target.relative_to(PACKAGING_MOUNT))
            else:
                resolved = resolved.parent / target
    return resolved


def _files(packaging: Path, directory: Path) -> Iterator[tuple[str, Path]]:
    """Every file under ``directory`` as a container sees it, links followed: path there, and file."""
    for entry in sorted(directory.iterdir()):
        resolved = _resolve(packaging, entry)
        if resolved.is_dir():
            for path, file in _files(packaging, resolved):
                yield f"{entry.name}/{path}", file
        elif resolved.is_file():
            yield entry.name, resolved


def _digest(packaging: Path, directory: Path) -> str:
    """The digest of the distribution's files and of the scripts that its build runs."""
    scripts = [packaging / PACKAGE_SCRIPT, *sorted((packaging / "bin" / "lib").glob("*"))]
    # Other revisions may have other scripts.
    scripts = [path for path in scripts if path.is_file()]
    files = [*_files(packaging, directory), *((str(path.relative_to(packaging)), path) for path in scripts)]
    digest = hashlib.sha256()
    for name, path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {path.stat().st_mode & 0o111:o} {name}\n".encode())
    return digest.hexdigest()
