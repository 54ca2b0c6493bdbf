"""In which run the canary asks for a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hhvm_packaging.reporting.canary_turn import TURN, Turn

KEYS = [f"debian/pool/main/h/hhvm/hhvm_1.0.{patch}_amd64.deb" for patch in range(1000)]
START = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def due(turn: Turn, now: datetime) -> list[str]:
    return [key for key in KEYS if turn.is_due(key, now)]


def test_the_first_run_asks_for_everything() -> None:
    assert due(Turn(), START) == KEYS


def test_hourly_runs_ask_for_each_file_once_a_day_and_for_about_as_many_each_hour() -> None:
    runs = []
    for hour in range(24):
        began = START + timedelta(hours=hour)
        runs.append(due(Turn(until=began), began + timedelta(hours=1)))
    assert sorted(key for run in runs for key in run) == sorted(KEYS)
    assert max(map(len, runs)) < 3 * len(KEYS) / 24


def test_runs_at_any_times_leave_no_file_out_for_longer_than_a_day() -> None:
    asked = dict.fromkeys(KEYS, START)
    now = START
    for minutes in (1, 700, 3, 59, 61, 600, 1439, 1441, 10, 1000):
        turn, now = Turn(until=now), now + timedelta(minutes=minutes)
        asked |= dict.fromkeys(due(turn, now), now)
        assert min(asked.values()) >= turn.until - TURN


def test_what_was_wrong_is_asked_for_by_each_run() -> None:
    turn = Turn(until=START, wrong=(KEYS[0],))
    assert due(turn, START) == [KEYS[0]]


def test_it_says_how_long_a_full_turn_takes() -> None:
    said = Turn(until=START, files=100_000, asked=4_000, seconds=20).describe()
    assert "asked for 4,000 of 100,000 files in 20 s" in said
    assert "a full turn takes 24 h, and about 500 s of requests" in said
