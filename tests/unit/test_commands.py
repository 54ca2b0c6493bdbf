"""The commands of bin/hhvm-packaging, over an API that says what the test wants: what they ask and say.

Against a real API server they are in tests/integration/test_airflow_api.py.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from hhvm_packaging.cli import clients, hhvm_packaging
from hhvm_packaging.reporting import markdown
from hhvm_packaging.runs.run import CHILDREN, WRAPPERS, child_run_prefix
from hhvm_packaging.settings import settings
from hhvm_packaging.workers.worker import Found
from testing.serving import serving_json

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FRONT_ENDS = (
    "make-all-packages-on-aws",
    "make-package-on-aws",
    "make-multiple-releases-on-aws",
    "publish-release",
    "update-directory-indices",
    "check-builds-succeeded",
)
WRAPPER, BUILD = WRAPPERS[0], CHILDREN[0]
BOOKWORM, TRIXIE = "debian-12-bookworm", "debian-13-trixie"
PARENT = "manual__1"
CHILD = f"{child_run_prefix(WRAPPER, PARENT, '1.0.0')}12345678"


@dataclass
class Airflow:
    """What the API answers, and what it was asked to change."""

    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By DAG."""
    tasks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By run."""
    logs: list[list[str]] = field(default_factory=list)
    """What the log has when it is asked for the first time, the second time and so on."""
    question: dict[str, Any] = field(default_factory=dict)
    console: dict[str, Any] = field(default_factory=dict)
    """What the console answers, by path."""
    changes: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> Any:
        if path == "/auth/token":
            return {"access_token": "token"}
        if path.startswith("/hhvm/api/"):
            return self.console[path.removeprefix("/hhvm/api")]
        path = path.removeprefix("/api/v2")
        if method != "GET":
            self.changes.append((method, path, body))
            return {}
        _, _, dag_id, _, *rest = path.split("/", 4)
        runs = self.runs.get(dag_id, [])
        if not rest:
            return {"dag_runs": runs}
        run_id, _, rest_of_path = rest[0].partition("/")
        if not rest_of_path:
            return next(run for run in runs if run["dag_run_id"] == run_id)
        if rest_of_path.endswith("hitlDetails"):
            return self.question
        if "/logs/" in rest_of_path:
            lines = self.logs.pop(0) if len(self.logs) > 1 else self.logs[0]
            if len(self.logs) == 1:
                for task in self.tasks[run_id]:
                    task["state"] = task.pop("then", task["state"])
            return {"content": lines}
        return {"task_instances": self.tasks.get(run_id, [])}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    airflow = Airflow()

    def answer(method: str, path: str, sent: Any) -> tuple[object, int]:
        return airflow.answer(method, unquote(urlsplit(path).path), sent), 200

    with serving_json(answer) as airflow.url:
        monkeypatch.setenv("AIRFLOW_API_URL", airflow.url)
        monkeypatch.setenv("AIRFLOW_API_USER", "alice")
        monkeypatch.setenv("AIRFLOW_API_PASSWORD", "secret")
        monkeypatch.setenv("COLUMNS", "80")
        yield airflow


class Command:
    """Runs commands, and has what the last one said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.said = self.refused = ""

    def __call__(self, *arguments: str) -> int:
        """Returns the exit status."""
        self._monkeypatch.setattr("sys.argv", ["hhvm-packaging", *arguments])
        try:
            status = hhvm_packaging.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        self.said, self.refused = self._capsys.readouterr()
        return status


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def run(run_id: str, state: str) -> dict[str, Any]:
    return {"dag_run_id": run_id, "state": state, "conf": {"version": "1.0.0"}}


def task(dag_id: str, run_id: str, task_id: str, state: str, label: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "dag_id": dag_id,
        "dag_run_id": run_id,
        "task_id": task_id,
        "map_index": {BOOKWORM: 0, TRIXIE: 1}.get(label, -1),
        "rendered_map_index": label,
        "state": state,
        "try_number": 1,
        "duration": 1.0,
        "start_date": None,
        **more,
    }


@pytest.fixture
def failed(airflow: Airflow) -> Airflow:
    """A release whose build failed for both distributions."""
    airflow.runs = {WRAPPER: [run(PARENT, "failed")], BUILD: [run(CHILD, "failed")]}
    airflow.tasks = {
        PARENT: [task(WRAPPER, PARENT, "build", "failed")],
        CHILD: [
            task(BUILD, CHILD, "make_binary_package", "failed", BOOKWORM),
            task(BUILD, CHILD, "make_binary_package", "failed", TRIXIE),
        ],
    }
    airflow.logs = [["compiling", "error: no space"]]
    return airflow


