"""The ids of tasks that reports and messages name are those that the DAGs have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning.plans import BuildPlan, CanaryPlan, DependenciesPlan, PublishPlan
from hhvm_packaging.planning.task_ids import BuildTask, CanaryTask, DependenciesTask, PublishTask, WrapperTask
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

    from airflow.sdk import DAG

    from hhvm_packaging.planning.step import Step

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="module")
def dags() -> Iterator[dict[str, DAG]]:
    """The DAGs of a deployment with a CDN, which have all tasks."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HHVM_PACKAGING_CDN_DISTRIBUTION", "E123")
        settings.cache_clear()
        yield DagBag(DAGS, bundle_path=DAGS, bundle_name="dags-folder").dags
    settings.cache_clear()


@pytest.mark.parametrize(
    ("dag_id", "named"),
    [
        ("hhvm_build", BuildTask),
        ("hhvm_publish_release", PublishTask),
        ("hhvm_build_and_publish", WrapperTask),
        ("hhvm_build_and_publish_multi", WrapperTask),
        ("hhvm_canary", CanaryTask),
        ("hhvm_renew_dependencies", DependenciesTask),
    ],
)
def test_a_dag_has_exactly_the_tasks_that_can_be_named(
    dags: dict[str, DAG], dag_id: str, named: type[StrEnum]
) -> None:
    assert set(dags[dag_id].task_ids) == {task.value for task in named}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_names_the_task_that_runs_it(dags: dict[str, DAG], step: type[Step[Any]]) -> None:
    dag_of = {
        BuildPlan: "hhvm_build",
        PublishPlan: "hhvm_publish_release",
        CanaryPlan: "hhvm_canary",
        DependenciesPlan: "hhvm_renew_dependencies",
    }
    task: Any = dags[dag_of[step.plan_type]].get_task(step.task_id)
    script = task.partial_kwargs["script"] if task.is_mapped else task.script
    assert script == step.script
