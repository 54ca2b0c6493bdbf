"""Check everything that is published as its users see it. Fail if anything is wrong.

**To run**: it runs by itself, hourly unless `canary_schedule` says otherwise; or trigger it. It changes
nothing and needs no private key. If nothing is published yet, it says so and skips its tasks.

**What it checks**: in `look_as_user` each distribution's own apt, in a clean container, reads every suite
and resolves an installation from it. `check` downloads from the public address every index in every form,
asks for every file that they name, and checks the signatures, the times and the expiry of the keys; if
nightlies are scheduled, also that the last one is there. What it finds it checks a second time, so that a
publish at the same moment is no alarm.

**When this fails**: `canary_report` lists everything that is wrong. `docs/operating.md` says what to do about
each. Fix it and clear the run, or wait for the next one.

**To undo**: there is nothing to undo.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.orchestration import connections, dag_defaults, schedules, task_context
from hhvm_packaging.orchestration.step_tasks import run_step_for_each
from hhvm_packaging.orchestration.task_context import PlanJson, fail_without_retry, parse_plan
from hhvm_packaging.planning.plans import CanaryPlan
from hhvm_packaging.planning.task_ids import CanaryTask
from hhvm_packaging.publishing.steps import LookAsUser
from hhvm_packaging.reporting import reports
from hhvm_packaging.settings import settings
from hhvm_packaging.upkeep import canary


@task(task_id=CanaryTask.PLAN, multiple_outputs=False)
@fail_without_retry()
def plan() -> PlanJson:
    """Find the distributions that have a published suite."""
    try:
        return task_context.dump_plan(canary.plan_canary(connections.store(), settings()))
    except canary.NothingPublished as error:
        raise AirflowSkipException(str(error)) from error


@task(task_id=CanaryTask.PUBLISHED_DISTROS)
def published_distros(plan: PlanJson) -> list[str]:
    """The names of the distributions to check."""
    return [distro.name for distro in parse_plan(CanaryPlan, plan).distros]


@task(task_id=CanaryTask.CHECK)
@fail_without_retry()
def check(plan: PlanJson) -> list[str]:
    """Check everything over HTTP. Returns what is wrong, for the report: a line for each finding."""
    return canary.check(parse_plan(CanaryPlan, plan), connections.store(), settings())


@task(task_id=CanaryTask.REPORT)
@fail_without_retry()
def canary_report(plan: PlanJson | None, findings: list[str] | None) -> str:
    """Report everything that is wrong. Fail if anything is."""
    run = task_context.read_run(get_current_context())
    if run.state(CanaryTask.PLAN) == "skipped":
        raise AirflowSkipException("Nothing is published yet")
    return reports.report_canary(parse_plan(CanaryPlan, plan), findings, connections.store(), run)


@dag(
    schedule=schedules.cron(settings().canary_schedule),
    max_active_runs=1,
    **dag_defaults.scheduled("hhvm_canary", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.PUBLISH),
)
def hhvm_canary() -> None:
    planned: Any = plan()
    distros = published_distros(planned)
    looks = run_step_for_each(LookAsUser, planned, distros)
    findings: Any = check(planned)
    # ALL_DONE: it says everything that is wrong, and fails itself if anything is.
    report = canary_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned, findings)

    planned >> distros >> looks >> report
    planned >> findings >> report


hhvm_canary()
