"""What can be seen of packages without running them, compared with those that are published.

Runs in a container of its own image, without a network: what it parses is not trusted. It notes what it finds
for the gates lintian, files, symbols and sizes; see jobs/notes.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

LEAST_JUMP = 16 << 10
"""Bytes. A package whose size differs by less has not jumped, whatever that is in percent."""
_DEBUG = re.compile(r"-dbg(sym)?$")
_LIBRARY = re.compile(r"\.so(\.[0-9]+)*$")
_BUILD_ID = "/usr/lib/debug/.build-id/"
"""Its files have other names in each build."""
_MERGED = re.compile(r"^/(bin|sbin|lib|lib32|lib64|libx32)/")
"""Directories that are links to those of their name in /usr, on every distribution."""
_SYMBOL = re.compile(r"^(\S+) [^A] ", re.MULTILINE)
"""A line of nm; those of the type A name versions of symbols."""


@dataclass
class Package:
    """A binary package."""

    path: Path
    name: str
    version: str
    size: int
    """Bytes."""
    files: set[str] = field(default_factory=set)
    """Their paths, without those of directories."""
    symbols: dict[str, set[str]] = field(default_factory=dict)
    """What each shared library defines, by its path."""

    @classmethod
    def read(cls, path: Path) -> Package:
        """Read a package's control file, and what it holds."""
        said = _run("dpkg-deb", "--show", "--showformat", "${Package}\n${Version}", path)
        name, version = said.split("\n")
        package = cls(path, name, version, path.stat().st_size)
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar,
        ):
            for member in tar:
                package.add(tar, member)
        return package

    @property
    def is_debug(self) -> bool:
        """Whether it has debug symbols, and nothing that runs."""
        return _DEBUG.search(self.name) is not None

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Add one of the package's files."""
        path = _MERGED.sub(r"/usr/\1/", f"/{member.name.removeprefix('./')}")
        if member.isdir() or path.startswith(_BUILD_ID):
            return
        self.files.add(path)
        content = tar.extractfile(member) if member.isreg() and _LIBRARY.search(path) else None
        if content and not self.is_debug:
            with tempfile.NamedTemporaryFile() as library:
                while block := content.read(1 << 20):
                    library.write(block)
                library.flush()
                done = subprocess.run(
                    ["nm", "--dynamic", "--defined-only", "--format=posix", library.name],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                )
            self.symbols[path] = set(_SYMBOL.findall(done.stdout))

    def neutral(self, text: str) -> str:
        """The text with a word in place of this version."""
        upstream = self.version.rpartition(":")[2].rpartition("-")[0] or self.version
        return text.replace(self.version, "VERSION").replace(upstream, "VERSION")

    def forms(self, path: str) -> tuple[str, str]:
        """What the path is in another version: with a word for the version, or with numbers that stay."""
        return self.neutral(path), path


@dataclass
class Look:
    """The new packages and the published ones."""

    new: list[Package]
    old: list[Package]
    percent: int
    notes: list[str] = field(default_factory=list)

    def all(self, off: Collection[str]) -> list[str]:
        """The notes of all gates that are not ``off``."""
        gates = {
            "lintian": self.lintian,
            "files": self.files,
            "symbols": self.symbols,
            "sizes": self.sizes,
        }
        for name, find in gates.items():
            if name in off:
                continue
            if not self.old:
                self.notes.append(f"skipped\t{name}\tnothing is published yet to compare with")
                continue
            found = [f"found\t{name}\t{words}" for words in find()]
            self.notes += found or [f"passed\t{name}\tcompared with {self.old[0].version}"]
        return self.notes

    def files(self) -> Iterator[str]:
        """Files that no new package has."""
        there = {form for package in self.new for path in package.files for form in package.forms(path)}
        for package in self.old:
            for path in sorted(package.files):
                if there.isdisjoint(package.forms(path)):
                    yield f"{package.name}: {path} is gone, which {package.version} has"

    def symbols(self) -> Iterator[str]:
        """Symbols that a library had."""
        new = {
            form: symbols
            for package in self.new
            for path, symbols in package.symbols.items()
            for form in package.forms(path)
        }
        for package in self.old:
            for path, symbols in sorted(package.symbols.items()):
                now = next((new[form] for form in package.forms(path) if form in new), symbols)
                if lost := sorted(symbols - now):
                    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
                    yield f"{package.name}: {path} has no {', '.join(lost[:3])}{more} any more"

    def sizes(self) -> Iterator[str]:
        """Packages whose size jumped."""
        old = {package.name: package for package in self.old}
        for package in self.new:
            if (before := old.get(package.name)) and before.size:
                change = package.size - before.size
                percent = round(100 * change / before.size)
                if abs(percent) > self.percent and abs(change) >= LEAST_JUMP:
                    yield (
                        f"{package.name}: {package.size:,} bytes, {percent:+} %: {before.version} has "
                        f"{before.size:,}, and more than {self.percent} % is a jump"
                    )

    def lintian(self) -> Iterator[str]:
        """Errors and warnings that the published packages do not have."""
        try:
            found = _lint(self.new)
            # A build without any needs no comparison, which takes as long again.
            before = {tag for tags in _lint(self.old).values() for tag in tags} if found else set()
        except NoTags as error:
            yield str(error)
            return
        for package in self.new:
            for tag in sorted(set(found.get(str(package.path), ())) - before):
                yield f"{tag}, which {self.old[0].version} has not"


class NoTags(Exception):
    """lintian said nothing that can be read. The message says how it ended."""


def _lint(packages: Iterable[Package]) -> dict[str, list[str]]:
    """What lintian says of each package, as ``read_tags`` has it. Raises NoTags."""
    linted = [package for package in packages if not package.is_debug]
    options = [
        "--allow-root",
        "--no-cfg",
        "--no-user-dirs",
        "--exp-output=format=json",
        "--profile=debian",
        # Where Debian 12's debhelper puts units. This lintian is of a newer Debian.
        "--suppress-tags=aliased-location",
    ]
    done = subprocess.run(
        ["lintian", *options, *(package.path for package in linted)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    print(done.stderr, end="", flush=True)
    try:
        return read_tags(json.loads(done.stdout), linted)
    except (ValueError, KeyError, TypeError):
        raise NoTags(
            f"lintian could not be run: it ended with exit status {done.returncode}, and no result"
        ) from None


def read_tags(said: Any, packages: Iterable[Package]) -> dict[str, list[str]]:
    """What lintian says of each package, by its path: errors and warnings that are not overridden."""
    by_path = {str(package.path): package for package in packages}
    found: dict[str, list[str]] = {}
    for group in said["groups"]:
        for file in group["input_files"]:
            package = by_path[file["path"]]
            for hint in file["hints"]:
                if hint["visibility"] not in ("error", "warning") or hint.get("override"):
                    continue
                item = hint.get("pointer", {}).get("item", {}).get("name", "")
                words = (f"{package.name}:", hint["visibility"], hint["tag"], hint.get("note", ""), item)
                text = package.neutral(" ".join(filter(None, words)))
                found.setdefault(file["path"], []).append(text.replace(package.path.name, package.name))
    return found


def look(names: Path, built: Path, published: Path, percent: int, off: Collection[str]) -> list[str]:
    """The notes on the packages in ``built`` whose file names are in ``names``."""
    new = [Package.read(built / name) for name in names.read_text().splitlines()]
    return Look(new, [Package.read(path) for path in sorted(published.glob("*deb"))], percent).all(off)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
