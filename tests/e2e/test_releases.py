"""Releases with a real Airflow: several at once, cancelled, held, asked for twice, undone.

The tests share one deployment. Those of an undo depend on one another, in this order.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from demo.stack import SCRATCH, USER
from hhvm_packaging.reporting import markdown
from testing.newcomer import BUILD, PUBLISH, ROOT, WRAPPER
from testing.short_builds import BOOKWORM, MULTI, TRIXIE, Deployment, running
from testing.sinks import WebServer, web_server
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(DEADLINE)


@pytest.fixture(scope="module")
def posts() -> Iterator[WebServer]:
    """What the deployment's people are told."""
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def deployment(
    base_images: None, posts: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One that tells people of its releases."""
    deployment = Deployment(tmp_path_factory.mktemp("releases"))
    deployment.tag("1.0.0")
    hook = {"conn_type": "http", "host": f"http://127.0.0.1:{posts.port}"}
    deployment.configure(
        {"NOTIFY": [{"kind": "webhook", "connection": "a_hook", "path": "/hhvm"}]},
        {"AIRFLOW_CONN_A_HOOK": json.dumps(hook)},
    )
    with running(deployment):
        yield deployment


def note(deployment: Deployment, dag_id: str, run_id: str) -> list[str]:
    """The lines of a run's note, as people read them."""
    run = deployment.api.run(dag_id, run_id)
    assert run
    return [line.strip("*") for line in markdown.unescape(run.note).splitlines()]


def test_versions_are_built_at_the_same_time_and_published_one_after_another_in_the_order_given(
    deployment: Deployment,
) -> None:
    versions = ["1.1.2", "1.1.0", "1.1.1"]
    deployment.tag(*versions)
    deployment.break_build(BOOKWORM, "1.1.0")
    deployment.keep_building(*versions)
    deployment.start(MULTI, "several", versions=versions, distros=[BOOKWORM])
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in versions))
    assert note(deployment, MULTI, "several") == [f"HHVM 1.1.2, 1.1.0, 1.1.1 for {BOOKWORM}: building"]
    deployment.finish(*versions)

    assert deployment.ended(MULTI, "several") == "failed"
    deployment.until(lambda: "HHVM 1.1.2, 1.1.0, 1.1.1: build failed" in note(deployment, MULTI, "several"))
    assert any(
        "make_binary_package: the job failed: exit status 2" in line
        for line in note(deployment, MULTI, "several")
    )
    states = {name: task.state for name, task in deployment.tasks(MULTI, "several").items()}
    assert [states[f"build {version}"] for version in versions] == ["success", "failed", "success"]
    assert [states[f"publish {version}"] for version in versions] == ["success", "skipped", "success"]
    assert states["all_published"] == "upstream_failed"
    said = deployment.said(MULTI, "several", "publish 1.1.0")
    assert "HHVM 1.1.0 is not built for debian-12-bookworm" in said
    children = [deployment.child(MULTI, "several", version) for version in ("1.1.2", "1.1.1")]
    first, last = (deployment.when(PUBLISH, child) for child in children)
    assert first[1] <= last[0]
    assert [version in deployment.public()["git"] for version in versions] == [True, False, True]

    deployment.mend_build(BOOKWORM)
    deployment.clear(MULTI, "several")
    assert deployment.ended(MULTI, "several") == "success"
    built = [deployment.built(version, BOOKWORM) for version in versions]
    assert built == [["built"], ["JOB", "built"], ["built"]]
    assert deployment.is_public("1.1.0")
    said = "HHVM 1.1.2, HHVM 1.1.0, HHVM 1.1.1: everything that was asked for is public"
    assert note(deployment, MULTI, "several")[0] == said


def test_people_are_told_once_of_each_release(deployment: Deployment, posts: WebServer) -> None:
    def released() -> list[tuple[list[str], str]]:
        return sorted(
            (post["versions"], post["text"]) for _, post in posts.posts if post["event"] == "released"
        )

    deployment.until(lambda: len(released()) == 3)
    assert [versions for versions, _ in released()] == [["1.1.0"], ["1.1.1"], ["1.1.2"]]
    for versions, text in released():
        assert f"Debian 12 (bookworm): {versions[0]}-1~bookworm" in text
        assert deployment.stack.public_url in text


