"""When a task with a worker is tried again: what its failure says, and what nobody foresaw."""

from __future__ import annotations

import pytest
from airflow.sdk import RetryAction

from hhvm_packaging.orchestration.job_operator import RETRIES, RetryByFailure
from hhvm_packaging.workers.job import TryAgain

POLICY = RetryByFailure()


def test_a_failure_that_says_so_is_tried_again_when_it_says() -> None:
    decision = POLICY.evaluate(TryAgain("no capacity: none\nlines", 77), 9, RETRIES)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is not None
    assert decision.retry_delay.total_seconds() == 77
    assert decision.reason == "no capacity: none"


@pytest.mark.parametrize("cleared_after", [0, 5])
def test_what_nobody_foresaw_is_tried_three_times_more_since_a_person_cleared_it(cleared_after: int) -> None:
    decisions = [
        POLICY.evaluate(OSError("S3"), cleared_after + number, cleared_after + RETRIES)
        for number in (1, 2, 3, 4)
    ]
    assert [decision.action for decision in decisions] == [*[RetryAction.RETRY] * 3, RetryAction.FAIL]
    delays = [decision.retry_delay.total_seconds() for decision in decisions if decision.retry_delay]
    for delay, wait in zip(delays, (15, 30, 60), strict=True):
        assert wait / 2 <= delay <= wait * 3 / 2
