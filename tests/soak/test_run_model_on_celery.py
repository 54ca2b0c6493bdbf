"""The sequences of tests/soak/test_run_model.py with Celery's executor, its workers, and PostgreSQL."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from testing import executors
from testing.run_model import Models
from testing.short_builds import Deployment
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from testing.run_model import Outcome

SEEDS = range(1, 21)
LANES = 4

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def outcomes(
    base_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[Outcome]]]:
    """What comes of each seed's sequence."""
    executors.make_images()
    deployment = Deployment(tmp_path_factory.mktemp("celery"))
    models = Models(deployment, LANES)
    with ExitStack() as running:
        variables = executors.on_postgres(running.enter_context(executors.postgres()))
        variables |= executors.on_celery(running.enter_context(executors.broker()))
        (deployment.var / "environment.json").write_text(json.dumps({**UNHURRIED, **variables}))
        running.callback(deployment.make, "down")
        deployment.up()
        for number in range(executors.WORKERS):
            running.enter_context(executors.worker(deployment.stack, number + 1))
        running.callback(models.stop)
        yield {seed: models.play(seed) for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_people_do_runs_mean_what_they_say(outcomes: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = outcomes[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation
