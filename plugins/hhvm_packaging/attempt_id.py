"""When an attempt at a job began, and which of its task's it is."""

from __future__ import annotations

import datetime
import time


def new_build(number: int = 1) -> str:
    """A name for a try that begins now, Airflow's ``number``-th of its task."""
    return f"{build_at(time.time())}-{number}"


def number(build: str) -> int:
    """Which of its task's tries the one so named is."""
    return int(build.partition("-")[2] or 1)


def build_at(when: float) -> str:
    """A name for a try that begins at ``when`` (seconds of the epoch), in the order of time."""
    return f"{datetime.datetime.fromtimestamp(when, datetime.UTC):%Y%m%dT%H%M%S.%fZ}"


def begun(build: str) -> float:
    """When the try so named began, in seconds of the epoch."""
    when = build.partition("-")[0]
    return datetime.datetime.strptime(f"{when}+0000", "%Y%m%dT%H%M%S.%fZ%z").timestamp()
