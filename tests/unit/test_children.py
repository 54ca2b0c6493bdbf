"""What the operators that run other DAGs do by themselves, without a scheduler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from hhvm_packaging.children import ChildRunTrigger, PublishOperator


def wait_for_turn(map_index: int, *states: str | None) -> None:
    """Return if it is this publish's turn, while those of the run have these states."""
    names = {f"publish_{index}": state for index, state in enumerate(states)}
    ti = SimpleNamespace(
        dag_id="dag",
        run_id="run",
        task_id="publish",
        map_index=map_index,
        get_task_states=lambda **_: {"run": names},
    )
    PublishOperator(task_id="publish", request={"version": "1.0.0"}).await_turn({"ti": ti})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("state", ["up_for_retry", "scheduled", "queued", "running", "deferred", None])
def test_a_publish_does_not_pass_one_that_waits_for_a_retry_or_was_cleared(state: str | None) -> None:
    with pytest.raises(AirflowRescheduleException):
        wait_for_turn(2, "success", state, "running")


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", "skipped"])
def test_a_publish_comes_after_those_before_it_however_they_ended(state: str) -> None:
    wait_for_turn(2, "success", state, "running", "scheduled")


@pytest.mark.parametrize("map_index", [0, -1])
def test_nobody_is_before_the_first_one(map_index: int) -> None:
    wait_for_turn(map_index, "running", "scheduled")


def test_the_trigger_is_made_again_from_what_the_triggerer_keeps_of_it() -> None:
    kept: dict[str, Any]
    path, kept = ChildRunTrigger("hhvm_build", ["success"], run_ids=["a-run"]).serialize()  # type: ignore[list-item]
    assert path == f"{ChildRunTrigger.__module__}.{ChildRunTrigger.__qualname__}"
    assert ChildRunTrigger(**kept).serialize() == (path, kept)
