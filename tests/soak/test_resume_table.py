"""What the tables of docs/resume.md say of a person's actions, row by row, on a real Airflow.

Each test drives one run. The distributions of the first one, and the versions of the second one, are rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.newcomer import BUILD, WRAPPER
from testing.short_builds import BOOKWORM, MULTI
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from hhvm_packaging.runs.api import Task
    from testing.short_builds import Deployment

pytestmark = pytest.mark.timeout(DEADLINE)

PACKAGE = "make_binary_package"
STATES = ("queued", "building", "retried")
"""What a task is when a person acts: waiting for a slot, deferred, up for retry."""
ACTIONS = ("cleared", "failed", "success")
"""The action: cleared, or marked as one of these."""
OVER = ("failed", "success")
"""What a run is that was marked failed: with SQLite, the scheduler may call it successful (decision 34)."""
LEFT = "left"
"""The row of the task that nobody touches."""


class Rows:
    """A run of hhvm_build with one task for each row: in each state, one for each action."""

    def __init__(self, deployment: Deployment, version: str) -> None:
        self.deployment, self.version = deployment, version
        self.run = "rows"
        names = [LEFT, *(f"{state}{action}" for state in STATES for action in ACTIONS)]
        self.distros = {name: f"debian-{number}-{name}" for number, name in enumerate(names, 20)}
        for distro in self.distros.values():
            deployment.add_distro(distro)

    def start(self) -> None:
        distros = list(self.distros.values())
        self.deployment.start(BUILD, self.run, version=self.version, distros=distros)

    def task(self, row: str) -> Task:
        """The row's task instance. Airflow knows it by its distribution only once it has run."""
        index = list(self.distros).index(row)
        tasks = self.deployment.api.tasks(BUILD, self.run, PACKAGE)
        [found] = [task for task in tasks if task.map_index == index]
        return found

    def state(self, row: str) -> str:
        return self.task(row).state

    def until(self, row: str, *states: str) -> None:
        self.deployment.until(lambda: self.state(row) in states)

    def worker(self, row: str) -> str:
        """The id of the container of the row's job; empty if there is none."""
        name = f"-{self.distros[row]}-"
        found = [one.id for one in self.deployment.containers(f"hhvm.task={PACKAGE}") if name in one.name]
        return found[0] if found else ""

    def kill_worker(self, row: str) -> None:
        self.deployment.engine.containers.get(self.worker(row)).kill()

    def act(self, row: str, action: str) -> None:
        """What a person does with the row's task."""
        task = self.task(row)
        if action == "cleared":
            self.deployment.api.clear_tasks(BUILD, self.run, (PACKAGE, task.map_index))
        else:
            self.deployment.mark(BUILD, self.run, task, action)

    def built(self) -> dict[str, list[str]]:
        """What came of each row's workers."""
        return {row: self.deployment.built(self.version, distro) for row, distro in self.distros.items()}

    def end(self) -> str:
        """The run's final state."""
        return self.deployment.ended(BUILD, self.run)


