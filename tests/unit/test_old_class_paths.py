"""The class paths and method names that Airflow's database has from the revision before the modules moved.

This list must stay until the release after the one that moved them: see CHANGELOG.md. The test of a whole job
whose trigger was stored by that revision is in tests/integration/test_job_operator.py.
"""

from __future__ import annotations

import inspect
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from hhvm_packaging.orchestration.child_runs import BuildOperator, ChildRunTrigger, PublishOperator
from hhvm_packaging.orchestration.job_operator import JobOperator
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from hhvm_packaging.orchestration.priorities import ScheduledFirst

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

JOB = {
    "version": "1.0.0",
    "script": "make-binary-package",
    "distro": "debian-12-bookworm",
    "packaging": "a" * 64,
    "environment": {"VERSION": "1.0.0"},
    "inputs": [{"key": "a/key", "name": "a-file", "sha256": "b" * 64}],
    "outputs": "1.0.0/debian-12-bookworm/20261126T215802.123456Z-1/",
    "needs_engine": True,
    "needs_keys": False,
    "time_limit": 14400,
}
PLAN: dict[str, Any] = {
    "version": "1.0.0",
    "nightly": False,
    "commit": "c" * 40,
    "packaging": "a" * 64,
    "packaging_revision": "d" * 40,
    "packaging_ref": "worktree",
    "known": ["debian-12-bookworm"],
    "distros": [],
    "faults": {},
    "not_before": "",
    "action": "publish",
    "undo_to": None,
    "dry_run": False,
    "hold_all": True,
}
TICKET = {
    "name": "hhvm-1.0.0-make-binary-package-debian-12-bookworm-0123456789ab",
    "build": "20261126T215802.123456Z-1",
    "job": JOB,
}
TRIGGERS: dict[str, tuple[str, dict[str, Any], type[BaseTrigger]]] = {
    "a job": (
        "hhvm_packaging.workers.trigger.JobTrigger",
        TICKET | {"deadline": 1_764_194_282.5, "plan": PLAN, "read": 7},
        JobTrigger,
    ),
    "a child run": (
        "hhvm_packaging.children.ChildRunTrigger",
        {"dag_id": "hhvm_build", "run_id": "manual__1__1.0.0", "last_task": "build_report"},
        ChildRunTrigger,
    ),
}
METHODS = [
    (JobOperator, "take_in", TICKET | {"event": "ended"}),
    (BuildOperator, "execute_complete", {"event": "manual__1__1.0.0"}),
    (PublishOperator, "execute_complete", {"event": "manual__1__1.0.0"}),
]
STRATEGIES = [
    "hhvm_packaging.priorities.ScheduledFirst",
    "hhvm_packaging.orchestration.priorities.ScheduledFirst",
]


@pytest.mark.parametrize("stored", TRIGGERS.values(), ids=TRIGGERS)
def test_a_stored_trigger_is_made_again_as_the_triggerer_does(
    stored: tuple[str, dict[str, Any], type[BaseTrigger]],
) -> None:
    path, arguments, kind = stored
    trigger = resolve_name(path)(**BaseSerialization.deserialize(BaseSerialization.serialize(arguments)))
    assert type(trigger) is kind
    assert trigger.serialize() == (f"{kind.__module__}.{kind.__qualname__}", arguments)


@pytest.mark.parametrize(("operator", "method", "arguments"), METHODS)
def test_the_method_with_which_a_deferred_task_goes_on_takes_the_stored_arguments(
    operator: type, method: str, arguments: dict[str, Any]
) -> None:
    inspect.signature(getattr(operator, method)).bind("the task", {}, **arguments)


@pytest.mark.parametrize("path", STRATEGIES)
def test_airflow_finds_the_priority_strategy_that_a_stored_dag_names(path: str) -> None:
    from airflow.task.priority_strategy import validate_and_load_priority_weight_strategy

    strategy = validate_and_load_priority_weight_strategy(path)
    assert isinstance(strategy, ScheduledFirst)
