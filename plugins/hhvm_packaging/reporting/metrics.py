"""The metrics: their table, and the values that the store and Airflow's API give.

A time is stored when it happens and sent again and again, so that it survives every restart.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hhvm_packaging.planning import target_suites
from hhvm_packaging.runs.run import CHILDREN, UNFINISHED, WRAPPERS
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch
from hhvm_packaging.workers.job import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.release import Release
    from hhvm_packaging.runs.api import AirflowApi
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Kind(StrEnum):
    """What the receiver does with a value."""

    COUNTER = "counter"
    """Adds it to what it has."""
    GAUGE = "gauge"
    """Replaces what it has."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    """As it is sent, without the prefix of the deployment."""
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name in Prometheus."""
        ours = self.name.startswith("hhvm.")
        name = self.name.replace(".", "_") + ("_total" if self.kind is Kind.COUNTER else "")
        return name if ours else f"airflow_{name}"


@dataclass(frozen=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    value: int
    labels: Mapping[str, str] = field(default_factory=dict)


RUNS = Metric("hhvm.runs", Kind.GAUGE, "runs", "runs that are running or queued", ("dag_id", "state"))
PUBLISHED = Metric(
    "hhvm.last_publish_timestamp_seconds",
    Kind.GAUGE,
    "seconds since 1970",
    "when a publish last ended with everything public that it was asked for",
    ("suite_kind",),
)
CANARY_TIME = Metric(
    "hhvm.canary_timestamp_seconds",
    Kind.GAUGE,
    "seconds since 1970",
    "when the canary last checked everything",
)
CANARY_FINDINGS = Metric(
    "hhvm.canary_findings", Kind.GAUGE, "findings", "how much the canary then found wrong"
)
FAILURES = Metric(
    "hhvm.failures", Kind.COUNTER, "attempts", "attempts at jobs that failed, by class", ("failure",)
)
LEAKED = Metric(
    "hhvm.leaked_workers",
    Kind.COUNTER,
    "workers",
    "workers that `hhvm_reap_workers` ended because nothing else had",
    ("kind",),
)
SENT = Metric(
    "hhvm.sent_timestamp_seconds", Kind.GAUGE, "seconds since 1970", "when the metrics above were last sent"
)

METRICS = (RUNS, PUBLISHED, CANARY_TIME, CANARY_FINDINGS, FAILURES, LEAKED, SENT)
"""Those that this project sends."""

POOL_OPEN, POOL_RUNNING, POOL_DEFERRED, POOL_SCHEDULED, POOL_QUEUED = (
    Metric(f"pool.{name}_slots", Kind.GAUGE, "slots", meaning, ("pool_name",))
    for name, meaning in (
        ("open", "free slots of the pool"),
        ("running", "slots of tasks that run: jobs that start or end"),
        ("deferred", "slots of tasks that are deferred: jobs that have a worker"),
        ("scheduled", "slots that tasks wait for: jobs without room"),
        ("queued", "slots of tasks that wait for a process of Airflow"),
    )
)
SCHEDULER, TRIGGERER = (
    Metric(f"{name}_heartbeat", Kind.COUNTER, "heartbeats", f"signs of life of Airflow's {name}")
    for name in ("scheduler", "triggerer")
)
IMPORT_ERRORS = Metric("dag_processing.import_errors", Kind.GAUGE, "files", "DAG files that cannot be loaded")

AIRFLOW_METRICS = (
    POOL_OPEN,
    POOL_RUNNING,
    POOL_DEFERRED,
    POOL_SCHEDULED,
    POOL_QUEUED,
    SCHEDULER,
    TRIGGERER,
    IMPORT_ERRORS,
)
"""Those of Airflow's own that the dashboard and the alerts use."""

WORKER_KINDS = ("container", "directory", "instance", "volume")
"""Every kind of worker, and of what one leaves, that Worker.find names."""


def failure(failure: Failure, count: int = 1) -> Sample:
    """That many attempts failed so."""
    return Sample(FAILURES, count, {"failure": failure.name.lower()})


def leaked_worker(kind: str, count: int = 1) -> Sample:
    """That many workers of this kind were left."""
    return Sample(LEAKED, count, {"kind": kind})


def record_publish(release: Release, store: Store, settings: Settings, now: float | None = None) -> None:
    """Record that everything is public that a publish was asked for. ``now`` is in seconds since 1970."""
    content = {"time": _whole(now), "version": release.version}
    store.scratch.put_json(keys.last_publish(target_suites.suite_kind(release, settings)), content)


def record_verdict(findings: int, store: Store, now: float | None = None) -> None:
    """Record how much the canary found wrong. ``now`` is in seconds since 1970."""
    store.scratch.put_json(keys.CANARY_VERDICT, {"time": _whole(now), "findings": findings})


def collect(store: Store, api: AirflowApi, now: float | None = None) -> Iterator[Sample]:
    """All that can be told at any time. ``now`` is in seconds since 1970.

    A time that was never recorded is left out.
    """
    for dag_id in (*WRAPPERS, *CHILDREN):
        for state in UNFINISHED:
            yield Sample(RUNS, api.count_runs(dag_id, state), {"dag_id": dag_id, "state": state})
    for key in store.scratch.keys(keys.last_publishes()):
        found, parsed = store.scratch.get_json(key), keys.parse(Scratch, key)
        if found and parsed:
            yield Sample(PUBLISHED, found["time"], {"suite_kind": parsed.fields["suite_kind"]})
    if verdict := store.scratch.get_json(keys.CANARY_VERDICT):
        yield Sample(CANARY_TIME, verdict["time"])
        yield Sample(CANARY_FINDINGS, verdict["findings"])
    # A counter must be there before it first counts: Prometheus sees no increase where a series begins.
    for each in Failure:
        yield failure(each, 0)
    for kind in WORKER_KINDS:
        yield leaked_worker(kind, 0)
    yield Sample(SENT, _whole(now))


def _whole(now: float | None) -> int:
    return int(time.time() if now is None else now)