def test_the_table_of_a_task_that_builds(deployment: Deployment) -> None:
    version = "3.1.0"
    deployment.tag(version)
    rows = Rows(deployment, version)
    deployment.keep_building(version)
    deployment.slots(1)  # For the source tarball.
    rows.start()
    deployment.until_task(BUILD, rows.run, "make_source_tarball", "deferred")
    deployment.slots(0)

    # Before it has a slot.
    rows.until(LEFT, "scheduled", "queued")
    for action in ACTIONS:
        rows.act(f"queued{action}", action)
    deployment.slots(64)

    # While it builds, and while it waits for a retry because its worker was lost.
    at_work = [row for row in rows.distros if row not in ("queuedfailed", "queuedsuccess")]
    deployment.until(lambda: len(deployment.building(version)) == len(at_work))
    workers = {row: rows.worker(row) for row in at_work}
    for action in ACTIONS:
        rows.kill_worker(f"retried{action}")
    for action in ACTIONS:
        rows.until(f"retried{action}", "up_for_retry")
        rows.act(f"retried{action}", action)
    for action in ACTIONS:
        rows.act(f"building{action}", action)
    ended = ["buildingfailed", "buildingsuccess", "retriedfailed", "retriedsuccess"]
    deployment.until(lambda: not any(rows.worker(row) for row in ended))
    rows.until("buildingcleared", "deferred")
    rows.until("retriedcleared", "deferred")
    deployment.until(lambda: rows.worker("retriedcleared"))
    assert deployment.reaped() == []
    assert rows.worker("buildingcleared") == workers["buildingcleared"]
    assert rows.worker(LEFT) == workers[LEFT]
    deployment.finish(version)

    # What is not built is named, whatever its task was marked as, and the run is red.
    assert rows.end() == "failed"
    built = {
        LEFT: ["built"],
        "queuedcleared": ["built"],
        "queuedfailed": [],
        "queuedsuccess": [],
        "buildingcleared": ["built"],
        "buildingfailed": [],
        "buildingsuccess": [],
        "retriedcleared": ["LOST", "built"],
        "retriedfailed": ["LOST"],
        "retriedsuccess": ["LOST"],
    }
    assert rows.built() == built
    said = deployment.said(BUILD, rows.run, "build_report")
    for row, distro in rows.distros.items():
        assert (f"{distro}, {PACKAGE}" in said) == ("built" not in built[row]), row
        marked = next((action for action in ("failed", "success") if row.endswith(action)), "success")
        assert rows.state(row) == marked

    # When it has failed or succeeded.
    rows.act("buildingfailed", "success")
    rows.act(LEFT, "failed")
    assert rows.end() == "failed"
    assert rows.built() == built
    deployment.clear(BUILD, rows.run)
    assert rows.end() == "failed"
    for row in ("queuedfailed", "retriedfailed"):
        built[row] = [*built[row], "built"]
    assert rows.built() == built
    for row in ("queuedsuccess", "buildingsuccess", "retriedsuccess", "buildingfailed"):
        deployment.api.clear_tasks(BUILD, rows.run, (PACKAGE, rows.task(row).map_index), downstream=True)
        built[row] = [*built[row], "built"]
    assert rows.end() == "success"
    assert rows.built() == built
    assert "built already" in deployment.log(rows.task(LEFT))


def test_the_table_of_a_wrappers_task_that_waits(deployment: Deployment) -> None:
    rows = {"cleared": "3.2.0", "failed": "3.2.1", "success": "3.2.2", "resumed": "3.2.3"}
    deployment.tag(*rows.values())
    deployment.keep_building(*rows.values())
    fails = (rows["resumed"], "bookworm")
    deployment.control.failing.add(fails)
    deployment.start(
        MULTI, "waits", versions=list(rows.values()), distros=[BOOKWORM], if_a_version_fails="hold all"
    )
    deployment.until(lambda: all(len(deployment.building(version)) == 1 for version in rows.values()))
    workers = {row: deployment.building(version)[0].id for row, version in rows.items()}
    children = {row: deployment.child(MULTI, "waits", version) for row, version in rows.items()}

    def task(row: str) -> str:
        return f"build {rows[row]}"

    # A child that has failed is cleared there, while the wrapper waits for the others.
    deployment.finish(rows["resumed"])
    deployment.until_task(MULTI, "waits", task("resumed"), "failed")
    deployment.control.failing.remove(fails)
    deployment.keep_building(rows["resumed"])
    deployment.clear(BUILD, children["resumed"])
    deployment.until(lambda: deployment.building(rows["resumed"]))
    [worker] = deployment.building(rows["resumed"])
    workers["resumed"] = worker.id

    tasks = deployment.tasks(MULTI, "waits")
    deployment.api.clear_tasks(MULTI, "waits", ("build", tasks[task("cleared")].map_index))
    for row in ("failed", "success"):
        deployment.mark(MULTI, "waits", tasks[task(row)], row)
    deployment.until(lambda: deployment.state(BUILD, children["failed"]) in OVER)
    deployment.until(lambda: not deployment.building(rows["failed"]))
    deployment.until_task(MULTI, "waits", task("cleared"), "deferred")
    assert deployment.reaped() == []

    # The others go on: nothing of them is built a second time, also when the wrapper has ended red.
    deployment.finish(rows["cleared"])
    assert deployment.ended(MULTI, "waits") == "failed"
    assert f"HHVM {rows['success']} is not built" in deployment.said(
        MULTI, "waits", f"publish {rows['success']}"
    )
    assert deployment.reaped() == []
    for row in ("success", "resumed"):
        assert deployment.building(rows[row])[0].id == workers[row]
        deployment.finish(rows[row])
        assert deployment.ended(BUILD, children[row]) == "success"
    built = {row: deployment.built(version, BOOKWORM) for row, version in rows.items()}
    assert built == {"cleared": ["built"], "failed": [], "success": ["built"], "resumed": ["JOB", "built"]}
    deployment.finish(rows["failed"])


