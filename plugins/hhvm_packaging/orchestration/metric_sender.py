"""Sends metrics as Airflow sends its own: by StatsD, as the section ``[metrics]`` of its settings says."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import conf

from hhvm_packaging.orchestration import _airflow_internals
from hhvm_packaging.reporting import metrics
from hhvm_packaging.reporting.metrics import Kind
from hhvm_packaging.workers.job import JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from hhvm_packaging.reporting.metrics import Sample
    from hhvm_packaging.upkeep.reaping import Ended


def is_on() -> bool:
    """Whether Airflow sends metrics at all."""
    return any(
        conf.getboolean("metrics", name) for name in ("statsd_on", "statsd_datadog_enabled", "otel_on")
    )


def send(samples: Iterable[Sample]) -> None:
    """Send each. Does nothing if Airflow sends no metrics."""
    for sample in samples:
        counts = sample.metric.kind is Kind.COUNTER
        how = _airflow_internals.add_to_counter if counts else _airflow_internals.set_gauge
        how(sample.metric.name, sample.value, sample.labels)


@contextmanager
def count_failure() -> Generator[None]:
    """Count the failure of an attempt that is raised here."""
    try:
        yield
    except (JobFailed, TryAgain) as error:
        if error.failure:
            send([metrics.failure(error.failure)])
        raise


def count_leaked(ended: Iterable[Ended]) -> Iterator[str]:
    """Count each worker as it is ended. Returns what was ended and why, a line for each."""
    for each in ended:
        send([metrics.leaked_worker(each.found.kind)])
        yield str(each)
