"""Reading and writing S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.errorfactory import ClientExceptionsFactory
from moto import mock_aws

from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Bucket, Conflict, NoConditionalWrites

if TYPE_CHECKING:
    from pathlib import Path

    from botocore.errorfactory import BaseClientExceptions
    from mypy_boto3_s3 import S3Client


class Racing:
    """A client whose first errors several threads meet at once: each has botocore make classes for them."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3

    @property
    def exceptions(self) -> BaseClientExceptions:
        return ClientExceptionsFactory().create_client_exceptions(self._s3.meta.service_model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)


def test_what_is_absent_is_absent_also_for_threads_that_ask_at_once(s3: S3Client) -> None:
    bucket = Bucket(cast("S3Client", Racing(s3)), Settings().scratch_bucket)
    assert bucket.head("absent") is None
    assert bucket.get("absent") is None
    assert bucket.get_from("absent", 7) == b""


@pytest.mark.parametrize("size", [8 << 20, (8 << 20) + 1], ids=["in one piece", "in pieces"])
def test_a_file_is_fetched_whole_whatever_its_size(s3: S3Client, tmp_path: Path, size: int) -> None:
    bucket = Bucket(s3, Settings().scratch_bucket)
    content = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    bucket.put("file", content)
    bucket.download("file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content


def test_a_store_is_asked_only_once_whether_it_supports_conditional_writes(s3: S3Client) -> None:
    bucket = Bucket(s3, Settings().scratch_bucket)
    writes: list[str] = []
    s3.meta.events.register("before-send.s3", lambda request, **_: writes.append(request.method))
    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(bucket.supports_conditional_writes) for _ in range(4)]
        assert [answer.result() for answer in answers] == [False] * 4
    assert writes == ["PUT"]


def test_a_store_that_supports_conditional_writes_refuses_one_whose_condition_does_not_hold() -> None:
    with mock_aws():
        bucket = Bucket(boto3.client("s3", region_name="us-east-1"), Settings().scratch_bucket)
        bucket.s3.create_bucket(Bucket=bucket.name)
        assert bucket.supports_conditional_writes()
        assert list(bucket.keys()) == []
        first = bucket.replace("key", b"1", "text/plain", etag=None)
        second = bucket.replace("key", b"2", "text/plain", etag=first)
        for etag in (None, first):
            with pytest.raises(Conflict, match="Run it again: it will include the other publisher's change"):
                bucket.replace("key", b"3", "text/plain", etag=etag)
        assert bucket.get_with_etag("key") == (b"2", second)


def test_a_conditional_write_that_boto3_sends_twice_succeeds() -> None:
    with mock_aws():
        bucket = Bucket(boto3.client("s3", region_name="us-east-1"), Settings().scratch_bucket)
        bucket.s3.create_bucket(Bucket=bucket.name)
        assert bucket.replace("key", b"1", "text/plain", etag=None) == bucket.replace(
            "key", b"1", "text/plain", etag=None
        )


def test_with_several_hosts_a_store_without_conditional_writes_is_refused_and_nothing_written(
    s3: S3Client,
) -> None:
    bucket = Bucket(s3, Settings().scratch_bucket, several_hosts=True)
    with pytest.raises(NoConditionalWrites, match=r"would overwrite .* several_hosts to false"):
        bucket.replace("InRelease", b"new", "text/plain", etag=None)
    assert bucket.get("InRelease") is None


def test_with_several_hosts_a_store_with_conditional_writes_is_written_to() -> None:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        bucket = Bucket(s3, Settings().scratch_bucket, several_hosts=True)
        s3.create_bucket(Bucket=bucket.name)
        bucket.replace("InRelease", b"new", "text/plain", etag=None)
        assert bucket.get("InRelease") == b"new"
