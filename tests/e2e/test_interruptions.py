"""Releases that are interrupted, with a real Airflow: killed, lost, resumed. The tests share one deployment.

All are slow. What cancelling does is in tests/e2e/test_releases.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from demo.driver import Demo
from demo.progress import Progress
from testing.newcomer import BUILD, PUBLISH, WRAPPER
from testing.short_builds import BOOKWORM, FORKY, TRIXIE
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from testing.short_builds import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(DEADLINE)]


def test_a_lost_worker_costs_one_more_try_and_a_failed_job_waits_for_a_person_to_clear_it(
    deployment: Deployment,
) -> None:
    version = "1.10.0"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "container", version=version, distros=[BOOKWORM, TRIXIE])
    deployment.until(lambda: len(deployment.building(version)) == 2)
    child = deployment.child(WRAPPER, "container", version)
    [broken] = [container for container in deployment.building(version) if "bookworm" in container.name]
    [victim] = [container for container in deployment.building(version) if "trixie" in container.name]
    victim.kill()
    killed = time.monotonic()
    [build] = [container for container in deployment.job_containers(broken.name) if container.id != broken.id]
    build.kill("SIGTERM")
    deployment.until(lambda: victim.id not in {one.id for one in deployment.containers()})
    print(f"the killed container was noticed and cleaned up within {time.monotonic() - killed:.1f} s")
    deployment.finish(version)

    assert deployment.ended(WRAPPER, "container") == "failed"
    tasks = deployment.tasks(BUILD, child)
    failed, lost = (tasks[f"make_binary_package {distro}"] for distro in (BOOKWORM, TRIXIE))
    assert (failed.state, failed.try_number) == ("failed", 1)
    assert (lost.state, lost.try_number) == ("success", 2)
    assert deployment.built(version, BOOKWORM) == ["JOB"]
    assert deployment.built(version, TRIXIE) == ["LOST", "built"]
    log = deployment.log(failed)
    assert "HHVM 1.10.0, debian-12-bookworm, make-binary-package: the job failed: exit status 143" in log
    assert "log.txt" in log
    assert "worker lost: its container was killed" in deployment.log(
        lost.model_copy(update={"try_number": 1})
    )
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

    wrapper = deployment.tasks(WRAPPER, "task")
    assert [name for name, task in wrapper.items() if task.state == "failed"] == ["build"]
    assert (wrapper["publish"].state, wrapper["all_published"].state) == ("skipped", "upstream_failed")
    said = deployment.said(WRAPPER, "task", "publish")
    assert "HHVM 1.6.0 is not built for debian-13-trixie; the others are held, as if_one_fails" in said
    assert not any(deployment.is_public(version) for way, version in versions.items() if way != "others")
    assert "1.6.4-1~bookworm" in deployment.offered("bookworm")
    assert "1.6.4-1~forky" in deployment.offered("forky")
    assert "1.6.4-1~trixie" not in deployment.offered("trixie")

    deployment.mend_build(TRIXIE)
    deployment.api.clear_tasks(WRAPPER, "task", "build", downstream=True)
    deployment.clear(WRAPPER, "failed")
    deployment.clear(WRAPPER, "others")
    deployment.api.clear_run(WRAPPER, "whole", only_failed=False)
    child = deployment.child(WRAPPER, "child", versions["child"])
    deployment.api.clear_tasks(BUILD, child, "plan", downstream=True)
    assert deployment.ended(BUILD, child) == "success"
    deployment.clear(WRAPPER, "child")
    assert {way: deployment.ended(WRAPPER, way) for way in versions} == dict.fromkeys(versions, "success")
    for version in versions.values():
        assert deployment.built(version, BOOKWORM) == ["built"]
        assert deployment.built(version, TRIXIE) == ["JOB", "built"]
        assert f"{version}-1~trixie" in deployment.offered("trixie")
    assert deployment.built(versions["others"], FORKY) == ["built"]


def test_a_run_that_was_marked_failed_is_public_at_its_end_once_its_failed_tasks_are_cleared(
    deployment: Deployment,
) -> None:
    version = "1.12.0"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "marked", version=version, distros=[BOOKWORM])
    deployment.until(lambda: deployment.building(version))
    deployment.api.fail_run(WRAPPER, "marked")
    assert deployment.ended(WRAPPER, "marked") == "failed"
    deployment.until(
        lambda: deployment.state(BUILD, deployment.child(WRAPPER, "marked", version)) == "failed"
    )
    deployment.finish(version)
    assert deployment.task_state(WRAPPER, "marked", "all_published") == "skipped"

    deployment.clear(WRAPPER, "marked")
    assert deployment.ended(WRAPPER, "marked") == "success"
    assert f"{version}-1~bookworm" in deployment.offered("bookworm")
    assert deployment.is_public(version)


def test_a_run_that_airflow_calls_successful_after_it_was_marked_failed_is_failed_again(
    deployment: Deployment,
) -> None:
    version = "1.12.2"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "taken-back", version=version, distros=[BOOKWORM])
    deployment.until(lambda: deployment.building(version))
    deployment.api.fail_run(WRAPPER, "taken-back")
    # The scheduler examines it, as it does if it began to right before: nothing is left to do.
    deployment.api.call("PATCH", f"/dags/{WRAPPER}/dagRuns/taken-back", {"state": "queued"})

    def note() -> str:
        run = deployment.api.run(WRAPPER, "taken-back")
        return run.note if run else ""

    deployment.until(lambda: "marked failed before it was done" in note())
    assert deployment.state(WRAPPER, "taken-back") == "failed"
    deployment.finish(version)


def test_a_run_whose_publish_somebody_marked_successful_is_red_and_says_what_to_clear(
    deployment: Deployment,
) -> None:
    version = "1.12.1"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "pretended", version=version, distros=[BOOKWORM])
    deployment.until(lambda: deployment.building(version))
    publish = f"/dags/{WRAPPER}/dagRuns/pretended/taskInstances/publish"
    deployment.api.call("PATCH", publish, {"new_state": "success"})
    deployment.finish(version)
    assert deployment.ended(WRAPPER, "pretended") == "failed"
    said = deployment.said(WRAPPER, "pretended", "all_published")
    assert "HHVM 1.12.1, debian-12-bookworm: it is built, but debian bookworm does not offer it" in said
    assert "clear `publish` and what follows" in said
    assert not deployment.is_public(version)

    deployment.api.clear_tasks(WRAPPER, "pretended", "publish", downstream=True)
    assert deployment.ended(WRAPPER, "pretended") == "success"
    assert deployment.is_public(version)


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
