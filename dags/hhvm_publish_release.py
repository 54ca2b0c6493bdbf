"""Publish one version of HHVM that is built: its packages, its source, the directory listings. And undo it.

**To run**: trigger it with a `version` whose packages `hhvm_build` made. `dry_run` shows in
`publish_report` exactly what would change, and changes nothing. Publishes run one at a time.

**What keeps users safe**: `candidate` writes what the suites are to become where no user sees it,
`verify_candidate` lets each distribution's own apt read it and resolve the installation, and only then
`update_repositories` exposes it. Users see either the state before or the one after, at every moment.

**When this fails**: `publish_report` names each distribution and step that failed, with the class of failure,
the reason, the end of the log and where all of it is. Mend the cause and clear the failed tasks: every step
can be run again. `if_one_fails` says what becomes of the other distributions.

**To undo**: trigger it with the action `undo` and the bad version: its suites no longer offer it, and it
stays away until somebody triggers `release again`. `publish_report` has the command for users who
installed it. With `undo_to` the suites are put back to all that they were at that time.
"""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import form, notifications
from hhvm_packaging.orchestration.job_operator import ON_A_WORKER, PATIENT, JobOperator
from hhvm_packaging.settings import settings


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Check the request, and that all of it is built."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning import plans
    from hhvm_packaging.settings import settings

    request = task_context.read_request(get_current_context())
    with task_context.fail_without_retry():
        return task_context.dump_plan(plans.plan_publish(request, connections.store(), settings()))


@task
def candidate(plan: dict[str, Any]) -> list[str]:
    """Write what the suites are to become, where no user sees it, and return the distributions."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.publishing import candidates
    from hhvm_packaging.settings import settings

    with task_context.fail_without_retry(), connections.signer() as signer:
        return candidates.make_all(PublishPlan.model_validate(plan), connections.store(), signer, settings())


@task
def update_repositories(plan: dict[str, Any] | None) -> list[str]:
    """Expose the candidates that apt accepted, and return their distributions."""
    from airflow.sdk.exceptions import AirflowSkipException

    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.publishing import exposure
    from hhvm_packaging.settings import settings

    if plan and plan["dry_run"]:
        raise AirflowSkipException("This is a dry run: publish_report shows what it would change")
    with task_context.fail_without_retry(), connections.signer() as signer:
        return exposure.update(
            PublishPlan.model_validate(plan) if plan else None, connections.store(), signer, settings()
        )


@task
def invalidate_cdn(plan: dict[str, Any]) -> str:
    """Have the CDN forget the indices that were replaced, and return when it has."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.publishing import cdn
    from hhvm_packaging.settings import settings

    repositories = (distro.repository for distro in PublishPlan.model_validate(plan).distros)
    this_try = str(get_current_context()["ti"].id)
    with task_context.fail_without_retry():
        return cdn.invalidate(connections.cloudfront(), settings().cdn_distribution, repositories, this_try)


@task
def update_indices() -> str:
    """Bring the directory listings of everything that is public up to date."""
    from hhvm_packaging.apt import undo
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.publishing import listings

    downloads = connections.store().downloads
    updated = listings.update_indices(downloads, partial(undo.notice, downloads))
    return f"{len(updated.written)} listings written, {len(updated.removed)} removed"


@task
def publish_report(plan: dict[str, Any] | None) -> str:
    """Say what users get now, and fail if that is not all that was asked for."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.reporting import reports
    from hhvm_packaging.settings import settings

    with task_context.fail_without_retry():
        return reports.report_publish(
            PublishPlan.model_validate(plan) if plan else None,
            connections.store(),
            settings(),
            task_context.read_run(get_current_context()),
        )


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    params=form.publishing(),
    default_args={
        "owner": "release",
        **PATIENT,
        # A publish takes minutes, and must not wait for the slots of builds that take hours.
        "weight_rule": "absolute",
        "priority_weight": 3,
    },
    tags=["hhvm", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_publish_release() -> None:
    planned = plan()
    candidates = candidate(planned)
    accepted = JobOperator.partial(
        task_id="verify_candidate",
        script="verify-candidate",
        plan=planned,
        map_index_template="{{ task.distro }}",
        **ON_A_WORKER,
    ).expand(distro=candidates)
    # All done, not all successful: the plan says whether the others wait for one that failed.
    exposed = update_repositories.override(pool="publish", trigger_rule=TriggerRule.ALL_DONE)(planned)
    source = JobOperator(
        task_id="publish_release_source", script="publish-release-source", plan=planned, **ON_A_WORKER
    )
    indices = update_indices()
    verified = JobOperator.partial(
        task_id="verify_published",
        script="verify-published",
        plan=planned,
        map_index_template="{{ task.distro }}",
        **ON_A_WORKER,
    ).expand(distro=exposed)
    # All done: it must say what failed, and itself fails if anything did.
    report = publish_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned)

    planned >> candidates >> accepted >> exposed >> [source, verified]
    if settings().cdn_distribution:
        exposed >> invalidate_cdn(planned) >> verified
    source >> indices
    [indices, verified] >> report


hhvm_publish_release()
