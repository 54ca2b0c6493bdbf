"""The client of Airflow's API, and the commands that are made of it, against a real API server."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.stack import USER, Ports, Stack
from hhvm_packaging.cli.hhvm_packaging import UPDATE_INDICES
from hhvm_packaging.runs.api import AirflowApi, ApiError
from hhvm_packaging.runs.run import CHILDREN, WRAPPERS
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = Path(__file__).resolve().parents[2]
DAG = "nothing"
WRAPPER, MULTI = WRAPPERS
BUILD, PUBLISH = CHILDREN
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
    for dag_id in (*WRAPPERS, *CHILDREN, UPDATE_INDICES):
        (var / f"dags/{dag_id}.py").symlink_to(ROOT / f"dags/{dag_id}.py")
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
    with client(stack, patience=180) as api:
        api.wait_for_dags([DAG, *WRAPPERS, *CHILDREN, UPDATE_INDICES], limit=300)
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


def test_the_tasks_of_all_runs_are_found_by_the_beginning_of_their_ids(api: AirflowApi) -> None:
    for run in ("tasks_1", "tasks_2", "tasksX1"):
        api.trigger(DAG, run, {})
    for prefix, runs in (("tasks_", {"tasks_1", "tasks_2"}), ("tasks_2", {"tasks_2"}), ("tasks_3", set())):
        assert {task.run_id for task in api.newest_tasks(prefix)} == runs
    assert {task.name for task in api.newest_tasks("tasks_1")} == {
        task.name for task in api.tasks(DAG, "tasks_1")
    }


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
    assert failed.extra["state"] == "failed"
    assert api.events(DAG, "marked", "patch_dag_run", after=deleted.when) == []
    # What a person marks is no event of the task itself, by which it is told from a task that failed.
    assert api.events(DAG, "marked", "failed") == []


def test_a_run_has_a_note_from_its_beginning_and_tasks_change_it_without_marking_it(api: AirflowApi) -> None:
    api.trigger(DAG, "noted", {}, "**HHVM 1\\.0\\.0**")
    assert api.call("GET", f"/dags/{DAG}/dagRuns/noted")["note"] == "**HHVM 1\\.0\\.0**"
    api.write_note(DAG, "noted", "*another*")
    found = api.run(DAG, "noted")
    assert found
    assert (found.note, found.state) == ("*another*", "queued")
    [event] = api.events(DAG, "noted", "patch_dag_run")
    assert event.extra["note"] == "*another*"
    assert "state" not in event.extra


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


@pytest.mark.slow
def test_an_api_server_that_restarts_is_waited_for_if_there_is_patience(
    stack: Stack, api: AirflowApi
) -> None:
    api.trigger(DAG, "restart", {})
    for process in stack.processes("api-server"):
        process.kill()
    with client(stack) as impatient, pytest.raises(ApiError, match="does not answer"):
        impatient.state(DAG, "restart")
    assert api.state(DAG, "restart") == "queued"


# The commands


def environment(stack: Stack, **env: str) -> dict[str, str]:
    """Somebody's environment, with a login; an empty value takes a variable out."""
    login = {
        "AIRFLOW_API_URL": stack.ui_url,
        "AIRFLOW_API_USER": USER,
        "AIRFLOW_API_PASSWORD": stack.secrets.password,
    }
    found = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COLUMNS": "80", **login, **env}
    return {name: value for name, value in found.items() if value}


