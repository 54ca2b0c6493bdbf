"""Delete what is too old: nightlies, files that nobody can want any more, and what builds left in scratch.

**To run**: it runs by itself, daily. Trigger it with `dry_run` to see in the logs what it would delete.
Releases stay for good. How long the rest stays is set: `nightly_days`, `snapshot_days`, `scratch_days`;
`docs/operating.md` says what each is for.

**What keeps users safe**: an index loses a nightly before the pool does. A file goes only when no state of
any suite names it that users may still hold or that an undo may go back to. Where that is not known,
nothing is deleted and the log says so.

**When this fails**: its log names the suite and the reason. Mend that and clear the failed task, or leave it
to the next run: each finds anew what is left to do.

**To undo**: for `snapshot_days`, `bin/apt-suite undo` puts a suite back to what it was, and the next run
takes its old nightlies away again, unless `nightly_days` is raised first. What was deleted is gone; build
that nightly again.
"""

from __future__ import annotations

import datetime
from functools import partial

from airflow.sdk import dag, get_current_context, task

from hhvm_packaging.orchestration import form, notifications, schedules


@task
def plan() -> bool:
    """Check the request: whether this is a dry run."""
    from hhvm_packaging.orchestration import task_context

    return task_context.read_dry_run(get_current_context())


@task
def remove_old_nightlies(dry_run: bool) -> list[str]:
    """Take nightlies that are too old out of the suites, one commit each."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.settings import settings
    from hhvm_packaging.upkeep.pruning import Pruning

    with task_context.fail_without_retry(), connections.signer() as signer:
        return Pruning(connections.store(), settings(), dry_run=dry_run).age_out(signer)


@task
def delete_files(dry_run: bool) -> list[str]:
    """Delete public files that nobody can want any more, and outdated snapshots."""
    from hhvm_packaging.orchestration import connections, task_context
    from hhvm_packaging.settings import settings
    from hhvm_packaging.upkeep.pruning import Pruning

    with task_context.fail_without_retry():
        return Pruning(connections.store(), settings(), dry_run=dry_run).delete_files()


@task
def update_indices(dry_run: bool) -> str:
    """Bring the directory listings of everything that is public up to date."""
    from airflow.sdk.exceptions import AirflowSkipException

    from hhvm_packaging.apt import undo
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.publishing import listings

    if dry_run:
        raise AirflowSkipException("This is a dry run: nothing changed")
    downloads = connections.store().downloads
    updated = listings.update_indices(downloads, partial(undo.notice, downloads))
    return f"{len(updated.written)} listings written, {len(updated.removed)} removed"


@task
def delete_scratch(dry_run: bool) -> list[str]:
    """Delete what versions that nobody works on any more left in scratch."""
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.settings import settings
    from hhvm_packaging.upkeep.pruning import Pruning

    return Pruning(connections.store(), settings(), dry_run=dry_run).delete_scratch()


@dag(
    schedule=schedules.cron("@daily"),
    # No start_date: with one in the past, a new deployment would begin with this.
    catchup=False,
    max_active_runs=1,
    params=form.pruning(),
    default_args={"owner": "release", "retries": 2, "retry_delay": datetime.timedelta(seconds=15)},
    tags=["hhvm", "publish"],
    on_failure_callback=notifications.failed(),
    doc_md=__doc__,
)
def hhvm_prune() -> None:
    dry_run = plan()
    # What changes anything public takes its turn among the publishers.
    aged = remove_old_nightlies.override(pool="publish")(dry_run)
    files = delete_files.override(pool="publish")(dry_run)
    indices = update_indices.override(pool="publish")(dry_run)
    scratch = delete_scratch(dry_run)

    dry_run >> aged >> files >> indices
    dry_run >> scratch


hhvm_prune()
