"""End what nobody waits for: workers whose task is not alive or that expired, children of cancelled runs.

**To run**: it runs by itself, every five minutes. It looks at all that bears this deployment's tags or
labels (instances, volumes that they left, containers, work directories) and ends exactly what it found; a
worker of a newer try stays. Runs of `hhvm_build` and `hhvm_publish_release` that go on although the wrapper
that triggered them failed meanwhile are marked failed. Its logs and results say what it ended and why.

**When this fails**: the workers end at their own time limits. Its log has the reason; clear the failed task,
or leave it to the next run.

**To undo**: clear the task whose worker was ended: it starts another one. Clear the failed tasks of the
wrapper: it goes on with the run that was cancelled.
"""

from __future__ import annotations

import datetime

from airflow.sdk import dag, get_current_context, task

from hhvm_packaging.orchestration import notifications


@task
def reap() -> list[str]:
    """End them, and say which and why."""
    import time

    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.upkeep.reaping import reap

    ended = list(
        reap(connections.worker(), task_context.task_state_reader(get_current_context()), now=time.time())
    )
    for line in ended:
        task_context.log.warning("%s", line)
    return ended


@task
def cancel_orphans() -> list[str]:
    """Cancel them, and say which and why."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.upkeep import orphans

    with connections.airflow_api() as api:
        cancelled = list(orphans.cancel(api))
    for line in cancelled:
        task_context.log.warning("%s", line)
    return cancelled


@dag(
    schedule=datetime.timedelta(minutes=5),
    # No start_date, so that a new deployment waits for the next turn.
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "release", "retries": 2, "retry_delay": datetime.timedelta(seconds=15)},
    tags=["hhvm", "workers"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_reap_workers() -> None:
    cancel_orphans()
    reap()


hhvm_reap_workers()
