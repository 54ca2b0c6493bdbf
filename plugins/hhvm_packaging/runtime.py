"""What Airflow gives a task: the store, the signing key, the worker, the request, errors that end it."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from hhvm_packaging import distros
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.request import Request, only_dry_run
from hhvm_packaging.runs import REPORT, Run
from hhvm_packaging.settings import settings
from hhvm_packaging.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from mypy_boto3_cloudfront import CloudFrontClient

    from hhvm_packaging.airflow_api import AirflowApi
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.workers.docker import DockerWorker
    from hhvm_packaging.workers.worker import Worker

__all__ = [
    "airflow_api",
    "cloudfront",
    "docker_worker",
    "dry_run",
    "failing_for_good",
    "planned",
    "request",
    "requests",
    "run",
    "settings",
    "shared_store",
    "shared_worker",
    "shown",
    "signer",
    "store",
    "task_state",
    "worker",
]

log = logging.getLogger(__name__)


def store() -> Store:
    """The store, through the connection that the settings name."""
    from hhvm_packaging import aws

    return Store(aws.client("s3"), settings())


def signer() -> Signer:
    """The signing key: from the encrypted file if the settings name one, else from their connection."""
    if file := settings().signing_key_file:
        from hhvm_packaging import aws
        from hhvm_packaging.apt import key_file

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
    from hhvm_packaging import aws

    client: CloudFrontClient = aws.client("cloudfront")
    return client


BOTO: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 5}}
"""For EC2, which throttles: each call is tried again after growing, random waits."""


def worker(launch: Callable[[dict[str, Any]], str] | None = None) -> Worker:
    """The kind of worker that the settings name; ``launch`` is how an EC2 worker gets an instance."""
    if settings().workers == "ec2":
        from botocore.config import Config

        from hhvm_packaging import aws
        from hhvm_packaging.workers.ec2 import Ec2Worker

        def client(service: str) -> Any:
            return aws.client(service, region=settings().ec2.region, config=Config(**BOTO))

        return Ec2Worker(
            client("ec2"),
            store(),
            settings(),
            image=lambda: client("ssm").get_parameter(Name=settings().ec2.image_parameter)["Parameter"][
                "Value"
            ],
            launch=launch or _cannot_launch,
        )
    return docker_worker()


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


def task_state(context: Mapping[str, Any]) -> Callable[[str, str, str, int], str | None]:
    """What tells the state of a task instance by its DAG, run, task and map index; None where it is gone."""

    def state(dag: str, run: str, task: str, map_index: int) -> str | None:
        states = context["ti"].get_task_states(dag_id=dag, run_ids=[run], task_ids=[task])
        name = task if map_index < 0 else f"{task}_{map_index}"
        found: str | None = states.get(run, {}).get(name)
        return found

    return state


def run(context: Mapping[str, Any]) -> Run:
    """The run, with the states that its tasks have now where the context can tell them."""
    from airflow.configuration import conf

    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    states: dict[str, Any] = {}
    if "ti" in context:
        states = context["ti"].get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    url = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")

    def reason(task_id: str, map_index: int) -> str | None:
        found: str | None = None
        if "ti" in context:
            found = context["ti"].xcom_pull(task_ids=task_id, map_indexes=map_index, key=REPORT)
        return found

    return Run(url, dag_id, run_id, {task: str(state) for task, state in states.items()}, reason)


def request(context: Mapping[str, Any]) -> Request:
    """The run's request, checked. Ends the task for good if it is refused."""
    with failing_for_good():
        return Request.check(_params(context), context["dag_run"].conf, **_known(context))


def requests(context: Mapping[str, Any]) -> tuple[Request, ...]:
    """The run's requests of several versions, in their order; otherwise like request."""
    with failing_for_good():
        return Request.check_several(_params(context), context["dag_run"].conf, **_known(context))


def planned(plan: Any) -> list[Request]:
    """The requests of a wrapper, as its task ``plan`` returned them: one, or those of several versions."""
    return [Request.model_validate(request) for request in (plan if isinstance(plan, list) else [plan])]


def airflow_api() -> AirflowApi:
    """Airflow's own API, through the connection that the settings name."""
    from hhvm_packaging.airflow_api import AirflowApi

    connection = BaseHook.get_connection(settings().api_conn_id)
    return AirflowApi(str(connection.host), str(connection.login), str(connection.password))


def _known(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is checked against."""
    date = context["dag_run"].run_after.astimezone(datetime.UTC).date()
    return {"known": distros.names(settings().packaging_root), "run_date": date}


def dry_run(context: Mapping[str, Any]) -> bool:
    """Whether a run without other parameters is a dry one. Ends the task for good if it is refused."""
    with failing_for_good():
        return only_dry_run(_params(context), context["dag_run"].conf)


def _params(context: Mapping[str, Any]) -> dict[str, Any]:
    """The run's parameters that the form has: Airflow adds whatever else the run was given."""
    return {name: context["params"][name] for name in context["dag"].params}


def shown(plan: Plan) -> dict[str, Any]:
    """The plan as the tasks after it take it, logged for people."""
    log.info("%s", plan.model_dump_json(indent=2))
    log.info("distros/ and bin/ are those of %s (%s)", plan.packaging_revision, plan.packaging_ref)
    for fault in plan.faults.values():
        log.error("%s. The others go on; this run will end red.", fault)
    return plan.model_dump(mode="json")


@contextmanager
def failing_for_good() -> Generator[None]:
    """Turn our own errors, which trying again would not mend, into a failure without a retry.

    The reason is kept where reports and notifications find it.
    """
    try:
        yield
    except PackagingError as error:
        _keep(str(error))
        raise AirflowFailException(str(error)) from error


def _keep(reason: str) -> None:
    try:
        get_current_context()["ti"].xcom_push(key=REPORT, value=reason)
    except Exception as error:
        # It is in the task's log too, and must not be lost for this.
        log.warning("Cannot keep the reason for reports: %s", error)
