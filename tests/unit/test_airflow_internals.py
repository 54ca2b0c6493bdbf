"""The private names of Airflow that we use are there, and behave as we rely on.

If a test here fails after an upgrade of Airflow, adapt orchestration/_airflow_internals.py and nothing else.
The console's login has a module of its own, console/security.py, which test_console.py covers.
"""

from __future__ import annotations

import ast
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.jobs.job import Job
from airflow.jobs.triggerer_job_runner import ToTriggerSupervisor
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowException, DagRunTriggerException
from airflow.sdk.execution_time.comms import (
    DagRunStateResult,
    ErrorResponse,
    GetDagRunState,
    GetTaskStates,
    OKResponse,
    TaskStatesResult,
    ToSupervisor,
    TriggerDagRun,
)
from airflow.sdk.execution_time.task_runner import TaskRunnerMarker
from pydantic import TypeAdapter

from hhvm_packaging.orchestration import _airflow_internals
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
MAY = ("orchestration/_airflow_internals.py", "console/security.py")
"""The modules that may import private names."""
OURS = sorted(
    path.relative_to(ROOT)
    for folder in ("dags", "plugins")
    for path in (ROOT / folder).rglob("*.py")
    if not str(path).endswith(MAY)
)
PUBLIC = (
    "airflow.listeners",
    "airflow.plugins_manager",
    "airflow.sdk",
    "airflow.sdk.exceptions",
    "airflow.task.priority_strategy",
    "airflow.triggers.base",
)
"""What Airflow documents as its public interface, as far as we use it; beside it, its providers."""
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)


def wanted() -> DagRunTriggerException:
    """What TriggerDagRunOperator raises."""
    return DagRunTriggerException(
        trigger_dag_id="hhvm_build",
        dag_run_id="a-run",
        conf={"version": "1.0.0"},
        logical_date=None,
        reset_dag_run=True,
        skip_when_already_exists=False,
        wait_for_completion=True,
        allowed_states=[],
        failed_states=[],
        poke_interval=1,
        deferrable=True,
        note="for people",
    )


def accepted(message: BaseModel, by: Any) -> object:
    """The message as the process reads it that gets it."""
    return TypeAdapter(by).validate_python(message.model_dump())


def test_a_task_can_start_a_run_that_is_due_at_a_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(monkeypatch, lambda _: OKResponse(ok=True))
    _airflow_internals.start_run(wanted(), run_after=NOW)
    [sent] = supervisor.sent
    assert accepted(sent, ToSupervisor) == TriggerDagRun(
        dag_id="hhvm_build",
        run_id="a-run",
        conf={"version": "1.0.0"},
        logical_date=None,
        run_after=NOW,
        reset_dag_run=True,
        note="for people",
    )


def test_a_run_that_airflow_refuses_to_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Supervisor(monkeypatch, lambda _: ErrorResponse())
    with pytest.raises(AirflowException, match="hhvm_build run a-run: "):
        _airflow_internals.start_run(wanted(), run_after=NOW)


@pytest.mark.parametrize("by", [ToSupervisor, ToTriggerSupervisor], ids=["a task", "a trigger"])
def test_the_state_of_a_run_can_be_read(monkeypatch: pytest.MonkeyPatch, by: Any) -> None:
    supervisor = Supervisor(monkeypatch, lambda _: DagRunStateResult(state=DagRunState.RUNNING))
    assert _airflow_internals.read_run_state("hhvm_build", "a-run") == "running"
    [sent] = supervisor.sent
    assert accepted(sent, by) == GetDagRunState(dag_id="hhvm_build", run_id="a-run")


@pytest.mark.parametrize("by", [ToSupervisor, ToTriggerSupervisor], ids=["a task", "a trigger"])
@pytest.mark.parametrize(
    ("states", "state"),
    [
        ({"a-run": {"plan": "success"}}, "success"),
        ({"a-run": {"plan": None}}, ""),
        ({"a-run": {}}, None),
        ({}, None),
    ],
)
def test_the_state_of_a_task_can_be_read(
    monkeypatch: pytest.MonkeyPatch, by: Any, states: dict[str, Any], state: str | None
) -> None:
    supervisor = Supervisor(monkeypatch, lambda _: TaskStatesResult(task_states=states))
    assert _airflow_internals.read_task_state("hhvm_build", "a-run", "plan") == state
    [sent] = supervisor.sent
    assert accepted(sent, by) == GetTaskStates(dag_id="hhvm_build", run_ids=["a-run"], task_ids=["plan"])


@pytest.mark.parametrize(("component", "expected"), [(TaskRunnerMarker(), True), (Job(), False)])
def test_the_start_of_a_task_is_told_from_that_of_a_service(component: object, *, expected: bool) -> None:
    assert _airflow_internals.is_task(component) is expected


def test_no_other_module_imports_a_private_name_of_airflow() -> None:
    private = [
        f"{path}: {module} {name}"
        for path in OURS
        for module, name in imported(ast.parse((ROOT / path).read_text()))
        if module.partition(".")[0] == airflow.__name__
        and not module.startswith("airflow.providers.")
        and (module not in PUBLIC or name.startswith("_"))
    ]
    assert private == [], f"move these to one of {MAY}"


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The module and the name of each import that happens when the code runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        yield from imported(node)
