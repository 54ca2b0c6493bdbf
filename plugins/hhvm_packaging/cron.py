"""Cron expressions: which ones can be used, and when they fire."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

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


def _times(expression: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    times = croniter(expression, after)
    while True:
        found: datetime.datetime = times.get_next(datetime.datetime)
        yield found
