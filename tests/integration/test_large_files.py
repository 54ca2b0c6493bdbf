"""Files that are too large for one request are copied in parts, and as whole as any other."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from demo import signing_key
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import CACHE_FOREVER, Bucket, Changed, Store
from hhvm_packaging.workers.job import Artifact
from testing.debs import Deb, archive, digest
from testing.publisher import publish
from testing.s3 import Died, recorded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

MIB = 1024**2
LIMIT, PART = 6 * MIB, 5 * MIB  # S3 takes no smaller parts.
CONTENT = os.urandom(13 * MIB)


class _Raw:
    """The body of an answer."""

    def __init__(self, code: str) -> None:
        self.content = f"<Error><Code>{code}</Code><Message>said the test</Message></Error>".encode()

    def stream(self) -> Generator[bytes]:
        yield self.content


def answer(url: str, status: int, code: str) -> AWSResponse:
    return AWSResponse(url, status, HTTPHeaders(), _Raw(code))


@contextmanager
def intercepted(s3: S3Client, operation: str, handler: Any) -> Generator[None]:
    """Have requests answered by the handler, unless it returns None."""
    s3.meta.events.register(f"before-send.s3.{operation}", handler)
    try:
        yield
    finally:
        s3.meta.events.unregister(f"before-send.s3.{operation}", handler)


@pytest.fixture
def store(conditional_s3: S3Client) -> Iterator[Store]:
    """A store that copies at most LIMIT bytes in one request, and only what has the ETag that is asked for.

    Amazon S3 does both, moto neither.
    """
    store, s3 = Store(conditional_s3, Settings()), conditional_s3
    for bucket in (store.scratch, store.downloads):
        s3.create_bucket(Bucket=bucket.name)
        bucket.one_request, bucket.part_size = LIMIT, PART

    def like_amazon(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        headers: dict[str, str] = {name.lower(): as_text(value) for name, value in request.headers.items()}
        source, key = headers["x-amz-copy-source"].split("/", 1)
        head = s3.head_object(Bucket=source, Key=key)
        if headers.get("x-amz-copy-source-if-match", head["ETag"]) != head["ETag"]:
            return answer(request.url, 412, "PreconditionFailed")
        if "x-amz-copy-source-range" not in headers and head["ContentLength"] > LIMIT:
            return answer(request.url, 400, "InvalidRequest")
        return None

    with intercepted(s3, "CopyObject", like_amazon), intercepted(s3, "UploadPartCopy", like_amazon):
        yield store


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class LargeDeb(Deb):
    """A package of more than LIMIT bytes; apt is not asked to read it."""

    @cached_property
    def content(self) -> bytes:
        return archive(self.control.encode(), CONTENT)


def copy(store: Store) -> None:
    checked = store.scratch.head("large")
    store.downloads.copy_from(
        store.scratch,
        "large",
        "large",
        content_type="application/gzip",
        cache=CACHE_FOREVER,
        checked=checked,
    )


def parts_left(bucket: Bucket) -> int:
    return len(bucket.s3.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []))


def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return answer(request.url, 403, "AccessDenied")


def test_a_large_file_is_copied_with_all_that_a_small_one_has(store: Store) -> None:
    store.scratch.put("large", CONTENT)
    with recorded(store.downloads.s3) as sent:
        copy(store)
    assert sent.count("UploadPartCopy large") == 3
    assert store.downloads.get("large") == CONTENT
    found = store.downloads.s3.head_object(Bucket=store.downloads.name, Key="large")
    assert (found["ContentType"], found["CacheControl"]) == ("application/gzip", CACHE_FOREVER)
    head = store.downloads.head("large")
    assert head
    assert (head.size, head.sha256) == (len(CONTENT), None)


@pytest.mark.parametrize("size", [1, LIMIT, LIMIT + 1])
def test_what_is_copied_is_what_was_checked(store: Store, size: int) -> None:
    store.scratch.put("large", CONTENT[:size])
    checked = store.scratch.head("large")
    store.scratch.put("large", CONTENT[-size:])
    with pytest.raises(Changed, match="s3://hhvm-scratch/large was changed after it was checked"):
        store.downloads.copy_from(store.scratch, "large", "large", content_type="text/plain", checked=checked)
    assert store.downloads.head("large") is None
    assert parts_left(store.downloads) == 0


def test_a_file_that_changes_between_two_parts_is_not_copied(store: Store) -> None:
    store.scratch.put("large", CONTENT)

    def change(**_: object) -> None:
        store.scratch.put("large", CONTENT[::-1])

    s3 = store.downloads.s3
    s3.meta.events.register_first("before-call.s3.UploadPartCopy", change)
    with pytest.raises(Changed):
        copy(store)
    assert store.downloads.head("large") is None
    assert parts_left(store.downloads) == 0


@pytest.mark.parametrize("operation", ["UploadPartCopy", "CompleteMultipartUpload"])
def test_a_copy_that_fails_leaves_nothing_and_can_be_made_again(store: Store, operation: str) -> None:
    store.scratch.put("large", CONTENT)
    with intercepted(store.downloads.s3, operation, refuse), pytest.raises(ClientError):
        copy(store)
    assert store.downloads.head("large") is None
    assert parts_left(store.downloads) == 0
    copy(store)
    assert store.downloads.get("large") == CONTENT


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_copy_whose_process_died_is_made_again(store: Store, after: int) -> None:
    store.scratch.put("large", CONTENT)
    with recorded(store.downloads.s3, die_after=after), pytest.raises(Died):
        copy(store)
    assert store.downloads.head("large") is None
    copy(store)
    assert store.downloads.get("large") == CONTENT


@pytest.mark.parametrize("server", ["rclone", "moto"])
def test_a_large_package_is_published(request: pytest.FixtureRequest, server: str) -> None:
    if server == "moto":
        store: Store = request.getfixturevalue("store")
    else:  # rclone copies files of any size in one request
        store = Store(request.getfixturevalue("s3"), Settings())
        store.downloads.one_request = LIMIT
    deb = LargeDeb("1.0.0-1", "hhvm-dbg")
    store.scratch.put(deb.key, deb.content)
    suite = Suite(store.downloads, store.scratch, "debian", "bookworm")
    with Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]) as signer:
        publish(suite, {deb.key: deb.artifact}, signer)
        assert not publish(suite, {deb.key: deb.artifact}, signer)
    assert store.downloads.get(f"debian/pool/main/h/hhvm/{deb.name}") == deb.content


def test_a_large_file_is_uploaded(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("large") / "large"
    path.write_bytes(CONTENT)
    with recorded(store.scratch.s3) as sent:
        store.scratch.upload(path, "large", content_type="application/gzip", sha256=sha256(CONTENT))
    assert "CompleteMultipartUpload large" in sent
    head = store.scratch.head("large")
    assert head
    assert (head.size, head.sha256) == (len(CONTENT), None)
    assert store.scratch.get("large") == CONTENT


@pytest.mark.parametrize("same", [True, False])
def test_a_large_file_of_another_tool_is_compared_by_its_bytes(
    store: Store, tmp_path: Path, same: bool
) -> None:
    """The store has computed no SHA-256 of the whole, and its ETag is no MD5."""
    path = tmp_path / "large"
    path.write_bytes(CONTENT)
    store.downloads.s3.upload_file(str(path), store.downloads.name, "large")
    head = store.downloads.head("large")
    assert head
    assert head.sha256 is None
    assert "-" in head.etag
    content = CONTENT if same else CONTENT[::-1]
    wanted = Artifact(name="large", size=len(content), sha256=sha256(content), md5=digest("md5", content))
    assert store.downloads.holds("large", head, wanted) is same
