"""Build one version of HHVM and, once it is built, publish it. Scheduled, it is the nightly.

**To run**: tag the release on the staging repository and trigger this with its `version`; or leave
`nightly`, which is the nightly of the run's own date, UTC. The nightly also runs by itself, as the setting
`nightly_schedule` says. `hold_until` and `require_approval` hold a release that is built; until then nothing
of it is public: no tag, tarball, package or listing. Who is to approve finds the request under *Required
Actions*.

**When this fails**: `publish` says what is not published and why. The link *Triggered DAG* of `build` and
of `publish` leads to the run that failed there, and its report to the log. Mend the cause, then clear the
failed tasks here: what is done passes in seconds. Clearing tasks of the child run is just as good while this
run still waits for it; afterwards, clear the failed task here as well. Triggering the version again does the
same.

**To undo**: mark the run failed to cancel it: what it triggered ends with it. What is public is taken back
with `hhvm_publish_release`.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import form, notifications, schedules
from hhvm_packaging.orchestration.child_runs import BuildOperator, PublishOperator
from hhvm_packaging.orchestration.hold_tasks import embargo
from hhvm_packaging.orchestration.job_operator import PATIENT
from hhvm_packaging.orchestration.priorities import SCHEDULED_FIRST
from hhvm_packaging.settings import settings


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Check the request, and settle which version it means."""
    from hhvm_packaging.orchestration import task_context

    return task_context.read_request(get_current_context()).model_dump(mode="json")


@dag(
    schedule=schedules.cron(settings().nightly_schedule),
    # No start_date: with one in the past, a new deployment would begin with a nightly.
    catchup=False,
    max_active_runs=settings().parallel_runs,
    params=form.releasing(),
    default_args={
        "owner": "release",
        **PATIENT,
        "weight_rule": SCHEDULED_FIRST,
    },
    tags=["hhvm", "build", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_build_and_publish() -> None:
    planned = plan()
    build = BuildOperator(task_id="build", request=planned)
    held = embargo(planned, build)
    # All done, not all successful: what is built may be published without what is not. It looks for itself.
    publish = PublishOperator(
        task_id="publish", request=planned, trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS
    )

    [build, held] >> publish
    # Whatever failed, also where all is published nevertheless, the run is red.
    [build, publish] >> EmptyOperator(task_id="all_published")


hhvm_build_and_publish()
