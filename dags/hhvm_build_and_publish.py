"""Build one version of HHVM and, once all of it is built, publish it.

**To run**: tag the release on the staging repository and trigger this with its `version`; or leave
`nightly`, which is the nightly of the run's own date, UTC.

**When this fails**: the task's link *Triggered DAG* leads to the child run that failed. Mend the cause,
then clear the failed task here: what is done passes in seconds. Clearing tasks of the child run is just
as good while this run still waits for it; afterwards, clear the failed task here as well.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task

from hhvm_packaging import form, notifications
from hhvm_packaging.children import ChildRunOperator


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Check the request, and settle which version it means."""
    from hhvm_packaging import runtime

    request = runtime.request(get_current_context())
    return {"version": request.version, "distros": list(request.distros)}


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    params=form.params(),
    default_args={"owner": "release", "retries": 2, "retry_delay": datetime.timedelta(seconds=15)},
    tags=["hhvm", "build", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_build_and_publish() -> None:
    planned = plan()
    child_run_id = "{{ run_id }}__{{ ti.xcom_pull(task_ids='plan')['version'] }}"
    build = ChildRunOperator(
        task_id="build", trigger_dag_id="hhvm_build", trigger_run_id=child_run_id, conf=planned
    )
    publish = ChildRunOperator(
        task_id="publish", trigger_dag_id="hhvm_publish_release", trigger_run_id=child_run_id, conf=planned
    )

    planned >> build >> publish


hhvm_build_and_publish()
