"""What a job left in its directory of outputs: names, sizes, digests, and entries for apt's indices."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs import control_files, package_set
from jobs.control_files import Unusable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Left", "Unusable", "describe"]

_ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
_IN_INDEX = {"MD5sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_TARBALL = re.compile(r"\.tar(?:\.[a-z0-9]+)?$")
_FIELD = re.compile(r"^([!-9;-~]+):(?:.*\n?)(?:[ \t].*\n?)*", re.MULTILINE)
_NEVER_EMPTY = (".apk", ".bz2", ".gz", ".rpm", ".tar", ".xz", ".zip", ".zst")
"""Packages of other systems, and archives."""
_LISTS = {"checksums-sha1": "sha1", "checksums-sha256": "sha256", "files": "md5"}


@dataclass(frozen=True)
class Left:
    """What a job left."""

    artifacts: list[dict[str, Any]]
    """For each file: ``name``, ``size`` in bytes, ``sha256``, ``md5``; for a .deb, .ddeb or .dsc also
    ``stanza``, its entry in the Packages or Sources index."""
    left_out: dict[str, str]
    """Why the other entries of the directory, and packages that nothing declares, are not published."""


def describe(out: Path) -> Left:
    """Describe what is in ``out``. Raises Unusable, naming the file, if one is not what it has to be."""
    found: list[dict[str, Any]] = []
    left_out, digests = {}, {}
    for path in sorted(out.iterdir()):
        name = _check_name(path.name)
        if path.is_symlink() or not path.is_file():
            left_out[name] = (
                "it is a link"
                if path.is_symlink()
                else "it is a directory"
                if path.is_dir()
                else "it is no file"
            )
            continue
        digests[name] = _digests(path)
        found.append({"name": name, "size": path.stat().st_size, "sha256": digests[name]["sha256"]})
        found[-1]["md5"] = digests[name]["md5"]
    for artifact in found:
        path = out / artifact["name"]
        if path.suffix == ".udeb":
            control_files.check_package(path)
        if path.suffix in package_set.PACKAGES:
            artifact["stanza"] = _describe_package(path, digests[path.name])
        elif path.suffix == ".dsc":
            artifact["stanza"] = _describe_source(path, digests)
        elif path.suffix == ".changes":
            fields = control_files.parse_changes(path.name, control_files.read_text(path))
            _compare(out, control_files.list_files(path.name, fields), path.name, digests)
    if empty := [one["name"] for one in found if not one["size"] and one["name"].endswith(_NEVER_EMPTY)]:
        raise Unusable(f"{empty[0]}: is empty")
    undeclared = package_set.read(out).undeclared
    return Left(found, left_out | dict.fromkeys(undeclared, "no .dsc or .changes of the build declares it"))


def _check_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Unusable(f"{name!r}: the file's name is not UTF-8") from error
    if _CONTROL_CHARACTER.search(name):
        raise Unusable(f"{name!r}: the file's name has a control character")
    return name


def _digests(path: Path) -> dict[str, str]:
    """The digests of a file by algorithm, in hexadecimal; it is read once."""
    found = [hashlib.new(algorithm, usedforsecurity=False) for algorithm in _ALGORITHMS]
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for digest in found:
                digest.update(block)
    return {digest.name: digest.hexdigest() for digest in found}


def _describe_package(path: Path, digests: dict[str, str]) -> str:
    """The entry of a binary package in a Packages index."""
    own = {"Filename": f"./{path.name}", "Size": str(path.stat().st_size)}
    own |= {field: digests[algorithm] for field, algorithm in _IN_INDEX.items()}
    control = control_files.read_package(path)
    control_files.check_package(path)
    names = {found[1].lower() for found in _FIELD.finditer(control)}
    if taken := [field for field in own if field.lower() in names]:
        raise Unusable(f"{path.name}: its control file has the field {taken[0]}, which only an index has")
    return "\n".join([control, *(f"{field}: {text}" for field, text in own.items())])


def _describe_source(path: Path, digests: dict[str, dict[str, str]]) -> str:
    """The entry of a source package in a Sources index: its .dsc, which it lists among the files."""
    text = control_files.read_text(path)
    fields = control_files.parse_source(path.name, text)
    files = control_files.list_files(path.name, fields)
    _compare(path.parent, files, path.name, digests)
    for file in files:
        if _TARBALL.search(file.name):
            control_files.check_tarball(path.parent / file.name)
    lines = [f"Package: {fields['Source']}"]
    for found in _FIELD.finditer(text):
        name = found[1].lower()
        if name in _LISTS:
            algorithm = _LISTS[name]
            listed = [(path.name, path.stat().st_size, digests[path.name][algorithm])]
            listed += [(file.name, file.size, file.digests[algorithm]) for file in files]
            lines.append(f"{found[1]}:")
            lines += [f" {digest} {size} {file}" for file, size, digest in listed]
        elif name not in ("source", "package"):
            lines.append(found[0].rstrip("\n"))
    return "\n".join(lines)


def _compare(
    out: Path, files: list[control_files.Listed], where: str, digests: dict[str, dict[str, str]]
) -> None:
    """Check that the files that a .dsc or .changes names are there as it says. Raises Unusable."""
    for file in files:
        if file.name not in digests:
            raise Unusable(f"{where}: names {file.name}, which the job did not leave")
        size = (out / file.name).stat().st_size
        if size != file.size:
            raise Unusable(f"{where}: says that {file.name} has {file.size} bytes, but it has {size}")
        for algorithm, digest in file.digests.items():
            if digests[file.name][algorithm] != digest:
                raise Unusable(
                    f"{where}: says that {file.name} has {algorithm.upper()} {digest}, but it has "
                    f"{digests[file.name][algorithm]}"
                )