def test_commands_say_what_is_there_what_is_public_and_which_workers_exist(deployment: Deployment) -> None:
    stack = deployment.stack
    login = {"URL": stack.ui_url, "USER": USER, "PASSWORD": stack.secrets.password}
    environment = stack.person_environment() | {f"AIRFLOW_API_{name}": value for name, value in login.items()}

    def command(*arguments: str) -> tuple[int, Any]:
        """The exit status, and the JSON that it prints."""
        done = subprocess.run(
            [ROOT / "bin/hhvm-packaging", *arguments, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    status, found = command("source", "1.1.0")
    assert (status, found["public_tarball"]["there"], found["public_signature"]["there"]) == (0, True, True)
    status, found = command("build-status", "1.1.0")
    assert (status, found["succeeded"]) == (1, ["source", "source_gpg", BOOKWORM])
    assert found["failed"][TRIXIE].endswith("/debian/pool/main/h/hhvm/hhvm_1.1.0-1~trixie_amd64.deb")

    deployment.tag("1.1.3")
    deployment.keep_building("1.1.3")
    deployment.start(BUILD, "listed", version="1.1.3", distros=[BOOKWORM])
    deployment.until(lambda: deployment.building("1.1.3"))
    status, [worker] = command("instances", "1.1.3")
    assert (status, worker["kind"], worker["state"]) == (0, "container", "running")
    assert command("end-instances", worker["id"], "--dry-run") == (0, {"ended": []})
    deployment.finish("1.1.3")
    assert deployment.ended(BUILD, "listed") == "success"


def test_a_builds_log_is_shown_while_it_runs_and_marking_its_run_failed_ends_it(
    deployment: Deployment,
) -> None:
    deployment.tag("1.11.0")
    deployment.keep_building("1.11.0")
    deployment.start(BUILD, "shown", version="1.11.0", distros=[BOOKWORM])
    task = f"make_binary_package {BOOKWORM}"
    deployment.until(lambda: "building 1.11.0" in deployment.said(BUILD, "shown", task))
    assert len(deployment.building("1.11.0")) == 1
    deployment.api.fail_run(BUILD, "shown")
    deployment.until(lambda: not deployment.containers("hhvm.run=shown"))
    deployment.finish("1.11.0")


def test_cancelling_a_run_ends_its_children_and_their_workers_and_clearing_a_task_does_not(
    deployment: Deployment,
) -> None:
    versions = ["1.7.0", "1.7.1"]
    deployment.tag(*versions)
    deployment.keep_building(*versions)
    deployment.start(MULTI, "cancelled", versions=versions, distros=[BOOKWORM])
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in versions))
    workers = {container.id for container in deployment.containers()}
    children = [deployment.child(MULTI, "cancelled", version) for version in versions]

    before = deployment.tasks(MULTI, "cancelled")["build 1.7.0"]
    deployment.api.clear_tasks(MULTI, "cancelled", ("build", 0))
    deployment.until(
        lambda: (
            (now := deployment.tasks(MULTI, "cancelled")["build 1.7.0"]).state == "deferred"
            and now.id != before.id
        )
    )
    deployment.until(lambda: "goes on: its parent task is" in _triggerer_log(deployment))
    assert deployment.state(BUILD, children[0]) == "running"
    assert {container.id for container in deployment.containers()} == workers

    deployment.api.fail_run(MULTI, "cancelled")
    deployment.until(lambda: "was marked failed. To go on with it, clear the" in _triggerer_log(deployment))
    # Airflow does not tell a trigger so that had only just begun.
    deployment.start("hhvm_reap_workers", "after-cancelling")
    assert deployment.ended("hhvm_reap_workers", "after-cancelling") == "success"
    deployment.until(lambda: not deployment.containers())
    assert [deployment.state(BUILD, child) for child in children] == ["failed", "failed"]
    assert deployment.public().get("git", "").count("1.7.") == 0
    deployment.finish(*versions)


def _triggerer_log(deployment: Deployment) -> str:
    logs = (deployment.var / "airflow/logs").rglob("*.trigger.*.log")
    return "".join(path.read_text() for path in [*logs, deployment.stack.log_directory / "triggerer.log"])


