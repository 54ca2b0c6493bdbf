"""The pool: the files that indices name. A file of the pool never changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import AlreadyPublished
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_FOREVER
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hhvm_packaging.store.buckets import Bucket, Head
    from hhvm_packaging.workers.job import Artifact

_CONTENT_TYPES = {
    ".buildinfo": "text/plain; charset=utf-8",
    ".deb": "application/vnd.debian.binary-package",
    ".ddeb": "application/vnd.debian.binary-package",
    ".dsc": "text/plain; charset=utf-8",
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
}


class Unpublishable(PackagingError):
    """A package is not what its name or its manifest says. The message names the file and the suite."""


@dataclass(frozen=True)
class PoolFile:
    """A file that the pool must have, and where its build left it."""

    artifact: Artifact
    key: str
    """In scratch."""
    pool_key: str
    """In downloads."""
    built: Head | None = None
    """What scratch has there, once that was checked."""

    def check_published(self, head: Head, downloads: Bucket, where: str) -> None:
        """Check that the pool's file of that name, which ``head`` describes, has the same bytes.

        Raises AlreadyPublished.
        """
        artifact = self.artifact
        if not downloads.holds(self.pool_key, head, artifact):
            raise AlreadyPublished(
                f"{where}: s3://{downloads.name}/{self.pool_key} is published with {head.size} bytes, "
                f"SHA-256 {head.sha256 or 'unknown'}, ETag {head.etag}, but this one has {artifact.size} "
                f"bytes, SHA-256 {artifact.sha256}. What is published is immutable: publish another version. "
                "If an index names the SHA-256 of this one, the file in the pool is damaged: "
                "docs/operating.md, Damaged objects"
            )

    def checked(self, head: Head) -> PoolFile:
        """The same file, whose bytes in scratch, which ``head`` describes, were checked."""
        return replace(self, built=head)

    def not_built(self, head: Head | None, scratch: Bucket, where: str) -> Unpublishable:
        """Scratch has not these bytes; ``head`` describes what it has."""
        state = "is missing" if head is None else f"has other bytes (ETag {head.etag})"
        return Unpublishable(
            f"{where}: {self.artifact.name}: s3://{scratch.name}/{self.key} {state}: build it again"
        )

    def check_built(self, scratch: Bucket, where: str) -> PoolFile:
        """Check that scratch has these bytes, unless that was checked before. Raises Unpublishable."""
        if self.built:
            return self
        head = scratch.head(self.key)
        if head is None or not scratch.holds(self.key, head, self.artifact):
            raise self.not_built(head, scratch, where)
        return self.checked(head)

    def copy(self, scratch: Bucket, downloads: Bucket) -> None:
        """Copy the file into the pool, inside the store, and compare what is there then with the index.

        Raises buckets.Changed if scratch has other bytes by now; Unpublishable if the pool got other bytes.
        """
        suffix = f".{self.artifact.name.rpartition('.')[2]}"
        downloads.copy_from(
            scratch,
            self.key,
            self.pool_key,
            content_type=_CONTENT_TYPES.get(suffix, "application/octet-stream"),
            cache=CACHE_FOREVER,
            checked=self.built,
        )
        head = downloads.head(self.pool_key)
        if head is None or not downloads.holds(self.pool_key, head, self.artifact):
            raise Unpublishable(
                f"{self.artifact.name}: s3://{downloads.name}/{self.pool_key} is not what was checked in "
                f"s3://{scratch.name}/{self.key}: it was exchanged meanwhile. No index names it yet. Delete "
                "it, find out who wrote to the store, build it again and publish it again"
            )


def list_lost(files: Iterable[tuple[str, int]], repository: str, downloads: Bucket) -> list[str]:
    """The keys of those files that the pool has not with that size, sorted.

    ``files`` are as State.files has them.
    """
    named = {keys.in_repository(repository, path): size for path, size in files}
    directories = {f"{key.rpartition('/')[0]}/" for key in named}
    there = {entry.key: entry.size for prefix in directories for entry in downloads.entries(prefix)}
    return sorted(key for key, size in named.items() if there.get(key) != size)


def find_missing(
    files: Sequence[PoolFile], scratch: Bucket, downloads: Bucket, where: str, *, at_once: int
) -> list[PoolFile]:
    """Those of the files that the pool lacks. Each of them was checked in scratch.

    ``where`` begins the messages. Raises AlreadyPublished if the pool has one with other bytes;
    Unpublishable if scratch has not the bytes of one that the pool lacks.
    """

    def look(file: PoolFile) -> PoolFile | None:
        if in_pool := downloads.head(file.pool_key):
            file.check_published(in_pool, downloads, where)
            return None
        return file.check_built(scratch, where)

    found = run_all((partial(look, file) for file in files), at_once=at_once)
    return [file for file in found if file]
