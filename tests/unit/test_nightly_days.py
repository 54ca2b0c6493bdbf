"""Which day a nightly is of: late, filled in later, across midnight, with wrong clocks, after an outage."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hhvm_packaging.planning import nightly_days
from hhvm_packaging.planning.request import Refused, Request
from hhvm_packaging.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = ["debian-12-bookworm"]


def at(time: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(time)


def plan(run_after: str, now: str, logical_date: str | None = None, version: str = "nightly") -> Request:
    """What the task ``plan`` does at the time ``now``."""
    return Request.check(
        {"version": version, "distros": KNOWN},
        None,
        known=KNOWN,
        run_date=nightly_days.find_run_date(
            at(run_after), at(logical_date) if logical_date else None, at(now)
        ),
        today=nightly_days.latest_day(at(now)),
    )


@pytest.mark.parametrize(
    ("what", "run_after", "now", "logical_date", "version"),
    [
        ("scheduled", "2026-11-24T10:00Z", "2026-11-24T10:00:03Z", "2026-11-24T10:00Z", "2026.11.24"),
        ("hours late", "2026-11-24T10:00Z", "2026-11-24T19:00Z", "2026-11-24T10:00Z", "2026.11.24"),
        ("late, past midnight", "2026-11-24T23:59Z", "2026-11-25T00:10Z", "2026-11-24T23:59Z", "2026.11.24"),
        ("days late", "2026-11-24T10:00Z", "2026-11-28T09:00Z", "2026-11-24T10:00Z", "2026.11.24"),
        ("filled in later", "2026-11-20T10:00Z", "2026-11-28T09:00Z", "2026-11-20T10:00Z", "2026.11.20"),
        ("by hand", "2026-11-24T15:00Z", "2026-11-24T15:00:01Z", None, "2026.11.24"),
        (
            "by hand, for last week",
            "2026-11-24T15:00Z",
            "2026-11-24T15:00Z",
            "2026-11-17T08:00Z",
            "2026.11.17",
        ),
        ("by hand, abroad", "2026-11-24T23:30Z", "2026-11-24T23:30Z", "2026-11-25T00:30+01:00", "2026.11.24"),
        ("cleared after days", "2026-11-24T15:00Z", "2026-11-28T15:00Z", None, "2026.11.24"),
        (
            "a clock minutes behind",
            "2026-11-25T00:00Z",
            "2026-11-24T23:58Z",
            "2026-11-25T00:00Z",
            "2026.11.25",
        ),
        ("a clock ahead", "2026-11-24T23:50Z", "2026-11-25T04:00Z", "2026-11-24T23:50Z", "2026.11.24"),
    ],
)
def test_a_run_builds_the_nightly_of_its_own_day(
    what: str, run_after: str, now: str, logical_date: str | None, version: str
) -> None:
    assert plan(run_after, now, logical_date).version == version


@pytest.mark.parametrize(
    ("what", "now"),
    [
        ("the scheduler's clock is six hours ahead", "2026-11-24T18:00Z"),
        ("the scheduler's clock is a day ahead", "2026-11-23T23:54Z"),
    ],
)
def test_a_nightly_of_a_day_that_has_not_begun_here_is_refused(what: str, now: str) -> None:
    with pytest.raises(Refused, match="a nightly of the future"):
        plan("2026-11-25T00:00Z", now)


def test_a_release_needs_no_right_clock() -> None:
    assert plan("2026-11-25T00:00Z", "2026-11-20T00:00Z", version="1.0.0").version == "1.0.0"


@pytest.mark.parametrize("version", ["nightly", "1.0.0", "2026.11.20"])
def test_a_logical_date_of_the_future_is_refused_as_the_run_would_start_at_once(version: str) -> None:
    with pytest.raises(Refused, match=r"logical date: 2026-12-01 10:00 UTC is in the future.*hold_until"):
        plan("2026-11-24T15:00Z", "2026-11-24T15:00Z", "2026-12-01T10:00Z", version)


def test_a_version_that_is_named_counts_whatever_the_logical_date_is() -> None:
    found = plan("2026-11-24T15:00Z", "2026-11-24T15:00Z", "2026-11-10T00:00Z", "2026.11.20")
    assert found.version == "2026.11.20"


@pytest.mark.parametrize(
    ("run_after", "now", "is_head"),
    [
        ("2026-11-24T10:00Z", "2026-11-24T10:01Z", True),
        ("2026-11-24T23:50Z", "2026-11-25T00:01Z", False),
        ("2026-11-20T10:00Z", "2026-11-24T10:01Z", False),
        ("2026-11-25T00:00Z", "2026-11-24T23:58Z", True),
    ],
)
def test_commits_of_the_next_day_are_in_no_nightly(run_after: str, now: str, *, is_head: bool) -> None:
    """The head of the branch is taken on the day itself; later, the last commit of the day."""
    found = plan(run_after, now)
    assert (found.release.date == found.today) == is_head


# Days without a nightly


def missing(schedule: str, there: Sequence[str], until: str, zone: str = "UTC") -> list[str]:
    settings = Settings(nightly_schedule=schedule, nightly_time_zone=zone)
    days = [datetime.date.fromisoformat(day) for day in there]
    return [f"{day:%m-%d}" for day in nightly_days.find_missing(days, settings, at(until))]


@pytest.mark.parametrize(
    ("schedule", "there", "until", "named"),
    [
        ("0 10 * * *", ["2026-11-24"], "2026-11-24T12:00Z", []),
        ("0 10 * * *", ["2026-11-24"], "2026-11-25T09:59Z", []),
        ("0 10 * * *", ["2026-11-24"], "2026-11-25T10:00Z", ["11-25"]),
        ("0 10 * * *", ["2026-11-20", "2026-11-24"], "2026-11-27T12:00Z", ["11-25", "11-26", "11-27"]),
        ("0 10 * * *", ["2026-12-30"], "2027-01-02T12:00Z", ["12-31", "01-01", "01-02"]),
        ("0 10 * * mon-fri", ["2026-11-27"], "2026-11-30T09:00Z", []),
        ("0 10 * * mon-fri", ["2026-11-27"], "2026-12-01T09:00Z", ["11-30"]),
        ("0 */6 * * *", ["2026-11-24"], "2026-11-26T07:00Z", ["11-25", "11-26"]),
        ("@daily", ["2026-11-24"], "2026-11-26T00:00Z", ["11-25", "11-26"]),
        ("", ["2026-11-24"], "2026-12-26T00:00Z", []),
        ("0 10 * * *", [], "2026-12-26T00:00Z", []),
    ],
)
def test_each_day_that_has_no_nightly_is_named(
    schedule: str, there: list[str], until: str, named: list[str]
) -> None:
    assert missing(schedule, there, until) == named


@pytest.mark.parametrize(
    ("zone", "schedule", "there", "until", "named"),
    [
        # 3:00 is 1:00 or 2:00 UTC of the same day.
        ("Europe/Berlin", "0 3 * * *", "2026-03-27", "2026-03-31T00:00Z", ["03-28", "03-29", "03-30"]),
        # 2:30 does not exist on the 29th of March, and exists twice on the 25th of October.
        ("Europe/Berlin", "30 2 * * *", "2026-03-27", "2026-03-31T00:00Z", ["03-28", "03-29", "03-30"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-23", "2026-10-27T00:00Z", ["10-24", "10-25", "10-26"]),
        # 1:00 is 0:00 UTC of the same day in winter, 23:00 UTC of the day before in summer.
        ("Europe/Berlin", "0 1 * * *", "2026-03-27", "2026-03-31T12:00Z", ["03-28", "03-29", "03-30"]),
        (
            "Europe/Berlin",
            "0 1 * * *",
            "2026-10-22",
            "2026-10-27T12:00Z",
            ["10-23", "10-24", "10-26", "10-27"],
        ),
        # 17:00 is 1:00 UTC of the next day in winter, 0:00 in summer.
        (
            "America/Los_Angeles",
            "0 17 * * *",
            "2026-10-30",
            "2026-11-03T12:00Z",
            ["10-31", "11-01", "11-02", "11-03"],
        ),
        ("Pacific/Kiritimati", "0 10 * * *", "2026-11-24", "2026-11-26T00:00Z", ["11-25"]),
    ],
)
def test_a_schedule_in_another_time_zone_has_the_days_of_utc(
    zone: str, schedule: str, there: str, until: str, named: list[str]
) -> None:
    assert missing(schedule, [there], until, zone) == named


@pytest.mark.parametrize(
    ("there", "day", "named"),
    [
        (["2026-11-24"], "2026-11-25", []),
        (["2026-11-20"], "2026-11-24", ["11-21", "11-22", "11-23"]),
        (["2026-11-20", "2026-11-24"], "2026-11-24", ["11-21", "11-22", "11-23"]),
        (["2026-11-20", "2026-11-27"], "2026-11-22", ["11-21"]),
        ([], "2026-11-24", []),
    ],
)
def test_the_days_of_an_outage_are_named_by_the_first_nightly_after_it(
    there: list[str], day: str, named: list[str]
) -> None:
    days = [datetime.date.fromisoformat(one) for one in there]
    found = nightly_days.find_gap(days, datetime.date.fromisoformat(day), Settings())
    assert [f"{one:%m-%d}" for one in found] == named


@effort(deadline=None, max_examples=50)
@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 23),
    st.integers(0, 59),
    st.dates(datetime.date(2025, 1, 1), datetime.date(2027, 12, 31)),
)
def test_a_daily_schedule_skips_at_most_a_day_when_the_clock_is_put_back(
    zone: str, hour: int, minute: int, first: datetime.date
) -> None:
    until = datetime.datetime.combine(first, datetime.time(23, 59), datetime.UTC) + datetime.timedelta(
        days=400
    )
    settings = Settings(nightly_schedule=f"{minute} {hour} * * *", nightly_time_zone=zone)
    days = nightly_days.find_missing([first], settings, until)
    assert days == sorted(set(days))
    assert len(days) >= 400 - 3
