"""AttemptId: its text is what stores, labels and tags have, and its order is that of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging.attempt_id import AttemptId, InvalidAttemptId

TIMES = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))
IDS = st.builds(AttemptId, TIMES, st.integers(1, 1000))


def test_the_text_of_an_id_is_the_stored_form() -> None:
    attempt = AttemptId(datetime(2026, 11, 28, 7, 26, 19, 123456, tzinfo=UTC), 3)
    assert str(attempt) == "20261128T072619.123456Z-3"


@given(IDS)
def test_an_id_is_read_back_from_its_text(attempt: AttemptId) -> None:
    assert AttemptId.parse(str(attempt)) == attempt


def test_an_id_without_a_number_is_of_attempt_1_and_keeps_its_text() -> None:
    attempt = AttemptId.parse("20261128T072619.123456Z")
    assert attempt == AttemptId.parse("20261128T072619.123456Z-1")
    assert str(attempt) == "20261128T072619.123456Z"


@given(IDS, IDS)
def test_ids_are_ordered_by_the_time_at_which_the_attempts_began(one: AttemptId, other: AttemptId) -> None:
    assert (one < other) == ((one.began, one.number) < (other.began, other.number))


def test_a_new_id_is_of_now() -> None:
    before = datetime.now(UTC)
    assert before <= AttemptId.new(2).began <= datetime.now(UTC)
    assert AttemptId.new(2).number == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "a-try",
        "20261128T072619Z-1",
        "20261328T072619.123456Z-1",
        "20261128T072619.123456Z-0",
        "20261128T072619.123456Z-",
        "20261128T072619.123456Z-1\n",
        "20261128T072619.123456Z-1/..",
        "\u0662\u0660261128T072619.123456Z-1",
    ],
)
def test_any_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidAttemptId) as refused:
        AttemptId.parse(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    "began", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))]
)
def test_an_attempt_begins_at_a_time_in_utc(began: datetime) -> None:
    with pytest.raises(ValueError, match="began"):
        AttemptId(began)


def test_attempts_are_numbered_from_1() -> None:
    with pytest.raises(ValueError, match="number"):
        AttemptId(datetime(2026, 1, 1, tzinfo=UTC), 0)
