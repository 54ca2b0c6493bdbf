"""Every use of a private name of Airflow.

A new version of Airflow may move or change these without notice. tests/unit/test_airflow_internals.py checks
each against the installed Airflow, and fails if another module of ours imports a private name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from hhvm_packaging.runs.run import find_task_state

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from airflow.sdk.exceptions import DagRunTriggerException


def start_run(wanted: DagRunTriggerException, run_after: datetime.datetime) -> None:
    """Create the run that TriggerDagRunOperator asks for, due at ``run_after``; or reset the one that exists.

    The operator raises ``wanted``. Airflow's task runner handles it in the same way, but then it waits for
    the run with a trigger of its own. Raises AirflowException if Airflow refuses.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

    answer = task_runner.SUPERVISOR_COMMS.send(
        TriggerDagRun(
            dag_id=wanted.trigger_dag_id,
            run_id=wanted.dag_run_id,
            conf=wanted.conf,
            logical_date=wanted.logical_date,
            run_after=run_after,
            reset_dag_run=wanted.reset_dag_run,
            note=wanted.note,
        )
    )
    if isinstance(answer, ErrorResponse):
        raise AirflowException(f"{wanted.trigger_dag_id} run {wanted.dag_run_id}: {answer}") from wanted


def read_run_state(dag_id: str, run_id: str) -> str:
    """The state of a run. Triggers, which have no task instance to ask, can call this in a thread."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)


def read_task_state(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str | None:
    """The state of a task instance, otherwise like read_run_state.

    Empty if it has none yet, as after a clear. None if there is no such task instance.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id], task_ids=[task_id])
    return find_task_state(states.get(run_id, {}), task_id, map_index)


def is_task(component: object) -> bool:
    """Whether a listener's ``on_starting`` was called by the process of a task."""
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    return isinstance(component, TaskRunnerMarker)


def add_to_counter(name: str, count: int, labels: Mapping[str, str]) -> None:
    """Send an increment of a metric as Airflow sends its own. Does nothing if Airflow sends no metrics."""
    from airflow.sdk.observability import stats

    stats.incr(name, count, tags=dict(labels))


def set_gauge(name: str, value: int, labels: Mapping[str, str]) -> None:
    """Send a value of a metric. Otherwise like add_to_counter."""
    from airflow.sdk.observability import stats

    stats.gauge(name, value, tags=dict(labels))
