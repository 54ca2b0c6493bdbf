"""Orphans: child runs whose waiting task a person ended while it waited.

The trigger of such a task asks here when Airflow ends it. But if the task had only just deferred, Airflow
does not tell the trigger; so all child runs are looked at again from time to time.

A person's last word counts: a child that was triggered or cleared after that goes on, and so does one whose
waiting task failed by itself, because the child or Airflow did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import CHILDREN, UNFINISHED, WAITS_FOR, child_run_prefix, parse_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.runs.api import AirflowApi, DagRun, Task

_CLEARED = ("post_clear_task_instances", "clear_dag_run")
"""The events of Airflow's audit log for what a person cleared."""


@dataclass(frozen=True)
class Waiting:
    """A task instance of a wrapper that waits for a child run, or has waited for it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


def cancel(api: AirflowApi) -> Iterator[str]:
    """Mark each orphan failed. Yields a line for each that says which run it was and why.

    Raises ApiError.
    """
    for dag_id in CHILDREN:
        for child in api.runs(dag_id, states=UNFINISHED):
            for waiting in _find_waiting(api, dag_id, child):
                if line := cancel_child(api, dag_id, child, waiting):
                    yield line
                    break


def cancel_child(api: AirflowApi, dag_id: str, child: DagRun, waiting: Waiting) -> str:
    """Mark the child failed if it is an orphan of this task. Returns a line that says so, else an empty one.

    Raises ApiError.
    """
    why = _why_orphan(api, child, waiting)
    if not why or child.state not in UNFINISHED:
        return ""
    api.fail_run(dag_id, child.run_id)
    parent = f"{waiting.dag_id} run {waiting.run_id}, which triggered it"
    return f"cancelled {dag_id} run {child.run_id}: {parent}, {why}"


def _find_waiting(api: AirflowApi, dag_id: str, child: DagRun) -> Iterator[Waiting]:
    """The tasks that may have waited for the child. Of a former version's child there may be several."""
    named, task_id = parse_parent(child.run_id), WAITS_FOR[dag_id]
    for wrapper in named.dag_ids:
        parents = [named.run_id]
        if named.cut:
            runs = (run.run_id for run in api.runs(wrapper, prefix=named.run_id))
            parents = [
                run for run in runs if child.run_id.startswith(child_run_prefix(wrapper, run, named.version))
            ]
        for parent in parents:
            if api.run(wrapper, parent) is None:
                yield Waiting(wrapper, parent, task_id, -1)
                continue
            for task in api.tasks(wrapper, parent, task_id):
                if task.map_index < 0 or task.label == named.version:
                    yield Waiting(wrapper, parent, task_id, task.map_index)


def _why_orphan(api: AirflowApi, child: DagRun, waiting: Waiting) -> str:
    """How a person ended the wait, for people; empty if nobody did, or if the child began after that."""
    began, run = child.queued_at, (waiting.dag_id, waiting.run_id)
    if began is None:
        return ""
    parent = api.run(*run)
    if parent is None:
        return "was deleted" if api.events(*run, "delete_dag_run", after=began) else ""
    found = api.tasks(*run, waiting.task_id)
    task = next((one for one in found if one.map_index == waiting.map_index), None)
    if task is None:
        return f"has no task {waiting.task_id} any more: somebody deleted it"
    marked = "was marked failed. To go on with it, clear"
    if task.state == "failed" and task.end_date and task.end_date > began:
        if _failed_by_itself(api, task):
            return ""
        return f"or its task {task.name}, {marked} the failed tasks there"
    # Airflow skips a task that is cleared and about to wait again, if a person marks its run failed then.
    skipped = task.state == "skipped" and parent.state == "failed"
    # Tasks write the run's note by the same request.
    if skipped and any("state" in event.extra for event in api.events(*run, "patch_dag_run", after=began)):
        return f"{marked} its task {task.name} and what follows"
    return ""


def _failed_by_itself(api: AirflowApi, task: Task) -> bool:
    """Whether the task failed and no person marked it failed after that.

    Airflow records that a try failed by itself, and what people clear; not what they mark. Until a task that
    was cleared begins again, it has the number of its last try.
    """
    run = task.dag_id, task.run_id
    failures = api.events(*run, "failed", task=task)
    failed = max((event.when for event in failures if event.try_number == task.try_number), default=None)
    if failed is None:
        return False
    cleared = [each.when for event in _CLEARED for each in api.events(*run, event, after=failed)]
    return not any(task.end_date and when < task.end_date for when in cleared)
