"""Clients of everything outside, made from Airflow's connections and the settings.

They are the store, the signing key, the workers, the CDN and Airflow's API.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from hhvm_packaging import environment
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.settings import Settings, settings
from hhvm_packaging.store.buckets import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Connection
    from mypy_boto3_cloudfront import CloudFrontClient

    from hhvm_packaging.runs.api import AirflowApi
    from hhvm_packaging.workers.docker import DockerWorker
    from hhvm_packaging.workers.worker import Worker


def store() -> Store:
    """The store, by the AWS connection that the settings name."""
    from hhvm_packaging.orchestration import aws

    return Store(aws.client("s3"), settings())


def signer() -> Signer:
    """The signing key: from the file if the settings name one, else from a connection.

    Each of its signatures is logged with the task's run.

    Raises AirflowNotFoundException if there is no such connection, AirflowFailException if it has no key.
    """
    if file := settings().signing_key_file:
        from hhvm_packaging.apt import key_file
        from hhvm_packaging.orchestration import aws

        path = settings().packaging_root / file
        return Signer(key_file.read(path, lambda: aws.client("kms")), _name_run())
    conn_id = settings().signing_conn_id
    try:
        password = _find(conn_id).password
    except AirflowNotFoundException as error:
        # The task is tried again: Airflow raises the same if its API server did not answer.
        raise AirflowNotFoundException(
            f"There is no signing key: no connection {conn_id}, and no setting signing_key_file"
        ) from error
    if not password:
        raise AirflowFailException(
            f"The connection {conn_id} has no password; it must be the armored private key"
        )
    return Signer(password, _name_run())


def _name_run() -> str:
    """The run of this task; outside a task, who runs this command."""
    try:
        task = get_current_context()["ti"]
    except RuntimeError:
        return f"{Path(sys.argv[0]).name}, run by {_user()}"
    return f"{task.dag_id} {task.run_id}, {task.task_id}, try {task.try_number}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def cloudfront() -> CloudFrontClient:
    """A client of CloudFront, by the AWS connection that the settings name."""
    from hhvm_packaging.orchestration import aws

    client: CloudFrontClient = aws.client("cloudfront")
    return client


def worker(launch: Callable[[dict[str, Any]], str] | None = None) -> Worker:
    """Return a worker of the kind that the settings name.

    An EC2 worker starts an instance with ``launch``. It gets the parameters of RunInstances and returns the
    instance's id. Without it the worker can do everything but start jobs.
    """
    match settings().workers:
        case "docker":
            return docker_worker()
        case "ec2":
            return _ec2_worker(launch or _cannot_launch)


def _ec2_worker(launch: Callable[[dict[str, Any]], str]) -> Worker:
    from hhvm_packaging.orchestration import aws
    from hhvm_packaging.workers.ec2 import Ec2Worker

    def client(service: str) -> Any:
        return aws.client(service, region=settings().ec2.region)

    def find_image(architecture: str) -> str:
        parameter = client("ssm").get_parameter(Name=settings().ec2.image(architecture))
        return str(parameter["Parameter"]["Value"])

    return Ec2Worker(client("ec2"), store(), settings(), image=find_image, launch=launch)


def shared_worker() -> Worker:
    """The worker that all triggers of this process share: its clients take megabytes of memory each."""
    return _shared.get()[0]


def shared_store() -> Store:
    """The store that all triggers of this process share."""
    return _shared.get()[1]


class _Shared:
    """A worker and a store for many threads. They expire, as the connection may change."""

    LIFETIME = 15 * 60
    """Seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[Worker, Store] | None = None
        self._for: Settings | None = None
        self._since = 0.0

    def get(self) -> tuple[Worker, Store]:
        """The worker and the store of the current settings."""
        with self._lock:
            deployment, now = settings(), time.monotonic()
            if not self._made or self._for is not deployment or now - self._since > self.LIFETIME:
                self._made = worker(), store()
                self._for, self._since = deployment, now
            return self._made


_shared = _Shared()


def docker_worker() -> DockerWorker:
    """The worker on the Docker engine that the settings name."""
    from airflow.providers.docker.hooks.docker import DockerHook

    from hhvm_packaging.workers.docker import DockerWorker

    hook = DockerHook(docker_conn_id=None, base_url=settings().docker_url, version="auto")
    return DockerWorker(hook.get_conn(), settings())


def ensure_architectures() -> None:
    """Raise WrongArchitecture if the Docker engine does not run an architecture of the settings."""
    if settings().workers == "docker" and settings().architectures != ["amd64"]:
        docker_worker().ensure_architectures(settings().architectures)


def _cannot_launch(_: dict[str, Any]) -> str:
    raise AssertionError("only a task launches instances")


def airflow_api(*, patience: float = 0) -> AirflowApi:
    """A client of Airflow's API, by the connection that the settings name; ``patience`` is AirflowApi's."""
    from hhvm_packaging.runs.api import AirflowApi

    connection = _find(settings().api_conn_id)
    return AirflowApi(
        str(connection.host), str(connection.login), str(connection.password), patience=patience
    )


def api_url() -> str:
    """The address of Airflow's API, without a trailing slash, by the same connection."""
    return str(_find(settings().api_conn_id).host).rstrip("/")


def _find(conn_id: str) -> Connection:
    """A connection. Raises InvalidSettings if an extra field of it is one of our settings."""
    connection = BaseHook.get_connection(conn_id)
    environment.refuse_in_extra(conn_id, connection.extra_dejson, Settings)
    return connection