def run(stack: Stack, command: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of bin/, with nobody at the terminal."""
    return subprocess.run(
        [ROOT / "bin" / command, *arguments],
        env=environment(stack, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def started(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The run that a command says it started."""
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


ONE = "debian-12-bookworm"


@pytest.mark.parametrize(
    ("command", "dag_id", "asked"),
    [
        ("make-all-packages-on-aws 1.0.1", WRAPPER, {"version": "1.0.1"}),
        (f"make-package-on-aws 1.0.2 {ONE}", WRAPPER, {"version": "1.0.2", "distros": [ONE]}),
        ("make-multiple-releases-on-aws 1.0.4 1.0.3", MULTI, {"versions": ["1.0.4", "1.0.3"]}),
        ("publish-release 1.0.5", PUBLISH, {"version": "1.0.5"}),
        (f"hhvm-packaging build 1.0.6 --force --distro {ONE}", BUILD, {"force": True, "distros": [ONE]}),
        (
            "hhvm-packaging release 1.0.7 --require-approval --hold-until 2026-11-24T10:00:00Z",
            WRAPPER,
            {"require_approval": True, "hold_until": "2026-11-24T10:00:00Z"},
        ),
        ("hhvm-packaging publish 1.0.8 --dry-run", PUBLISH, {"version": "1.0.8", "dry_run": True}),
        ("hhvm-packaging undo 1.0.8 --yes", PUBLISH, {"version": "1.0.8", "action": "undo"}),
    ],
)
def test_a_command_starts_what_the_form_would(
    stack: Stack, api: AirflowApi, command: str, dag_id: str, asked: dict[str, Any]
) -> None:
    found = started(run(stack, *command.split(), "--json"))
    assert (found["dag_id"], found["state"]) == (dag_id, "queued")
    conf = api.call("GET", f"/dags/{dag_id}/dagRuns/{found['run_id']}")["conf"]
    assert {name: conf[name] for name in asked} == asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("release 4.26", "version: '4.26' is not allowed. Allowed: X.Y.Z"),
        ("publish 1.0.0 --if-one-fails panic", "if_one_fails: 'panic' is not allowed. Allowed: as usual, "),
        ("build 1.0.0 --distro ../../etc", "distros: ['../../etc'] is not allowed. Allowed: at least one"),
        ("build 1.0.0 --packaging-ref=--upload-pack=id", "is not allowed. Allowed: the name of a git branch"),
        (
            "release 1.0.0 --hold-until tomorrow",
            "hold_until: 'tomorrow' is not allowed. Allowed: a time such",
        ),
        (
            "release 1.0.0 1.0.0",
            "versions: ['1.0.0', '1.0.0'] is not allowed. Allowed: at least one, each on",
        ),
        ("undo 1.0.0", "nobody is there to be asked. Add --yes to do it, or --dry-run"),
        ("status 9.9.9", ""),
        ("check 9.9.9", "Airflow knows no run of 9.9.9"),
        ("retry 9.9.9", "Airflow knows no run of 9.9.9"),
        (f"logs 9.9.9 {ONE}", f"9.9.9, {ONE}: no build of it was started"),
    ],
)
def test_a_command_that_is_refused_says_why_in_words(
    stack: Stack, api: AirflowApi, arguments: str, said: str
) -> None:
    before = {dag_id: len(api.newest_runs(dag_id)) for dag_id in (*WRAPPERS, *CHILDREN)}
    done = run(stack, "hhvm-packaging", *arguments.split())
    assert done.returncode == (1 if said else 0)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Failed validating" not in done.stderr
    assert before == {dag_id: len(api.newest_runs(dag_id)) for dag_id in before}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"AIRFLOW_API_PASSWORD": ""}, "AIRFLOW_API_PASSWORD not set: set your login for http://"),
        ({"AIRFLOW_API_PASSWORD": "wrong"}, f"refuses the login of {USER}"),
        ({"AIRFLOW_API_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1 does not answer: "),
    ],
)
def test_a_command_without_a_way_to_airflow_says_so(stack: Stack, env: dict[str, str], said: str) -> None:
    done = run(stack, "check-builds-succeeded", "1.0.0", **env)
    assert done.returncode == 1
    assert "hhvm-packaging: error: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def waiting(stack: Stack, api: AirflowApi, version: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Somebody who waits for a publish, and its run."""
    known = {one.run_id for one in api.newest_runs(PUBLISH)}
    command = [str(ROOT / "bin/publish-release"), version, "--wait"]
    with subprocess.Popen(
        command, env=environment(stack), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waits:
        try:
            deadline = time.monotonic() + 60
            while not (new := {one.run_id for one in api.newest_runs(PUBLISH)} - known):
                assert time.monotonic() < deadline, "nothing was started"
                time.sleep(0.5)
            yield waits, new.pop()
        finally:
            waits.kill()


@pytest.mark.parametrize(("state", "status"), [("success", 0), ("failed", 1)])
@pytest.mark.slow
def test_a_command_that_waits_ends_as_its_run_does_also_if_airflow_was_away(
    stack: Stack, api: AirflowApi, state: str, status: int
) -> None:
    with waiting(stack, api, "1.1.0") as (waits, run_id):
        if state == "failed":
            mark = {"new_state": "failed"}
            api.call("PATCH", f"/dags/{PUBLISH}/dagRuns/{run_id}/taskInstances/plan", mark)
        for process in stack.processes("api-server"):
            process.kill()
        api.call("PATCH", f"/dags/{PUBLISH}/dagRuns/{run_id}", {"state": state})
        said, _ = waits.communicate(timeout=120)
    assert waits.returncode == status
    assert f"{PUBLISH}: {state}" in said
    assert ("failed       plan: " in said) == (state == "failed")


def test_the_runs_of_a_version_are_listed_checked_and_run_again(stack: Stack, api: AirflowApi) -> None:
    found = started(run(stack, "hhvm-packaging", "build", "1.2.3", "--json"))
    path = f"/dags/{BUILD}/dagRuns/{found['run_id']}"
    assert "1.2.3: queued; see http" in run(stack, "check-builds-succeeded", "1.2.3").stdout
    api.call("PATCH", f"{path}/taskInstances/plan", {"new_state": "failed"})
    api.fail_run(BUILD, found["run_id"])
    # However it is spelled.
    failed = run(stack, "check-builds-succeeded", "1.02.03")
    assert failed.returncode == 1
    assert "HHVM 1.2.3: failed" in failed.stdout
    assert "failed       plan: " in failed.stdout
    (listed,) = json.loads(run(stack, "hhvm-packaging", "status", "1.2.3", "--json").stdout)
    assert (listed["state"], listed["versions"], listed["by"]) == ("failed", ["1.2.3"], USER)
    assert "1.2.3" in run(stack, "hhvm-packaging", "status").stdout

    again = started(run(stack, "hhvm-packaging", "retry", "1.2.3", "--json"))
    assert (again["run_id"], again["state"]) == (found["run_id"], "queued")
    api.call("PATCH", path, {"state": "success"})
    assert run(stack, "check-builds-succeeded", "1.2.3").stdout == "HHVM 1.2.3: built\n"
    assert "its newest run is success" in run(stack, "hhvm-packaging", "retry", "1.2.3").stderr


def test_the_listings_are_written_anew_by_a_run_of_their_own(stack: Stack, api: AirflowApi) -> None:
    again = started(run(stack, "update-directory-indices", "--json"))
    assert again["dag_id"] == UPDATE_INDICES
    assert api.state(UPDATE_INDICES, again["run_id"]) == "queued"
