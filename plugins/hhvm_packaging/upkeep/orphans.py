"""Orphans: runs that go on although the run that triggered them was cancelled.

Usually the task that waits for such a child cancels it. But if it had only just deferred, Airflow does not
run the trigger's on_kill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import CHILDREN, UNFINISHED, child_run_prefix, parse_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.runs.api import AirflowApi, DagRun


def cancel(api: AirflowApi) -> Iterator[str]:
    """Mark each orphan failed. Yields a line for each that says which run it was and why.

    Raises ApiError.
    """
    for dag_id in CHILDREN:
        for child in api.runs(dag_id, states=UNFINISHED):
            for wrapper, parent in _find_parents(api, child):
                if _is_orphan(child, parent):
                    api.fail_run(dag_id, child.run_id)
                    yield (
                        f"cancelled {dag_id} run {child.run_id}: {wrapper} run {parent.run_id}, which "
                        "triggered it, has failed. To go on with it, clear the failed tasks there"
                    )


def _find_parents(api: AirflowApi, child: DagRun) -> Iterator[tuple[str, DagRun]]:
    """The run that triggered the child, with its DAG. Of a former version's child there may be several."""
    named = parse_parent(child.run_id)
    for wrapper in named.dag_ids:
        if not named.cut:
            if parent := api.run(wrapper, named.run_id):
                yield wrapper, parent
            continue
        for parent in api.runs(wrapper, prefix=named.run_id, states=("failed",)):
            if child.run_id.startswith(child_run_prefix(wrapper, parent.run_id, named.version)):
                yield wrapper, parent


def _is_orphan(child: DagRun, parent: DagRun) -> bool:
    """Whether the parent failed after the child was triggered.

    If a person cleared the child after that, the child is to run by itself.
    """
    if parent.state != "failed" or parent.end_date is None or child.queued_at is None:
        return False
    return child.queued_at < parent.end_date
