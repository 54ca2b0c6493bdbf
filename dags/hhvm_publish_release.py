"""Publish one version of HHVM that is built: its packages, its source, the directory listings. Or undo that.

**To run**: trigger it with a `version` whose packages `hhvm_build` made. `dry_run` shows in
`publish_report` exactly what would change, and changes nothing. Publishes run one at a time.

**What keeps users safe**: `candidate` writes the new indices of the suites where no user sees them. In
`verify_candidate` each distribution's own apt reads them and resolves the installation. Only then
`update_repositories` publishes them. At every moment users see either the state before or the one after.

**When this fails**: `publish_report` names each distribution and step that failed, with the class of failure,
the reason, the end of the log and the place of the whole log. Fix the cause and clear the failed tasks: every
step can be run again. `if_one_fails` says whether the other distributions are published. A version that is
held is refused. The action `lift holds`, with a `reason`, publishes it all the same, and that is recorded.

**To undo**: trigger it with the action `undo` and the bad version. Its suites no longer offer it, and nothing
publishes it again until somebody triggers `release again`. `publish_report` has the command for users who
installed it. With `undo_to` the suites return to everything that they were at that time.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.orchestration import (
    announcing,
    connections,
    dag_defaults,
    form,
    noting,
    queues,
    resuming,
    task_context,
)
from hhvm_packaging.orchestration.hold_tasks import lift_holds
from hhvm_packaging.orchestration.step_tasks import run_step, run_step_for_each
from hhvm_packaging.orchestration.task_context import PlanJson, fail_without_retry, parse_plan
from hhvm_packaging.planning import plans
from hhvm_packaging.planning.plans import PublishPlan
from hhvm_packaging.planning.task_ids import PublishTask
from hhvm_packaging.publishing import candidates, cdn, exposure, pages
from hhvm_packaging.publishing.steps import PublishReleaseSource, VerifyCandidate, VerifyPublished
from hhvm_packaging.reporting import reports
from hhvm_packaging.settings import settings


@task(task_id=PublishTask.PLAN, multiple_outputs=False)
@fail_without_retry()
def plan() -> PlanJson:
    """Check the request, and that everything it asks for is built."""
    connections.ensure_architectures()
    context = get_current_context()
    request, run_id = task_context.read_request(context), str(context["run_id"])
    noting.note_state([request], f"{request.action}{', dry run' if request.dry_run else ''}", context)
    found = plans.plan_publish(request, connections.store(), settings(), run_id)
    lift_holds(request, found.version)
    return task_context.dump_plan(found)


@task(task_id=PublishTask.CANDIDATE, queue=queues.SIGNING)
@fail_without_retry()
def candidate(plan: PlanJson) -> list[str]:
    """Write the candidates, where no user sees them. Returns the names of the distributions that have one."""
    with connections.signer() as signer:
        return candidates.make_all(parse_plan(PublishPlan, plan), connections.store(), signer, settings())


@task(task_id=PublishTask.UPDATE_REPOSITORIES, queue=queues.SIGNING)
@fail_without_retry()
@resuming.skip_after_failure(exposure.Held)
def update_repositories(plan: PlanJson | None) -> list[str]:
    """Publish the candidates that apt accepted. Returns the names of their distributions."""
    parsed = parse_plan(PublishPlan, plan)
    if parsed and parsed.dry_run:
        raise AirflowSkipException("This is a dry run: publish_report shows what it would change")
    with connections.signer() as signer:
        return exposure.update(parsed, connections.store(), signer, settings())


@task(task_id=PublishTask.INVALIDATE_CDN)
@fail_without_retry()
def invalidate_cdn(plan: PlanJson) -> str:
    """Remove the replaced indices from the CDN's caches, and wait until that is done."""
    repositories = [distro.repository for distro in parse_plan(PublishPlan, plan).distros]
    attempt = str(get_current_context()["ti"].id)
    return cdn.invalidate(connections.cloudfront(), settings().cdn_distribution, repositories, attempt)


@task(task_id=PublishTask.UPDATE_INDICES)
def update_indices(plan: PlanJson) -> str:
    """Update the directory listings of what was published, the front page and the feed."""
    parsed = parse_plan(PublishPlan, plan)
    return str(pages.update_pages(parsed, connections.store(), settings()))


@task(task_id=PublishTask.REPORT, outlets=[announcing.PUBLISHED])
@fail_without_retry()
@noting.note_outcome
def publish_report(plan: PlanJson | None) -> str:
    """Report what users get now, and announce it. Fail if anything that was asked for is missing."""
    context, parsed = get_current_context(), parse_plan(PublishPlan, plan)
    run = task_context.read_run(context)
    report = reports.report_publish(parsed, connections.store(), settings(), run)
    if parsed:
        announcing.announce(parsed, context)
    return report


@dag(
    schedule=None,
    max_active_runs=1,
    params=form.make_publish_form(),
    **dag_defaults.triggered(
        "hhvm_publish_release", __doc__, dag_defaults.PUBLISH_TASKS, dag_defaults.PUBLISH
    ),
)
def hhvm_publish_release() -> None:
    planned: Any = plan()
    with dag_defaults.group(
        "before", "Before it is public", "The new indices, checked where no user sees them"
    ):
        candidates = candidate(planned)
        accepted = run_step_for_each(VerifyCandidate, planned, candidates)
    with dag_defaults.group("public", "Public", "What users get, checked as they see it"):
        # ALL_DONE: the plan says whether the other distributions are published if one fails.
        exposed = update_repositories.override(pool="publish", trigger_rule=TriggerRule.ALL_DONE)(planned)
        source = run_step(PublishReleaseSource, planned)
        # Pruning writes the same listings.
        indices = update_indices.override(pool="publish")(planned)
        verified = run_step_for_each(VerifyPublished, planned, exposed)
        if settings().cdn_distribution:
            exposed >> invalidate_cdn(planned) >> verified
    # ALL_DONE: it names every failure, and fails itself if there is one.
    report = publish_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned)

    planned >> candidates >> accepted >> exposed >> [source, verified]
    source >> indices
    [indices, verified] >> report


hhvm_publish_release()
