"""People act on a live Airflow in random order, and what runs say must be true: see testing/run_model.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.playing import SEEDS, played

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from testing.run_model import Outcome

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def outcomes(
    base_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[Outcome]]]:
    with played(tmp_path_factory.mktemp("local"), SEEDS, celery=False) as outcomes:
        yield outcomes


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_people_do_runs_mean_what_they_say(outcomes: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = outcomes[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation
