"""Orphans: runs that go on although the run that triggered them was cancelled.

The task that waits for a child cancels it, but Airflow does not tell that task so if it had only just begun
to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.runs.run import parent_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.runs.api import AirflowApi, RunSeen

WRAPPERS = ("hhvm_build_and_publish", "hhvm_build_and_publish_multi")
CHILDREN = ("hhvm_build", "hhvm_publish_release")


def cancel(api: AirflowApi) -> Iterator[str]:
    """Mark failed each child that is under way though its parent failed since it began; say which and why."""
    for dag_id in CHILDREN:
        for child in api.runs_under_way(dag_id):
            for wrapper in WRAPPERS:
                if (parent := api.run(wrapper, parent_run_id(child.run_id))) and _is_orphan(child, parent):
                    api.fail_run(dag_id, child.run_id)
                    yield (
                        f"cancelled {dag_id} run {child.run_id}: {wrapper} run {parent.run_id}, which "
                        "triggered it, is failed. Clearing the failed tasks there goes on with it"
                    )


def _is_orphan(child: RunSeen, parent: RunSeen) -> bool:
    """A child that a person cleared after its parent ended is wanted for itself."""
    if parent.state != "failed" or parent.end_date is None or child.queued_at is None:
        return False
    return child.queued_at < parent.end_date
