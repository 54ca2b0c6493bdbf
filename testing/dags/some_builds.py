"""Trivial builds for as many distributions as asked for; for the benchmark of executors."""

from __future__ import annotations

import datetime
import json
import os

from airflow.sdk import Param, dag, get_current_context, task

from testing.trivial_build import build_each


@task
def some_distros() -> list[str]:
    """``count`` of the distributions that the environment names, without the first ``built``."""
    distros: list[str] = json.loads(os.environ["HHVM_TEST_DISTROS"])
    params = get_current_context()["params"]
    return distros[params["built"] :][: params["count"]]


@dag(
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    params={"count": Param(1, type="integer", minimum=1), "built": Param(0, type="integer", minimum=0)},
)
def some_builds() -> None:
    """Run one build for each of some distributions."""
    build_each(json.loads(os.environ["HHVM_TEST_PLAN"]), some_distros())


some_builds()
