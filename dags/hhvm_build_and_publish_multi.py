"""Build several versions of HHVM at the same time, and publish them one after another, in the order given.

**To run**: tag the releases on the staging repository and trigger this with their `versions`, in the order
in which they are to be published. `hold_until` and `require_approval` hold them together, once all builds
have ended, to be published close together; until then nothing of them is public: no tag, tarball, package or
listing. The person who approves finds the request under *Required Actions*.

**When this fails**: each version is a task of its own. A version that is not built is not published, and its
`publish` says why; `if_a_version_fails` says whether the others are published. The link *Triggered DAG* leads
to the run that failed, whose report leads to the log. Fix the cause, then clear the failed tasks here: what
is done succeeds in seconds. An approval is for what was built when it was given: clear `ready` and what
follows, so that the rest is approved too.

**To undo**: mark the run failed to cancel it: the runs that it triggered end with it. To take back what is
public, run `hhvm_publish_release` with the action `undo`, version by version.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task

from hhvm_packaging.orchestration import connections, dag_defaults, form, noting, task_context
from hhvm_packaging.orchestration.child_runs import BuildOperator, PublishOperator, name_builds
from hhvm_packaging.orchestration.hold_tasks import ask_for_holds, embargo
from hhvm_packaging.orchestration.last_look import all_published
from hhvm_packaging.orchestration.task_context import RequestJson, fail_without_retry
from hhvm_packaging.planning import spelling
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.settings import settings

BY_VERSION = "{{ task.request['version'] }}"


@task(task_id=WrapperTask.PLAN)
@fail_without_retry()
def plan() -> list[RequestJson]:
    """Check the request, and resolve which versions it means. Returns one request for each, in order."""
    context, store = get_current_context(), connections.store()
    requests = [
        spelling.settle(request, store, settings(), ask_tags=True)
        for request in task_context.read_requests(context)
    ]
    noting.note_state(requests, "building", context)
    ask_for_holds(requests, context)
    return name_builds(requests, context)


@dag(
    schedule=None,
    max_active_runs=settings().parallel_runs,
    params=form.make_multi_form(),
    **dag_defaults.triggered(
        "hhvm_build_and_publish_multi",
        __doc__,
        dag_defaults.BUILD_TASKS,
        dag_defaults.BUILD,
        dag_defaults.PUBLISH,
    ),
)
def hhvm_build_and_publish_multi() -> None:
    planned: Any = plan()
    build = BuildOperator.partial(task_id=WrapperTask.BUILD, map_index_template=BY_VERSION).expand(
        request=planned
    )
    held = embargo(planned, build)
    # ALL_DONE: some builds may fail. The task itself checks in the store what may be published. It is skipped
    # if that is nothing, because a task before it failed.
    publish = PublishOperator.partial(
        task_id=WrapperTask.PUBLISH,
        map_index_template=BY_VERSION,
        max_active_tis_per_dagrun=1,
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
    ).expand(request=planned)

    [build, held] >> publish
    [build, held, publish] >> all_published(planned)


hhvm_build_and_publish_multi()
