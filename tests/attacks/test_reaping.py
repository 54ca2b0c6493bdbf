"""Whatever labels there are, the reaper ends only what is the deployment's, and goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from hhvm_packaging.runs.api import Task
from hhvm_packaging.settings import Settings
from hhvm_packaging.upkeep import reaping
from hhvm_packaging.workers.docker import DockerWorker, NotAJob
from hhvm_packaging.workers.worker import Found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hhvm_packaging.upkeep.reaping import Ended

NOW = 1_000_000.0
GOOD = {
    "hhvm.dag": "hhvm_build",
    "hhvm.run": "manual__2026-11-28T10:00:00+00:00",
    "hhvm.task": "make_binary_package",
    "hhvm.map_index": "0",
    "hhvm.expires": "2000000",
}
# If such a name led anywhere, it would be into the test's own directory: nothing else may be at stake.
NAMES = ["../victim", "{root}/victim", "a/../../victim", "..", ".", "", "-rf", "a\nb", "a" * 300, "A", "ü"]


class Airflow:
    """An Airflow in which every task that there is waits for its job; it records what it was asked."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.asked: list[tuple[str, str, str]] = []

    def run(self, *_: str) -> bool:
        return self.waits

    def tasks(self, dag_id: str, run_id: str, task_id: str) -> list[Task]:
        self.asked.append((dag_id, run_id, task_id))
        return [
            Task(
                id="an-id",
                dag_id=dag_id,
                dag_run_id=run_id,
                task_id=task_id,
                map_index=0,
                state="deferred",
                try_number=1,
                duration=0,
            )
        ]


def reap(workers: object, *, waits: bool = False) -> list[Ended]:
    return list(reaping.reap(cast("Any", workers), cast("Any", Airflow(waits=waits)), now=NOW))


class Engine:
    """An engine with containers that somebody gave any labels; it records what is removed."""

    def __init__(self, *containers: dict[str, Any]) -> None:
        self.listed = list(containers)
        self.removed: list[str] = []

    def containers(self, **_: object) -> list[dict[str, Any]]:
        return self.listed

    def remove_container(self, container: str, **_: object) -> None:
        self.removed.append(container)


def container(name: str, **more: Any) -> dict[str, Any]:
    labels = {**GOOD, "hhvm.job": name}
    return {"Id": f"id-of-{name}", "Names": [f"/{name}"], "Labels": labels, "State": "running", **more}


def worker(root: Path, *containers: dict[str, Any]) -> tuple[DockerWorker, Engine]:
    (root / "work").mkdir()
    engine = Engine(*containers)
    return DockerWorker(cast("Any", engine), Settings(docker_work_directory=root / "work")), engine


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_is_a_path_removes_nothing_beside_the_work_directory(tmp_path: Path, name: str) -> None:
    name = name.format(root=tmp_path)
    name, victim = name.format(root=tmp_path), tmp_path / "victim"
    victim.mkdir()
    (victim / "id_ed25519").write_text("a key")
    one, engine = worker(tmp_path, container(name), container("a-job"))
    ended = reap(one)
    assert [each.found.name for each in ended] == ["a-job"]
    assert engine.removed
    assert (victim / "id_ed25519").exists()
    with pytest.raises(NotAJob):
        one.directory(name)


def test_a_container_without_a_name_does_not_stop_the_reaper(tmp_path: Path) -> None:
    one, _ = worker(tmp_path, container("a-job", Names=None), container("b-job"))
    assert {each.found.name for each in reap(one)} == {"a-job", "b-job"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b'"text"', b"{}", b" " * 100_000 + b"{}"]
)
def test_damaged_labels_of_a_directory_do_not_stop_the_reaper(tmp_path: Path, content: bytes) -> None:
    one, _ = worker(tmp_path)
    for name in ("a-job", "b-job"):
        (tmp_path / "work" / name).mkdir()
        (tmp_path / "work" / name / "labels.json").write_text(json.dumps(GOOD))
    (tmp_path / "work/a-job/labels.json").write_bytes(content)
    ended = reap(one, waits=True)
    assert [(each.found.name, each.why) for each in ended] == [
        ("a-job", "the worker that started it is gone")
    ]
    assert not (tmp_path / "work/a-job").exists()
    assert (tmp_path / "work/b-job").exists()


def test_a_link_in_the_work_directory_leads_the_reaper_nowhere(tmp_path: Path) -> None:
    one, _ = worker(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "labels.json").write_text(json.dumps(GOOD))
    (tmp_path / "work/a-job").symlink_to(elsewhere)
    assert reap(one) == []
    assert (elsewhere / "labels.json").exists()


class Two:
    """Two workers, one of which has other labels."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.ended: list[str] = []

    def find(self) -> Iterator[Found]:
        yield Found("a-job", "instance", "i-1", self.labels)
        yield Found("b-job", "instance", "i-2", {**GOOD, "hhvm.expires": "999999"})

    def end(self, found: Found) -> None:
        self.ended.append(found.id)


@pytest.mark.parametrize("label", [*GOOD, "hhvm.distro"])
@pytest.mark.parametrize(
    "value", [None, "", "../../pools", "nan", "inf", "1e9", "-2", "9" * 5000, "a\nb", "x" * 300, "\x1b[2J"]
)
def test_labels_that_no_job_has_do_not_stop_the_reaper_and_ask_airflow_nothing_odd(
    label: str, value: str | None
) -> None:
    labels = {**GOOD, label: value} if value is not None else {k: v for k, v in GOOD.items() if k != label}
    two, airflow = Two(labels), Airflow(waits=True)
    ended = list(reaping.reap(cast("Any", two), cast("Any", airflow), now=NOW))
    assert "i-2" in two.ended
    assert all(len(each.why) < 600 and each.why.isprintable() for each in ended)
    assert not any("/" in f"{dag}{task}" for dag, _, task in airflow.asked)
