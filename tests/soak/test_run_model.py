"""People act on a live Airflow in random order, and what runs say must be true: see testing/run_model.py.

The sequences share one deployment, several at once. HHVM_TEST_SEED and HHVM_TEST_SEQUENCES choose others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from testing.run_model import Models
from testing.short_builds import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from testing.run_model import Outcome

FIRST, COUNT = int(os.environ.get("HHVM_TEST_SEED", "1")), int(os.environ.get("HHVM_TEST_SEQUENCES", "20"))
SEEDS = range(FIRST, FIRST + COUNT)
LANES = 4

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def outcomes(
    base_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[Outcome]]]:
    """What comes of each seed's sequence."""
    deployment = Deployment(tmp_path_factory.mktemp("model"))
    models = Models(deployment, LANES)
    try:
        deployment.up()
        yield {seed: models.play(seed) for seed in SEEDS}
    finally:
        models.stop()
        deployment.make("down")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_people_do_runs_mean_what_they_say(outcomes: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = outcomes[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation
