"""Build one version of HHVM: its signed source tarball, and packages for each distribution.

**To run**: trigger it with a `version`; `nightly` is the nightly of the run's logical date, or else of
today, UTC. People usually trigger `hhvm_build_and_publish`, which runs this and then publishes.

**What is done stays done**: each task first checks whether its result is in the store. A cleared task whose
work is done succeeds at once and says so.

**When this fails**: `build_report` names each version, distribution and step that failed, with the class of
failure, the reason, the end of the log and the place of the whole log. Fix the cause and clear the failed
tasks: what was built is not built again. Clearing `plan` resolves the commit and the packaging files anew. To
rebuild packages that are published, bump the distribution's `PKGVER`: what is published is immutable. To
rebuild others, trigger it with `force`.

**Which packaging files**: those of `packaging_ref`; if that is empty, those of a release's own branch
`HHVM-x.y`; if there is none, the checkout as it is. `plan` logs which commit that was. All tasks use it.

**To undo**: mark the run failed; its containers are ended. Nothing here is public, except a nightly's
source tarball, which is published as soon as it is signed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.orchestration import connections, dag_defaults, form, noting, queues, task_context
from hhvm_packaging.orchestration.step_tasks import run_step, run_step_for_each
from hhvm_packaging.orchestration.task_context import PlanJson, fail_without_retry, parse_plan
from hhvm_packaging.planning import plans, source_tarball
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.reporting import reports
from hhvm_packaging.settings import settings


@task(task_id=BuildTask.PLAN, multiple_outputs=False)
@fail_without_retry()
def plan() -> PlanJson:
    """Check the request, and resolve its commit and packaging files once for all tasks."""
    connections.ensure_architectures()
    context = get_current_context()
    request, run_id = task_context.read_request(context), str(context["run_id"])
    noting.note_state([request], "building", context)
    return task_context.dump_plan(plans.plan_build(request, connections.store(), settings(), run_id))


@task(task_id=BuildTask.SIGN_SOURCE_TARBALL, queue=queues.SIGNING)
@fail_without_retry()
def sign_source_tarball(plan: PlanJson) -> str:
    """Sign the tarball here, not on the machine that made it: that one must not have the key."""
    release = parse_plan(BuildPlan, plan).release
    with connections.signer() as signer:
        return source_tarball.sign(connections.store(), release, signer).model_dump_json()


@task(task_id=BuildTask.PLAN_PACKAGES)
def plan_packages(plan: PlanJson) -> list[str]:
    """The names of the distributions to build for."""
    return [distro.name for distro in parse_plan(BuildPlan, plan).distros]


@task(task_id=BuildTask.REPORT)
@fail_without_retry()
@noting.note_outcome
def build_report(plan: PlanJson | None) -> str:
    """Report what is built. Fail if anything that was asked for is not."""
    run = task_context.read_run(get_current_context())
    return reports.report_build(parse_plan(BuildPlan, plan), connections.store(), settings(), run)


@dag(
    schedule=None,
    max_active_runs=settings().parallel_runs,
    params=form.make_build_form(),
    **dag_defaults.triggered("hhvm_build", __doc__, dag_defaults.BUILD_TASKS, dag_defaults.BUILD),
)
def hhvm_build() -> None:
    planned: Any = plan()
    with dag_defaults.group("source", "Source", "The tarball of the commit, and its signature"):
        tarball = run_step(MakeSourceTarball, planned)
        signature = sign_source_tarball(planned)
    with dag_defaults.group("packages", "Packages", "Of each distribution, built and installed as a test"):
        distros = plan_packages(planned)
        packages = run_step_for_each(MakeBinaryPackage, planned, distros)
    # ALL_DONE: it names every failure, and fails itself if there is one.
    report = build_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned)

    planned >> tarball >> signature >> packages >> report
    planned >> distros >> packages


hhvm_build()
