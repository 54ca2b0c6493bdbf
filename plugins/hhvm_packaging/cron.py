"""Cron expressions: which ones can be used, and when they fire."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from croniter.croniter import CroniterError

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED_FORM = (
    "five fields (minute, hour, day of the month, month, day of the week), such as `0 10 * * *`; "
    "@hourly, @daily, @weekly or @monthly; or nothing, which means never"
)

_CHANGING = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)
"""What croniter replaces by a random number, another one in each process, or by a hash."""
_FIELDS = 5


def check(expression: str) -> str:
    """The expression, if it is empty or fires. Raises ValueError, in words, if it never does."""
    if not expression:
        return expression
    try:
        if _CHANGING.search(expression) or len(croniter(expression).expanded) != _FIELDS:
            raise ValueError(f"{expression!r} is not allowed. Allowed: {ALLOWED_FORM}")
        next(_times(expression, datetime.datetime(2026, 1, 1)))
    except CroniterBadDateError as error:
        raise ValueError(f"{expression!r} never fires: there is no such day") from error
    except CroniterError as error:
        raise ValueError(f"{expression!r} is not allowed ({error}). Allowed: {ALLOWED_FORM}") from error
    return expression


def days(
    expression: str, time_zone: str, after: datetime.date, until: datetime.datetime
) -> list[datetime.date]:
    """The UTC days on which it fires, after the day ``after`` and not later than ``until``, the oldest first.

    A day is there once, however often it fires. The expression is one that ``check`` takes. As in Airflow, a
    local time that there is not (the clock is put forward) is as much later as the clock is put forward.
    """
    if not expression:
        return []
    zone = ZoneInfo(time_zone)
    found: list[datetime.date] = []
    begin = datetime.datetime.combine(after, datetime.time(), datetime.UTC)
    for local in _times(expression, begin.astimezone(zone).replace(tzinfo=None)):
        # A time that there is twice is later with fold=1; one that there is not, with fold=0.
        time = max(local.replace(tzinfo=zone, fold=fold).astimezone(datetime.UTC) for fold in (0, 1))
        if time > until:
            return found
        if time.date() > max([after, *found[-1:]]):
            found.append(time.date())
    return found


def _times(expression: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    times = croniter(expression, after)
    while True:
        found: datetime.datetime = times.get_next(datetime.datetime)
        yield found
