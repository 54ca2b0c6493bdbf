"""The arguments of DAGs and of their tasks that DAG files share."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup

from hhvm_packaging.orchestration import false_success, notifications, noting, resuming
from hhvm_packaging.orchestration.job_operator import PATIENT
from hhvm_packaging.orchestration.priorities import SCHEDULED_FIRST
from hhvm_packaging.runs.run import WRAPPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

HHVM, BUILD, PUBLISH, WORKERS = "hhvm", "build", "publish", "workers"
"""Tags, by which people filter the list of DAGs. Every DAG has the first."""

BUILD_TASKS: Mapping[str, Any] = {"owner": "release", **PATIENT, "weight_rule": SCHEDULED_FIRST}
"""For the tasks of DAGs that build, and of the wrappers."""
PUBLISH_TASKS: Mapping[str, Any] = {
    "owner": "release",
    **PATIENT,
    # A publish takes minutes. It must not wait for the slots of builds that take hours.
    "weight_rule": "absolute",
    "priority_weight": 3,
}
"""For the tasks of the DAG that publishes."""
UPKEEP_TASKS: Mapping[str, Any] = {
    "owner": "release",
    "retries": 2,
    "retry_delay": datetime.timedelta(seconds=15),
}
"""For the tasks of DAGs that run often by themselves: the next run does what this one did not."""

NAMES = {
    "hhvm_build": "Build",
    "hhvm_publish_release": "Publish or undo",
    "hhvm_build_and_publish": "Build and publish",
    "hhvm_build_and_publish_multi": "Build and publish several",
    "hhvm_canary": "Check what is public",
    "hhvm_prune": "Delete what is too old",
    "hhvm_publish_keyring": "Publish the keys",
    "hhvm_reap_workers": "End unused workers",
    "hhvm_renew_dependencies": "Renew build dependencies",
    "hhvm_update_indices": "Write all listings",
}
"""What Airflow's pages call the DAGs, before their ids."""

_NOTE_FAILURES = dict.fromkeys(WRAPPERS, (noting.note_failure,))
"""The last task of a wrapper does not run if another one has failed; that of any other DAG reports itself."""

_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def triggered(dag_id: str, doc: str | None, tasks: Mapping[str, Any], *tags: str) -> dict[str, Any]:
    """The arguments of a DAG that only runs when a person or another DAG triggers it."""
    return {"start_date": _START, **scheduled(dag_id, doc, tasks, *tags)}


def scheduled(dag_id: str, doc: str | None, tasks: Mapping[str, Any], *tags: str) -> dict[str, Any]:
    """The arguments of a DAG that has a schedule: its name and page, the defaults of its tasks, its tags.

    Its description is the first line of ``doc``. Without a ``start_date``: if there is one in the past, a new
    deployment begins with a run at once.
    """
    return {
        "dag_id": dag_id,
        # Messages and documents have the id: people must find it in Airflow's list by both.
        "dag_display_name": f"{NAMES[dag_id]} ({dag_id})",
        "description": (doc or "").partition("\n")[0],
        "catchup": False,
        "default_args": {"pre_execute": resuming.run_what_did_not_run, **tasks},
        "doc_md": doc,
        "on_success_callback": [false_success.take_back] if dag_id in false_success.LAST_TASKS else None,
        "on_failure_callback": [*notifications.failed(), *_NOTE_FAILURES.get(dag_id, ())],
        "tags": [HHVM, *tags],
    }


def group(group_id: str, name: str, tooltip: str) -> TaskGroup:
    """A group of tasks with a name and a tooltip. Their ids stay: Airflow keeps a run's history by them."""
    return TaskGroup(group_id, group_display_name=name, tooltip=tooltip, prefix_group_id=False)