@pytest.mark.slow
def test_a_version_that_fails_holds_the_others_where_that_was_asked_for(deployment: Deployment) -> None:
    deployment.tag("1.2.0", "1.2.1")
    deployment.break_build(BOOKWORM, "1.2.1")
    before = deployment.public()
    deployment.start(
        MULTI,
        "together",
        versions=["1.2.0", "1.2.1"],
        distros=[BOOKWORM],
        if_a_version_fails="hold all",
    )
    assert deployment.ended(MULTI, "together") == "failed"
    assert "HHVM 1.2.0 is held, as if_a_version_fails says" in deployment.said(
        MULTI, "together", "publish 1.2.0"
    )
    assert deployment.public() == before
    deployment.mend_build(BOOKWORM)


@pytest.mark.slow
def test_what_is_built_and_not_published_is_built_again_only_by_force(deployment: Deployment) -> None:
    deployment.tag("1.9.0")
    for run, force, built in (("first", False, 1), ("again", False, 1), ("forced", True, 2)):
        deployment.start(BUILD, run, version="1.9.0", distros=[BOOKWORM], force=force)
        assert deployment.ended(BUILD, run) == "success"
        assert deployment.built("1.9.0", BOOKWORM) == ["built"] * built


def test_nothing_is_public_of_a_release_that_waits_for_a_person_and_a_time(deployment: Deployment) -> None:
    deployment.tag("1.3.0", "1.3.1", "1.3.2")
    before = deployment.public()
    past, soon = "2026-01-01T00:00:00Z", datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    asked: dict[str, Any] = {"distros": [BOOKWORM], "require_approval": True}
    deployment.start(MULTI, "held", versions=["1.3.0", "1.3.1"], hold_until=past, **asked)
    deployment.start(WRAPPER, "later", version="1.3.2", hold_until=f"{soon:%Y-%m-%dT%H:%M:%SZ}", **asked)
    deployment.until_asked(MULTI, "held")
    deployment.until_asked(WRAPPER, "later")
    # Not even by the DAG that publishes.
    deployment.start(PUBLISH, "at-once", version="1.3.0", distros=[BOOKWORM])
    assert deployment.ended(PUBLISH, "at-once") == "failed"
    assert "HHVM 1.3.0 is not approved" in deployment.said(PUBLISH, "at-once", "candidate")
    assert deployment.public() == before

    deployment.answer(MULTI, "held", "Reject")
    assert deployment.ended(MULTI, "held") == "failed"
    said = deployment.said(MULTI, "held", "approve 1: 1.3.0, 1.3.1")
    assert f"{USER} rejected it, so nothing is published. To be asked again, clear" in said
    assert deployment.public() == before
    # A person cannot get around it in the UI either.
    approve = f"/dags/{MULTI}/dagRuns/held/taskInstances/approve/0"
    deployment.api.call("PATCH", approve, {"new_state": "success"})
    deployment.clear(MULTI, "held")
    assert deployment.ended(MULTI, "held") == "failed"
    assert "HHVM 1.3.0 is not approved" in deployment.said(MULTI, "held", "publish 1.3.0")
    assert deployment.public() == before

    deployment.api.clear_tasks(MULTI, "held", "ready", downstream=True)
    deployment.until_asked(MULTI, "held")
    deployment.answer(MULTI, "held", "Approve")
    assert deployment.ended(MULTI, "held") == "success"
    assert deployment.is_public("1.3.0")
    assert deployment.is_public("1.3.1")
    for version in ("1.3.0", "1.3.1"):
        records = (deployment.var / "s3" / SCRATCH / "approvals" / version).glob("*.json")
        answers = sorted((json.loads(record.read_text()) for record in records), key=lambda one: one["at"])
        assert [(one["approved"], one["by"]["id"]) for one in answers] == [(False, USER), (True, USER)]

    deployment.answer(WRAPPER, "later", "Approve")
    deployment.until_task(WRAPPER, "later", "hold_until", "deferred")
    assert not deployment.is_public("1.3.2")
    deployment.api.fail_run(WRAPPER, "later")


