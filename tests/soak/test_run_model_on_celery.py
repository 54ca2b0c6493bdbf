"""Up to twenty sequences of tests/soak/test_run_model.py with Celery."""

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
    with played(tmp_path_factory.mktemp("celery"), SEEDS[:20], celery=True) as outcomes:
        yield outcomes


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_with_celery_they_mean_the_same(outcomes: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = outcomes[seed].result()
    print(outcome)
    assert not outcome.violation, outcome.violation
