"""Build one version of HHVM: its signed source tarball, and packages for each distribution.

**To run**: trigger it with a `version`; `nightly` is the nightly of the run's own date, UTC. People
usually trigger `hhvm_build_and_publish`, which runs this and then publishes.

**What is done stays done**: each task looks for its result first, by content. A task that is cleared
although its work is done passes at once and says so.

**When this fails**: `build_report` names each version, distribution and step that failed, with the class of
failure, the reason, the end of the log and where all of it is. Mend the cause and clear the failed tasks:
what was built is not built again. Clearing `plan` resolves the commit and the packaging files anew. To build
published packages again, bump the distribution's `PKGVER`: what is published is immutable. To build others
again, trigger it with `force`.

**Which packaging files**: `packaging_ref`, else a release's own branch `HHVM-x.y`, else the checkout as it
is. `plan` says in its log which commit that was, and all tasks keep to it.

**To undo**: mark the run failed; its containers are ended. Nothing here is public, except a nightly's
source tarball, which is published as soon as it is signed.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import form, notifications
from hhvm_packaging.orchestration.job_operator import ON_A_WORKER, PATIENT, JobOperator
from hhvm_packaging.orchestration.priorities import SCHEDULED_FIRST
from hhvm_packaging.settings import settings


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Check the request, and resolve its commit and packaging files once for all tasks."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning import plans
    from hhvm_packaging.settings import settings

    context = get_current_context()
    request = task_context.read_request(context)
    with task_context.fail_without_retry():
        return task_context.dump_plan(
            plans.plan_build(request, connections.store(), settings(), str(context["run_id"]))
        )


@task
def sign_source_tarball(plan: dict[str, Any]) -> str:
    """Sign the tarball, away from the machine that made it."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning import source_tarball
    from hhvm_packaging.planning.plans import BuildPlan

    with task_context.fail_without_retry(), connections.signer() as signer:
        return source_tarball.sign(
            connections.store(), BuildPlan.model_validate(plan).release, signer
        ).model_dump_json()


@task
def plan_packages(plan: dict[str, Any]) -> list[str]:
    """The distributions to build for, by name."""
    return [distro["name"] for distro in plan["distros"]]


@task
def build_report(plan: dict[str, Any] | None) -> str:
    """Say what is built, and fail if anything that was asked for is not."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.planning.plans import BuildPlan
    from hhvm_packaging.reporting import reports
    from hhvm_packaging.settings import settings

    with task_context.fail_without_retry():
        return reports.report_build(
            BuildPlan.model_validate(plan) if plan else None,
            connections.store(),
            settings(),
            task_context.read_run(get_current_context()),
        )


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=settings().parallel_runs,
    params=form.building(),
    default_args={
        "owner": "release",
        **PATIENT,
        "weight_rule": SCHEDULED_FIRST,
    },
    tags=["hhvm", "build"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_build() -> None:
    planned = plan()
    tarball = JobOperator(
        task_id="make_source_tarball", script="make-source-tarball", plan=planned, **ON_A_WORKER
    )
    signature = sign_source_tarball(planned)
    distros = plan_packages(planned)
    packages = JobOperator.partial(
        task_id="make_binary_package",
        script="make-binary-package",
        plan=planned,
        map_index_template="{{ task.distro }}",
        **ON_A_WORKER,
    ).expand(distro=distros)
    # All done, not all successful: it must name every failure, and itself fails if there is any.
    report = build_report.override(trigger_rule=TriggerRule.ALL_DONE)(planned)

    planned >> tarball >> signature >> packages >> report
    planned >> distros >> packages


hhvm_build()
