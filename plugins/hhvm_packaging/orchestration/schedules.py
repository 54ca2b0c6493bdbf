"""When a DAG runs by itself."""

from __future__ import annotations

import datetime

from airflow.sdk import CronTriggerTimetable


def cron(expression: str) -> CronTriggerTimetable | None:
    """The schedule that a cron expression makes, UTC; None, for never, where it is empty.

    A new deployment waits for the next turn, if the DAG has no start_date. Airflow's default, and False as
    well, begin with the last turn where that is less than a tenth of the way to the next one ago.
    """
    if not expression:
        return None
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=datetime.timedelta(0))
