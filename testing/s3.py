"""S3 as the embedded default has it, rclone over a directory; and with conditional writes, as moto has it.

There is one server of each for all tests of a process, and there are new buckets for each test.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from moto.s3.utils import compute_checksum
from moto.server import ThreadedMotoServer

from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_s3 import S3Client

ACCESS_KEY, SECRET_KEY = "hhvm-tests", "hhvm-tests-secret"  # rclone refuses shorter ones
READS = ("Get", "Head", "List")


class Died(Exception):
    """The process ended here, as far as S3 can tell."""


@dataclass(frozen=True)
class Server:
    """A running S3 server."""

    directory: Path
    """Where it keeps the objects: a directory for each bucket."""
    endpoint: str


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that all tests of one process share; each has buckets of its own."""
    directory = tmp_path_factory.mktemp("s3")
    with rclone(directory) as endpoint:
        yield Server(directory, endpoint)


@pytest.fixture
def s3(s3_server: Server) -> Iterator[S3Client]:
    """A client, with two new buckets whose names the settings have for this test."""
    with new_buckets(s3_server) as client_:
        yield client_


@contextlib.contextmanager
def new_buckets(server: Server) -> Generator[S3Client]:
    """A client of the server, with two new buckets whose names the settings have meanwhile."""
    client_ = client(server.endpoint)
    _write_one_at_a_time(client_)
    with pytest.MonkeyPatch.context() as environment:
        for kind in ("scratch", "downloads"):
            name = f"{kind}-{uuid.uuid4().hex}"
            client_.create_bucket(Bucket=name)
            environment.setenv(f"HHVM_PACKAGING_{kind.upper()}_BUCKET", name)
        settings.cache_clear()
        yield client_
    settings.cache_clear()


@pytest.fixture
def s3_directory(s3: S3Client, s3_server: Server) -> Path:
    """Where the objects of ``s3`` are: a directory for each bucket, those of other tests among them."""
    return s3_server.directory


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The endpoint of moto's server, which all tests of one process share."""
    with strict_moto() as endpoint:
        yield endpoint


@contextlib.contextmanager
def strict_moto() -> Generator[str]:
    """The endpoint of a server of moto's, in this process, that checks digests as Amazon S3 does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "_get_checksum", _checked_checksum(S3Response._get_checksum))  # ruff: ignore[private-member-access]
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        finally:
            server.stop()


def _checked_checksum(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make moto refuse a checksum that is not the object's, as Amazon S3 does: alone it keeps any."""

    def get_checksum(self: S3Response, headers: dict[str, Any]) -> Any:
        said = self.headers.get("x-amz-checksum-sha256")
        if said and said != compute_checksum(self.body or b"", "SHA256").decode():
            raise S3ClientError(
                "BadDigest", "The SHA256 you specified did not match the calculated checksum."
            )
        return original(self, headers)

    return get_checksum


@pytest.fixture
def conditional_s3(moto: str) -> S3Client:
    """A client of an S3 that supports conditional writes, as moto's does, without any bucket."""
    moto_api_backend.reset()
    return client(moto)


def put_in_parts(s3: S3Client, bucket: str, key: str, content: bytes) -> None:
    """Write an object as tools upload large files: its ETag is no MD5, and S3 has no SHA-256 of the whole."""
    where: dict[str, Any] = {"Bucket": bucket, "Key": key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    tag = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=content)["ETag"]
    parts: Any = {"Parts": [{"ETag": tag, "PartNumber": 1}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)


@contextlib.contextmanager
def rclone(directory: Path) -> Generator[str]:
    """The endpoint of a server over ``directory``, for as long as the ``with`` statement takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("rclone")
    keys = {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"', "RCLONE_CONFIG": os.devnull}
    server = subprocess.Popen(
        [program, "serve", "s3", directory, "--addr", f"127.0.0.1:{port}"],
        env={**os.environ, **keys},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def client(endpoint: str) -> S3Client:
    """A client as the deployment's is, for rclone or moto."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            s3={"addressing_style": "path"},
            response_checksum_validation="when_required",
            # rclone fails now and then when two processes make the same directory. See orchestration/aws.py.
            retries={"mode": "standard", "total_max_attempts": 6},
        ),
    )


_WRITE = threading.Lock()


def _write_one_at_a_time(s3: S3Client) -> None:
    """Let the writes of this process reach rclone one after the other.

    Of two writes that make the same directory at once, rclone may forget what the first one wrote there. It
    reads the directory again after five minutes. Amazon S3 has no directories.
    """
    session = URLLib3Session()

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if request.method in {"GET", "HEAD"}:
            return None  # it is sent as usual
        with _WRITE:
            return session.send(request)

    answer: Any = send  # the stubs know of no handler that returns something
    s3.meta.events.register("before-send.s3", answer)


@contextlib.contextmanager
def recorded(s3: S3Client, *, die_after: int | None = None) -> Generator[list[str]]:
    """The requests of the ``with`` statement: "PutObject KEY" and so on.

    After ``die_after`` writes the next one raises Died instead of being sent.
    """
    requests: list[str] = []

    def record(params: dict[str, Any], model: Any, **_: object) -> None:
        if not model.name.startswith(READS) and len(writes(requests)) == die_after:
            raise Died
        requests.append(f"{model.name} {params.get('Key', '')}")

    s3.meta.events.register("before-parameter-build.s3", record, unique_id="recorded")
    try:
        yield requests
    finally:
        s3.meta.events.unregister("before-parameter-build.s3", record, unique_id="recorded")


def writes(requests: list[str]) -> list[str]:
    """Those of the requests that change something."""
    return [request for request in requests if not request.startswith(READS)]
