"""S3 as the embedded default has it: rclone over a directory, fresh for each test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from hhvm_packaging.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from mypy_boto3_s3 import S3Client

ACCESS_KEY, SECRET_KEY = "hhvm-tests", "hhvm-tests-secret"  # rclone refuses shorter ones
READS = ("Get", "Head", "List")


class Died(Exception):
    """The process ended here, as far as S3 can tell."""


@pytest.fixture
def s3_directory(tmp_path: Path) -> Path:
    """Where ``s3`` keeps the objects: a directory for each bucket."""
    directory = tmp_path / "s3"
    settings = Settings()
    for bucket in (settings.scratch_bucket, settings.downloads_bucket):
        (directory / bucket).mkdir(parents=True)
    return directory


@pytest.fixture
def s3(s3_directory: Path) -> Iterator[S3Client]:
    """A client of a fresh server with both buckets."""
    with rclone(s3_directory) as endpoint:
        yield client(endpoint)


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
        config=Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required"),
    )


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
