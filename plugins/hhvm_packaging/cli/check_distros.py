"""The command of make check-distros: what is wrong with the distributions, and what may not be meant."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging import distros
from hhvm_packaging.distros import CURRENT_TARGETS, DOCKER_BASE, InvalidDistro, InvalidTargets
from hhvm_packaging.packaging_tree import DISTROS, show

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
WRONG, WARNING = "WRONG  ", "warning"


def check(packaging: Path) -> Iterator[tuple[str, str]]:
    """Check the distributions under ``packaging``.

    Yields kind and text of each line of the answer: WRONG for what ``plan`` refuses, WARNING for what may not
    be meant, and anything else for what is right.
    """
    suites: dict[tuple[str, str], str] = {}
    for name in distros.names(packaging):
        try:
            distro = distros.load(packaging, name)
        except InvalidDistro as error:
            yield WRONG, str(error)
            continue
        warnings = distros.find_warnings(packaging, name)
        if distro.distribution:
            other = suites.setdefault((distro.repository, distro.distribution), name)
            if other != name:
                warnings.append(
                    f"it is published in the suite {distro.distribution}, as {other} is: unless the names of "
                    "their packages differ, users get those of one of the two"
                )
        yield from ((WARNING, f"{DISTROS}/{name}: {warning}") for warning in warnings)
        yield "right  ", f"{DISTROS}/{name}: {_describe(packaging, distro)}"
    yield from ((WARNING, warning) for warning in _find_odd_directories(packaging))
    yield from _check_targets(packaging)


def _describe(packaging: Path, distro: distros.Distro) -> str:
    if reason := distros.retirement(packaging, distro.name):
        return f"retired ({reason})"
    if distro.not_published:
        return f"is built in {distro.docker_base}; not published: {distro.not_published}"
    return f"is built in {distro.docker_base}, published in {distro.repository} {distro.distribution}"


def _find_odd_directories(packaging: Path) -> Iterator[str]:
    """Directories that look like distributions and are none."""
    for name in distros.shared(packaging):
        if distros.is_name(name) or (packaging / DISTROS / name / "make-package").exists():
            yield f"{DISTROS}/{show(name)}: it has no {DOCKER_BASE}, so it is shared material"
    top = packaging / DISTROS
    for entry in sorted(top.iterdir() if top.is_dir() else ()):
        if entry.is_symlink() and entry.is_dir():
            yield f"{DISTROS}/{show(entry.name)}: it is a link, so it is no distribution"


def _check_targets(packaging: Path) -> Iterator[tuple[str, str]]:
    try:
        listed = distros.current_targets(packaging)
    except InvalidTargets as error:
        yield WRONG, str(error)
        return
    known = distros.names(packaging)
    for name in listed:
        if name not in known:
            yield WRONG, f"{CURRENT_TARGETS}: it lists {show(name)}, which is no distribution"
    if not listed:
        yield (
            WARNING,
            "nothing is built if nobody says which distributions: all are retired, or none is listed",
        )


def main() -> int:
    """Check what the command line names. Returns the exit status: 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="check-distros", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT, help="with bin/ and distros/")
    packaging = parser.parse_args().directory
    if not (packaging / DISTROS).is_dir():
        print(f"check-distros: error: {packaging} has no directory {DISTROS}/", file=sys.stderr)
        return 1
    lines = list(check(packaging))
    print(*(f"{kind}  {text}" for kind, text in lines), sep="\n")
    return int(any(kind == WRONG for kind, _ in lines))


if __name__ == "__main__":
    sys.exit(main())
