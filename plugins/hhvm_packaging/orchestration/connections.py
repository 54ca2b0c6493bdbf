"""What Airflow's connections and the settings give: the store, the signing key, workers, AWS, Airflow."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.settings import settings
from hhvm_packaging.store.buckets import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_cloudfront import CloudFrontClient

    from hhvm_packaging.runs.api import AirflowApi
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.workers.docker import DockerWorker
    from hhvm_packaging.workers.worker import Worker


def store() -> Store:
    """The store, through the connection that the settings name."""
    from hhvm_packaging.orchestration import aws

    return Store(aws.client("s3"), settings())


def signer() -> Signer:
    """The signing key: from the encrypted file if the settings name one, else from their connection."""
    if file := settings().signing_key_file:
        from hhvm_packaging.apt import key_file
        from hhvm_packaging.orchestration import aws

        return Signer(key_file.decrypt(settings().packaging_root / file, aws.client("kms")))
    conn_id = settings().signing_conn_id
    try:
        password = BaseHook.get_connection(conn_id).password
    except AirflowNotFoundException as error:
        # Tried again, as this is also what Airflow says when it could not ask for the connection.
        raise AirflowNotFoundException(
            f"There is no signing key: no connection {conn_id}, and no setting signing_key_file"
        ) from error
    if not password:
        raise AirflowFailException(
            f"The connection {conn_id} has no password; it must be the armored private key"
        )
    return Signer(password)


def cloudfront() -> CloudFrontClient:
    """The content delivery network, through the connection that the settings name."""
    from hhvm_packaging.orchestration import aws

    client: CloudFrontClient = aws.client("cloudfront")
    return client


BOTO: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 5}}
"""For EC2, which throttles: each call is tried again after growing, random waits."""


def worker(launch: Callable[[dict[str, Any]], str] | None = None) -> Worker:
    """The kind of worker that the settings name. ``launch`` is how an EC2 worker gets an instance."""
    match settings().workers:
        case "docker":
            return docker_worker()
        case "ec2":
            return _ec2_worker(launch or _cannot_launch)


def _ec2_worker(launch: Callable[[dict[str, Any]], str]) -> Worker:
    from botocore.config import Config

    from hhvm_packaging.orchestration import aws
    from hhvm_packaging.workers.ec2 import Ec2Worker

    def client(service: str) -> Any:
        return aws.client(service, region=settings().ec2.region, config=Config(**BOTO))

    def find_image() -> str:
        parameter = client("ssm").get_parameter(Name=settings().ec2.image_parameter)
        return str(parameter["Parameter"]["Value"])

    return Ec2Worker(client("ec2"), store(), settings(), image=find_image, launch=launch)


def shared_worker() -> Worker:
    """The worker of all who wait in this process: its clients take megabytes, and its answers serve all."""
    return _shared.get()[0]


def shared_store() -> Store:
    """The store of all who wait in this process."""
    return _shared.get()[1]


class _Shared:
    """A worker and a store for many threads, made anew now and then, as the connection may have changed."""

    SECONDS = 15 * 60

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[Worker, Store] | None = None
        self._for: Settings | None = None
        self._since = 0.0

    def get(self) -> tuple[Worker, Store]:
        """Those of these settings."""
        with self._lock:
            deployment, now = settings(), time.monotonic()
            if not self._made or self._for is not deployment or now - self._since > self.SECONDS:
                self._made = worker(), store()
                self._for, self._since = deployment, now
            return self._made


_shared = _Shared()


def docker_worker() -> DockerWorker:
    """This machine's engine as a worker."""
    from airflow.providers.docker.hooks.docker import DockerHook

    from hhvm_packaging.workers.docker import DockerWorker

    hook = DockerHook(docker_conn_id=None, base_url=settings().docker_url, version="auto")
    return DockerWorker(hook.get_conn(), settings())


def _cannot_launch(_: dict[str, Any]) -> str:
    raise AssertionError("only a task launches instances")


def airflow_api() -> AirflowApi:
    """Airflow's own API, through the connection that the settings name."""
    from hhvm_packaging.runs.api import AirflowApi

    connection = BaseHook.get_connection(settings().api_conn_id)
    return AirflowApi(str(connection.host), str(connection.login), str(connection.password))
