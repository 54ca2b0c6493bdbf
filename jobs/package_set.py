"""The packages that a build declares, and those that it left.

What declares them is the build's own: the Package-List of each .dsc (dsc(5)), which is debian/control as it
was built, and the field Binary of each .changes. The automatic debug packages of what is declared
(``-dbgsym``) may be there or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from debian import deb822

from jobs import control_files

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PACKAGES = (".deb", ".ddeb")
"""How the names of binary packages end. Ubuntu's automatic debug packages are .ddeb files."""
DEBUG_SYMBOLS = "-dbgsym"


@dataclass(frozen=True)
class PackageSet:
    """What a build declares, and what it left."""

    files: dict[str, str]
    """The name of each binary package that it left, by file name."""
    required: dict[str, str] = field(default_factory=dict)
    """What must be there: the file that declares it, by the package's name."""
    known: frozenset[str] = frozenset()
    """The names of all packages that are declared, also for other machines."""
    declares: bool = False
    """Whether anything declares packages. A build of its own kind may leave packages alone."""

    @property
    def missing(self) -> dict[str, str]:
        """What is declared and not there: the file that declares it, by the package's name."""
        there = set(self.files.values())
        return {name: where for name, where in self.required.items() if name not in there}

    @property
    def undeclared(self) -> list[str]:
        """The file names of packages that are there and not declared."""
        if not self.declares:
            return []
        return [
            file for file, name in self.files.items() if name.removesuffix(DEBUG_SYMBOLS) not in self.known
        ]

    @property
    def declared(self) -> list[str]:
        """The file names of the packages that are there and declared; all, if nothing declares any."""
        return sorted(set(self.files) - set(self.undeclared))


def read(out: Path) -> PackageSet:
    """Read the package set of the build that left its files in ``out``. Raises control_files.Unusable."""
    packages = {
        path.name: deb822.Deb822(control_files.read_package(path))
        for path in sorted(out.iterdir())
        if path.suffix in PACKAGES and path.is_file() and not path.is_symlink()
    }
    changes = [
        control_files.parse_changes(path.name, control_files.read_text(path))
        for path in sorted(out.glob("*.changes"))
    ]
    machines = {fields["Architecture"] for fields in packages.values()}
    machines |= {word for each in changes for word in each.get("Architecture", "").split()}
    machines -= {"all", "source"}
    required: dict[str, str] = {}
    known = {word for each in changes for word in each.get("Binary", "").split()}
    sources = sorted(out.glob("*.dsc"))
    for path in sources:
        fields = control_files.parse_source(path.name, control_files.read_text(path))
        mine = [each for each in changes if each["Source"].split()[0] == fields["Source"]]
        profiles = {word for each in mine for word in each.get("Built-For-Profiles", "").split()}
        for listed in fields.get("Package-List", ()):
            if listed["package-type"] != "deb":
                continue
            known.add(listed["package"])
            facts = dict(word.partition("=")[::2] for word in listed.get("_other", "").split())
            if _is_for(facts.get("arch", "any").split(","), machines) and (
                "profile" not in facts or (mine and _holds(facts["profile"], profiles))
            ):
                required[listed["package"]] = path.name
        if "Package-List" not in fields:  # Written by a dpkg before 1.17.
            known.update(name.strip() for name in fields.get("Binary", "").split(","))
    return PackageSet(
        files={name: fields["Package"] for name, fields in packages.items()},
        required=required,
        known=frozenset(known),
        declares=bool(sources or changes),
    )


def _is_for(architectures: Collection[str], machines: Collection[str]) -> bool:
    """Whether a package for ``architectures`` is built on one of these machines. See dpkg-architecture(1)."""
    if {"any", "all"}.intersection(architectures):
        return True
    names = {
        name for machine in machines for name in (machine, f"any-{machine}", f"linux-{machine}", "linux-any")
    }
    return bool(names.intersection(architectures))


def _holds(formula: str, profiles: Collection[str]) -> bool:
    """Whether a restriction to build profiles is met. In a Package-List "+" is or, and "," is and."""
    return any(
        all((word.lstrip("!") in profiles) != word.startswith("!") for word in term.split(","))
        for term in formula.split("+")
    )
