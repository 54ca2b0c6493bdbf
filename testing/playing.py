"""Random sequences of testing/run_model.py on a deployment on PostgreSQL, several at once."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from testing import executors
from testing.run_model import Models
from testing.short_builds import Deployment
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future
    from pathlib import Path

    from testing.run_model import Outcome

_FIRST, _COUNT = int(os.environ.get("HHVM_TEST_SEED", "1")), int(os.environ.get("HHVM_TEST_SEQUENCES", "4"))
SEEDS = range(_FIRST, _FIRST + _COUNT)
"""Which sequences: four, or others by HHVM_TEST_SEED and HHVM_TEST_SEQUENCES."""
LANES = 4


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
