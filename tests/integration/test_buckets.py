"""Reading and writing S3, where the store itself has to look out."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.errorfactory import ClientExceptionsFactory
from botocore.response import StreamingBody

from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Bucket

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


class BreakingOff:
    """A client whose answers to ``get_object`` end too soon."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        answer = self._s3.get_object(**arguments)
        half = io.BytesIO(answer["Body"].read()[:-1])
        return {**answer, "Body": StreamingBody(half, answer["ContentLength"])}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)


def test_a_small_file_is_fetched_with_one_request(s3: S3Client, tmp_path: Path) -> None:
    requests: list[str] = []
    bucket = Bucket(s3, Settings().scratch_bucket)
    bucket.put("small", b"bytes")
    s3.meta.events.register("before-send.s3", lambda request, **_: requests.append(request.method))
    bucket.download("small", tmp_path / "small")
    assert requests == ["GET"]
    assert (tmp_path / "small").read_bytes() == b"bytes"


@pytest.mark.parametrize("size", [8 << 20, (8 << 20) + 1], ids=["in one piece", "in pieces"])
def test_a_file_is_fetched_whole_whatever_its_size(s3: S3Client, tmp_path: Path, size: int) -> None:
    bucket = Bucket(s3, Settings().scratch_bucket)
    content = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    bucket.put("file", content)
    bucket.download("file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content


def test_a_file_whose_fetching_breaks_off_is_fetched_again(s3: S3Client, tmp_path: Path) -> None:
    bucket = Bucket(cast("S3Client", BreakingOff(s3)), Settings().scratch_bucket)
    bucket.put("small", b"bytes")
    bucket.download("small", tmp_path / "small")
    assert (tmp_path / "small").read_bytes() == b"bytes"
