"""S3 buckets: whole objects are read, written and copied."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

    from hhvm_packaging.settings import Settings

M = TypeVar("M", bound=BaseModel)

CACHE_BRIEFLY = "public, max-age=60"
"""Cache-Control of objects that the next publish replaces."""
ONE_REQUEST = 5 * 1024**3
"""The size in bytes above which S3 neither writes nor copies an object in one request."""
PART_SIZE = 512 * 1024**2
"""The size in bytes of the parts in which larger objects are copied."""
CACHE_FOREVER = "public, max-age=31536000, immutable"
"""Cache-Control of objects that never change: pool and by-hash files."""


class Conflict(Exception):
    """Another publisher changed the object between our read and our write. Nothing was overwritten."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}; nothing was overwritten. Run it again: it will include the other publisher's change."
        )


class NoConditionalWrites(PackagingError):
    """The store would let publishers on several machines overwrite each other's changes."""

    def __init__(self, store: str) -> None:
        super().__init__(
            f"The store at {store} does not support conditional writes, so publishers on several machines "
            "would overwrite each other's changes. Use a store that does, such as Amazon S3; or publish from "
            "one machine only, and set several_hosts to false"
        )


class DamagedObject(PackagingError):
    """An object of the store is not what it should be. The message has bucket, key and what is wrong."""

    def __init__(self, bucket: str, key: str, what: str) -> None:
        super().__init__(
            f"s3://{bucket}/{key} is damaged: {what}. docs/operating.md, Damaged objects, says how to mend it"
        )


class Changed(PackagingError):
    """An object is no longer the one that was checked. It was not copied."""


@dataclass(frozen=True)
class Head:
    """The metadata of an object."""

    size: int
    """Bytes."""
    etag: str
    """Without quotes. It identifies these bytes for requests that have it as a condition."""
    sha256: str | None
    """In hexadecimal, if the store itself computed it over all bytes. None if it did not.

    What an uploader says of an object, in its metadata for instance, is never here.
    """
    modified: datetime
    """When it was last written; with a time zone."""


