"""Build one version of HHVM and, once it is built, publish it. Scheduled, it is the nightly.

**To run**: tag the release on the staging repository and trigger this with its `version`; or leave
`nightly`, which is the nightly of the run's logical date, or else of today, UTC. The nightly also runs by
itself, as the setting `nightly_schedule` says. `hold_until` and `require_approval` hold a release that is
built; until then nothing of it is public: no tag, tarball, package or listing. The person who approves finds
the request under *Required Actions*.

**When this fails**: `publish` says what is not published and why. The link *Triggered DAG* of `build` and
of `publish` leads to the run that failed, whose report leads to the log. Fix the cause, then clear the
failed tasks here: what is done succeeds in seconds. While this run still waits for the other one, you can
clear tasks there instead; afterwards, clear the failed task here as well. Triggering the version again does
the same.

**To undo**: mark the run failed to cancel it: the runs that it triggered end with it. To take back what is
public, run `hhvm_publish_release` with the action `undo`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import connections, dag_defaults, form, noting, schedules, task_context
from hhvm_packaging.orchestration.child_runs import BuildOperator, PublishOperator, name_builds
from hhvm_packaging.orchestration.hold_tasks import ask_for_holds, embargo
from hhvm_packaging.orchestration.last_look import all_published
from hhvm_packaging.orchestration.task_context import RequestJson, fail_without_retry
from hhvm_packaging.planning import spelling
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.settings import settings


@task(task_id=WrapperTask.PLAN, multiple_outputs=False)
@fail_without_retry()
def plan() -> RequestJson:
    """Check the request, and resolve which version it means."""
    context = get_current_context()
    asked = task_context.read_request(context)
    request = spelling.settle(asked, connections.store(), settings(), ask_tags=True)
    noting.note_state([request], "building", context)
    ask_for_holds([request], context)
    return name_builds([request], context)[0]


@dag(
    schedule=schedules.cron(settings().nightly_schedule, settings().nightly_time_zone),
    max_active_runs=settings().parallel_runs,
    params=form.make_wrapper_form(),
    **dag_defaults.scheduled(
        "hhvm_build_and_publish", __doc__, dag_defaults.BUILD_TASKS, dag_defaults.BUILD, dag_defaults.PUBLISH
    ),
)
def hhvm_build_and_publish() -> None:
    planned: Any = plan()
    build = BuildOperator(task_id=WrapperTask.BUILD, request=planned)
    held = embargo(planned, build)
    # ALL_DONE: some builds may fail. The task itself checks in the store what may be published. It is skipped
    # if that is nothing, because a task before it failed.
    publish = PublishOperator(
        task_id=WrapperTask.PUBLISH, request=planned, trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS
    )

    [build, held] >> publish
    [build, held, publish] >> all_published(planned)


hhvm_build_and_publish()
