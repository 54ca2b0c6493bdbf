"""What the wrapper DAGs share: the tasks that hold a release after it is built and before it is public."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, TriggerRule, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from hhvm_packaging.orchestration import notifications
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Operator


class HoldOperator(DateTimeSensorAsync):
    """Wait for a time, deferred; where that has passed already, pass at once."""

    def execute(self, context: Context) -> None:  # type: ignore[override]  # the stock one always waits
        """Wait, or not."""
        if not self.poke(context):
            super().execute(context)


def embargo(planned: Any, build: Operator) -> Operator:
    """The tasks between ``build`` and publishing; the last of them. ``planned`` is what ``plan`` returned."""
    held = is_held(planned)
    found = ready(planned)
    approve = ApprovalOperator(
        task_id="approve",
        subject="Publish {{ ti.xcom_pull(task_ids='ready')['subject'] }}?",
        body="{{ ti.xcom_pull(task_ids='ready')['body'] }}",
        fail_on_reject=True,
        notifiers=notifications.waiting(),
        assigned_users=[{"id": user, "name": user} for user in settings().approvers] or None,
        pre_execute=_begin_to_ask,
        # Whoever rejected it is not asked again.
        retry_policy=ExceptionRetryPolicy(
            rules=[RetryRule(exception=HITLRejectException, action=RetryAction.FAIL)]
        ),
    )
    approved = record_approval(found)
    hold_until = HoldOperator(
        task_id="hold_until",
        target_time="{{ ti.xcom_pull(task_ids='ready')['hold_until'] }}",
        # Where nobody is to approve, `approve` is skipped.
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    # It takes no process, and is never skipped.
    may_publish = EmptyOperator(task_id="may_publish", trigger_rule=TriggerRule.NONE_FAILED)
    held >> [found, may_publish]
    build >> found >> approve >> approved >> hold_until >> may_publish
    found >> hold_until
    return may_publish


@task.branch
def is_held(planned: Any) -> str:
    """Skip all of these while the builds run, where the run is to wait neither for a time nor for anybody."""
    from hhvm_packaging.orchestration import task_context

    asked = task_context.parse_requests(planned)[0]
    return "ready" if asked.hold_until or asked.require_approval else "may_publish"


# All done, not all successful: what is built may be published without what is not, by the run's terms.
@task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS, multiple_outputs=False)
def ready(planned: Any) -> dict[str, Any]:
    """Say what is built and may be published, and fail if that is nothing."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.publishing import holds
    from hhvm_packaging.settings import settings

    requests = task_context.parse_requests(planned)
    with task_context.fail_without_retry():
        found = holds.find_ready(requests, connections.store(), settings())
        for fault in holds.find_faults(requests, found).values():
            task_context.log.error("%s. This run will end red.", fault)
        going_on = holds.select_publishable(requests, found)
    return {
        "hold_until": (requests[0].hold_until or _now()).isoformat(),
        "require_approval": requests[0].require_approval,
        "subject": ", ".join(f"HHVM {one.version}" for one in going_on),
        "body": "\n".join(f"- {one}" for one in going_on),
        "found": [one.model_dump(mode="json") for one in going_on],
    }


@task
def record_approval(found: Any) -> str:
    """Keep who approved what."""
    from airflow.sdk import get_current_context

    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.publishing import holds

    ti = get_current_context()["ti"]
    answer = ti.xcom_pull(task_ids="approve")
    user = answer and answer["responded_by_user"]
    if not user:
        raise AirflowFailException("Nobody approved it: clear `approve` and what follows")
    by, at = str(user["name"]), answer["responded_at"]
    ready = [holds.Ready.model_validate(one) for one in found["found"]]
    holds.record_approval(ready, ti.dag_id, ti.run_id, by, at, connections.store())
    said = f"{by} approved {found['subject']}"
    task_context.log.info("%s at %s", said, at)
    return said


def _begin_to_ask(context: Context) -> None:
    """Skip the task unless an approval is asked for; if it is, an earlier one no longer counts."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.publishing import holds

    ti = context["ti"]
    found = ti.xcom_pull(task_ids="ready")
    if not found["require_approval"]:
        raise AirflowSkipException("require_approval was not asked for")
    holds.withdraw_approvals(
        task_context.parse_requests(ti.xcom_pull(task_ids="plan")), ti.dag_id, ti.run_id, connections.store()
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
