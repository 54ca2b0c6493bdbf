"""Reading and writing S3, where the store itself has to look out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from botocore.errorfactory import ClientExceptionsFactory

from hhvm_packaging.store import Bucket

if TYPE_CHECKING:
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
    bucket = Bucket(cast("S3Client", Racing(s3)), "hhvm-scratch")
    assert bucket.head("absent") is None
    assert bucket.get("absent") is None
    assert bucket.get_from("absent", 7) == b""
