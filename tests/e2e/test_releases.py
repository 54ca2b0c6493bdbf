"""Releases with a real Airflow: several at once, held, resumed, killed, cancelled.

Builds are short here, but real: a script in the distribution's own container that makes the packages with
dpkg-deb, and that waits or fails when a test says so. The tests share one deployment.
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.driver import Demo
from demo.progress import Progress
from demo.stack import AIRFLOW, DOWNLOADS, SCRATCH, USER
from testing.newcomer import BUILD, PUBLISH, ROOT, WRAPPER, Newcomer
from testing.without_debian import forget_debian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MULTI = "hhvm_build_and_publish_multi"
BOOKWORM, TRIXIE, FORKY = "debian-12-bookworm", "debian-13-trixie", "debian-14-forky"

SHORT_BUILD = """#!/usr/bin/env bash
# In place of hours: the same packages, from nothing.
set -euo pipefail
distro=/opt/hhvm-distro-packaging
asked_to_wait() {
  local answer
  exec 3<>"/dev/tcp/127.0.0.1/@PORT@"
  printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$VERSION" >&3
  read -r answer <&3
  [[ $answer == *' 200 '* ]]
}
printf 'building %s\\n' "$VERSION"
while asked_to_wait; do sleep 0.3; done
if grep -qxF "$VERSION" "$distro/FAILS"; then
  printf 'hhvm.cpp:1: error: no such thing in %s\\n' "$VERSION" >&2
  exit 2
fi
package_version=$VERSION-$(<"$distro/PKGVER")
for package in hhvm hhvm-dev; do
  tree=$(mktemp -d)
  chmod 0755 "$tree"
  install -D -m 0644 /dev/stdin "$tree/DEBIAN/control" <<END
Package: $package
Version: $package_version
Architecture: amd64
Maintainer: Tests <tests@hhvm.invalid>
Description: $package
END
  if [ "$package" = hhvm ]; then
    install -D -m 0755 /dev/stdin "$tree/usr/bin/hhvm" <<<"#!/bin/sh
echo 'HipHop VM $VERSION (rel)'"
  fi
  dpkg-deb --root-owner-group --build "$tree" "/var/out/${package}_${package_version}_amd64.deb"
