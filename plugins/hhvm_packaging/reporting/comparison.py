"""Comparison: what the packages of a version change for users who have those of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from debian.deb822 import Packages
from debian.debian_support import Version

from hhvm_packaging.reporting import file_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hhvm_packaging.planning.manifests import PackageManifest
    from hhvm_packaging.reporting.file_lists import FileChange
    from hhvm_packaging.workers.job import Artifact

Entry: TypeAlias = "tuple[Artifact, Mapping[str, str]]"
"""A package, and the fields of its entry."""

_RELATIONS = ("Pre-Depends", "Depends", "Recommends", "Conflicts", "Breaks", "Replaces", "Provides")


@dataclass(frozen=True)
class PackageChange:
    """What has become of one binary package."""

    name: str
    size: int
    """Bytes of the file; 0 if the package is gone."""
    size_before: int | None
    """The same before; None if the package is new."""
    installed: int
    """Kibibytes that it takes when it is installed, as the package says."""
    added: tuple[str, ...]
    """Relations to other packages that are new, such as ``Depends: libicu72``."""
    removed: tuple[str, ...]
    """Relations that are gone."""
    files: FileChange | None = None
    """What has become of its files; None if that is not known, or the package is new or gone."""

    @property
    def is_new(self) -> bool:
        """Whether there was no such package before."""
        return self.size_before is None

    @property
    def is_gone(self) -> bool:
        """Whether there is no such package any more."""
        return not self.size

    @property
    def difference(self) -> int:
        """By how many bytes the file has grown."""
        return self.size - (self.size_before or 0)


@dataclass(frozen=True)
class Comparison:
    """One distribution's packages of two versions."""

    distro: str
    before: str
    """The earlier Debian version; empty if there is none."""
    packages: tuple[PackageChange, ...]

    @property
    def difference(self) -> int:
        """By how many bytes all files together have grown."""
        return sum(package.difference for package in self.packages)

    @property
    def new(self) -> tuple[str, ...]:
        """The names of the packages that there were not before."""
        return tuple(package.name for package in self.packages if package.is_new)

    @property
    def gone(self) -> tuple[str, ...]:
        """The names of the packages that are gone."""
        return tuple(package.name for package in self.packages if package.is_gone)


Files: TypeAlias = "Callable[[PackageManifest, Artifact], Mapping[str, str] | None]"
"""Returns the digest of each file of a package of a manifest, by its path; None if they are not known."""


def compare(after: PackageManifest, before: PackageManifest | None, files: Files) -> Comparison:
    """What ``after`` changes for users of ``before``, by the entries of the packages in the manifests."""
    new, old = _by_name(after.packages), _by_name(before.packages if before else ())
    changes = (_compare_package(name, new.get(name), old.get(name)) for name in sorted({*new, *old}))
    if before:
        changes = (_add_files(change, files, after, before, new, old) for change in changes)
    return Comparison(after.distro, before.package_version if before else "", tuple(changes))


def _add_files(
    change: PackageChange,
    files: Files,
    after: PackageManifest,
    before: PackageManifest,
    new: Mapping[str, Entry],
    old: Mapping[str, Entry],
) -> PackageChange:
    """The change with what has become of the package's files."""
    if change.is_new or change.is_gone:
        return change
    now, then = files(after, new[change.name][0]), files(before, old[change.name][0])
    if now is None or then is None:
        return change
    return replace(change, files=file_lists.compare(now, then))


def _by_name(artifacts: Iterable[Artifact]) -> dict[str, Entry]:
    """The packages with their entries, by name and architecture."""
    found: dict[str, Entry] = {}
    for artifact in artifacts:
        stanza = Packages(artifact.stanza or "")
        name = stanza.get("Package") or artifact.name.partition("_")[0]
        found[name] = (artifact, stanza)
    return found


def _compare_package(
    name: str,
    new: Entry | None,
    old: Entry | None,
) -> PackageChange:
    after, before = _relations(new[1] if new else {}), _relations(old[1] if old else {})
    installed = new[1].get("Installed-Size", "") if new else ""
    return PackageChange(
        name,
        new[0].size if new else 0,
        old[0].size if old else None,
        int(installed) if installed.isdecimal() else 0,
        tuple(sorted(after - before)) if old else (),
        tuple(sorted(before - after)) if new else (),
    )


def _relations(stanza: Mapping[str, str]) -> set[str]:
    """The relations of a package. Those to the same version of its own source are left out."""
    own = f"(= {stanza.get('Version', '')})"
    return {
        f"{field}: {' '.join(relation.split())}"
        for field in _RELATIONS
        for relation in stanza.get(field, "").split(",")
        if relation.strip() and own not in relation
    }


def newest(versions: Iterable[str]) -> str:
    """The newest of some Debian versions; empty if there are none."""
    return max(versions, key=Version, default="")
