"""One trivial build for each of many distributions; for ``room.py``."""

from __future__ import annotations

import datetime
import json
import os

from airflow.sdk import dag

from testing.trivial_build import build_each


@dag(schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
def builds() -> None:
    """Run one build for each distribution that the environment names."""
    build_each(json.loads(os.environ["HHVM_TEST_PLAN"]), json.loads(os.environ["HHVM_TEST_DISTROS"]))


builds()
