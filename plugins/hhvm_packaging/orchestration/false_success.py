"""A run that Airflow calls successful although its last task did not run is failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hhvm_packaging.orchestration import connections, noting
from hhvm_packaging.planning.task_ids import BuildTask, CanaryTask, PublishTask, WrapperTask
from hhvm_packaging.runs.run import WRAPPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST_TASKS = {
    **dict.fromkeys(WRAPPERS, WrapperTask.ALL_PUBLISHED),
    "hhvm_build": BuildTask.REPORT,
    "hhvm_publish_release": PublishTask.REPORT,
    "hhvm_canary": CanaryTask.REPORT,
}
"""By the DAG: the task that decides the colour of its runs."""
_PATIENCE = 60
"""Seconds for which the API is asked again: nothing else takes the success back if Airflow was busy."""


def take_back(context: Mapping[str, Any]) -> None:
    """Mark the run failed if its last task was skipped. The ``on_success_callback`` of a DAG.

    The last task of a run is skipped only if the run is marked failed. If the scheduler examines it at that
    moment, the database may end the scheduler's transaction to break a deadlock. The scheduler then examines
    the run again, without a look whether that has ended, and calls it successful since nothing is left to do.
    Airflow does not call this for a run that a person marked successful. Raises ApiError.
    """
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    with connections.airflow_api(patience=_PATIENCE) as api:
        if not api.tasks(dag_id, run_id, LAST_TASKS[dag_id], states=["skipped"]):
            return
        api.fail_ended_run(dag_id, run_id)
    noting.note_end(
        "it was marked failed before it was done. "
        "To go on with it, clear its failed tasks; if there are none, the whole run",
        context,
    )
