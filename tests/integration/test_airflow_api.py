"""The client of Airflow's API, against a real API server."""

from __future__ import annotations

import datetime
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from demo.stack import USER, Ports, Stack
from hhvm_packaging.runs.api import AirflowApi, ApiError
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG = "nothing"
EXPIRY = 5
"""Seconds for which a login holds."""
DAG_FILE = f"""
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag

@dag(schedule=None)
def {DAG}():
    EmptyOperator(task_id="first") >> EmptyOperator.partial(task_id="second").expand(doc_md=["one", "two"])

{DAG}()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Airflow with one DAG and no scheduler: runs stay as they are."""
    var = tmp_path_factory.mktemp("airflow-api")
    (var / "dags").mkdir()
    (var / "dags/nothing.py").write_text(DAG_FILE)
    login = {"JWT_EXPIRATION_TIME": str(EXPIRY), "JWT_LEEWAY": "0"}
    settings = UNHURRIED | {f"AIRFLOW__API_AUTH__{name}": value for name, value in login.items()}
    (var / "environment.json").write_text(json.dumps(settings))
    stack = Stack(
        var,
        services=("api-server", "dag-processor"),
        preferred_ports=Ports(0, 0, 0),
        dags_folder=var / "dags",
    )
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[AirflowApi]:
    with client(stack, patience=60) as api:
        api.wait_for_dags([DAG])
        yield api


def client(stack: Stack, password: str | None = None, **arguments: Any) -> AirflowApi:
    return AirflowApi(stack.ui_url, USER, password or stack.secrets.password, timeout=30, **arguments)


def test_a_run_that_is_triggered_twice_stays_as_it_is(api: AirflowApi) -> None:
    api.trigger(DAG, "twice", {"number": 1})
    api.trigger(DAG, "twice", {"number": 2})
    assert api.state(DAG, "twice") == "queued"
    assert api.call("GET", f"/dags/{DAG}/dagRuns/twice")["conf"] == {"number": 1}


def test_what_does_not_exist_is_none_or_empty(api: AirflowApi) -> None:
    assert api.run(DAG, "absent") is None
    assert api.run("absent", "absent") is None
    assert api.events(DAG, "absent", "patch_dag_run") == []
    assert api.runs("absent") == []
    with pytest.raises(ApiError, match="GET /dags/nothing/dagRuns/absent: 404 ") as refused:
        api.state(DAG, "absent")
    assert refused.value.status == 404


def test_runs_are_found_by_the_beginning_of_their_id_and_by_state_oldest_first(api: AirflowApi) -> None:
    runs = ["found_1", "found_0", "foundX1"]
    for run in runs:
        api.trigger(DAG, run, {})
    assert [run.run_id for run in api.runs(DAG, prefix="found_")] == runs[:2]
    api.fail_run(DAG, "found_1")
    assert [run.run_id for run in api.runs(DAG, prefix="found_", states=["failed"])] == ["found_1"]
    assert [run.run_id for run in api.runs(DAG, prefix="found_", states=["queued", "running"])] == ["found_0"]


def test_a_run_that_has_ended_is_not_marked_failed(api: AirflowApi) -> None:
    api.trigger(DAG, "ended", {})
    api.call("PATCH", f"/dags/{DAG}/dagRuns/ended", {"state": "success"})
    api.fail_run(DAG, "ended")
    api.fail_run(DAG, "absent")
    assert api.state(DAG, "ended") == "success"


def test_a_run_id_may_have_any_characters(api: AirflowApi) -> None:
    run_id = "manual__2026-11-28T12:00:00+00:00__1.0.0"
    api.trigger(DAG, run_id, {})
    assert api.state(DAG, run_id) == "queued"
    assert [task.name for task in api.tasks(DAG, run_id)][:1] == ["first"]
    assert "%2B00%3A00" in api.tasks(DAG, run_id)[0].page


def test_cleared_runs_and_tasks_have_no_state(api: AirflowApi) -> None:
    api.trigger(DAG, "cleared", {})
    api.call("PATCH", f"/dags/{DAG}/dagRuns/cleared/taskInstances/first", {"new_state": "failed"})
    assert api.tasks(DAG, "cleared", "first")[0].state == "failed"
    api.clear_tasks(DAG, "cleared", "first")
    assert api.tasks(DAG, "cleared", "first")[0].state == ""
    api.call("PATCH", f"/dags/{DAG}/dagRuns/cleared/taskInstances/first", {"new_state": "failed"})
    api.fail_run(DAG, "cleared")
    api.clear_run(DAG, "cleared")
    assert api.tasks(DAG, "cleared", "first")[0].state == ""
    assert api.state(DAG, "cleared") == "queued"


def test_events_tell_what_a_person_did_and_when(api: AirflowApi) -> None:
    began = datetime.datetime.now(datetime.UTC)
    api.trigger(DAG, "marked", {})
    api.call("PATCH", f"/dags/{DAG}/dagRuns/marked/taskInstances/first", {"new_state": "failed"})
    api.fail_run(DAG, "marked")
    api.call("DELETE", f"/dags/{DAG}/dagRuns/marked")
    [failed], [deleted] = (api.events(DAG, "marked", name) for name in ("patch_dag_run", "delete_dag_run"))
    assert began < failed.when < deleted.when
    assert api.events(DAG, "marked", "patch_dag_run", after=deleted.when) == []
    # What a person marks is no event of the task itself, by which it is told from a task that failed.
    assert api.events(DAG, "marked", "failed") == []


def test_a_pool_is_created_or_changed(api: AirflowApi) -> None:
    for slots in (3, 5):
        api.ensure_pool("some", slots, include_deferred=True)
        pool = api.call("GET", "/pools/some")
        assert (pool["slots"], pool["include_deferred"]) == (slots, True)


def test_a_refused_login_is_said_with_the_user(stack: Stack) -> None:
    with (
        client(stack, password="wrong") as api,  # ruff: ignore[hardcoded-password-func-arg]
        pytest.raises(ApiError, match=f"refuses the login of {USER}"),
    ):
        api.run(DAG, "any")


def test_a_login_that_has_expired_is_repeated(stack: Stack, api: AirflowApi) -> None:
    api.trigger(DAG, "expired", {})
    with client(stack) as other:
        assert other.state(DAG, "expired") == "queued"
        time.sleep(EXPIRY + 1)
        assert other.state(DAG, "expired") == "queued"


def test_an_api_server_that_restarts_is_waited_for_if_there_is_patience(
    stack: Stack, api: AirflowApi
) -> None:
    api.trigger(DAG, "restart", {})
    for process in stack.processes("api-server"):
        process.kill()
    with client(stack) as impatient, pytest.raises(ApiError, match="does not answer"):
        impatient.state(DAG, "restart")
    assert api.state(DAG, "restart") == "queued"
