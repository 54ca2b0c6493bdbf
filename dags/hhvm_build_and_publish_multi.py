"""Build several versions of HHVM at the same time, and publish them one after another, in the order given.

**To run**: tag the releases on the staging repository and trigger this with their `versions`, in the order
in which they are to be published. `hold_until` and `require_approval` hold them together, once all builds
have ended, to be published close together; until then nothing of them is public: no tag, tarball, package or
listing. Who is to approve finds the request under *Required Actions*.

**When this fails**: each version is a task of its own. A version that is not built is not published, and its
`publish` says why; `if_a_version_fails` says what becomes of the others. The link *Triggered DAG* leads to
the run that failed there, and its report to the log. Mend the cause, then clear the failed tasks here: what
is done passes in seconds. Where an approval was asked for, it is for what was built then: clear `ready` and
what follows, so that the rest is approved too.

**To undo**: mark the run failed to cancel it: what it triggered ends with it. What is public is taken back
with `hhvm_publish_release`, version by version.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import form, notifications
from hhvm_packaging.orchestration.child_runs import BuildOperator, PublishOperator
from hhvm_packaging.orchestration.hold_tasks import embargo
from hhvm_packaging.orchestration.job_operator import PATIENT
from hhvm_packaging.orchestration.priorities import SCHEDULED_FIRST
from hhvm_packaging.settings import settings

BY_VERSION = "{{ task.request['version'] }}"


@task
def plan() -> list[dict[str, Any]]:
    """Check the request: one for each version, in order."""
    from hhvm_packaging.orchestration import task_context

    return [request.model_dump(mode="json") for request in task_context.read_requests(get_current_context())]


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=settings().parallel_runs,
    params=form.releasing_several(),
    default_args={
        "owner": "release",
        **PATIENT,
        "weight_rule": SCHEDULED_FIRST,
    },
    tags=["hhvm", "build", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_build_and_publish_multi() -> None:
    planned = plan()
    build = BuildOperator.partial(task_id="build", map_index_template=BY_VERSION).expand(request=planned)
    held = embargo(planned, build)
    # All done, not all successful: what is built may be published without what is not. It looks for itself.
    publish = PublishOperator.partial(
        task_id="publish",
        map_index_template=BY_VERSION,
        max_active_tis_per_dagrun=1,
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
    ).expand(request=planned)

    [build, held] >> publish
    # Whatever failed, also where all is published nevertheless, the run is red.
    [build, publish] >> EmptyOperator(task_id="all_published")


hhvm_build_and_publish_multi()