done
"""
SHORT_GATE = """#!/usr/bin/env bash
# In place of apt's reasons: only dpkg's.
set -euo pipefail
if [ "$1" = fresh ]; then
  dpkg --install /var/out/*.deb
  hhvm --version
fi
"""


class Deployment(Newcomer):
    """A deployment with short builds, and people who release with it."""

    def __init__(self, var: Path) -> None:
        super().__init__(var)
        self.packaging = var / "packaging"
        self.held = var / "held"
        self.held.mkdir()
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(self.held))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._make_packaging(server.server_port)
        (var / "settings.json").write_text(json.dumps({"PACKAGING_ROOT": str(self.packaging)}))

    def _make_packaging(self, port: int) -> None:
        """A copy of the checkout's packaging files with three distributions and short builds."""
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, self.packaging / part, symlinks=True)
        _script(self.packaging / "bin/make-debianish-package", SHORT_BUILD.replace("@PORT@", str(port)))
        _script(self.packaging / "jobs/in-container/install-gate", SHORT_GATE)
        # What is made here depends on nothing that Debian has.
        forget_debian(self.packaging / "jobs/in-container/check-offer")
        forky = shutil.copytree(self.distro(TRIXIE), self.distro(FORKY), symlinks=True)
        (forky / "DISTRIBUTION").write_text("forky\n")
        (forky / "PKGVER").write_text("1~forky\n")
        for name in (BOOKWORM, TRIXIE, FORKY):
            (self.distro(name) / "FAILS").touch()

    def distro(self, name: str) -> Path:
        return self.packaging / "distros" / name

    def tag(self, *versions: str) -> None:
        """Tag releases on the staging repository."""
        for version in versions:
            subprocess.run([ROOT / "demo/make-git-repositories", self.var / "git", version], check=True)

    def break_build(self, distro: str, *versions: str) -> None:
        """Have the distribution's builds of these versions fail, by a file of its own."""
        (self.distro(distro) / "FAILS").write_text("".join(f"{version}\n" for version in versions))

    def mend_build(self, distro: str) -> None:
        (self.distro(distro) / "FAILS").write_text("")

    def keep_building(self, *versions: str) -> None:
        """Have builds of these versions go on until ``finish``."""
        for version in versions:
            (self.held / version).touch()

    def finish(self, *versions: str) -> None:
        for version in versions:
            (self.held / version).unlink()

    def start(self, dag_id: str, run_id: str, **conf: Any) -> None:
        """Trigger a run; one that a busy API server refused in vain is there already."""
        assert self.trigger(dag_id, run_id, conf).status_code in (httpx.codes.OK, httpx.codes.CONFLICT)

    def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Tell the API something that may be told twice."""
        answer = self.ask(method, path, body)
        assert answer.is_success or answer.status_code == httpx.codes.CONFLICT, answer.text

    def clear_tasks(
        self, dag_id: str, run_id: str, *tasks: str | list[Any], downstream: bool = False
    ) -> None:
        """Clear tasks, or single instances of mapped ones, as from a task's page."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(tasks),
            "only_failed": False,
            "include_downstream": downstream,
        }
        self.send("POST", f"{dag_id}/clearTaskInstances", body)

    def answer(self, dag_id: str, run_id: str, option: str) -> None:
        """Answer the request for approval, as a person does under Required Actions.

        Airflow asks again where the answer came in the second in which the process that asked ends.
        """
        request = f"{dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"

        def answered() -> bool:
            state = self.task_state(dag_id, run_id, "approve")
            if state == "awaiting_input":
                self.ask("PATCH", request, {"chosen_options": [option], "params_input": {}})
            return state in ("success", "failed")

        self.until(answered)

    def task_state(self, dag_id: str, run_id: str, task: str) -> str:
        return str(self.tasks(dag_id, run_id)[task]["state"])

    def until_task(self, dag_id: str, run_id: str, task: str, *states: str) -> None:
        self.until(lambda: self.task_state(dag_id, run_id, task) in states)

    def when(self, dag_id: str, run_id: str) -> tuple[str, str]:
        """When a run started and ended."""
        with self.api() as api:
            run = api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
        return run["start_date"], run["end_date"]

    def said(self, dag_id: str, run_id: str, task: str) -> str:
        return self.log(dag_id, run_id, self.tasks(dag_id, run_id)[task])

    def public(self) -> dict[str, Any]:
        """All that anybody can see: the bucket's files, and the public repository's branches and tags."""
        bucket = self.var / "s3" / DOWNLOADS
        found: dict[str, Any] = {
            str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()
        }
        remote = ["git", "ls-remote", str(self.var / "git/hhvm.git")]
        found["git"] = subprocess.run(remote, capture_output=True, text=True, check=True).stdout
        return found

    def is_public(self, version: str) -> bool:
        """Whether there is any trace of the version in what anybody can see."""
        return any(
            version in key or version in (what if isinstance(what, str) else what.decode(errors="replace"))
            for key, what in self.public().items()
        )

    def commits(self, suite: str) -> int:
        """How many commits the suite ever had."""
        return len(list((self.var / "s3" / SCRATCH / "snapshots/debian" / suite).glob("*.json")))

    def built(self, version: str, distro: str) -> list[str]:
        """What each worker that was started to build it came to: ``built``, or its failure's class."""
        jobs = self.var / "s3" / SCRATCH / "jobs" / version
        logs = sorted(
            jobs.glob(f"hhvm-{version}-make-binary-package-{distro}-*/*/log.txt"),
            key=lambda log: log.parent.name,
        )
        failures = [log.with_name("failure.json") for log in logs]
        return [json.loads(one.read_text())["failure"] if one.exists() else "built" for one in failures]


