"""What Airflow tells a task: its run and request; and how a task tells Airflow that it failed for good."""

from __future__ import annotations

import datetime
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from hhvm_packaging import distros
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning.request import Request, only_dry_run
from hhvm_packaging.runs.run import FAILURE_REASON, Run
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from hhvm_packaging.planning.plans import Plan

log = logging.getLogger(__name__)


def task_state_reader(context: Mapping[str, Any]) -> Callable[[str, str, str, int], str | None]:
    """What tells the state of a task instance by its DAG, run, task and map index; None where it is gone."""

    def state(dag: str, run: str, task: str, map_index: int) -> str | None:
        states = context["ti"].get_task_states(dag_id=dag, run_ids=[run], task_ids=[task])
        name = task if map_index < 0 else f"{task}_{map_index}"
        found: str | None = states.get(run, {}).get(name)
        return found

    return state


def read_run(context: Mapping[str, Any]) -> Run:
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
            found = context["ti"].xcom_pull(task_ids=task_id, map_indexes=map_index, key=FAILURE_REASON)
        return found

    return Run(url, dag_id, run_id, {task: str(state) for task, state in states.items()}, reason)


def read_request(context: Mapping[str, Any]) -> Request:
    """The run's request, checked. Ends the task for good if it is refused."""
    with fail_without_retry():
        return Request.check(_params(context), context["dag_run"].conf, **_known(context))


def read_requests(context: Mapping[str, Any]) -> tuple[Request, ...]:
    """The run's requests of several versions, in their order; otherwise like request."""
    with fail_without_retry():
        return Request.check_several(_params(context), context["dag_run"].conf, **_known(context))


def parse_requests(plan: Any) -> list[Request]:
    """The requests of a wrapper, as its task ``plan`` returned them: one, or those of several versions."""
    return [Request.model_validate(request) for request in (plan if isinstance(plan, list) else [plan])]


def _known(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is checked against."""
    date = context["dag_run"].run_after.astimezone(datetime.UTC).date()
    return {"known": distros.names(settings().packaging_root), "run_date": date}


def read_dry_run(context: Mapping[str, Any]) -> bool:
    """Whether a run without other parameters is a dry one. Ends the task for good if it is refused."""
    with fail_without_retry():
        return only_dry_run(_params(context), context["dag_run"].conf)


def _params(context: Mapping[str, Any]) -> dict[str, Any]:
    """The run's parameters that the form has: Airflow adds whatever else the run was given."""
    return {name: context["params"][name] for name in context["dag"].params}


def dump_plan(plan: Plan) -> dict[str, Any]:
    """The plan as the tasks after it take it, logged for people."""
    log.info("%s", plan.model_dump_json(indent=2))
    log.info("distros/ and bin/ are those of %s (%s)", plan.packaging_revision, plan.packaging_ref)
    for fault in plan.faults.values():
        log.error("%s. The others go on; this run will end red.", fault)
    return plan.model_dump(mode="json")


@contextmanager
def fail_without_retry() -> Generator[None]:
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
        get_current_context()["ti"].xcom_push(key=FAILURE_REASON, value=reason)
    except Exception as error:
        # It is in the task's log too, and must not be lost for this.
        log.warning("Cannot keep the reason for reports: %s", error)
