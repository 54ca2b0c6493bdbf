"""The command bin/new-distro: makes the directory of a new distribution from that of another one."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from hhvm_packaging import distros
from hhvm_packaging.distros import DISTRIBUTION, DOCKER_BASE, PKGVER, RETIRED, InvalidDistro
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.packaging_tree import DISTROS, MOUNT

ROOT = Path(__file__).resolve().parents[3]
DEBIAN = "debian"


class Refused(PackagingError):
    """The directory is not made. The message says why."""


def make(
    packaging: Path, name: str, other: str, image: str, codename: str = "", *, own_debian: bool = False
) -> Path:
    """Make the directory of the distribution ``name`` from that of ``other``. Returns it.

    It is built in ``image``. ``codename`` is by default the last part of ``name``. Its debian/ is a link to
    the other's, unless it is to have one of its own. Raises Refused or InvalidDistro; then nothing is made.
    """
    source = packaging / DISTROS / other
    old = distros.load(packaging, other)
    directory = packaging / DISTROS / name
    if directory.exists() or directory.is_symlink():
        raise Refused(f"{DISTROS}/{name} is there already")
    if not distros.is_name(name):
        raise Refused(f"{name!a} is no name: it must be DISTRO-NUMERIC_VERSION[-VERSION_NAME]")
    if old.distribution and not codename:
        codename = name.rpartition("-")[2]
        if not codename.isalpha():
            raise Refused(f"{name} has no codename at its end: say it with --codename")
    with tempfile.TemporaryDirectory(prefix="hhvm-new-distro-") as temporary:
        # Checked before it is where a run might find it.
        trial = Path(temporary)
        for part in ("bin", DISTROS):
            shutil.copytree(packaging / part, trial / part, symlinks=True)
        made = trial / DISTROS / name
        shutil.copytree(source, made, symlinks=True)
        (made / RETIRED).unlink(missing_ok=True)
        _write_line(made / DOCKER_BASE, image)
        if old.distribution:
            _write_line(made / DISTRIBUTION, codename)
            _write_line(made / PKGVER, f"1~{codename}")
        if (made / DEBIAN).is_dir() and not (made / DEBIAN).is_symlink() and not own_debian:
            shutil.rmtree(made / DEBIAN)
            (made / DEBIAN).symlink_to(f"{MOUNT}/{DISTROS}/{other}/{DEBIAN}")
        distros.load(trial, name)
        shutil.copytree(made, directory, symlinks=True)
    return directory


def _write_line(file: Path, line: str) -> None:
    file.unlink(missing_ok=True)  # It may be a link to another distribution's.
    file.write_text(f"{line}\n")


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="new-distro", description=__doc__)
    parser.add_argument("name", help="DISTRO-NUMERIC_VERSION[-VERSION_NAME], such as debian-9-stretch")
    parser.add_argument("--from", dest="other", required=True, help="the distribution to make it from")
    parser.add_argument("--image", required=True, help="the Docker image to build in, such as debian:stretch")
    parser.add_argument("--codename", default="", help="by default the VERSION_NAME")
    parser.add_argument("--own-debian", action="store_true", help="copy debian/ instead of a link to it")
    parser.add_argument("--packaging", type=Path, default=ROOT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        made = make(
            asked.packaging,
            asked.name,
            asked.other,
            asked.image,
            asked.codename,
            own_debian=asked.own_debian,
        )
    except (Refused, InvalidDistro) as error:
        print(f"new-distro: error: {error}", file=sys.stderr)
        return 1
    for file in sorted(made.iterdir()):
        said = f" -> {file.readlink()}" if file.is_symlink() else ""
        print(f"{made.name}/{file.name}{said}")
    print(
        f"Next: make check-distros; then VERSION=... bin/make-package-in-throwaway-container {made.name}. "
        "See docs/adding-a-distribution.md"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
