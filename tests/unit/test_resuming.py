"""What a task that a person cleared has follow it, and how one failure stays one red task."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import resuming
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.publishing.exposure import Held
from hhvm_packaging.runs.api import ApiError
from testing.serving import serving_json

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ORDER = [task.value for task in WrapperTask]
"""The tasks of a wrapper; each comes after those before it."""


class Airflow:
    """One run in an Airflow. ``cleared`` is what somebody asked its API to clear."""

    def __init__(self, states: Mapping[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
        self.states, self._monkeypatch = dict(states), monkeypatch
        self.cleared: list[Any] = []
        self.status = 200

    def context(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """What Airflow gives a task that it runs."""
        place = ORDER.index(task_id)
        return {
            "ti": SimpleNamespace(
                dag_id="hhvm_build_and_publish",
                run_id="a-run",
                task_id=task_id,
                map_index=map_index,
                get_task_states=lambda **_: {"a-run": self.states},
            ),
            "task": SimpleNamespace(
                get_flat_relative_ids=lambda *, upstream: set(
                    ORDER[:place] if upstream else ORDER[place + 1 :]
                )
            ),
        }

    def begin(self, task_id: str, map_index: int = -1) -> list[Any]:
        """Have a task begin. Returns what is cleared because of that."""
        self.states[task_id if map_index < 0 else f"{task_id}_{map_index}"] = "running"
        with self._api() as url:
            connection = {"conn_type": "generic", "host": url}
            self._monkeypatch.setenv("AIRFLOW_CONN_HHVM_AIRFLOW_API", json.dumps(connection))
            resuming.run_what_did_not_run(self.context(task_id, map_index))
        return self.cleared

    @contextlib.contextmanager
    def _api(self) -> Generator[str]:

        def answer(method: str, path: str, sent: Any) -> tuple[object, int]:
            if path == "/auth/token":
                return {"access_token": "a-token"}, 200
            if method == "POST":
                self.cleared += sent["task_ids"]
                return {}, self.status
            wanted = ("skipped", "upstream_failed")
            assert all(f"state={state}" in path for state in wanted)
            found = [task(name, state) for name, state in self.states.items() if state in wanted and state]
            return {"task_instances": found}, 200

        with serving_json(answer) as url:
            yield url


def task(name: str, state: str) -> dict[str, Any]:
    """A task instance as Airflow's API has it."""
    task_id, _, index = name.rpartition("_")
    mapped = index.isdigit()
    return {
        "id": name,
        "dag_id": "hhvm_build_and_publish",
        "dag_run_id": "a-run",
        "task_id": task_id if mapped else name,
        "map_index": int(index) if mapped else -1,
        "state": state,
        "try_number": 1,
        "duration": None,
        "start_date": None,
    }


def marked_failed_at(task_id: str) -> dict[str, str | None]:
    """The states that Airflow leaves when a run is marked failed while a task of it runs."""
    place = ORDER.index(task_id)
    return {
        **dict.fromkeys(ORDER[:place], "success"),
        task_id: "failed",
        **dict.fromkeys(ORDER[place + 1 :], "skipped"),
    }


@pytest.mark.parametrize("task_id", ORDER[:-1])
def test_after_a_run_was_marked_failed_clearing_what_failed_has_all_that_was_skipped_follow(
    monkeypatch: pytest.MonkeyPatch, task_id: str
) -> None:
    cleared = Airflow(marked_failed_at(task_id), monkeypatch).begin(task_id)
    assert cleared == ORDER[ORDER.index(task_id) + 1 :]


def test_what_was_skipped_beside_the_cleared_task_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """``is_held`` does not follow ``build``, but had not begun either."""
    states = marked_failed_at("build") | {"plan": "skipped"}
    assert "plan" in Airflow(states, monkeypatch).begin("build")


