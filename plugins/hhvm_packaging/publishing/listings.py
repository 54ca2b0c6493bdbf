"""Directory listings of the downloads bucket, for people."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY
from hhvm_packaging.store.keys import Downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hhvm_packaging.apt.undo import Notice
    from hhvm_packaging.store.buckets import Bucket, Entry

log = logging.getLogger(__name__)

_TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
).get_template("listing.html")


@dataclass(frozen=True)
class Row:
    """One row of a listing."""

    name: str
    """A directory's name ends with a slash."""
    size: int | None
    """Bytes; None for a directory."""
    modified: datetime
    """For a directory, that of the newest file under it."""


@dataclass(frozen=True)
class Updated:
    """The keys of the listings that changed."""

    written: tuple[str, ...]
    removed: tuple[str, ...]

    def __str__(self) -> str:
        """Return the numbers of listings, for people."""
        return f"{len(self.written)} listings written, {len(self.removed)} removed"


def update_indices(
    downloads: Bucket, read_notice: Callable[[Suite], Notice | None] = undo.read_notice
) -> Updated:
    """Write the listings of all directories, the root included, that are missing or have changed.

    Removes the listings of directories that have no other files. Directories named by-hash hold copies for
    apt and are not listed. ``read_notice`` reads what users of a suite must know.
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
    """Return the rows of each directory, by its key: empty for the root, else with a slash at the end.

    Directories come before files. Both are sorted by name.
    """
    directories: dict[str, dict[str, Row]] = defaultdict(dict, {"": {}})
    for entry in entries:
        *parents, name = entry.key.split("/")
        # Some S3 tools mark a directory with an object whose key ends with a slash.
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
    """Return the HTML of one directory's listing. It begins with the notice. Times are in UTC."""
    utc = [Row(row.name, row.size, row.modified.astimezone(UTC)) for row in rows]
    return _TEMPLATE.render(title=f"Index of /{directory}", directory=directory, rows=utc, notice=notice)


def _notice(
    downloads: Bucket, directory: str, read_notice: Callable[[Suite], Notice | None]
) -> Notice | None:
    suite = keys.suite_of(directory)
    if not suite:
        return None
    try:
        return read_notice(Suite(downloads, downloads, *suite))
    except PackagingError as error:
        log.warning(
            "s3://%s/%s: its listing says of no package that it is withdrawn: %s",
            downloads.name,
            directory,
            error,
        )
        return None
