"""Directory listings of the downloads bucket, for people.

A listing is also the record of its directory: a publish reads it, replaces the rows of the files that it
changed, and writes it back. So its cost follows the change. ``rebuild`` makes all of them anew from what the
bucket has.
"""

from __future__ import annotations

import html
import logging
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY, Conflict
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import Downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hhvm_packaging.apt.undo import Notice
    from hhvm_packaging.store.buckets import Bucket, Content, Entry, Head

log = logging.getLogger(__name__)

PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""The templates of everything that people read in the downloads bucket."""

HTML = "text/html; charset=utf-8"
_TRIES = 5
"""How often a listing is written that another publisher changes at the same time."""

_SAME_TIME = timedelta(seconds=2)
"""Up to this, two times of an object are the same: a store's answers differ, and have fractions or not."""

# As listing.html writes a row.
_ROW = re.compile(
    r'<tr><td class="name"><a href="[^"]*">(?P<name>[^<]*)</a>(?:<code>(?P<sha256>[0-9a-f]{64})</code>)?</td>'
    r'<td class="size">(?:<data value="(?P<size>[0-9]+)">[^<]*</data>)?</td>'
    r'<td class="date"><time datetime="(?P<modified>[^"]+)">[^<]*</time></td></tr>'
)
_TIME = "<time "


@dataclass(frozen=True)
class Row:
    """One row of a listing."""

    name: str
    """A directory's name ends with a slash."""
    size: int | None
    """Bytes; None for a directory."""
    modified: datetime
    """For a directory, that of the newest file under it."""
    sha256: str = ""
    """In hexadecimal; empty for a directory, and where it is not known."""


@dataclass(frozen=True)
class Updated:
    """The keys of the pages that changed."""

    written: tuple[str, ...]
    removed: tuple[str, ...] = ()

    def and_written(self, written: Iterable[str]) -> Updated:
        """Return this with further pages that were written."""
        return Updated((*self.written, *written), self.removed)

    def __str__(self) -> str:
        """Return the numbers of pages, for people."""
        return f"{len(self.written)} pages written, {len(self.removed)} removed"


def update(
    downloads: Bucket,
    changed: Mapping[str, Content | None],
    read_notice: Callable[[Suite], Notice | None] = undo.read_notice,
    *,
    at_once: int = 1,
) -> Updated:
    """Write the listings of the directories of files that may have changed, and of their parents.

    ``changed`` has the key of each file, with its size and SHA-256 where an index names it; None where none
    does. A file that is not there is removed from its listing. Nothing of the bucket is listed but a
    directory that has no listing yet. Raises Conflict.
    """
    shown = [key for key in changed if _directory(key) and _is_shown(key)]
    heads = run_all((partial(downloads.head, key) for key in shown), at_once=at_once)
    changes: dict[str, dict[str, Row | None]] = defaultdict(dict)
    for key, head in zip(shown, heads, strict=True):
        directory, name = _split(key)
        row = _row(name, head, changed[key]) if head else None
        changes[directory][name] = row
        if row:
            _date_parents(changes, directory, row.modified)
    written: list[str] = []
    # A directory comes before its parents: no page links to one that is not there.
    for depth in sorted({directory.count("/") for directory in changes}, reverse=True):
        level = [directory for directory in changes if directory.count("/") == depth]
        updates = (partial(_update, downloads, each, changes[each], read_notice) for each in level)
        found = zip(level, run_all(updates, at_once=at_once), strict=True)
        written += [keys.listing(directory) for directory, is_written in found if is_written]
    return Updated(tuple(sorted(written)))


def rebuild(
    downloads: Bucket,
    digests: Mapping[str, Content],
    read_notice: Callable[[Suite], Notice | None] = undo.read_notice,
    *,
    at_once: int = 1,
) -> Updated:
    """Write the listings of all our directories that are missing or have changed, by what the bucket has.

    Removes the listings of directories that have no other files. ``digests`` are those of the indices, by
    key; the store is asked for others, unless a listing has them already.
    """
    entries = [entry for top in keys.PUBLIC_DIRECTORIES for entry in downloads.entries(top)]
    there = {entry.key for entry in entries if Downloads.LISTING.match(entry.key)}
    pages = run_all((partial(downloads.get, key) for key in there), at_once=at_once)
    listed = dict(zip(there, pages, strict=True))
    wanted = {directory: rows for directory, rows in tree(entries).items() if directory}
    known = {
        directory: _with_digests(
            directory, rows, parse(listed.get(keys.listing(directory)) or b"") or {}, digests
        )
        for directory, rows in wanted.items()
    }
    _ask_for_digests(downloads, known, at_once)
    written = []
    for directory, rows in known.items():
        key = keys.listing(directory)
        content = render(directory, rows, _notice(downloads, directory, read_notice)).encode()
        if content != listed.get(key):
            downloads.put(key, content, HTML, cache=CACHE_BRIEFLY)
            written.append(key)
    removed = sorted(key for key in there if key.removesuffix(keys.LISTING) not in wanted)
    for key in removed:
        downloads.delete(key)
    return Updated(tuple(written), tuple(removed))