# Again


def test_one_distribution_is_built_again_and_the_wrapper_waits_for_it(
    failed: Airflow, command: Command
) -> None:
    assert command("retry", "1.0.0", TRIXIE) == 0
    (_, task_path, cleared), (_, run_path, _) = failed.changes
    assert task_path == f"/dags/{BUILD}/clearTaskInstances"
    assert cleared["task_ids"] == [["make_binary_package", 1]]
    assert cleared["include_downstream"] is True
    assert run_path == f"/dags/{WRAPPER}/dagRuns/{PARENT}/clear"


def test_a_distribution_of_which_nothing_failed_is_refused(failed: Airflow, command: Command) -> None:
    assert command("retry", "1.0.0", "debian-11-bullseye") == 1
    assert "1.0.0, debian-11-bullseye: no task of it failed in http" in command.refused
    assert failed.changes == []


# Logs


def test_a_log_is_followed_to_its_end_without_a_line_twice(
    failed: Airflow, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    failed.tasks[CHILD] = [task(BUILD, CHILD, "make_binary_package", "running", BOOKWORM, then="success")]
    failed.logs = [["one"], ["one", "two"], ["one", "two", "three"]]
    assert command("logs", "1.0.0", BOOKWORM, "--follow") == 0
    assert command.said.splitlines() == ["one", "two", "three"]


def test_following_a_build_that_fails_ends_with_its_status(failed: Airflow, command: Command) -> None:
    assert command("logs", "1.0.0", BOOKWORM, "--follow") == 1
    assert "error: no space" in command.said
    assert command("logs", "1.0.0", BOOKWORM) == 0


# Deciding


@pytest.fixture
def asking(airflow: Airflow) -> Airflow:
    """A release that waits for an approval."""
    airflow.runs = {WRAPPER: [run(PARENT, "running")]}
    airflow.tasks = {PARENT: [task(WRAPPER, PARENT, "approve", "awaiting_input")]}
    airflow.question = {
        "subject": "Publish HHVM 1.0.0?",
        "body": r"hhvm\_1\.0\.0\-1\~bookworm\_amd64\.deb",
        "options": ["Approve", "Reject"],
    }
    return airflow


@pytest.mark.parametrize(("arguments", "option"), [([], "Approve"), (["--reject"], "Reject")])
def test_an_approval_shows_what_it_is_for_and_is_given_to_the_task_that_asks(
    asking: Airflow, command: Command, arguments: list[str], option: str
) -> None:
    assert command("approve", "1.0.0", "--yes", *arguments) == 0
    assert "hhvm_1.0.0-1~bookworm_amd64.deb" in command.said
    [(method, path, body)] = asking.changes
    assert (method, path) == (
        "PATCH",
        f"/dags/{WRAPPER}/dagRuns/{PARENT}/taskInstances/approve/-1/hitlDetails",
    )
    assert body["chosen_options"] == [option]


def test_a_version_that_goes_on_is_cancelled_by_its_wrapper_alone(asking: Airflow, command: Command) -> None:
    asking.runs[BUILD] = [run(CHILD, "running")]
    assert command("cancel", "1.0.0", "--yes") == 0
    assert [(path, body) for _, path, body in asking.changes] == [
        (f"/dags/{WRAPPER}/dagRuns/{PARENT}", {"state": "failed"})
    ]


# Saying


def test_a_dry_run_of_a_release_starts_nothing_and_says_what_it_would_start(
    airflow: Airflow, command: Command
) -> None:
    assert command("release", "1.0.0", "--dry-run", "--distro", TRIXIE) == 0
    assert json.loads(command.said) == {
        "dag_id": WRAPPER,
        "conf": {"version": "1.0.0", "distros": [TRIXIE]},
    }
    assert airflow.changes == []


def test_what_is_started_has_a_note_that_says_what_it_is_for(airflow: Airflow, command: Command) -> None:
    airflow.runs = {WRAPPER: []}
    command("release", "1.0.0", "--distro", TRIXIE)
    [(_, path, body)] = airflow.changes
    assert path == f"/dags/{WRAPPER}/dagRuns"
    assert markdown.unescape(body["note"]) == f"**HHVM 1.0.0 for {TRIXIE}: release, queued**"


# What the lambdas answered


SOURCE = {
    "tarball": {"place": "s3://hhvm-scratch/hhvm-1.0.0.tar.gz", "there": True},
    "signature": {"place": "s3://hhvm-scratch/hhvm-1.0.0.tar.gz.sig", "there": False},
    "public_tarball": {"place": "s3://hhvm-downloads/source/hhvm-1.0.0.tar.gz", "there": False},
    "public_signature": {"place": "s3://hhvm-downloads/source/hhvm-1.0.0.tar.gz.sig", "there": False},
    "commit": "0123456",
    "signed_by": "",
}


def test_a_tarball_without_its_signature_is_not_there(airflow: Airflow, command: Command) -> None:
    airflow.console["/versions/1.0.0/source"] = SOURCE
    assert command("source", "1.0.0") == 1
    assert "there      s3://hhvm-scratch/hhvm-1.0.0.tar.gz" in command.said
    assert "missing    s3://hhvm-scratch/hhvm-1.0.0.tar.gz.sig" in command.said
    assert command("source", "1.0.0", "--json") == 1
    assert json.loads(command.said) == SOURCE


@pytest.mark.parametrize("where", ["", "public_"])
def test_a_source_is_there_before_and_after_it_is_public(
    airflow: Airflow, command: Command, where: str
) -> None:
    there = {f"{where}{name}": {"place": "s3://", "there": True} for name in ("tarball", "signature")}
    airflow.console["/versions/1.0.0/source"] = SOURCE | there
    assert command("source", "1.0.0") == 0


def test_what_of_a_version_is_public_is_said_as_the_old_service_did(
    airflow: Airflow, command: Command
) -> None:
    url = "https://dl.hhvm.com/source/hhvm-1.0.0.tar.gz.sig"
    found = {"success": False, "version": "1.0.0", "succeeded": [TRIXIE], "failed": {"source_gpg": url}}
    airflow.console["/build-status/1.0.0"] = found
    assert command("build-status", "1.0.0") == 1
    assert command.said.splitlines() == [f"public   {TRIXIE}", f"missing  source_gpg: {url}"]
    airflow.console["/build-status/1.0.0"] = found | {"success": True, "failed": {}}
    assert command("build-status", "1.0.0", "--json") == 0
    assert json.loads(command.said)["success"] is True


class Workers:
    """The workers that there are, as commands find and end them."""

    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    def find(self) -> Iterator[Found]:
        yield from self.found

    def end(self, found: Found) -> None:
        self.found.remove(found)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    workers = Workers(
        Found("hhvm-1.0.0-make-binary-package-debian-13-trixie-0", "instance", "i-0", {}, "running"),
        Found("hhvm-1.0.1-make-source-tarball-1", "instance", "i-1", {}, "stopping"),
        Found("hhvm-1.0.1-make-source-tarball-1", "volume", "vol-1", {}, "available"),
    )
    monkeypatch.setattr(clients, "worker", lambda: contextlib.nullcontext(workers))
    return workers


def test_instances_are_listed_with_their_states(workers: Workers, command: Command) -> None:
    assert command("instances") == 0
    assert [line.split()[:3] for line in command.said.splitlines()[1:]] == [
        ["running", "instance", "i-0"],
        ["stopping", "instance", "i-1"],
        ["available", "volume", "vol-1"],
    ]
    assert command("instances", "1.0.0", "--json") == 0
    assert [(one["id"], one["state"]) for one in json.loads(command.said)] == [("i-0", "running")]
    assert command("instances", "1.0.2") == 0
    assert command.said == "there is no worker of 1.0.2\n"


def test_an_instance_is_ended_and_no_other(workers: Workers, command: Command) -> None:
    assert command("end-instances", "i-1", "--yes") == 0
    assert [one.id for one in workers.found] == ["i-0", "vol-1"]


@pytest.mark.parametrize(
    ("arguments", "status"), [(["i-1", "--dry-run"], 0), (["i-1"], 1), (["i-1", "i-9", "--yes"], 1)]
)
def test_no_instance_is_ended_by_a_dry_run_by_nobody_or_beside_an_id_that_is_not_there(
    workers: Workers, command: Command, arguments: list[str], status: int
) -> None:
    assert command("end-instances", *arguments) == status
    assert [one.id for one in workers.found] == ["i-0", "i-1", "vol-1"]


def test_the_cdn_forgets_nothing_where_there_is_none_or_in_a_dry_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("invalidate-cdn") == 1
    assert "no CDN is set: HHVM_PACKAGING_CDN_DISTRIBUTION" in command.refused
    monkeypatch.setenv("HHVM_PACKAGING_CDN_DISTRIBUTION", "E0123456789ABC")
    settings.cache_clear()
    assert command("invalidate-cdn", "--dry-run", "--json") == 0
    settings.cache_clear()
    assert json.loads(command.said) == {
        "distribution": "E0123456789ABC",
        "paths": ["/debian/dists/*", "/ubuntu/dists/*"],
        "done": False,
    }


def test_without_a_version_tonights_nightly_is_meant(command: Command) -> None:
    assert command("names", "--json") == 0
    facts = json.loads(command.said)
    assert (facts["kind"], facts["version"]) == ("nightly", f"{datetime.datetime.now(datetime.UTC):%Y.%m.%d}")


@pytest.mark.parametrize(
    ("version", "kind", "source"),
    [
        ("4.172.1", "release", "source/hhvm-4.172.1.tar.gz"),
        ("2026.11.22", "nightly", "source/nightlies/hhvm-nightly-2026.11.22.tar.gz"),
    ],
)
def test_what_a_version_means_is_said_without_asking_anybody(
    command: Command, version: str, kind: str, source: str
) -> None:
    assert command("names", version, "--json") == 0
    facts = json.loads(command.said)
    assert (facts["version"], facts["kind"], facts["public source"]) == (version, kind, source)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("approve 1.0.0", "1.0.0: no run of it waits for an approval"),
        ("cancel 1.0.0", "1.0.0: no run of it goes on"),
        (f"retry 1.0.0 {TRIXIE}", "Airflow knows no run of 1.0.0"),
        (f"logs 1.0.0 {TRIXIE} --follow", f"1.0.0, {TRIXIE}: no build of it was started"),
        ("approve 4.26", "version: '4.26' is not allowed. Allowed: X.Y.Z"),
        ("cancel 1.0", "version: '1.0' is not allowed. Allowed: X.Y.Z"),
        ("names 1.0", "version: '1.0' is not allowed. Allowed: X.Y.Z"),
        ("source 1.0", "version: '1.0' is not allowed. Allowed: X.Y.Z"),
        ("build-status 1.0", "version: '1.0' is not allowed. Allowed: X.Y.Z"),
        ("instances 1.0", "version: '1.0' is not allowed. Allowed: X.Y.Z"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    airflow: Airflow, command: Command, arguments: str, said: str
) -> None:
    assert command(*arguments.split()) == 1
    assert said in command.refused
    assert airflow.changes == []


def test_nothing_is_decided_where_nobody_can_be_asked(asking: Airflow, command: Command) -> None:
    for name in ("approve", "cancel"):
        assert command(name, "1.0.0") == 1
        assert f"{name}: nobody is there to be asked. Add --yes to do it." in command.refused
    assert asking.changes == []


@pytest.mark.parametrize("name", ["hhvm-packaging", *FRONT_ENDS])
def test_the_help_of_every_program_fits_into_80_columns(name: str) -> None:
    said = subprocess.run([ROOT / "bin" / name, "--help"], capture_output=True, text=True, check=True).stdout
    assert max(map(len, said.splitlines())) <= 80


def test_the_programs_help_names_every_command() -> None:
    said = (ROOT / "bin/hhvm-packaging").read_text()
    named = set(re.findall(r"bin/hhvm-packaging ([a-z-]+) ", said))
    commands = {
        each.name or getattr(each.callback, "__name__", "") for each in hhvm_packaging.app.registered_commands
    }
    assert commands <= named


def test_the_help_of_every_command_fits_into_80_columns(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    names = [
        each.name or getattr(each.callback, "__name__", "") for each in hhvm_packaging.app.registered_commands
    ]
    lambdas = {"names", "source", "build-status", "instances", "end-instances", "invalidate-cdn"}
    assert {"retry", "logs", "approve", "cancel", *lambdas} <= set(names)
    for arguments in ([], *([name] for name in names)):
        assert command(*arguments, "--help") == 0
        assert max(map(len, command.said.splitlines())) <= 80
