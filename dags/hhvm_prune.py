"""Delete what is too old: nightlies, published files that nobody needs any more, and scratch files of builds.

**To run**: it runs by itself, daily. Trigger it with `dry_run` to see in the logs what it would delete.
Releases are kept forever. Three settings say how long the rest is kept: `nightly_days`, `snapshot_days`,
`scratch_days`; `docs/operating.md` says what each is for.

**What keeps users safe**: a nightly is removed from the indices before its files are deleted. A file is
deleted only if no state of a suite names it that users may still have, or that an undo may return to. If that
is not known, nothing is deleted and the log says so.

**When this fails**: its log names the suite and the reason. Fix that and clear the failed task, or wait for
the next run: each finds anew what is left to do.

**To undo**: for `snapshot_days`, `bin/apt-suite undo` returns a suite to what it was; the next run removes
its old nightlies again, unless `nightly_days` is raised first. Deleted files are gone; build that nightly
again.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.orchestration import connections, dag_defaults, form, queues, schedules, task_context
from hhvm_packaging.orchestration.task_context import fail_without_retry
from hhvm_packaging.publishing import pages
from hhvm_packaging.reporting import status
from hhvm_packaging.settings import settings
from hhvm_packaging.upkeep.pruning import Pruning


@task
def plan() -> bool:
    """Check the request. Returns whether this is a dry run."""
    return task_context.read_dry_run(get_current_context())


@task(queue=queues.SIGNING)
@fail_without_retry()
def remove_old_nightlies(dry_run: bool) -> list[str]:
    """Remove nightlies that are too old from the suites, with one commit for each suite."""
    with connections.signer() as signer:
        return Pruning(connections.store(), settings(), dry_run=dry_run).age_out(signer)


@task
@fail_without_retry()
def delete_files(dry_run: bool) -> list[str]:
    """Delete published files that nobody can need any more, and outdated snapshots."""
    return Pruning(connections.store(), settings(), dry_run=dry_run).delete_files()


@task
def update_indices(dry_run: bool) -> str:
    """Write the directory listings of everything that is public anew."""
    if dry_run:
        raise AirflowSkipException("This is a dry run: nothing changed")
    return str(pages.rebuild_pages(connections.store(), settings()))


@task
def delete_scratch(dry_run: bool) -> list[str]:
    """Delete what finished versions left in scratch."""
    return Pruning(connections.store(), settings(), dry_run=dry_run).delete_scratch()


@task
def rebuild_status() -> str:
    """Find again what is built and public, in case that who changed it did not live to record it."""
    found = status.rebuild_index(connections.store(), settings())
    return f"{len(found.versions)} versions, {len(found.suites)} suites"


@dag(
    schedule=schedules.cron("@daily"),
    max_active_runs=1,
    params=form.make_prune_form(),
    **dag_defaults.scheduled("hhvm_prune", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.PUBLISH),
)
def hhvm_prune() -> None:
    dry_run: Any = plan()
    # The pool has one slot: what changes anything public takes turns with the publishers.
    aged = remove_old_nightlies.override(pool="publish")(dry_run)
    files = delete_files.override(pool="publish")(dry_run)
    indices = update_indices.override(pool="publish")(dry_run)
    scratch = delete_scratch(dry_run)

    dry_run >> aged >> files >> indices
    dry_run >> scratch >> rebuild_status()


hhvm_prune()
