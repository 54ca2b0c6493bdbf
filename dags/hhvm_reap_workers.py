"""End workers that nobody waits for: their task is not alive any more, or they are past their expiry.

**To run**: it runs by itself, every five minutes. It looks at all that bears this deployment's tags or
labels (instances, volumes that they left, containers, work directories) and ends exactly what it found; a
worker of a newer try stays. Its log and its result say what it ended and why.

**When this fails**: the workers end at their own time limits. Its log has the reason; clear the failed task,
or leave it to the next run.

**To undo**: clear the task whose worker was ended: it starts another one.
"""

from __future__ import annotations

import datetime

from airflow.sdk import dag, get_current_context, task

from hhvm_packaging import notifications


@task
def reap() -> list[str]:
    """End them, and say which and why."""
    import time

    from hhvm_packaging import runtime
    from hhvm_packaging.workers.reaping import reap

    ended = list(reap(runtime.worker(), runtime.task_state(get_current_context()), now=time.time()))
    for line in ended:
        runtime.log.warning("%s", line)
    return ended


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
    reap()


hhvm_reap_workers()
