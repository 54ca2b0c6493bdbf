"""Directory listings of the downloads bucket, for people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY
from hhvm_packaging.store.keys import Downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hhvm_packaging.apt.undo import Notice
    from hhvm_packaging.store.buckets import Bucket, Entry

_TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
).get_template("listing.html")


@dataclass(frozen=True)
class Row:
    """One line of a listing."""

    name: str
    """A directory's with a trailing slash."""
    size: int | None
    """Bytes; None for a directory."""
    modified: datetime
    """A directory's is that of the newest file under it."""


@dataclass(frozen=True)
class Updated:
    """Keys of the listings that a run changed."""

    written: tuple[str, ...]
    removed: tuple[str, ...]

    def __str__(self) -> str:
        """How many, for people."""
        return f"{len(self.written)} listings written, {len(self.removed)} removed"


def update_indices(
    downloads: Bucket, read_notice: Callable[[Suite], Notice | None] = undo.read_notice
) -> Updated:
    """Bring the listing of each directory up to date, the root's too; unchanged ones are left alone.

    ``read_notice`` reads what users of a suite must know.

    A listing whose directory has nothing else any more is removed. Directories named by-hash hold
    copies for apt and are not listed.
    """
    entries = list(downloads.entries())
    wanted = {
        keys.listing(directory): render(directory, rows, _notice(downloads, directory, read_notice)).encode()
        for directory, rows in tree(entries).items()
    }
    written = [key for key, content in wanted.items() if downloads.get(key) != content]
    for key in written:
        downloads.put(key, wanted[key], "text/html; charset=utf-8", cache=CACHE_BRIEFLY)
    removed = [
        entry.key for entry in entries if Downloads.LISTING.match(entry.key) and entry.key not in wanted
    ]
    for key in removed:
        downloads.delete(key)
    return Updated(tuple(written), tuple(removed))


def tree(entries: Iterable[Entry]) -> Mapping[str, Sequence[Row]]:
    """The rows of each directory, by its key, which is empty for the root or ends with a slash.

    Directories come before files, each in the order of their names.
    """
    directories: dict[str, dict[str, Row]] = defaultdict(dict, {"": {}})
    for entry in entries:
        *parents, name = entry.key.split("/")
        # An empty name is the marker that some S3 tools leave for a directory.
        if not name or Downloads.BY_HASH.match(entry.key) or Downloads.LISTING.match(entry.key):
            continue
        path = ""
        for parent in parents:
            rows = directories[path]
            known = rows.get(f"{parent}/")
            modified = max(known.modified, entry.modified) if known else entry.modified
            rows[f"{parent}/"] = Row(f"{parent}/", None, modified)
            path += f"{parent}/"
        directories[path][name] = Row(name, entry.size, entry.modified)
    return {
        path: sorted(rows.values(), key=lambda row: (row.size is not None, row.name))
        for path, rows in directories.items()
    }


def render(directory: str, rows: Sequence[Row], notice: Notice | None = None) -> str:
    """The page of one directory, beginning with what its users are to be told; times in UTC."""
    utc = [Row(row.name, row.size, row.modified.astimezone(UTC)) for row in rows]
    return _TEMPLATE.render(title=f"Index of /{directory}", directory=directory, rows=utc, notice=notice)


def _notice(
    downloads: Bucket, directory: str, read_notice: Callable[[Suite], Notice | None]
) -> Notice | None:
    suite = keys.suite_of(directory)
    return read_notice(Suite(downloads, downloads, *suite)) if suite else None
