"""Write the directory listings of everything that is public anew, by what the downloads bucket has.

**To run**: trigger it, or `bin/update-directory-indices`. A publish updates the listings of what it changed,
and `hhvm_prune` writes all of them anew each day. So this is for files that somebody put into the bucket, or
removed from it, by hand. It reads the names of all our objects; with a hundred thousand it takes minutes.

**When this fails**: its log says why. Clear the task: it writes only what differs.

**To undo**: there is nothing to undo: the listings say what is there.
"""

from __future__ import annotations

from airflow.sdk import dag, task

from hhvm_packaging.orchestration import connections, dag_defaults
from hhvm_packaging.orchestration.task_context import fail_without_retry
from hhvm_packaging.publishing import pages
from hhvm_packaging.settings import settings


@task
@fail_without_retry()
def update_indices() -> str:
    """Write all listings that are missing or have changed, the front page and the feed."""
    return str(pages.rebuild_pages(connections.store(), settings()))


@dag(
    schedule=None,
    max_active_runs=1,
    **dag_defaults.triggered("hhvm_update_indices", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.PUBLISH),
)
def hhvm_update_indices() -> None:
    # The pool has one slot: what changes anything public takes turns with the publishers.
    update_indices.override(pool="publish")()


hhvm_update_indices()