def tree(entries: Iterable[Entry]) -> Mapping[str, Sequence[Row]]:
    """Return the rows of each directory, by its key: empty for the root, else with a slash at the end.

    Directories come before files. Both are sorted by name. Directories named by-hash hold copies for apt and
    are not listed.
    """
    directories: dict[str, dict[str, Row]] = defaultdict(dict, {"": {}})
    for entry in entries:
        *parents, name = entry.key.split("/")
        if not _is_shown(entry.key):
            continue
        path = ""
        for parent in parents:
            rows = directories[path]
            known = rows.get(f"{parent}/")
            modified = max(known.modified, entry.modified) if known else entry.modified
            rows[f"{parent}/"] = Row(f"{parent}/", None, modified)
            path += f"{parent}/"
        directories[path][name] = Row(name, entry.size, entry.modified)
    return {path: _sorted(rows.values()) for path, rows in directories.items()}


def render(directory: str, rows: Sequence[Row], notice: Notice | None = None) -> str:
    """Return the HTML of one directory's listing. It begins with the notice. Times are in UTC."""
    # S3 has fractions of a second in some answers only.
    utc = [replace(row, modified=_second(row.modified)) for row in rows]
    page = PAGES.get_template("listing.html")
    return page.render(title=f"Index of /{directory}", directory=directory, rows=utc, notice=notice)


def parse(page: bytes) -> dict[str, Row] | None:
    """Return the rows of a listing, by name. None if it is not one that ``render`` made."""
    text = page.decode(errors="replace")
    rows = {}
    try:
        for found in _ROW.finditer(text):
            name, size = html.unescape(found["name"]), found["size"]
            modified = datetime.fromisoformat(found["modified"])
            rows[name] = Row(name, int(size) if size else None, modified, found["sha256"] or "")
    except ValueError:
        return None
    return rows if rows and len(rows) == text.count(_TIME) else None


def _is_shown(key: str) -> bool:
    # Some S3 tools mark a directory with an object whose key ends with a slash.
    return not (key.endswith("/") or Downloads.BY_HASH.match(key) or Downloads.LISTING.match(key))


def _split(key: str) -> tuple[str, str]:
    directory, slash, name = key.rpartition("/")
    return directory + slash, name


def _directory(key: str) -> str:
    return _split(key)[0]


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.size is not None, row.name))


def _second(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)


def _row(name: str, head: Head, known: Content | None) -> Row:
    sha256 = head.sha256 or (known.sha256 if known and known.size == head.size else "")
    return Row(name, head.size, head.modified, sha256)


def _date_parents(changes: dict[str, dict[str, Row | None]], directory: str, modified: datetime) -> None:
    """Give the directory's row in its parent, and so on to the top, at least this date."""
    while (parent := _split(directory.removesuffix("/"))[0]) != directory:
        if not parent:
            return
        name = directory.removeprefix(parent)
        row = changes[parent].get(name)
        changes[parent][name] = Row(name, None, max(row.modified, modified) if row else modified)
        directory = parent


def _update(
    downloads: Bucket,
    directory: str,
    changes: Mapping[str, Row | None],
    read_notice: Callable[[Suite], Notice | None],
) -> bool:
    """Replace these rows of a directory's listing. Returns whether it changed."""
    key, notice = keys.listing(directory), _notice(downloads, directory, read_notice)
    for _ in range(_TRIES):
        page, etag = downloads.get_with_etag(key)
        rows = parse(page or b"")
        if rows is None:
            listed = tree(downloads.entries(directory)).get(directory, ())
            rows = {row.name: row for row in listed}
        for name, row in changes.items():
            if row is None:
                rows.pop(name, None)
            elif row.size is None and name in rows:
                rows[name] = replace(row, modified=max(row.modified, rows[name].modified))
            else:
                rows[name] = row
        content = render(directory, _sorted(rows.values()), notice).encode()
        if not rows or content == page:
            return False
        try:
            downloads.replace(key, content, HTML, etag=etag, cache=CACHE_BRIEFLY)
        except Conflict:
            continue
        return True
    raise Conflict(f"s3://{downloads.name}/{key} was changed {_TRIES} times while it was to be written")


def _with_digests(
    directory: str, rows: Iterable[Row], listed: Mapping[str, Row], digests: Mapping[str, Content]
) -> list[Row]:
    """The rows with the digests of the indices; else with those of the listing, if the file is the same."""
    found = []
    for row in rows:
        before, known = listed.get(row.name), digests.get(directory + row.name)
        is_same = before and before.size == row.size and abs(before.modified - row.modified) <= _SAME_TIME
        shown = before if before and is_same else row
        found.append(replace(shown, sha256=known.sha256) if known and known.size == row.size else shown)
    return found


def _ask_for_digests(downloads: Bucket, known: dict[str, list[Row]], at_once: int) -> None:
    """Add the digests that the store computed, where it computes any."""
    missing = [
        (directory, at)
        for directory, rows in known.items()
        for at, row in enumerate(rows)
        if row.size is not None and not row.sha256
    ]
    if not missing or not downloads.computes_checksums():
        return
    looks = (partial(downloads.head, directory + known[directory][at].name) for directory, at in missing)
    for (directory, at), head in zip(missing, run_all(looks, at_once=at_once), strict=True):
        if head and head.sha256 and head.size == known[directory][at].size:
            known[directory][at] = replace(known[directory][at], sha256=head.sha256)


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
