"""What Airflow gives a task: the store, the signing key, the worker, the request, errors that end it."""

from __future__ import annotations

import datetime
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException

from hhvm_packaging import distros
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.plans import Request
from hhvm_packaging.settings import settings
from hhvm_packaging.store import Store

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from hhvm_packaging.plans import Plan
    from hhvm_packaging.workers.docker import DockerWorker

__all__ = ["failing_for_good", "request", "settings", "shown", "signer", "store", "worker"]

log = logging.getLogger(__name__)


def store() -> Store:
    """The store, through the connection that the settings name."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return Store(S3Hook(aws_conn_id=settings().aws_conn_id).get_conn(), settings())


def signer() -> Signer:
    """The signing key, from the connection that the settings name."""
    connection = BaseHook.get_connection(settings().signing_conn_id)
    if not connection.password:
        raise AirflowFailException(
            f"The connection {settings().signing_conn_id} has no password; it must be the armored private key"
        )
    return Signer(connection.password)


def worker() -> DockerWorker:
    """The kind of worker that the settings name."""
    from airflow.providers.docker.hooks.docker import DockerHook

    from hhvm_packaging.workers.docker import DockerWorker

    hook = DockerHook(docker_conn_id=None, base_url=settings().docker_url, version="auto")
    return DockerWorker(hook.get_conn(), settings())


def request(context: Mapping[str, Any]) -> Request:
    """The run's request, checked. Ends the task for good if it is refused."""
    run = context["dag_run"]
    with failing_for_good():
        return Request.check(
            context["params"],
            run.conf,
            known=distros.names(settings().packaging_root),
            run_date=run.run_after.astimezone(datetime.UTC).date(),
        )


def shown(plan: Plan) -> dict[str, Any]:
    """The plan as the tasks after it take it, logged for people."""
    log.info("%s", plan.model_dump_json(indent=2))
    for fault in plan.faults.values():
        log.error("%s. The others go on; this run will end red.", fault)
    return plan.model_dump(mode="json")


@contextmanager
def failing_for_good() -> Generator[None]:
    """Turn our own errors, which trying again would not mend, into a failure without a retry."""
    try:
        yield
    except PackagingError as error:
        raise AirflowFailException(str(error)) from error
