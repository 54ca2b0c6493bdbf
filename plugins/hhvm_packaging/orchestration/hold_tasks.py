"""The tasks of the wrapper DAGs that hold a release after it is built and before it is public."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from hhvm_packaging.orchestration import connections, notifications, task_context
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.publishing import holds
from hhvm_packaging.reporting import markdown
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from airflow.sdk.types import Operator


class ReadyXCom(TypedDict):
    """What the task ``ready`` returns."""

    hold_until: str
    """The time before which nothing is published, in ISO format; now, if the run does not wait for one."""
    require_approval: bool
    subject: str
    """The versions, for the person who approves."""
    body: str
    """Markdown: what is built of each version."""
    found: list[dict[str, Any]]
    """The JSON of a Ready for each version that may be published, in their order."""


class HoldOperator(DateTimeSensorAsync):
    """Wait for a time, deferred. Succeed at once if it has passed already."""

    def execute(self, context: Context) -> None:  # type: ignore[override]  # the stock one always defers
        """Defer only if there is something to wait for."""
        if not self.poke(context):
            super().execute(context)


def embargo(planned: Any, build: Operator) -> Operator:
    """Make the tasks between ``build`` and publishing. Returns the last one.

    ``planned`` is what the wrapper's task ``plan`` returned.
    """
    held = is_held(planned)
    found: Any = ready(planned)
    approve = ApprovalOperator(
        task_id=WrapperTask.APPROVE,
        subject="Publish {{ ti.xcom_pull(task_ids='ready')['subject'] }}?",
        body="{{ ti.xcom_pull(task_ids='ready')['body'] }}",
        fail_on_reject=True,
        notifiers=notifications.waiting(),
        assigned_users=[{"id": user, "name": user} for user in settings().approvers or ()] or None,
        pre_execute=_begin_to_ask,
        # A person who rejected the release is not asked again.
        retry_policy=ExceptionRetryPolicy(
            rules=[RetryRule(exception=HITLRejectException, action=RetryAction.FAIL)]
        ),
    )
    approved = record_approval(found)
    hold_until = HoldOperator(
        task_id=WrapperTask.HOLD_UNTIL,
        target_time="{{ ti.xcom_pull(task_ids='ready')['hold_until'] }}",
        # `approve` is skipped if no approval is required.
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    # An empty task that is never skipped. It needs no process.
    may_publish = EmptyOperator(task_id=WrapperTask.MAY_PUBLISH, trigger_rule=TriggerRule.NONE_FAILED)
    held >> [found, may_publish]
    build >> found >> approve >> approved >> hold_until >> may_publish
    found >> hold_until
    return may_publish


@task.branch(task_id=WrapperTask.IS_HELD)
def is_held(planned: Any) -> str:
    """Skip the other tasks here if the run waits neither for a time nor for an approval."""
    request = task_context.parse_requests(planned)[0]
    wait = request.hold_until or request.require_approval
    return str(WrapperTask.READY if wait else WrapperTask.MAY_PUBLISH)


# ALL_DONE: some builds may fail. The request says whether the others are published.
@task(task_id=WrapperTask.READY, trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS, multiple_outputs=False)
@task_context.fail_without_retry()
def ready(planned: Any) -> ReadyXCom:
    """Find out which versions are built and may be published. Fail if none may."""
    requests = task_context.parse_requests(planned)
    found = holds.find_ready(requests, connections.store(), settings())
    for fault in holds.find_faults(requests, found).values():
        task_context.log.error("%s. This run will fail at its end.", fault)
    publishable = holds.select_publishable(requests, found)
    return {
        "hold_until": (requests[0].hold_until or datetime.datetime.now(datetime.UTC)).isoformat(),
        "require_approval": requests[0].require_approval,
        "subject": ", ".join(f"HHVM {version.version}" for version in publishable),
        "body": write_body(publishable),
        "found": [version.model_dump(mode="json") for version in publishable],
    }


def write_body(found: Sequence[holds.Ready]) -> str:
    """What is built of each version, in Markdown: an item each."""
    return "\n".join(f"- {markdown.escape(str(version))}" for version in found)


@task(task_id=WrapperTask.RECORD_APPROVAL)
def record_approval(found: ReadyXCom) -> str:
    """Record in the store who approved which builds."""
    ti = get_current_context()["ti"]
    answer = ti.xcom_pull(task_ids=WrapperTask.APPROVE)
    user = answer and answer["responded_by_user"]
    if not user:
        raise AirflowFailException(f"Nobody approved it: clear `{WrapperTask.APPROVE}` and what follows")
    by, at = str(user["name"]), answer["responded_at"]
    approved = [holds.Ready.model_validate(version) for version in found["found"]]
    holds.record_approval(approved, ti.dag_id, ti.run_id, by, at, connections.store())
    summary = f"{by} approved {found['subject']}"
    task_context.log.info("%s at %s", summary, at)
    return summary


def _begin_to_ask(context: Context) -> None:
    """Skip the task unless an approval is required. If it is, an earlier approval in this run ends."""
    ti = context["ti"]
    found: ReadyXCom = ti.xcom_pull(task_ids=WrapperTask.READY)
    if not found["require_approval"]:
        raise AirflowSkipException("require_approval was not asked for")
    requests = task_context.parse_requests(ti.xcom_pull(task_ids=WrapperTask.PLAN))
    holds.withdraw_approvals(requests, ti.dag_id, ti.run_id, connections.store())
