"""End workers whose task is over or that expired, and the children of cancelled runs.

**To run**: it runs by itself, every five minutes. It looks at everything with this deployment's tags or
labels (instances, volumes that they left, containers, work directories) and ends exactly what it finds
unused; a worker of a newer attempt stays. If a wrapper failed, but the runs of `hhvm_build` and
`hhvm_publish_release` that it triggered go on, they are marked failed. Its logs and results say what it ended
and why. A message that a channel of `notify` did not take is sent again. Where Airflow sends metrics, it also
sends those of `docs/monitoring.md`.

**When this fails**: the workers end at their own time limits. Its log has the reason; clear the failed task,
or wait for the next run.

**To undo**: clear the task whose worker was ended: it starts another one. Clear the failed tasks of the
wrapper: it goes on with the run that was cancelled.
"""

from __future__ import annotations

import datetime
import time

from airflow.sdk import dag, task

from hhvm_packaging.orchestration import (
    connections,
    dag_defaults,
    metric_sender,
    notifications,
    queues,
    task_context,
)
from hhvm_packaging.reporting import metrics
from hhvm_packaging.settings import settings
from hhvm_packaging.upkeep import orphans, reaping


@task(queue=queues.WORKERS)
def reap() -> list[str]:
    """End unused workers, and remove old images. Returns which and why, a line for each."""
    worker = connections.worker()
    with connections.airflow_api() as api:
        ended = reaping.reap(worker, api, now=time.time())
        return [*task_context.log_warnings(metric_sender.count_leaked(ended)), *worker.tidy()]


@task
def cancel_orphans() -> list[str]:
    """Cancel the runs whose parent failed. Returns which and why, a line for each."""
    with connections.airflow_api() as api:
        return task_context.log_warnings(orphans.cancel(api))


@task
def send_metrics() -> None:
    """Send the metrics that are computed from the store and from Airflow's API."""
    with connections.airflow_api() as api:
        metric_sender.send(metrics.collect(connections.store(), api))


@task
def deliver_late() -> list[str]:
    """Deliver what a channel of notification did not take at first. Returns a line for each message."""
    return task_context.log_warnings(notifications.deliver_late())


@dag(
    schedule=datetime.timedelta(minutes=5),
    max_active_runs=1,
    **dag_defaults.scheduled("hhvm_reap_workers", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.WORKERS),
)
def hhvm_reap_workers() -> None:
    cancel_orphans()
    reap()
    if settings().notify:
        deliver_late()
    if metric_sender.is_on():
        send_metrics()


hhvm_reap_workers()
