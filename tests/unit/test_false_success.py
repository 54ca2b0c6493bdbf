"""What becomes of a run that Airflow calls successful, over an API that has its tasks."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hhvm_packaging.orchestration import false_success
from hhvm_packaging.reporting import markdown
from testing.serving import serving_json

if TYPE_CHECKING:
    import pytest

CONTEXT: dict[str, Any] = {
    "dag": SimpleNamespace(dag_id="hhvm_build_and_publish"),
    "run_id": "a-run",
    "dag_run": SimpleNamespace(
        run_after=datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC), logical_date=None
    ),
    "params": {"version": "1.0.0"},
}


def take_back(monkeypatch: pytest.MonkeyPatch, skipped: list[str]) -> list[dict[str, Any]]:
    """What is changed of a run with these skipped tasks."""
    changes: list[dict[str, Any]] = []

    def answer(method: str, path: str, sent: Any) -> tuple[object, int]:
        if method == "POST":
            return {"access_token": "a-token"}, 200
        if method == "PATCH":
            changes.append(sent)
            return {}, 200
        if "/taskInstances" not in path:
            return {"dag_run_id": "a-run", "state": "failed", "note": None}, 200
        assert "state=skipped" in path
        found = [
            {
                "id": "an-id",
                "dag_id": "hhvm_build_and_publish",
                "dag_run_id": "a-run",
                "task_id": task_id,
                "map_index": -1,
                "state": "skipped",
                "try_number": 0,
                "start_date": None,
                "duration": None,
            }
            for task_id in skipped
            if f"task_id={task_id}" in path
        ]
        return {"task_instances": found}, 200

    with serving_json(answer) as url:
        monkeypatch.setenv("AIRFLOW_CONN_HHVM_AIRFLOW_API", json.dumps({"conn_type": "generic", "host": url}))
        false_success.take_back(CONTEXT)
    return changes


def test_a_run_whose_last_task_was_skipped_is_failed_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = take_back(monkeypatch, ["publish", "all_published"])
    assert changes[0] == {"state": "failed"}
    assert "clear its failed tasks; if there are none, the whole run" in markdown.unescape(changes[1]["note"])


def test_a_run_whose_last_task_ran_stays_successful(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take_back(monkeypatch, ["ready", "approve", "hold_until"]) == []
