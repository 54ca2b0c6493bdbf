"""The arguments of DAGs and of their tasks that DAG files share."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from hhvm_packaging.orchestration import notifications, resuming
from hhvm_packaging.orchestration.job_operator import PATIENT
from hhvm_packaging.orchestration.priorities import SCHEDULED_FIRST

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

_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def triggered(doc: str | None, tasks: Mapping[str, Any], *tags: str) -> dict[str, Any]:
    """The arguments of a DAG that only runs when a person or another DAG triggers it."""
    return {"start_date": _START, **scheduled(doc, tasks, *tags)}


def scheduled(doc: str | None, tasks: Mapping[str, Any], *tags: str) -> dict[str, Any]:
    """The arguments of a DAG that has a schedule: its page, the defaults of its tasks, its tags.

    Without a ``start_date``: if there is one in the past, a new deployment begins with a run at once.
    """
    return {
        "catchup": False,
        "default_args": {"pre_execute": resuming.run_what_did_not_run, **tasks},
        "doc_md": doc,
        "on_failure_callback": notifications.failed(),
        "tags": [HHVM, *tags],
    }
