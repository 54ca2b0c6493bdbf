"""Metrics as StatsD receives them, and that dashboard, alerts and documentation have these and no others."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from hhvm_packaging.orchestration import announcing, connections, metric_sender, task_context
from hhvm_packaging.planning.plans import CanaryPlan
from hhvm_packaging.reporting import metrics
from hhvm_packaging.runs.run import Run
from hhvm_packaging.workers.job import Failure, JobFailed, TryAgain
from hhvm_packaging.workers.worker import Found
from testing.built import Bench, bench

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hhvm_packaging.reporting.metrics import Metric

__all__ = ["bench"]

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
ALL = (*metrics.METRICS, *metrics.AIRFLOW_METRICS)
_LINE = re.compile(r"(?P<name>[\w.]+)(?P<tags>(?:,[\w]+=[^,:]*)*):(?P<value>[^|]+)\|(?P<type>[cg])")


class StatsD:
    """A StatsD server that keeps what it is sent."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.received: list[tuple[str, dict[str, str], str, str]] = []
        """Of each value: the name without the prefix, the tags, the value, ``c`` or ``g``."""

    def environment(self) -> dict[str, str]:
        """The settings with which Airflow sends to it: those of docker-compose.monitoring.yaml."""
        compose = yaml.safe_load((ROOT / "docker-compose.monitoring.yaml").read_text())
        set_ = {name: str(value) for name, value in compose["x-metrics"].items()}
        here = {"AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1", "AIRFLOW__METRICS__STATSD_PORT": str(self.port)}
        assert here.keys() <= set_.keys()
        return set_ | here

    def receive(self, seconds: float = 0.2) -> None:
        """Read what comes, for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                lines = self.socket.recv(1 << 16).decode().splitlines()
            except TimeoutError:
                return
            for found in filter(None, map(_LINE.fullmatch, lines)):
                tags = dict(pair.split("=") for pair in found["tags"].split(",")[1:])
                name = found["name"].removeprefix("airflow.")
                self.received.append((name, tags, found["value"], found["type"]))

    def has(self, metric: Metric) -> bool:
        """Whether a value of the metric came, of its kind and with its labels."""
        return any(
            name == metric.name
            and {"c": "counter", "g": "gauge"}[kind] == metric.kind
            and set(metric.labels) <= set(tags)
            for name, tags, _, kind in self.received
        )


@contextmanager
def listening() -> Generator[StatsD]:
    statsd = StatsD()
    with statsd.socket:
        yield statsd


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsD]:
    """What this process sends its metrics to, as a task's process does."""
    with listening() as statsd:
        for name, value in statsd.environment().items():
            monkeypatch.setenv(name, value)
        start_sending()
        yield statsd
    monkeypatch.undo()
    start_sending()


def start_sending() -> None:
    """What Airflow does when a task's process begins."""
    stats.initialize(
        factory=stats_utils.get_stats_factory(),
        export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
    )


class Api:
    """An Airflow with one run of each DAG, which has no note."""

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None: ...

    def count_runs(self, *_: str) -> int:
        return 1

    def run(self, *_: str) -> None: ...


class Worker:
    """One whose job nobody waits for."""

    def find(self) -> Iterator[Found]:
        yield Found("a-job", "container", "c0ffee", {})

    def end(self, found: Found) -> None: ...

    def tidy(self) -> Iterator[str]:
        return iter(())


@pytest.fixture
def tasks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the tasks, by their ids, in a deployment whose store is the bench's."""
    monkeypatch.setattr(connections, "store", lambda: bench.store)
    monkeypatch.setattr(connections, "airflow_api", lambda **_: Api())
    monkeypatch.setattr(connections, "worker", Worker)
    monkeypatch.setattr(task_context, "read_run", lambda _: Run("", "a_dag", "a-run"))
    context = {
        "dag": SimpleNamespace(dag_id="a_dag"),
        "run_id": "a-run",
        "ti": SimpleNamespace(xcom_push=lambda **_: None, xcom_pull=lambda **_: None),
        "outlet_events": {announcing.PUBLISHED: SimpleNamespace(add=lambda *_, **__: None)},
    }
    found: dict[str, Any] = {}
    for name in ("hhvm_publish_release", "hhvm_canary", "hhvm_reap_workers"):
        bag = DagBag(ROOT / f"dags/{name}.py", bundle_path=ROOT / "dags", bundle_name="dags-folder")
        assert not bag.import_errors
        for task in bag.dags[name].tasks:
            if function := getattr(task, "python_callable", None):
                found[task.task_id] = function
                monkeypatch.setitem(
                    function.__wrapped__.__globals__
                    if hasattr(function, "__wrapped__")
                    else function.__globals__,
                    "get_current_context",
                    lambda: context,
                )
    return found


