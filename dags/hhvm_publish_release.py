"""Publish one version of HHVM that is built: its packages, its source, the directory listings.

**To run**: trigger it with a `version` whose packages `hhvm_build` made. Publishes run one at a time.

**When this fails**: every step can be run again, so mend the cause and clear the failed tasks. Users see
either the state before or the one after, at every moment. If something is not built, `plan` says so and
nothing is published. What was withdrawn from a suite is left out of it, and the log says so, until it is
released again.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task

from hhvm_packaging import form
from hhvm_packaging.workers.operator import JobOperator


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Check the request, and that all of it is built."""
    from hhvm_packaging import plans, runtime

    request = runtime.request(get_current_context())
    with runtime.failing_for_good():
        return runtime.shown(plans.publish(request, runtime.store(), runtime.settings()))


@task
def update_repositories(plan: dict[str, Any]) -> list[str]:
    """Add the packages to each distribution's suite, and return the distributions."""
    from hhvm_packaging import repositories, runtime
    from hhvm_packaging.plans import Plan

    with runtime.failing_for_good(), runtime.signer() as signer:
        return repositories.update(Plan.model_validate(plan), runtime.store(), signer)


@task
def update_indices() -> str:
    """Bring the directory listings of everything that is public up to date."""
    from hhvm_packaging import runtime, site

    updated = site.update_indices(runtime.store().downloads)
    return f"{len(updated.written)} listings written, {len(updated.removed)} removed"


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    params=form.params(),
    default_args={"owner": "release", "retries": 2, "retry_delay": datetime.timedelta(seconds=15)},
    tags=["hhvm", "publish"],
    doc_md=__doc__,
)
def hhvm_publish_release() -> None:
    planned = plan()
    distros = update_repositories.override(pool="publish")(planned)
    source = JobOperator(task_id="publish_release_source", script="publish-release-source", plan=planned)
    indices = update_indices()
    verified = JobOperator.partial(
        task_id="verify_published",
        script="verify-published",
        plan=planned,
        map_index_template="{{ task.distro }}",
    ).expand(distro=distros)

    planned >> distros >> source >> indices >> verified


hhvm_publish_release()
