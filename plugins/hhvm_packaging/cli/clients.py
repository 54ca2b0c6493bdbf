"""Clients of AWS and of the Docker engine for commands, with the credentials of whoever runs them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hhvm_packaging.cli.terminal import Refused
from hhvm_packaging.settings import settings
from hhvm_packaging.store.buckets import Store

if TYPE_CHECKING:
    from collections.abc import Generator

    from hhvm_packaging.workers.worker import Worker


def aws(service: str, region: str) -> Any:
    """A client of one of AWS's services."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=15)
    return boto3.Session(region_name=region).client(service, config=config)  # type: ignore[call-overload]


@contextmanager
def worker() -> Generator[Worker]:
    """The worker of the kind that the settings name, which finds and ends what exists, and starts nothing.

    Raises Refused if AWS or the engine does not answer, or refuses something.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from docker.errors import DockerException

    kind = settings().workers
    try:
        yield _docker_worker() if kind == "docker" else _ec2_worker()
    except (BotoCoreError, ClientError, DockerException) as error:
        where = f"the Docker engine at {settings().docker_url}" if kind == "docker" else "AWS"
        raise Refused(f"{where} does not do it: {error}") from error


def _docker_worker() -> Worker:
    import docker

    from hhvm_packaging.workers.docker import DockerWorker

    return DockerWorker(docker.APIClient(base_url=settings().docker_url, version="auto"), settings())


def _ec2_worker() -> Worker:
    from hhvm_packaging.workers.ec2 import Ec2Worker

    ec2, s3 = (aws(service, settings().ec2.region) for service in ("ec2", "s3"))
    nothing: Any = {"image": _start_nothing, "launch": _start_nothing}
    return Ec2Worker(ec2, Store(s3, settings()), settings(), **nothing)


def _start_nothing(_: Any) -> str:
    raise AssertionError("commands start no worker")
