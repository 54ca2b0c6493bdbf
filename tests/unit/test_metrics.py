"""What the metrics say, of what the store and Airflow's API have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.release import Release
from hhvm_packaging.reporting import metrics
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Failure

if TYPE_CHECKING:
    from hhvm_packaging.reporting.metrics import Metric

RELEASE, NIGHTLY = Release("4.172.1", nightly=False), Release("2026.03.01", nightly=True)


class Scratch:
    """The scratch bucket, in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}

    def put_json(self, key: str, content: Any) -> None:
        self.objects[key] = content

    def get_json(self, key: str) -> Any:
        return self.objects.get(key)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))


class Api:
    """An Airflow in which one build runs and two publishes are queued."""

    def count_runs(self, dag_id: str, state: str) -> int:
        return {("hhvm_build", "running"): 1, ("hhvm_publish_release", "queued"): 2}.get((dag_id, state), 0)


@pytest.fixture
def store() -> Any:
    return SimpleNamespace(scratch=Scratch())


def values(store: Any, metric: Metric, now: float = 1000.0) -> dict[tuple[str, ...], int]:
    """The values of the metric, by the values of its labels."""
    return {
        tuple(sample.labels[name] for name in metric.labels): sample.value
        for sample in metrics.collect(store, Api(), now)  # type: ignore[arg-type]
        if sample.metric is metric
    }


def test_runs_are_counted_by_dag_and_by_whether_they_have_begun(store: Any) -> None:
    found = values(store, metrics.RUNS)
    assert found["hhvm_build", "running"] == 1
    assert found["hhvm_publish_release", "queued"] == 2
    assert found["hhvm_build_and_publish", "running"] == 0
    assert len(found) == 8


def test_the_last_publish_of_each_kind_of_suite_is_told_for_ever(store: Any) -> None:
    settings = Settings(suites={"4.173": ["DISTRO-lts-x.y"]})
    metrics.record_publish(RELEASE, store, settings, now=100.7)
    metrics.record_publish(NIGHTLY, store, settings, now=200)
    metrics.record_publish(Release("4.173.0", nightly=False), store, settings, now=300)
    metrics.record_publish(NIGHTLY, store, settings, now=400)
    assert values(store, metrics.PUBLISHED) == {("release",): 100, ("nightly",): 400, ("4.173",): 300}


def test_the_last_verdict_of_the_canary_is_told_with_its_time(store: Any) -> None:
    metrics.record_verdict(3, store, now=100)
    metrics.record_verdict(0, store, now=200)
    assert values(store, metrics.CANARY_FINDINGS) == {(): 0}
    assert values(store, metrics.CANARY_TIME) == {(): 200}


def test_a_time_that_never_was_is_not_told(store: Any) -> None:
    for metric in (metrics.PUBLISHED, metrics.CANARY_TIME, metrics.CANARY_FINDINGS):
        assert values(store, metric) == {}


def test_an_object_that_is_none_of_ours_is_passed_over(store: Any) -> None:
    store.scratch.put_json(keys.last_publishes() + "a/b.json", {"time": 1})
    assert values(store, metrics.PUBLISHED) == {}


def test_each_counter_begins_with_nothing_for_each_value_of_its_label(store: Any) -> None:
    assert values(store, metrics.FAILURES) == {(failure.name.lower(),): 0 for failure in Failure}
    assert values(store, metrics.LEAKED) == {(kind,): 0 for kind in metrics.WORKER_KINDS}


def test_the_time_of_sending_is_sent(store: Any) -> None:
    assert values(store, metrics.SENT, now=1234.5) == {(): 1234}


def test_no_sample_is_of_an_unknown_metric_and_each_has_exactly_its_labels(store: Any) -> None:
    metrics.record_publish(NIGHTLY, store, Settings())
    metrics.record_verdict(0, store)
    samples = list(metrics.collect(store, Api()))  # type: ignore[arg-type]
    assert {sample.metric for sample in samples} == set(metrics.METRICS)
    assert all(set(sample.labels) == set(sample.metric.labels) for sample in samples)


def test_names_in_prometheus_end_as_counters_do_there() -> None:
    assert metrics.FAILURES.prometheus == "hhvm_failures_total"
    assert metrics.CANARY_FINDINGS.prometheus == "hhvm_canary_findings"
    assert metrics.SCHEDULER.prometheus == "airflow_scheduler_heartbeat_total"