@pytest.mark.parametrize("task_id", ORDER)
def test_nothing_is_cleared_in_a_run_that_nobody_holds_and_that_goes_its_way(
    monkeypatch: pytest.MonkeyPatch, task_id: str
) -> None:
    place = ORDER.index(task_id)
    states = {**dict.fromkeys(ORDER[:place], "success"), **dict.fromkeys(ORDER[place:])}
    states |= dict.fromkeys(("ready", "approve", "hold_until"), "skipped")
    assert Airflow(states, monkeypatch).begin(task_id) == []


def test_of_several_versions_one_that_is_skipped_does_not_run_again_because_the_next_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = dict.fromkeys(ORDER, "success") | {
        "build_0": "failed",
        "build_1": "success",
        "publish_0": "skipped",
        "all_published": "upstream_failed",
    }
    del states["publish"]
    assert Airflow(states, monkeypatch).begin("publish", 1) == []


def test_clearing_the_one_task_that_failed_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    states = dict.fromkeys(ORDER, "success") | {
        "build_0": "failed",
        "publish_0": "skipped",
        "publish_1": "success",
        "all_published": "upstream_failed",
    }
    del states["publish"]
    assert Airflow(states, monkeypatch).begin("build", 0) == ["all_published", ["publish", 0]]


def test_publishing_waits_for_the_approval_that_was_not_asked_for_because_the_build_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = dict.fromkeys(ORDER, "success") | {"build": "failed", "all_published": "upstream_failed"}
    states |= dict.fromkeys(("ready", "approve", "hold_until", "publish"), "skipped")
    cleared = Airflow(states, monkeypatch).begin("build")
    assert set(cleared) == {"ready", "approve", "hold_until", "may_publish", "publish", "all_published"}


def test_what_waits_for_another_failed_task_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    states = dict.fromkeys(ORDER, "success") | {
        "is_held": "failed",
        "may_publish": "upstream_failed",
        "publish": None,
        "all_published": "upstream_failed",
    }
    assert Airflow(states, monkeypatch).begin("build") == []


def test_a_task_whose_run_is_marked_while_it_begins_brings_nothing_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airflow = Airflow(marked_failed_at("build"), monkeypatch)
    resuming.run_what_did_not_run(airflow.context("build"))
    assert airflow.cleared == []


def test_a_task_does_not_go_on_if_what_follows_it_cannot_be_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would succeed, and the run be green with all that follows skipped."""
    airflow = Airflow(marked_failed_at("build"), monkeypatch)
    airflow.status = 403
    with pytest.raises(ApiError, match="403"):
        airflow.begin("build")


@pytest.mark.parametrize("failed", ["build", "build_1", "approve"])
def test_what_cannot_be_done_because_a_task_before_failed_is_skipped_and_says_why(
    monkeypatch: pytest.MonkeyPatch, failed: str
) -> None:
    context = Airflow({failed: "failed"}, monkeypatch).context("publish")
    monkeypatch.setattr(resuming, "get_current_context", lambda: context)
    with (
        pytest.raises(AirflowSkipException, match=rf"a reason\. It is skipped, because {failed} failed"),
        resuming.skip_after_failure(),
    ):
        raise PackagingError("a reason")


@pytest.mark.parametrize("states", [{"build": "success"}, {"build": "success", "all_published": "failed"}])
def test_what_cannot_be_done_although_nothing_before_failed_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, str | None]
) -> None:
    context = Airflow(states, monkeypatch).context("publish")
    monkeypatch.setattr(resuming, "get_current_context", lambda: context)
    with pytest.raises(PackagingError, match="a reason"), resuming.skip_after_failure():
        raise PackagingError("a reason")


def test_an_error_of_another_kind_is_a_failure_whatever_failed_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = Airflow({"build": "failed"}, monkeypatch).context("publish")
    monkeypatch.setattr(resuming, "get_current_context", lambda: context)
    with pytest.raises(PackagingError, match="a reason"), resuming.skip_after_failure(Held):
        raise PackagingError("a reason")
