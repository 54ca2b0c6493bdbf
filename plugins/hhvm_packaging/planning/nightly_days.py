"""Which day a run's nightly is of, and which days have none although the schedule has them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from hhvm_packaging import cron
from hhvm_packaging.planning.request import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.settings import Settings

CLOCK_SKEW = timedelta(minutes=5)
"""How much the clocks of a deployment's machines may differ."""


def find_run_date(run_after: datetime, logical_date: datetime | None, now: datetime) -> date:
    """The day (UTC) that the word ``nightly`` means in a run: that of its logical date, if it has one.

    A scheduled run has the time at which it was due, however late it starts. A person may give a logical date
    in the form. Raises Refused if that is in the future by this machine's clock: the run would start now.
    """
    if logical_date and logical_date > now + CLOCK_SKEW:
        asked, here = (f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for time in (logical_date, now))
        raise Refused(
            f"logical date: {asked} is in the future, but a run starts at once; here it is {here}. Leave it "
            "empty, or give a time that has passed. To publish a release later, use hold_until."
        )
    return (logical_date or run_after).astimezone(UTC).date()


def latest_day(now: datetime) -> date:
    """The last day whose nightly may be asked for: one of the future has no commits yet."""
    return (now + CLOCK_SKEW).astimezone(UTC).date()


def find_missing(there: Iterable[date], settings: Settings, until: datetime) -> list[date]:
    """The days after the newest of ``there`` whose nightly was due before ``until``, by the schedule."""
    newest = max(there, default=None)
    if newest is None:
        return []
    return cron.days(settings.nightly_schedule, settings.nightly_time_zone, newest, until)


def find_gap(there: Iterable[date], day: date, settings: Settings) -> list[date]:
    """The scheduled days without a nightly between that of ``day`` and the one before it."""
    missing = find_missing(
        (other for other in there if other < day), settings, datetime.combine(day, datetime.max.time(), UTC)
    )
    return [other for other in missing if other < day]


def spell(days: Iterable[date]) -> str:
    """The days as versions, for people."""
    return ", ".join(f"{day:%Y.%m.%d}" for day in days)