def _script(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def deployment(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The deployment, up; gone at the end."""
    deployment = Deployment(tmp_path_factory.mktemp("releases"))
    deployment.tag("1.0.0")
    demo = Demo(deployment.stack, Progress())
    demo.services()
    demo.api().wait_for_dags([MULTI])
    yield deployment
    deployment.make("down")


def test_versions_are_built_at_the_same_time_and_published_one_after_another_in_the_order_given(
    deployment: Deployment,
) -> None:
    versions = ["1.1.2", "1.1.0", "1.1.1"]
    deployment.tag(*versions)
    deployment.break_build(BOOKWORM, "1.1.0")
    deployment.keep_building(*versions)
    deployment.start(MULTI, "several", versions=versions, distros=[BOOKWORM])
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in versions))
    deployment.finish(*versions)

    assert deployment.ended(MULTI, "several") == "failed"
    states = {name: task["state"] for name, task in deployment.tasks(MULTI, "several").items()}
    assert [states[f"build {version}"] for version in versions] == ["success", "failed", "success"]
    assert [states[f"publish {version}"] for version in versions] == ["success", "failed", "success"]
    assert states["all_published"] == "upstream_failed"
    said = deployment.said(MULTI, "several", "publish 1.1.0")
    assert "HHVM 1.1.0 is not built for debian-12-bookworm" in said
    first, last = (deployment.when(PUBLISH, f"several__{version}") for version in ("1.1.2", "1.1.1"))
    assert first[1] <= last[0]
    assert [version in deployment.public()["git"] for version in versions] == [True, False, True]

    deployment.mend_build(BOOKWORM)
    deployment.clear(MULTI, "several")
    assert deployment.ended(MULTI, "several") == "success"
    built = [deployment.built(version, BOOKWORM) for version in versions]
    assert built == [["built"], ["JOB", "built"], ["built"]]
    assert deployment.is_public("1.1.0")


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
    deployment.until_task(MULTI, "held", "approve", "awaiting_input")
    deployment.until_task(WRAPPER, "later", "approve", "awaiting_input")
    assert deployment.public() == before

    deployment.answer(MULTI, "held", "Reject")
    assert deployment.ended(MULTI, "held") == "failed"
    assert deployment.public() == before
    # A person cannot get around it in the UI either.
    deployment.send("PATCH", f"{MULTI}/dagRuns/held/taskInstances/approve", {"new_state": "success"})
    deployment.clear(MULTI, "held")
    assert deployment.ended(MULTI, "held") == "failed"
    assert "HHVM 1.3.0 is not approved" in deployment.said(MULTI, "held", "publish 1.3.0")
    assert deployment.public() == before

    deployment.clear_tasks(MULTI, "held", "ready", downstream=True)
    deployment.until_task(MULTI, "held", "approve", "awaiting_input")
    deployment.answer(MULTI, "held", "Approve")
    assert deployment.ended(MULTI, "held") == "success"
    assert deployment.is_public("1.3.0")
    assert deployment.is_public("1.3.1")
    for version in ("1.3.0", "1.3.1"):
        record = deployment.var / "s3" / SCRATCH / "approvals" / version / MULTI / "held.json"
        assert json.loads(record.read_text())["by"] == USER

    deployment.answer(WRAPPER, "later", "Approve")
    deployment.until_task(WRAPPER, "later", "hold_until", "deferred")
    assert not deployment.is_public("1.3.2")
    deployment.send("PATCH", f"{WRAPPER}/dagRuns/later", {"state": "failed"})


@pytest.mark.parametrize("number", [1, 2, 3])
def test_two_runs_that_want_the_same_versions_at_the_same_moment_do_not_harm_each_other(
    deployment: Deployment, number: int
) -> None:
    first, second = versions = [f"1.4.{number}1", f"1.4.{number}0"]
    runs = [f"one-{number}", f"other-{number}"]
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
        (run, version): deployment.when(PUBLISH, f"{run}__{version}") for run in runs for version in versions
    }
    one_after_another = sorted(published.values())
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(one_after_another))
    for run in runs:
        assert published[run, first] < published[run, second]
    # Each version has two packages.
    offered = [version for version in deployment.offered("bookworm") if version.startswith(f"1.4.{number}")]
    assert sorted(offered) == [f"{version}-1~bookworm" for version in (second, second, first, first)]


def test_killing_every_part_of_airflow_in_the_middle_builds_and_publishes_nothing_twice(
    deployment: Deployment,
) -> None:
    versions = ["1.5.0", "1.5.1"]
    deployment.tag(*versions)
    deployment.keep_building(*versions)
    commits = deployment.commits("bookworm")
    deployment.start(MULTI, "killed", versions=versions, distros=[BOOKWORM])
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in versions))
    for service in ("scheduler", "triggerer", "api-server"):
        _kill(deployment, service)
    deployment.stack.wait()
    deployment.finish(*versions)
    deployment.until(lambda: deployment.state(PUBLISH, "killed__1.5.0") == "running")
    for service in ("scheduler", "triggerer", "api-server"):
        _kill(deployment, service)
    assert deployment.ended(MULTI, "killed") == "success"
    assert [deployment.built(version, BOOKWORM) for version in versions] == [["built"], ["built"]]
    assert [len(deployment.jobs(version, "make-source-tarball")) for version in versions] == [1, 1]
    assert deployment.commits("bookworm") - commits == 2


def _kill(deployment: Deployment, service: str) -> None:
    """Kill a service's main process, and wait for its successor's."""
    assert service in AIRFLOW
    victims = {process.pid: process for process in deployment.stack.processes(service)}
    [main] = [process for process in victims.values() if process.ppid() not in victims]
    main.kill()
    deployment.until(lambda: set(deployment.stack.processes(service)) - set(victims.values()))


def test_a_lost_worker_costs_one_more_try_and_a_failed_job_waits_for_a_person_to_clear_it(
    deployment: Deployment,
) -> None:
    version, child = "1.10.0", "container__1.10.0"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "container", version=version, distros=[BOOKWORM, TRIXIE])
    deployment.until(lambda: len(deployment.building(version)) == 2)
    [broken] = [container for container in deployment.building(version) if "bookworm" in container.name]
    [victim] = [container for container in deployment.building(version) if "trixie" in container.name]
    victim.kill()
    killed = time.monotonic()
    [build] = [container for container in deployment.job_containers(broken.name) if container.id != broken.id]
    build.kill("SIGTERM")
    deployment.until(lambda: victim.id not in {one.id for one in deployment.containers()}, limit=60)
    print(f"the killed container was noticed and cleaned up within {time.monotonic() - killed:.1f} s")
    deployment.finish(version)

    assert deployment.ended(WRAPPER, "container") == "failed"
    tasks = deployment.tasks(BUILD, child)
    failed, lost = (tasks[f"make_binary_package {distro}"] for distro in (BOOKWORM, TRIXIE))
    assert (failed["state"], failed["try_number"]) == ("failed", 1)
    assert (lost["state"], lost["try_number"]) == ("success", 2)
    assert deployment.built(version, BOOKWORM) == ["JOB"]
    assert deployment.built(version, TRIXIE) == ["LOST", "built"]
    log = deployment.log(BUILD, child, failed)
    assert "HHVM 1.10.0, debian-12-bookworm, make-binary-package: the job failed: exit status 143" in log
    assert "log.txt" in log
    assert "worker lost: its container was killed" in deployment.log(BUILD, child, {**lost, "try_number": 1})
    assert "debian-12-bookworm, make_binary_package" in deployment.said(BUILD, child, "build_report")

    deployment.clear(BUILD, child)
    assert deployment.ended(BUILD, child) == "success"
    deployment.clear(WRAPPER, "container")
    assert deployment.ended(WRAPPER, "container") == "success"
    assert deployment.state(PUBLISH, child) == "success"
    assert deployment.built(version, BOOKWORM) == ["JOB", "built"]
    assert deployment.built(version, TRIXIE) == ["LOST", "built"]
    assert not [container for container in deployment.containers() if version in container.name]
    assert not [path for path in deployment.stack.work_directory.iterdir() if version in path.name]


def test_a_builds_log_is_shown_while_it_runs_and_marking_its_run_failed_ends_it(
    deployment: Deployment,
) -> None:
    deployment.tag("1.11.0")
    deployment.keep_building("1.11.0")
    deployment.start(BUILD, "shown", version="1.11.0", distros=[BOOKWORM])
    task = f"make_binary_package {BOOKWORM}"
    deployment.until(lambda: "building 1.11.0" in deployment.said(BUILD, "shown", task))
    assert len(deployment.building("1.11.0")) == 1
    deployment.send("PATCH", f"{BUILD}/dagRuns/shown", {"state": "failed"})
    deployment.until(lambda: not deployment.containers("hhvm.run=shown"), limit=60)
    deployment.finish("1.11.0")


def test_each_way_of_resuming_builds_only_what_failed_and_ends_green(deployment: Deployment) -> None:
    versions = {
        way: f"1.6.{number}" for number, way in enumerate(("task", "failed", "whole", "child", "others"))
    }
    deployment.tag(*versions.values())
    deployment.break_build(TRIXIE, *versions.values())
    for way, version in versions.items():
        more = {"if_one_fails": "publish the others", "distros": [BOOKWORM, TRIXIE, FORKY]}
        asked = more if way == "others" else {"distros": [BOOKWORM, TRIXIE]}
        deployment.start(WRAPPER, way, version=version, **asked)
    assert {way: deployment.ended(WRAPPER, way) for way in versions} == dict.fromkeys(versions, "failed")

    said = deployment.said(WRAPPER, "task", "publish")
    assert "HHVM 1.6.0 is not built for debian-13-trixie; the others are held, as if_one_fails" in said
    assert not any(deployment.is_public(version) for way, version in versions.items() if way != "others")
    assert "1.6.4-1~bookworm" in deployment.offered("bookworm")
    assert "1.6.4-1~forky" in deployment.offered("forky")
    assert "1.6.4-1~trixie" not in deployment.offered("trixie")

    deployment.mend_build(TRIXIE)
    deployment.clear_tasks(WRAPPER, "task", "build", downstream=True)
    deployment.clear(WRAPPER, "failed")
    deployment.clear(WRAPPER, "others")
    deployment.send("POST", f"{WRAPPER}/dagRuns/whole/clear", {"dry_run": False, "only_failed": False})
    child = f"child__{versions['child']}"
    deployment.clear_tasks(BUILD, child, "plan", downstream=True)
    assert deployment.ended(BUILD, child) == "success"
    deployment.clear(WRAPPER, "child")
    assert {way: deployment.ended(WRAPPER, way) for way in versions} == dict.fromkeys(versions, "success")
    for version in versions.values():
        assert deployment.built(version, BOOKWORM) == ["built"]
        assert deployment.built(version, TRIXIE) == ["JOB", "built"]
        assert f"{version}-1~trixie" in deployment.offered("trixie")
    assert deployment.built(versions["others"], FORKY) == ["built"]


def test_cancelling_a_run_ends_its_children_and_their_workers_and_clearing_a_task_does_not(
    deployment: Deployment,
) -> None:
    versions = ["1.7.0", "1.7.1"]
    deployment.tag(*versions)
    deployment.keep_building(*versions)
    deployment.start(MULTI, "cancelled", versions=versions, distros=[BOOKWORM])
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in versions))
    workers = {container.id for container in deployment.containers()}

    before = deployment.tasks(MULTI, "cancelled")["build 1.7.0"]
    deployment.clear_tasks(MULTI, "cancelled", ["build", 0])
    deployment.until(
        lambda: (
            (now := deployment.tasks(MULTI, "cancelled")["build 1.7.0"])["state"] == "deferred"
            and now["id"] != before["id"]
        )
    )
    deployment.until(lambda: "goes on: its parent task is" in _triggerer_log(deployment))
    assert deployment.state(BUILD, "cancelled__1.7.0") == "running"
    assert {container.id for container in deployment.containers()} == workers

    deployment.send("PATCH", f"{MULTI}/dagRuns/cancelled", {"state": "failed"})
    deployment.until(lambda: "is marked failed, because its parent task was" in _triggerer_log(deployment))
    # Airflow does not tell a trigger so that had only just begun.
    deployment.start("hhvm_reap_workers", "after-cancelling")
    assert deployment.ended("hhvm_reap_workers", "after-cancelling") == "success"
    deployment.until(lambda: not deployment.containers(), limit=60)
    assert [deployment.state(BUILD, f"cancelled__{version}") for version in versions] == ["failed", "failed"]
    assert deployment.public().get("git", "").count("1.7.") == 0
    deployment.finish(*versions)


def _triggerer_log(deployment: Deployment) -> str:
    logs = (deployment.var / "airflow/logs").rglob("*.trigger.*.log")
    return "".join(path.read_text() for path in [*logs, deployment.stack.log_directory / "triggerer.log"])


def test_triggering_a_version_again_after_airflows_database_is_lost_builds_only_what_is_missing(
    deployment: Deployment,
) -> None:
    deployment.tag("1.8.0")
    deployment.break_build(TRIXIE, "1.8.0")
    deployment.start(WRAPPER, "lost", version="1.8.0", distros=[BOOKWORM, TRIXIE])
    assert deployment.ended(WRAPPER, "lost") == "failed"
    deployment.stack.down()
    for path in (deployment.var / "airflow").glob("airflow.db*"):
        path.unlink()
    (deployment.var / "airflow/migrated").unlink()
    Demo(deployment.stack, Progress()).services()

    deployment.mend_build(TRIXIE)
    deployment.start(WRAPPER, "anew", version="1.8.0", distros=[BOOKWORM, TRIXIE])
    assert deployment.ended(WRAPPER, "anew") == "success"
    built = [deployment.built("1.8.0", distro) for distro in (BOOKWORM, TRIXIE)]
    assert built == [["built"], ["JOB", "built"]]
    assert "1.8.0-1~trixie" in deployment.offered("trixie")