def test_every_metric_of_the_table_is_sent_by_the_tasks_that_know(
    bench: Bench, statsd: StatsD, tasks: dict[str, Any]
) -> None:
    plan = bench.build("1.0.0")
    bench.update(plan)
    tasks["publish_report"](plan.model_dump(mode="json"))
    looked = CanaryPlan(packaging=plan.packaging, packaging_revision="", distros=())
    with pytest.raises(Exception, match="a finding"):
        tasks["canary_report"](looked.model_dump(mode="json"), ["a finding"])
    with pytest.raises(JobFailed), metric_sender.count_failure():
        raise JobFailed("no memory", Failure.MEMORY)
    tasks["reap"]()
    tasks["send_metrics"]()
    statsd.receive()
    assert [metric.name for metric in metrics.METRICS if not statsd.has(metric)] == []
    sent = {(name, *tags.values()): value for name, tags, value, _ in statsd.received if value != "0"}
    assert sent["hhvm.canary_findings",] == "1"
    assert sent["hhvm.failures", "memory"] == "1"
    assert sent["hhvm.leaked_workers", "container"] == "1"
    assert sent["hhvm.runs", "hhvm_build", "running"] == "1"
    assert time.time() - int(sent["hhvm.last_publish_timestamp_seconds", "release"]) < 60


def test_an_attempt_that_may_yet_succeed_is_not_counted_as_a_failure(statsd: StatsD) -> None:
    with pytest.raises(TryAgain), metric_sender.count_failure():
        raise TryAgain("the engine does not answer", 60)
    statsd.receive()
    assert statsd.received == []


def test_a_dry_run_and_an_undo_are_no_good_publish(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    bench.update(plan)
    for other in ({"dry_run": True}, {"action": "undo"}):
        bench.report(plan.model_copy(update=other))
        assert not list(bench.store.scratch.keys("metrics/"))
    bench.report(plan)
    assert list(bench.store.scratch.keys("metrics/")) == ["metrics/last-publish/release.json"]


def test_a_canary_that_could_not_check_gives_no_verdict(bench: Bench) -> None:
    from hhvm_packaging.reporting import reports

    plan = CanaryPlan(packaging="", packaging_revision="", distros=())
    with pytest.raises(reports.Incomplete):
        reports.report_canary(plan, None, bench.store, Run("", "hhvm_canary", "a-run", {"check": "failed"}))
    assert not list(bench.store.scratch.keys("metrics/"))


@pytest.mark.slow
def test_every_metric_of_airflow_that_is_used_is_sent_by_airflow(tmp_path: Path) -> None:
    """A scheduler, a triggerer and a DAG processor, until each metric has come."""
    with listening() as statsd:
        airflow = str(Path(sys.executable).with_name("airflow"))
        (tmp_path / "dags").mkdir()
        (tmp_path / "dags/a_dag.py").write_text(
            "from airflow.sdk import DAG\n\nDAG('a_dag', schedule=None)\n"
        )
        environment = {
            **os.environ,
            **statsd.environment(),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
            "AIRFLOW__SCHEDULER__POOL_METRICS_INTERVAL": "1",
        }
        subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
        with (tmp_path / "log").open("wb") as log:
            processes = [
                subprocess.Popen(
                    [airflow, *words], env=environment, stdout=log, stderr=log, start_new_session=True
                )
                for words in (
                    ["scheduler", "--skip-serve-logs"],
                    ["triggerer", "--skip-serve-logs"],
                    ["dag-processor"],
                )
            ]
        try:
            deadline = time.monotonic() + 120
            while not all(map(statsd.has, metrics.AIRFLOW_METRICS)) and time.monotonic() < deadline:
                statsd.receive(1)
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    missing = [metric.name for metric in metrics.AIRFLOW_METRICS if not statsd.has(metric)]
    assert missing == [], (tmp_path / "log").read_text()[-3000:]
