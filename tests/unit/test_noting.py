"""What tasks write into their run's note, over an API that keeps it; and that an error is said once."""

from __future__ import annotations

import contextlib
import datetime
import json
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import noting, task_context
from hhvm_packaging.planning.request import Request
from hhvm_packaging.reporting import markdown
from hhvm_packaging.runs.run import FAILURE_REASON
from testing.serving import serving_json

if TYPE_CHECKING:
    from collections.abc import Generator

THEN = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
DISTROS = ("debian-12-bookworm", "debian-13-trixie")


class Airflow:
    """One run in an Airflow that keeps its note."""

    note: str | None = None
    refuses = False
    busy = 0
    """How many requests it does not answer yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.states: dict[str, str] = {}
        self.reasons: dict[tuple[str, int], str] = {}

    def context(self) -> dict[str, Any]:
        """What Airflow gives a task of the run."""

        def pull(task_ids: str, map_indexes: int, key: str) -> Any:
            return self.reasons.get((task_ids, map_indexes)) if key == FAILURE_REASON else None

        return {
            "dag": SimpleNamespace(dag_id="hhvm_build", task_ids=["plan", "build", "publish"]),
            "run_id": "a-run",
            "dag_run": SimpleNamespace(run_after=THEN, logical_date=None),
            "params": {"version": "1.0.0"},
            "ti": SimpleNamespace(get_task_states=lambda **_: {"a-run": self.states}, xcom_pull=pull),
        }

    @contextlib.contextmanager
    def running(self) -> Generator[dict[str, Any]]:
        """Serve it. Yields the context of a task that runs now."""

        def answer(method: str, _: str, sent: Any) -> tuple[object, int]:
            if method == "POST":
                return {"access_token": "a-token"}, 200
            if self.busy:
                self.busy -= 1
                return {"detail": "database is locked"}, 500
            if method == "GET":
                return {"dag_run_id": "a-run", "state": "running", "note": self.note}, 200
            assert list(sent) == ["note"]
            if self.refuses:
                return {}, 403
            self.note = sent["note"]
            return {}, 200

        with serving_json(answer) as url:
            self._monkeypatch.setenv(
                "AIRFLOW_CONN_HHVM_AIRFLOW_API", json.dumps({"conn_type": "generic", "host": url})
            )
            context = self.context()
            self._monkeypatch.setattr(noting, "get_current_context", lambda: context)
            yield context

    @property
    def said(self) -> list[str]:
        """The note as people read it."""
        return [line.strip("*") for line in markdown.unescape(self.note or "").splitlines()]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    return Airflow(monkeypatch)


def request(version: str) -> Request:
    return Request(version=version, distros=DISTROS, today=THEN.date())


def report(text: str) -> str:
    """What a task reports; a failure if it says so."""

    @noting.note_outcome
    def reporting() -> str:
        if "failed" in text:
            raise PackagingError(text)
        return text

    return reporting()


def test_a_run_that_begins_says_which_versions_and_distributions_it_works_on(airflow: Airflow) -> None:
    with airflow.running() as context:
        noting.note_state([request("1.0.0"), request("1.0.1")], "building", context)
    assert airflow.said == ["HHVM 1.0.0, 1.0.1 for debian-12-bookworm, debian-13-trixie: building"]


def test_a_run_that_ends_says_what_its_report_says(airflow: Airflow) -> None:
    with airflow.running() as context:
        noting.note_state([request("1.0.0")], "building", context)
        assert report("HHVM 1.0.0: all is built\nbuilt  debian-12-bookworm: 1.0.0") == (
            "HHVM 1.0.0: all is built\nbuilt  debian-12-bookworm: 1.0.0"
        )
    assert airflow.said == ["HHVM 1.0.0: all is built", "- built debian-12-bookworm: 1.0.0"]


def test_a_report_that_fails_is_noted_too_and_fails(airflow: Airflow) -> None:
    with airflow.running(), pytest.raises(PackagingError, match="1 failed"):
        report("HHVM 1.0.0: 1 failed\nFAILED HHVM 1.0.0, debian-13-trixie: why\n  | the log")
    assert airflow.said == ["HHVM 1.0.0: 1 failed", "- FAILED HHVM 1.0.0, debian-13-trixie: why"]


def test_a_run_that_ends_without_a_report_says_which_tasks_failed_and_why(airflow: Airflow) -> None:
    airflow.states = {"plan": "success", "build_0": "success", "build_1": "failed", "publish": "skipped"}
    airflow.reasons = {("build", 1): "hhvm_build run x failed\nFAILED HHVM 1.0.1, debian-13-trixie: why"}
    with airflow.running() as context:
        noting.note_failure(context)
    assert airflow.said == [
        "HHVM 1.0.0: build failed",
        "- hhvm_build run x failed",
        "- FAILED HHVM 1.0.1, debian-13-trixie: why",
    ]


def test_a_note_is_tried_again_while_airflow_is_busy(airflow: Airflow) -> None:
    airflow.busy = 2
    with airflow.running():
        report("HHVM 1.0.0: all is built")
    assert airflow.said == ["HHVM 1.0.0: all is built"]


def test_a_note_that_airflow_does_not_take_fails_nothing(airflow: Airflow) -> None:
    airflow.refuses = True
    with airflow.running():
        assert report("HHVM 1.0.0: all is built")
    assert airflow.note is None


def test_a_deployment_without_a_connection_to_its_api_reports_all_the_same(
    monkeypatch: pytest.MonkeyPatch, airflow: Airflow
) -> None:
    with airflow.running():
        monkeypatch.delenv("AIRFLOW_CONN_HHVM_AIRFLOW_API")
        assert report("HHVM 1.0.0: all is built")


def test_a_failures_log_says_its_message_once_and_where_it_comes_from() -> None:
    def find_fault() -> None:
        raise PackagingError("the tag is not there")

    with pytest.raises(AirflowFailException) as failed, task_context.fail_without_retry():
        find_fault()
    logged = "".join(traceback.format_exception(failed.value))
    assert logged.count("the tag is not there") == 2  # One of them is the line of this file that raises it.
    assert "find_fault" in logged