class Content(Protocol):
    """What identifies the bytes of a file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """In hexadecimal."""


@dataclass(frozen=True)
class Entry:
    """An object in a listing of a bucket."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """When it was last written; with a time zone."""


class Bucket:
    """One S3 bucket. Its methods raise botocore's ClientError unless they say otherwise.

    ``several_hosts``: machines that share no lock write to it. ``private`` is a bucket of the same store in
    which nobody sees what is written to find out what the store does; by default this one.
    """

    def __init__(
        self, s3: S3Client, name: str, *, several_hosts: bool = False, private: Bucket | None = None
    ) -> None:
        self.s3 = s3
        self.name = name
        self.several_hosts = several_hosts
        self.one_request = ONE_REQUEST
        self.part_size = PART_SIZE
        self._private = private
        self._computes_checksums: bool | None = None
        """None until it is known."""
        self._conditional_writes: bool | None = None
        """None until it is known."""
        self._probing = threading.Lock()

    def head(self, key: str) -> Head | None:
        """Return the object's size and digests; None if there is no such object."""
        try:
            answer = self.s3.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except self.s3.exceptions.ClientError as error:
            if not _is_absent(error):
                raise
            return None
        return Head(
            answer["ContentLength"],
            answer["ETag"].strip('"'),
            self._attested(answer),
            answer["LastModified"],
        )

    def holds(self, key: str, head: Head, content: Content) -> bool:
        """Whether the object, which ``head`` describes, has these bytes.

        By the SHA-256 that the store computed. Without one, for instance for an object that was uploaded in
        parts, its bytes are read. An ETag proves nothing: whoever makes two files with the same MD5 can
        exchange them.
        """
        if head.size != content.size:
            return False
        return (head.sha256 or self._sha256(key, head)) == content.sha256

    def _attested(self, answer: Mapping[str, Any]) -> str | None:
        """The SHA-256 of all bytes in the store's answer, in hexadecimal, if the store computed it itself."""
        checksum = answer.get("ChecksumSHA256")
        # That of an object in parts, whose ETag has their number, is a digest of their digests.
        if checksum is None or "-" in checksum + answer["ETag"] or not self.computes_checksums():
            return None
        return base64.b64decode(checksum).hex()

    def computes_checksums(self) -> bool:
        """Whether the store computes the checksums that it reports. Only the first call asks it.

        Some keep what the uploader said: it would prove nothing.
        """
        if self._private is not None:
            return self._private.computes_checksums()
        with self._probing:
            if self._computes_checksums is None:
                self._computes_checksums = self._probe_checksums()
            return self._computes_checksums

    def _probe_checksums(self) -> bool:
        """Write an object with a checksum that is not its own."""
        try:
            self.s3.put_object(
                Bucket=self.name,
                Key=keys.CHECKSUMS,
                Body=b"",
                **_checksum(hashlib.sha256(b"wrong").hexdigest()),
            )
        except self.s3.exceptions.ClientError as error:
            if _status(error) not in (_BAD_REQUEST, _NOT_IMPLEMENTED):
                raise
            return _status(error) == _BAD_REQUEST
        return False

    def _sha256(self, key: str, head: Head) -> str:
        """The SHA-256 of the object's bytes, in hexadecimal; empty if it has changed."""
        digest = hashlib.sha256()
        try:
            answer = self.s3.get_object(Bucket=self.name, Key=key, IfMatch=f'"{head.etag}"')
        except self.s3.exceptions.ClientError as error:
            if _status(error) not in _CONDITION_FAILED:
                raise
            return ""
        for chunk in answer["Body"].iter_chunks(1024**2):
            digest.update(chunk)
        return digest.hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None if there is no such object."""
        content, _ = self.get_with_etag(key)
        return content

    def get_start(self, key: str, head: Head, size: int) -> bytes:
        """Return up to ``size`` first bytes of the object that ``head`` describes.

        Raises Changed if it is another object by now.
        """
        answer = None
        try:
            answer = self.s3.get_object(
                Bucket=self.name, Key=key, Range=f"bytes=0-{size - 1}", IfMatch=f'"{head.etag}"'
            )
        except self.s3.exceptions.ClientError as error:
            if _status(error) == _RANGE_NOT_SATISFIABLE:
                return b""
            if _status(error) not in _CONDITION_FAILED:
                raise
        # Some stores ignore the condition.
        if answer is None or answer["ETag"].strip('"') != head.etag:
            raise Changed(f"s3://{self.name}/{key} was changed while it was checked. Run it again")
        return answer["Body"].read()

    def get_from(self, key: str, start: int, limit: int | None = None) -> bytes:
        """Return the object's bytes from ``start`` on, ``limit`` at most; none if there are none."""
        end = "" if limit is None else start + limit - 1
        try:
            answer = self.s3.get_object(Bucket=self.name, Key=key, Range=f"bytes={start}-{end}")
        except self.s3.exceptions.ClientError as error:
            if not _is_absent(error) and _status(error) != _RANGE_NOT_SATISFIABLE:
                raise
            return b""
        return answer["Body"].read()

    def get_with_etag(self, key: str) -> tuple[bytes | None, str | None]:
        """Return the object's bytes and its ETag, for ``replace``; both None if there is no such object."""
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
        """Write the object, whether it exists or not. ``cache`` is its Cache-Control."""
        self.s3.put_object(
            Bucket=self.name, Key=key, Body=content, ContentType=content_type, **_cache_control(cache)
        )

    def download(self, key: str, path: Path) -> None:
        """Write the object's bytes to the file ``path``."""
        self.s3.download_file(self.name, key, str(path))

    def digest(self, key: str) -> tuple[int, str, str]:
        """Read the object, and return its size in bytes, its SHA-256 and its MD5."""
        size, digests = 0, (hashlib.sha256(), hashlib.md5(usedforsecurity=False))
        for part in self.s3.get_object(Bucket=self.name, Key=key)["Body"].iter_chunks(1024**2):
            size += len(part)
            for digest in digests:
                digest.update(part)
        sha256, md5 = (digest.hexdigest() for digest in digests)
        return size, sha256, md5

    def upload(self, path: Path | str, key: str, *, content_type: str, sha256: str) -> None:
        """Write the file's bytes to the object. The store checks that they have this SHA-256, and keeps it.

        A file that is too large for one request is written in parts: then it has no such checksum.
        """
        if Path(path).stat().st_size > self.one_request:
            extra = {"ContentType": content_type, "ChecksumAlgorithm": "SHA256"}
            self.s3.upload_file(str(path), self.name, key, ExtraArgs=extra)
            return
        with Path(path).open("rb") as file:
            self.s3.put_object(
                Bucket=self.name, Key=key, Body=file, ContentType=content_type, **_checksum(sha256)
            )

    def replace(
        self, key: str, content: bytes, content_type: str, *, etag: str | None, cache: str | None = None
    ) -> str:
        """Write the object if its ETag is still ``etag`` (None: if it does not exist). Return the new ETag.

        Otherwise raises Conflict, on a store that supports conditional writes. Other stores ignore the
        condition and write the object, so a lock keeps the writers of one machine apart, see apt/lock.py. If
        several machines write, raises NoConditionalWrites instead, and writes nothing.
        """
        if self.several_hosts and not self.supports_conditional_writes():
            raise NoConditionalWrites(self.s3.meta.endpoint_url)
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
            # If the response to a first request was lost, boto3 sends it again, and finds its own write.
            there, etag = self.get_with_etag(key)
            if there != content or etag is None:
                raise Conflict(f"s3://{self.name}/{key} was changed by another publisher") from error
            return etag

    def create(self, key: str, content: bytes, content_type: str) -> bool:
        """Write the object unless it exists. Return whether it was written; if not, it is as it was.

        On a store that does not support conditional writes, a writer that is as fast may write it too. If
        several machines write there, raises NoConditionalWrites, and writes nothing.
        """
        if self.head(key) is not None:
            return False
        try:
            self.replace(key, content, content_type, etag=None)
        except Conflict:
            return False
        return True

    def supports_conditional_writes(self) -> bool:
        """Whether the store refuses a write whose condition does not hold. Only the first call asks it."""
        with self._probing:
            if self._conditional_writes is None:
                self._conditional_writes = self._probe_conditional_writes()
            return self._conditional_writes

    def _probe_conditional_writes(self) -> bool:
        """Write an object on a condition that never holds."""
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
        cache: str | None = None,
        checked: Head | None = None,
    ) -> None:
        """Copy an object inside the store. The store computes the copy's SHA-256.

        ``checked`` is what was checked: where the store compares ETags, nothing else is copied, and Changed
        is raised instead. An object that is too large for one request is copied in parts. It appears when it
        is complete, and a copy that failed or died can be made again.
        """
        extra: dict[str, Any] = {
            "ContentType": content_type,
            "MetadataDirective": "REPLACE",
            "ChecksumAlgorithm": "SHA256",
            **_cache_control(cache),
        }
        if checked:
            extra["CopySourceIfMatch"] = f'"{checked.etag}"'
        where: CopySourceTypeDef = {"Bucket": source.name, "Key": source_key}
        changed = Changed(
            f"s3://{source.name}/{source_key} was changed after it was checked; it is not copied to "
            f"s3://{self.name}/{key}. Run it again: it will be checked again"
        )
        try:
            self.s3.copy_object(Bucket=self.name, Key=key, CopySource=where, **extra)
        except self.s3.exceptions.ClientError as error:
            if _status(error) == _PRECONDITION_FAILED:
                raise changed from error
            # Some stores have no limit. Amazon S3 says InvalidRequest.
            if checked is None or checked.size <= self.one_request or _status(error) != _BAD_REQUEST:
                raise
            if not self._copy_in_parts(where, key, extra):
                raise changed from error

    def _copy_in_parts(self, source: CopySourceTypeDef, key: str, extra: dict[str, Any]) -> bool:
        """Copy all parts of the same object. Returns False if it has another ETag by now."""
        from boto3.s3.transfer import TransferConfig
        from s3transfer.exceptions import S3CopyFailedError

        parts = TransferConfig(multipart_threshold=1, multipart_chunksize=self.part_size)
        try:
            # It removes the parts if one of them fails.
            self.s3.copy(source, self.name, key, ExtraArgs=extra, Config=parts)
        except S3CopyFailedError:
            return False
        except self.s3.exceptions.ClientError as error:
            if _status(error) != _PRECONDITION_FAILED:
                raise
            return False
        return True

    def now(self) -> datetime | None:
        """The time by the store's clock; None if its answers have none."""
        answer = self.s3.list_objects_v2(Bucket=self.name, MaxKeys=1)
        try:
            return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        except (KeyError, ValueError):
            return None

    def get_json(self, key: str) -> dict[str, Any] | None:
        """Return the object, parsed as JSON; None if there is no such object. Raises DamagedObject."""
        content = self.get(key)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError as error:
            raise DamagedObject(self.name, key, f"it is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise DamagedObject(self.name, key, "it is no JSON object")
        return found

    def read_model(self, kind: type[M], key: str) -> M | None:
        """Return the model that the object holds as JSON; None if there is no such object.

        Raises DamagedObject.
        """
        content = self.get(key)
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DamagedObject(
                self.name, key, f"{where}: {first['msg']}" if where else first["msg"]
            ) from None

    def put_json(self, key: str, content: Mapping[str, Any]) -> None:
        """Write the object as indented JSON."""
        self.put(key, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n", "application/json")

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        self.s3.delete_object(Bucket=self.name, Key=key)

    def entries(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """List all objects whose keys begin with ``prefix``, in the order of the keys.

        Those up to the key ``after`` may be left out: not every store does that.
        """
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, StartAfter=after
        )
        for page in pages:
            for entry in page.get("Contents", []):
                yield Entry(entry["Key"], entry["Size"], entry["LastModified"])

    def keys(self, prefix: str = "") -> Iterator[str]:
        """List all keys that begin with ``prefix``, in order."""
        return (entry.key for entry in self.entries(prefix))

    def directories(self, prefix: str) -> Iterator[str]:
        """List the names of the directories directly under ``prefix``, which ends with a slash."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, Delimiter="/"
        )
        for page in pages:
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"][len(prefix) : -1]


_CONDITION_FAILED = (404, 409, 412)
"""HTTP statuses of S3: the object was deleted, is being written, or has another ETag."""
_BAD_REQUEST = 400
_PRECONDITION_FAILED = 412
_RANGE_NOT_SATISFIABLE = 416
_NOT_IMPLEMENTED = 501


def _is_absent(error: ClientError) -> bool:
    # By code, not by class: if two threads get a client's first errors at once, botocore makes two classes.
    return error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound")


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _checksum(sha256: str) -> dict[str, Any]:
    """What makes the store refuse other bytes than those with this SHA-256, which is in hexadecimal."""
    return {
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
    }


def _cache_control(value: str | None) -> dict[str, Any]:
    return {} if value is None else {"CacheControl": value}


class Store:
    """The two buckets: scratch is private, downloads is public."""

    def __init__(self, s3: S3Client, settings: Settings) -> None:
        several = settings.several_hosts
        self.locks = settings.lock_directory
        """The directory of the lock files, which all writers of a machine share."""
        self.scratch = Bucket(s3, settings.scratch_bucket, several_hosts=several)
        self.downloads = Bucket(s3, settings.downloads_bucket, several_hosts=several, private=self.scratch)