def test_the_table_of_runs(deployment: Deployment) -> None:
    version = "3.3.0"
    deployment.tag(version)
    deployment.keep_building(version)
    deployment.start(WRAPPER, "runs", version=version, distros=[BOOKWORM])
    deployment.until(lambda: deployment.building(version))
    [worker], child = deployment.building(version), deployment.child(WRAPPER, "runs", version)

    def goes_on() -> bool:
        """Whether the child's task waits for the same worker, and the wrapper's for the child."""
        waits = deployment.task_state(BUILD, child, f"{PACKAGE} {BOOKWORM}") == "deferred"
        return waits and deployment.task_state(WRAPPER, "runs", "build") == "deferred"

    # Clearing all of either, while they are under way.
    tries = deployment.tasks(BUILD, child)[f"{PACKAGE} {BOOKWORM}"].try_number
    deployment.api.clear_run(BUILD, child, only_failed=False)
    deployment.until(
        lambda: goes_on() and deployment.tasks(BUILD, child)[f"{PACKAGE} {BOOKWORM}"].try_number > tries
    )
    tries = deployment.tasks(WRAPPER, "runs")["build"].try_number
    deployment.api.clear_run(WRAPPER, "runs", only_failed=False)
    deployment.until(lambda: goes_on() and deployment.tasks(WRAPPER, "runs")["build"].try_number > tries)
    assert [one.id for one in deployment.building(version)] == [worker.id]

    # Marking the wrapper failed, right after it was cleared: nothing waits for the child at that moment.
    deployment.api.clear_tasks(WRAPPER, "runs", "build")
    deployment.api.fail_run(WRAPPER, "runs")
    deployment.reaped()
    deployment.until(lambda: deployment.state(BUILD, child) in OVER)
    deployment.until(lambda: not deployment.containers())

    # Marking the child, while the wrapper waits. At first no task of the wrapper has failed.
    deployment.api.clear_tasks(WRAPPER, "runs", "build", downstream=True)
    for state in ("failed", "success"):
        deployment.until(lambda: deployment.building(version))
        deployment.api.call("PATCH", f"/dags/{BUILD}/dagRuns/{child}", {"state": state})
        assert deployment.ended(WRAPPER, "runs") == "failed"
        assert "is not built" in deployment.said(WRAPPER, "runs", "publish")
        deployment.until(lambda: not deployment.containers())
        # A task that waited for a child that was marked successful has not failed.
        deployment.api.clear_run(WRAPPER, "runs", only_failed=state == "failed")

    # Marking the wrapper successful, while it waits: the child goes on.
    deployment.until(lambda: deployment.building(version))
    [worker] = deployment.building(version)
    deployment.api.call("PATCH", f"/dags/{WRAPPER}/dagRuns/runs", {"state": "success"})
    assert deployment.reaped() == []
    assert [one.id for one in deployment.building(version)] == [worker.id]
    deployment.finish(version)
    assert deployment.ended(BUILD, child) == "success"
    assert deployment.built(version, BOOKWORM) == ["built"]
    assert not deployment.is_public(version)
