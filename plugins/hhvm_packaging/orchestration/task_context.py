"""What a task reads from Airflow, its run, request and plan, and how it reports failures and results."""

from __future__ import annotations

import datetime
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from airflow.sdk import conf, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from hhvm_packaging import distros
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import nightly_days, packaging_files
from hhvm_packaging.planning.hold_records import Asker
from hhvm_packaging.planning.plans import Plan
from hhvm_packaging.planning.request import Request, only_dry_run
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.release import InvalidVersion, Release
from hhvm_packaging.runs.run import FAILURE_REASON, Run
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

log = logging.getLogger(__name__)

PlanJson: TypeAlias = dict[str, Any]
"""What the task ``plan`` of a DAG that has a plan returns: the JSON of one of the classes of Plan."""
_RETURNED = "return_value"
"""The key of the XCom that has what a task returned."""

RequestJson: TypeAlias = dict[str, Any]
"""What the task ``plan`` of a wrapper returns, for each version: the JSON of a Request."""

P = TypeVar("P", bound=Plan)


def read_run(context: Mapping[str, Any]) -> Run:
    """The task's run, with the current states of its tasks.

    The context of a callback may have no ``ti``; then there are no states and no reasons.
    """
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

    deployed = packaging_files.worktree(settings().packaging_root).commit
    return Run(url, dag_id, run_id, {task: str(state) for task, state in states.items()}, reason, deployed)


def read_request(context: Mapping[str, Any]) -> Request:
    """The run's request, checked. If it is refused, the task fails without a retry."""
    with fail_without_retry():
        return Request.check(_params(context), context["dag_run"].conf, **_check_arguments(context))


def read_requests(context: Mapping[str, Any]) -> tuple[Request, ...]:
    """The run's requests, one for each version, in their order. Otherwise like read_request."""
    with fail_without_retry():
        return Request.check_several(_params(context), context["dag_run"].conf, **_check_arguments(context))


def read_asker(context: Mapping[str, Any]) -> Asker:
    """The task's run and who triggered it, for the records that it makes."""
    run = context["dag_run"]
    by = getattr(run, "triggering_user_name", None) or ""
    return Asker(dag_id=run.dag_id, run_id=run.run_id, by=by, at=run.run_after)


def read_dry_run(context: Mapping[str, Any]) -> bool:
    """Whether the run is a dry one, of a DAG that has no other parameter. Otherwise like read_request."""
    with fail_without_retry():
        return only_dry_run(_params(context), context["dag_run"].conf)


def _params(context: Mapping[str, Any]) -> dict[str, Any]:
    """The run's parameters that the form has: Airflow adds all others that the run was given."""
    return {name: context["params"][name] for name in context["dag"].params}


def _check_arguments(context: Mapping[str, Any]) -> dict[str, Any]:
    """What the request is checked against: the distributions that exist, the date of the run, and today."""
    run, now = context["dag_run"], datetime.datetime.now(datetime.UTC)
    date = nightly_days.find_run_date(run.run_after, run.logical_date, now)
    return {
        "known": distros.names(settings().packaging_root),
        "run_date": date,
        "today": nightly_days.latest_day(now),
    }


def read_versions(context: Mapping[str, Any]) -> list[str]:
    """The versions that the run works on. Empty for a DAG that has no such parameter.

    They are those of its plan, in the one spelling of each; those of its parameters if it has no plan.
    """
    if planned := _planned_versions(context):
        return planned
    params, run = context.get("params") or {}, context.get("dag_run")
    asked = params.get("versions") or [params.get("version")]
    time = (run.logical_date or run.run_after) if run else datetime.datetime.now(datetime.UTC)
    today = time.astimezone(datetime.UTC).date()
    return [_version(version, today) for version in asked if version]


def _planned_versions(context: Mapping[str, Any]) -> list[str]:
    if "ti" not in context:
        return []
    plan = context["ti"].xcom_pull(task_ids=WrapperTask.PLAN, map_indexes=-1, key=_RETURNED)
    plans = plan if isinstance(plan, list) else [plan]
    return [one["version"] for one in plans if isinstance(one, dict) and "version" in one]


def _version(asked: object, today: datetime.date) -> str:
    try:
        return Release.parse(asked, today=today).version
    except InvalidVersion:
        return str(asked)


def parse_requests(planned: RequestJson | list[RequestJson]) -> list[Request]:
    """The requests of a wrapper, from what its task ``plan`` returned: one, or one for each version."""
    return [
        Request.model_validate(request) for request in (planned if isinstance(planned, list) else [planned])
    ]


@overload
def parse_plan(kind: type[P], plan: PlanJson) -> P: ...
@overload
def parse_plan(kind: type[P], plan: None) -> None: ...
def parse_plan(kind: type[P], plan: PlanJson | None) -> P | None:
    """The plan, from what the task ``plan`` returned: None if it failed."""
    return None if plan is None else kind.model_validate(plan)


def dump_plan(plan: Plan) -> PlanJson:
    """The plan as the task ``plan`` returns it. Logs it, for people."""
    log.info("%s", plan.model_dump_json(indent=2))
    log.info("distros/ and bin/ are those of %s (%s)", plan.packaging_revision, plan.packaging_ref)
    for fault in plan.faults.values():
        log.error("%s. The others go on; this run will fail at its end.", fault)
    return plan.model_dump(mode="json")


def log_warnings(lines: Iterable[str]) -> list[str]:
    """Log each line as a warning, and return all of them."""
    logged = []
    for line in lines:
        log.warning("%s", line)
        logged.append(line)
    return logged


@contextmanager
def fail_without_retry() -> Generator[None]:
    """Turn a PackagingError, which a retry would not fix, into a failure without a retry.

    The message is kept for reports and notifications, as the run's ``failure_reason``. Can also decorate the
    function of a task.
    """
    try:
        yield
    except PackagingError as error:
        _keep_reason(str(error))
        # Not `from error`: the log would say the message twice.
        raise AirflowFailException(str(error)).with_traceback(error.__traceback__) from None


def _keep_reason(reason: str) -> None:
    try:
        get_current_context()["ti"].xcom_push(key=FAILURE_REASON, value=reason)
    except Exception as error:
        # The task's log has it too. It must not be replaced by this error.
        log.warning("Cannot keep the reason for reports: %s", error)