@pytest.mark.slow
def test_two_runs_that_want_the_same_versions_at_the_same_moment_do_not_harm_each_other(
    deployment: Deployment,
) -> None:
    first, second = versions = ["1.4.1", "1.4.0"]
    runs = ["one", "other"]
    deployment.tag(*versions)
    deployment.keep_building(*versions)
    with ThreadPoolExecutor() as people:
        started = [
            people.submit(deployment.start, MULTI, run, versions=versions, distros=[BOOKWORM]) for run in runs
        ]
    assert [future.result() for future in started] == [None, None]
    deployment.until(lambda: all(len(deployment.building(version)) == 2 for version in versions))
    deployment.finish(*versions)
    assert [deployment.ended(MULTI, run) for run in runs] == ["success", "success"]
    published = {
        (run, version): deployment.when(PUBLISH, deployment.child(MULTI, run, version))
        for run in runs
        for version in versions
    }
    one_after_another = sorted(published.values())
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(one_after_another))
    for run in runs:
        assert published[run, first] < published[run, second]
    # Each version has two packages.
    offered = [version for version in deployment.offered("bookworm") if version.startswith("1.4.")]
    assert sorted(offered) == [f"{version}-1~bookworm" for version in (second, second, first, first)]


BOTH = [BOOKWORM, TRIXIE]


@pytest.fixture(scope="module")
def bad(deployment: Deployment) -> str:
    """A version that was published after a good one, for two distributions: 1.5.1 after 1.5.0."""
    versions = ["1.5.0", "1.5.1"]
    deployment.tag(*versions)
    deployment.start(MULTI, "good-and-bad", versions=versions, distros=BOTH)
    assert deployment.ended(MULTI, "good-and-bad") == "success"
    return "1.5.1"


def test_a_dry_run_of_an_undo_says_what_users_would_lose_and_changes_nothing(
    deployment: Deployment, bad: str
) -> None:
    before = deployment.public()
    deployment.start(PUBLISH, "dry", version=bad, action="undo", dry_run=True, distros=BOTH)
    assert deployment.ended(PUBLISH, "dry") == "success"
    assert deployment.task_state(PUBLISH, "dry", f"verify_candidate {TRIXIE}") == "success"
    assert deployment.task_state(PUBLISH, "dry", "update_repositories") == "skipped"
    said = deployment.said(PUBLISH, "dry", "publish_report")
    assert "this was a dry run" in said
    assert "- hhvm 1.5.1-1~bookworm amd64" in said
    assert deployment.public() == before


def test_an_undo_takes_a_version_from_users_and_a_release_again_gives_it_back(
    deployment: Deployment, bad: str
) -> None:
    deployment.start(PUBLISH, "undo", version=bad, action="undo", distros=BOTH)
    assert deployment.ended(PUBLISH, "undo") == "success"
    assert "1.5.1-1~bookworm" not in deployment.offered("bookworm")
    assert "1.5.1-1~trixie" not in deployment.offered("trixie-1.5")
    said = deployment.said(PUBLISH, "undo", "publish_report")
    assert "--allow-downgrades hhvm=1.5.0-1~bookworm hhvm-dev=1.5.0-1~bookworm" in said

    deployment.start(PUBLISH, "resumed", version=bad, distros=BOTH)
    assert deployment.ended(PUBLISH, "resumed") == "failed"
    said = deployment.said(PUBLISH, "resumed", "candidate")
    assert "was withdrawn from debian bookworm: hhvm 1.5.1-1~bookworm amd64" in said

    deployment.start(PUBLISH, "given-back", version=bad, action="release again", distros=BOTH)
    assert deployment.ended(PUBLISH, "given-back") == "success"
    assert "1.5.1-1~bookworm" in deployment.offered("bookworm")


def test_the_command_shows_what_a_suite_was_and_puts_it_back(deployment: Deployment, bad: str) -> None:
    history = deployment.run("bin/apt-suite", "history", "debian", "trixie").stdout
    [_, undone, before, *_] = [line.split()[0] for line in history.splitlines() if line[0] != " "]
    done = deployment.run("bin/apt-suite", "undo", "debian", "trixie", undone)
    assert "withdrawn: hhvm 1.5.1-1~trixie amd64" in done.stdout, done.stderr
    assert "1.5.1-1~trixie" not in deployment.offered("trixie")
    refused = deployment.run("bin/apt-suite", "undo", "debian", "trixie", before)
    assert refused.returncode == 1
    assert "has packages that were withdrawn" in refused.stderr
    released = deployment.run("bin/apt-suite", "release", "debian", "trixie", f"{bad}-1~trixie")
    assert "may be published again: hhvm 1.5.1-1~trixie amd64" in released.stdout, released.stderr
