"""People act on a live Airflow in random order, and what runs say must be true: see testing/run_model.py.

The sequences of one executor share a deployment on PostgreSQL, several at once. HHVM_TEST_SEED and
HHVM_TEST_SEQUENCES choose others, HHVM_TEST_LANES how many at once; Celery plays the first twenty of them.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from testing import executors
from testing.run_model import Models
from testing.short_builds import Deployment
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from testing.run_model import Outcome

FIRST, COUNT = int(os.environ.get("HHVM_TEST_SEED", "1")), int(os.environ.get("HHVM_TEST_SEQUENCES", "20"))
SEEDS = range(FIRST, FIRST + COUNT)
LANES = int(os.environ.get("HHVM_TEST_LANES", "4"))

pytestmark = pytest.mark.timeout(3600)


@contextmanager
def played(directory: Path, seeds: range, *, celery: bool) -> Generator[dict[int, Future[Outcome]]]:
    """What comes of each seed's sequence."""
    executors.make_images()
    deployment = Deployment(directory)
    models = Models(deployment, LANES)
    with ExitStack() as running:
        variables = executors.on_postgres(running.enter_context(executors.postgres()))
        if celery:
            variables |= executors.on_celery(running.enter_context(executors.broker()))
        (deployment.var / "environment.json").write_text(json.dumps({**UNHURRIED, **variables}))
        running.callback(deployment.make, "down")
        deployment.up()
        for number in range(executors.WORKERS if celery else 0):
            running.enter_context(executors.worker(deployment.stack, number + 1))
        running.callback(models.stop)
        yield {seed: models.play(seed) for seed in seeds}


@pytest.fixture(scope="module")
def on_local_executor(
    base_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[Outcome]]]:
    with played(tmp_path_factory.mktemp("local"), SEEDS, celery=False) as outcomes:
        yield outcomes


@pytest.fixture(scope="module")
def on_celery(
    base_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[Outcome]]]:
    with played(tmp_path_factory.mktemp("celery"), SEEDS[:20], celery=True) as outcomes:
        yield outcomes


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_people_do_runs_mean_what_they_say(
    on_local_executor: dict[int, Future[Outcome]], seed: int
) -> None:
    outcome = on_local_executor[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_with_celery_they_mean_the_same(on_celery: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = on_celery[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation
