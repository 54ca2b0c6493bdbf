"""The schedules of DAGs."""

from __future__ import annotations

import datetime

from airflow.sdk import CronTriggerTimetable


def cron(expression: str, time_zone: str = "UTC") -> CronTriggerTimetable | None:
    """The schedule of a cron expression in a time zone. None, which means never, if it is empty.

    In a new deployment, a DAG that has no start_date waits for the next time of the schedule. With Airflow's
    default for run_immediately, and with False, it would run at once if the last time was recent: less than a
    tenth of the interval ago.
    """
    if not expression:
        return None
    return CronTriggerTimetable(expression, timezone=time_zone, run_immediately=datetime.timedelta(0))
