"""A build that tries for a long time to get out of its container: ``make soak-escape MINUTES=60 SEED=17``."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from testing.escapes import escape, surroundings
from testing.s3 import s3, s3_directory, s3_server

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

__all__ = ["s3", "s3_directory", "s3_server"]

MINUTES = int(os.environ.get("HHVM_TEST_MINUTES", "60"))
SEED = int(os.environ.get("HHVM_TEST_SEED", "1"))
ROUND = 60
"""Seconds of trying in each build."""


@pytest.mark.timeout(MINUTES * 60 + 1800)
def test_a_build_gets_at_nothing_however_long_it_tries(tmp_path: Path, s3: S3Client, job_image: str) -> None:
    end, seed, tried = time.monotonic() + MINUTES * 60, SEED, Counter[str]()
    with surroundings(tmp_path) as around:
        while time.monotonic() < end:
            log = escape(around, s3, seed, ROUND)
            wrong = around.judge(log)
            assert not wrong, f"seed {seed}: {wrong}"
            counts = dict(line.split()[1:] for line in log.splitlines() if line.startswith("tried "))
            tried.update({kind: int(count) for kind, count in counts.items()})
            print(f"seed {seed}: {sum(map(int, counts.values()))} attempts", flush=True)
            seed += 1
    print(f"{sum(tried.values())} attempts from seed {SEED} on: {dict(sorted(tried.items()))}")
