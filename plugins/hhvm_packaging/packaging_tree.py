"""The packaging files as a build container sees them: where links lead, and which files there are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOUNT = "/opt/hhvm-packaging"
"""Where a build container has the packaging files. Absolute links in distros/ point there."""
DISTROS = "distros"
_PARTS = ("bin", DISTROS)
"""What is directly under MOUNT. Beside them, each directory of distros/ has a link to it."""

MOST_FILES, MOST_BYTES, DEEPEST = 20_000, 64 << 20, 32
"""What packaging files have at most: files, bytes of all of them, directories above a file."""

_MOST_LINKS = 40
"""As many as Linux follows."""
_PLAIN = re.compile(r"[!-~]+")


class Unusable(PackagingError):
    """A path does not lead to what it should. The message says which path, and why."""


class Absent(Unusable):
    """There is nothing at the path."""


@dataclass(frozen=True)
class PackagingTree:
    """The packaging files under ``root``. Paths are relative to it and have slashes."""

    root: Path
    most_files: int = 5_000
    """More than that under one directory are refused: links can multiply without end."""

    def directories(self) -> list[str]:
        """The names of the directories in distros/, without links."""
        top = self.root / DISTROS
        entries = top.iterdir() if top.is_dir() else ()
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.is_symlink())

    def resolve(self, path: str) -> Path:
        """Where ``path`` leads in a build container. The result has no links.

        Raises Absent if nothing is there; Unusable, which names the link and its target, for a link that
        leads nowhere, out of the packaging files or around in a circle.
        """
        return _Way(self, path).end()

    def files(self, path: str) -> Iterator[tuple[str, Path]]:
        """Every file under the directory ``path``, links followed: its path there, and the file itself.

        Raises Unusable as ``resolve`` does, and for what is neither a file nor a directory.
        """
        size = 0
        for number, (name, file) in enumerate(self._walk(path, "", ())):
            if number == self.most_files:
                raise Unusable(f"{show(path)} has more than {self.most_files:,} files")
            size += file.stat().st_size
            if size > MOST_BYTES:
                raise Unusable(f"{show(path)} has files of more than {MOST_BYTES:,} bytes")
            yield name, file

    def _walk(self, path: str, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
        directory = self.resolve(path)
        if len(above) > DEEPEST:
            raise Unusable(f"{show(path)} is more than {DEEPEST} directories deep")
        if directory in above:
            raise Unusable(f"{show(path)} leads around in a circle, to a directory above it")
        inside = directory.relative_to(self.root)
        for name in sorted(entry.name for entry in directory.iterdir()):
            entry = self.resolve(f"{inside}/{name}")
            if entry.is_dir():
                yield from self._walk(f"{inside}/{name}", f"{prefix}{name}/", (*above, directory))
            elif entry.is_file():
                yield f"{prefix}{name}", entry
            else:
                raise Unusable(f"{show(f'{inside}/{name}')} is neither a file nor a directory")


class _Link(NamedTuple):
    path: str
    target: str
    left: int
    """How many parts of the way are left once its target is reached."""


class _Way:
    """The way along a path, as Linux goes it."""

    def __init__(self, tree: PackagingTree, path: str) -> None:
        self.tree = tree
        self.path = path
        self.at: list[str] = []
        self.rest = path.split("/")[::-1]
        self.links: list[_Link] = []
        """Those whose targets are not reached yet."""
        self.followed = 0

    def end(self) -> Path:
        while self.rest:
            part = self.rest.pop()
            while self.links and len(self.rest) < self.links[-1].left:
                self.links.pop()
            if part in ("", "."):
                continue
            if part == "..":
                self._go_up()
            elif not self.at and part not in _PARTS:
                self._go_to_shortcut(part)
            else:
                self._go_into(part)
        return self.tree.root.joinpath(*self.at)

    def _go_up(self) -> None:
        if not self.at:
            raise self._fault("which leads out of the packaging files")
        self.at.pop()

    def _go_to_shortcut(self, part: str) -> None:
        if part not in self.tree.directories():
            raise self._fault("which is not there")
        self.rest += [part, DISTROS]

    def _go_into(self, part: str) -> None:
        here = self.tree.root.joinpath(*self.at, part)
        if here.is_symlink():
            self._follow(here, part)
        elif not here.exists() or (self.rest and not here.is_dir()):
            raise self._fault("which is not there")
        else:
            self.at.append(part)

    def _follow(self, here: Path, part: str) -> None:
        # As it is written: Path drops the slash at its end, which says that it is a directory.
        target = os.readlink(here)  # ruff: ignore[os-readlink]
        self.links.append(_Link("/".join([*self.at, part]), target, len(self.rest)))
        self.followed += 1
        if self.followed > _MOST_LINKS:
            raise self._fault("which leads around in a circle")
        if target.startswith("/"):
            if not f"{target}/".startswith(f"{MOUNT}/"):
                raise self._fault("which leads out of the packaging files")
            self.at.clear()
            target = target.removeprefix(MOUNT)
        self.rest += reversed(target.split("/"))

    def _fault(self, fault: str) -> Unusable:
        if self.links:
            return Unusable(
                f"{show(self.links[-1].path)} is a link to {show(self.links[-1].target)}, {fault}"
            )
        return Absent(f"{show(self.path)} is missing")


def show(text: str) -> str:
    """The text for a message: as it is, or with all that is not plain ASCII escaped, shortened if long."""
    if len(text) > 200:
        text = f"{text[:200]}..."
    return text if _PLAIN.fullmatch(text) else ascii(text)
