"""Publish the package `hhvm-archive-keyring` in every suite, if the keys or the address have changed.

**To run**: it runs by itself, daily; trigger it after the signing connection was given another key. Users who
have the package get the new keys with their next upgrade. So a key that is to sign belongs into the
connection as a public key first: docs/signing.md, Replacing the key.

**When this fails**: its log names the suites that do not have the package, and why. The others have it. Fix
that and clear the task.

**To undo**: put the keys back into the connection and trigger it again. A package of an older content gets a
newer version, so users get it.
"""

from __future__ import annotations

from airflow.sdk import dag, task

from hhvm_packaging.orchestration import connections, dag_defaults, queues, schedules
from hhvm_packaging.orchestration.task_context import fail_without_retry
from hhvm_packaging.publishing import keyring, pages
from hhvm_packaging.settings import settings


@task(queue=queues.SIGNING)
@fail_without_retry()
def publish_keyring() -> list[str]:
    """Add the package to the suites that lack today's. Returns what was added, a line for each suite."""
    store = connections.store()
    with connections.signer() as signer:
        added = keyring.publish(store, signer, settings())
    pages.update_keyring_pages(added, store, settings())
    return [str(each) for each in added]


@dag(
    schedule=schedules.cron("@daily"),
    max_active_runs=1,
    **dag_defaults.scheduled(
        "hhvm_publish_keyring", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.PUBLISH
    ),
)
def hhvm_publish_keyring() -> None:
    # The pool has one slot: what changes anything public takes turns with the publishers.
    publish_keyring.override(pool="publish")()


hhvm_publish_keyring()
