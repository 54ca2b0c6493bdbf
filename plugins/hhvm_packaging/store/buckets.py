"""S3 by whole objects: reading, writing and copying them."""

from __future__ import annotations

import json
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.settings import Settings

CACHE_BRIEFLY = "public, max-age=60"
"""Cache-Control of what the next publish rewrites."""
CACHE_FOREVER = "public, max-age=31536000, immutable"
"""Cache-Control of what never changes under its name: pool and by-hash files."""


class Conflict(Exception):
    """Somebody else wrote the object between our read and our write; nothing was overwritten."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}; nothing was overwritten. Run it again: it will include the other publisher's change."
        )


@dataclass(frozen=True)
class Head:
    """What S3 tells of an object without sending it."""

    size: int
    etag: str
    sha256: str | None
    """From the object's metadata, where the writer left it and the store keeps it."""

    def holds(self, *, size: int, sha256: str, md5: str) -> bool:
        """Whether the object has these bytes, by its recorded SHA-256 or else by its MD5 ETag."""
        if self.size != size:
            return False
        return self.sha256 == sha256 if self.sha256 else self.etag == md5


@dataclass(frozen=True)
class Entry:
    """An object as a listing shows it."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """With its time zone."""


class Bucket:
    """One S3 bucket, by whole objects."""

    def __init__(self, s3: S3Client, name: str) -> None:
        self.s3 = s3
        self.name = name

    def head(self, key: str) -> Head | None:
        """The object's size and digests, or None where there is no such object."""
        try:
            answer = self.s3.head_object(Bucket=self.name, Key=key)
        except self.s3.exceptions.ClientError as error:
            if not _is_absent(error):
                raise
            return None
        return Head(answer["ContentLength"], answer["ETag"].strip('"'), answer["Metadata"].get("sha256"))

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is no such object."""
        content, _ = self.get_with_etag(key)
        return content

    def get_from(self, key: str, start: int) -> bytes:
        """The object's bytes from ``start`` on; empty where there are none, or no such object."""
        try:
            answer = self.s3.get_object(Bucket=self.name, Key=key, Range=f"bytes={start}-")
        except self.s3.exceptions.ClientError as error:
            if not _is_absent(error) and _status(error) != _NOTHING_THERE:
                raise
            return b""
        return answer["Body"].read()

    def get_with_etag(self, key: str) -> tuple[bytes | None, str | None]:
        """The object's bytes and its ETag for a later conditional write; both None where it is absent."""
        try:
            answer = self.s3.get_object(Bucket=self.name, Key=key)
        except self.s3.exceptions.ClientError as error:
            if not _is_absent(error):
                raise
            return None, None
        return answer["Body"].read(), answer["ETag"]

    def put(
        self,
        key: str,
        content: bytes,
        content_type: str = "application/octet-stream",
        *,
        cache: str | None = None,
    ) -> None:
        """Write the object, whatever was there. ``cache`` is its Cache-Control."""
        self.s3.put_object(
            Bucket=self.name, Key=key, Body=content, ContentType=content_type, **_cache_control(cache)
        )

    def download(self, key: str, path: Path) -> None:
        """Write the object's bytes to the file ``path``."""
        from botocore.exceptions import BotoCoreError

        answer = self.s3.get_object(Bucket=self.name, Key=key)
        # Large files in pieces at once, those that break off again: two requests and threads more.
        with closing(answer["Body"]) as body, suppress(BotoCoreError):
            if answer["ContentLength"] <= _IN_ONE_PIECE:
                path.write_bytes(body.read())
                return
        self.s3.download_file(self.name, key, str(path))

    def upload(self, path: Path, key: str, *, content_type: str, sha256: str) -> None:
        """Write the file's bytes to the object, recording their SHA-256."""
        extra = {"ContentType": content_type, "Metadata": {"sha256": sha256}}
        self.s3.upload_file(str(path), self.name, key, ExtraArgs=extra)

    def replace(
        self, key: str, content: bytes, content_type: str, *, etag: str | None, cache: str | None = None
    ) -> str:
        """Write the object only if it is still as read: ``etag``, or absent for None. Returns its new ETag.

        Raises Conflict if it is not, on a store that supports conditional writes; others ignore the
        condition, so see apt/lock.py.
        """
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        condition |= _cache_control(cache)
        try:
            answer = self.s3.put_object(
                Bucket=self.name, Key=key, Body=content, ContentType=content_type, **condition
            )
            return answer["ETag"]
        except self.s3.exceptions.ClientError as error:
            if _status(error) not in _CONDITION_FAILED:
                raise
            # An answer that was lost makes the client send the same again, which then meets itself.
            there, etag = self.get_with_etag(key)
            if there != content or etag is None:
                raise Conflict(f"s3://{self.name}/{key} was changed by another publisher") from error
            return etag

    def supports_conditional_writes(self) -> bool:
        """Whether the store heeds the conditions of writes.

        Once per process that is asked, by a condition that cannot hold.
        """
        store = self.s3.meta.endpoint_url
        with _ASKING:
            if store not in _HEEDING:
                _HEEDING[store] = self._refuses()
            return _HEEDING[store]

    def _refuses(self) -> bool:
        try:
            self.s3.put_object(
                Bucket=self.name, Key=keys.CONDITIONAL_WRITES, Body=b"", IfMatch=f'"{"0" * 32}"'
            )
        except self.s3.exceptions.ClientError as error:
            if _status(error) not in (*_CONDITION_FAILED, _NOT_IMPLEMENTED):
                raise
            return _status(error) != _NOT_IMPLEMENTED
        return False

    def copy_from(
        self,
        source: Bucket,
        source_key: str,
        key: str,
        *,
        content_type: str,
        sha256: str | None = None,
        cache: str | None = None,
    ) -> None:
        """Copy an object inside the store, recording its SHA-256 if given; no bytes pass through here."""
        self.s3.copy_object(
            Bucket=self.name,
            Key=key,
            CopySource={"Bucket": source.name, "Key": source_key},
            ContentType=content_type,
            Metadata={"sha256": sha256} if sha256 else {},
            MetadataDirective="REPLACE",
            **_cache_control(cache),
        )

    def get_json(self, key: str) -> dict[str, Any] | None:
        """The object as JSON, or None where there is no such object."""
        content = self.get(key)
        return None if content is None else json.loads(content)

    def put_json(self, key: str, content: Mapping[str, Any]) -> None:
        """Write the object as JSON that a person can read."""
        self.put(key, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n", "application/json")

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""
        self.s3.delete_object(Bucket=self.name, Key=key)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All objects under ``prefix``, in the order of their keys."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield Entry(entry["Key"], entry["Size"], entry["LastModified"])

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys under ``prefix``, in order."""
        return (entry.key for entry in self.entries(prefix))

    def directories(self, prefix: str) -> Iterator[str]:
        """The names of the directories right under ``prefix``; what they hold is not listed."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, Delimiter="/"
        )
        for page in pages:
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"][len(prefix) : -1]


_IN_ONE_PIECE = 8 << 20
"""Bytes."""
_CONDITION_FAILED = (404, 409, 412)
"""As S3 has them: the object is gone, is being written, or is another one."""
_NOTHING_THERE = 416
_NOT_IMPLEMENTED = 501
_HEEDING: dict[str, bool] = {}
"""By the store's address."""
_ASKING = threading.Lock()


def _is_absent(error: ClientError) -> bool:
    # By its code: its class is another one where two threads meet a client's first errors at once.
    return error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound")


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _cache_control(value: str | None) -> dict[str, Any]:
    return {} if value is None else {"CacheControl": value}


class Store:
    """The two buckets."""

    def __init__(self, s3: S3Client, settings: Settings) -> None:
        self.scratch = Bucket(s3, settings.scratch_bucket)
        self.downloads = Bucket(s3, settings.downloads_bucket)
