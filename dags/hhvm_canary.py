"""Look at what is published as its users do, and fail with all that is wrong with it.

**To run**: it runs by itself, hourly unless `canary_schedule` says otherwise; or trigger it. It changes
nothing and needs no private key. Where nothing is published yet it says so and skips.

**What it looks at**: `look_as_user` lets each distribution's own apt, on a clean machine, read every suite
and resolve an installation from it. `check` asks the public address for every index in every form and every
file that they name, and looks at the signatures, the times, the keys' expiry and, where nightlies are
scheduled, the last one. What it finds it looks at twice, so that a publish under way is no alarm.

**When this fails**: `canary_report` lists everything that is wrong. `docs/operating.md` says what to do about
each. Mend it and clear the run, or leave that to the next one.

**To undo**: there is nothing to undo.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import notifications, schedules
from hhvm_packaging.orchestration.job_operator import ON_A_WORKER, JobOperator
from hhvm_packaging.settings import settings


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Find out for which distributions anything is published."""
    from airflow.sdk.exceptions import AirflowSkipException

    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.settings import settings
    from hhvm_packaging.upkeep import canary

    with task_context.fail_without_retry():
        try:
            return task_context.dump_plan(canary.plan_canary(connections.store(), settings()))
        except canary.NothingPublished as error:
            raise AirflowSkipException(str(error)) from error


@task
def published_distros(plan: dict[str, Any]) -> list[str]:
    """The distributions for which anything is, by name."""
    return [distro["name"] for distro in plan["distros"]]


@task
def check(plan: dict[str, Any]) -> list[str]:
    """Look at everything over HTTP, and return what is wrong for the report."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import CanaryPlan
    from hhvm_packaging.settings import settings
    from hhvm_packaging.upkeep import canary

    with task_context.fail_without_retry():
        return canary.check(CanaryPlan.model_validate(plan), connections.store(), settings())


@task
def canary_report(plan: dict[str, Any] | None, findings: list[str] | None) -> str:
    """Say all that is wrong, and fail if anything is."""
    from airflow.sdk.exceptions import AirflowSkipException

    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import CanaryPlan
    from hhvm_packaging.reporting import reports

    run = task_context.read_run(get_current_context())
    if run.state("plan") == "skipped":
        raise AirflowSkipException("Nothing is published yet")
    with task_context.fail_without_retry():
        return reports.report_canary(
            CanaryPlan.model_validate(plan) if plan else None, findings, connections.store(), run
        )


@dag(
    schedule=schedules.cron(settings().canary_schedule),
    # No start_date, so that a new deployment waits for the next turn.
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "release", "retries": 2, "retry_delay": datetime.timedelta(seconds=15)},
    tags=["hhvm", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_canary() -> None:
    planned = plan()
    distros = published_distros(planned)
    looks = JobOperator.partial(
        task_id="look_as_user",
        script="look-as-user",
        plan=planned,
        map_index_template="{{ task.distro }}",
        **ON_A_WORKER,
    ).expand(distro=distros)
    findings = check(planned)
    # All done, not all successful: it must say everything, and itself fails if anything is wrong.
    report = canary_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned, findings)

    planned >> distros >> looks >> report
    planned >> findings >> report


hhvm_canary()
