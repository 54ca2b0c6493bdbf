"""What follows from a failed task: what did not run because of it shows that, and runs once it is cleared."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import connections, task_context
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.runs.run import parse_task_name

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

_SKIPPED, _FAILED, _UPSTREAM_FAILED = "skipped", "failed", "upstream_failed"
_OPTIONAL = frozenset({
    WrapperTask.READY,
    WrapperTask.APPROVE,
    WrapperTask.HOLD_UNTIL,
})
"""Tasks that are skipped in a run that nobody holds. Airflow skips them again if they are cleared."""


def run_what_did_not_run(context: Mapping[str, Any]) -> None:
    """If a person cleared this task, have everything of the run follow that did not run before.

    Each task of a DAG that has a last task which decides its colour calls this before it begins. When a run
    is marked failed, Airflow skips what has not begun. Clearing the failed tasks leaves that skipped, and a
    run whose last task is skipped is green. In a run that goes its way, no task begins after one that follows
    it was skipped, nor after one became ``upstream_failed`` without a failed task. Raises ApiError; then the
    task must not succeed.
    """
    ti = context["ti"]
    states = _read_states(ti)
    if states.get(ti.task_id if ti.map_index in (None, -1) else f"{ti.task_id}_{ti.map_index}") != "running":
        return  # A person marked this task or the run just now, and Airflow is about to end this process.
    after = context["task"].get_flat_relative_ids(upstream=False) - _OPTIONAL
    following = {state for name, state in states.items() if parse_task_name(name, after)}
    if _SKIPPED not in following and (_UPSTREAM_FAILED not in following or _FAILED in states.values()):
        return
    with connections.airflow_api() as api:
        idle = api.tasks(ti.dag_id, ti.run_id, states=(_SKIPPED, _UPSTREAM_FAILED))
        names = ", ".join(sorted({task.name for task in idle}))
        task_context.log.info("What did not run before runs after this task: %s", names)
        instances = [(task.task_id, task.map_index) if task.map_index >= 0 else task.task_id for task in idle]
        waits = {task.task_id for task in idle}
        if WrapperTask.MAY_PUBLISH in after - waits and waits & _OPTIONAL:
            # It succeeded although they were skipped. Publishing would not wait for them.
            instances.append(WrapperTask.MAY_PUBLISH)
        api.clear_tasks(ti.dag_id, ti.run_id, *instances)


@contextmanager
def skip_after_failure(kind: type[PackagingError] = PackagingError) -> Generator[None]:
    """Turn an error of this kind into a skip if a task before this one failed: one failure is one red task.

    Can also decorate the function of a task.
    """
    try:
        yield
    except kind as error:
        context = get_current_context()
        before = context["task"].get_flat_relative_ids(upstream=True)
        failed = sorted(
            name
            for name, state in _read_states(context["ti"]).items()
            if state == _FAILED and parse_task_name(name, before)
        )
        if not failed:
            raise
        reason = f"{error}. It is skipped, because {', '.join(failed)} failed"
        task_context.log.warning("%s", reason)
        raise AirflowSkipException(reason) from error


def _read_states(ti: Any) -> dict[str, str | None]:
    """The states of all task instances of the run, by Airflow's names for them."""
    states: dict[str, Any] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])
    return states.get(ti.run_id) or {}
