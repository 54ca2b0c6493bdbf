"""What is done about a job that failed, by class, and what is remembered of its tries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

import boto3
import pytest
from moto import mock_aws

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import Failure, Job, JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "hhvm-1.0.0-make-binary-package-debian-12-bookworm-0123456789ab"
JOB = Job(
    version="1.0.0",
    script="make-binary-package",
    distro="debian-12-bookworm",
    packaging="",
    environment={},
    time_limit=60,
)


def attempt(number: int) -> AttemptId:
    return AttemptId(datetime(2026, 11, 22, 0, number, tzinfo=UTC), number)


Fail: TypeAlias = "Callable[[Failure], JobFailed | TryAgain]"


@pytest.fixture
def store() -> Iterator[Store]:
    with mock_aws():
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket=Settings().scratch_bucket)
        yield Store(s3, Settings())


@pytest.fixture
def fail(store: Store) -> Fail:
    """One more try that fails so."""
    numbers = iter(range(1, 10))
    return lambda failure: attempts.failed(
        store, JOB, NAME, attempt(next(numbers)), failure, "a reason", b"one\ntwo\n"
    )


@pytest.mark.parametrize("failure", [Failure.JOB, Failure.TIME])
def test_what_the_job_itself_did_is_not_tried_again(fail: Fail, failure: Failure) -> None:
    assert isinstance(fail(failure), JobFailed)


def test_a_job_that_lost_its_worker_is_tried_three_times_and_as_often_once_a_person_cleared_it(
    fail: Fail,
) -> None:
    losses = [Failure.LOST, Failure.RECLAIMED, Failure.LOST] * 2
    assert [isinstance(fail(loss), TryAgain) for loss in losses] == [True, True, False] * 2


@pytest.mark.parametrize("failure", [Failure.MEMORY, Failure.DISK])
def test_what_a_machine_had_too_little_of_is_tried_once_more(fail: Fail, failure: Failure) -> None:
    assert isinstance(fail(failure), TryAgain)
    final = fail(failure)
    assert isinstance(final, JobFailed)
    assert "Clear this task to run it again" in str(final)


@pytest.mark.parametrize("failure", [Failure.CAPACITY, Failure.THROTTLED, Failure.LIMIT])
def test_where_only_time_helps_it_is_waited_ever_longer_up_to_ten_minutes_and_never_alike(
    fail: Fail, failure: Failure
) -> None:
    delays = [again.delay for _ in range(8) if isinstance(again := fail(failure), TryAgain)]
    for delay, wait in zip(delays, [30, 60, 120, 240, 480, 600, 600, 600], strict=True):
        assert wait / 2 <= delay <= wait * 3 / 2
    assert len(set(delays)) == len(delays)


def test_the_wait_for_a_worker_begins_anew_after_one_was_had(fail: Fail) -> None:
    for failure in (Failure.CAPACITY, Failure.CAPACITY, Failure.CAPACITY, Failure.RECLAIMED):
        fail(failure)
    again = fail(Failure.CAPACITY)
    assert isinstance(again, TryAgain)
    assert again.delay <= 45


def test_a_failure_is_told_with_version_distribution_step_class_reason_last_lines_and_log(fail: Fail) -> None:
    assert str(fail(Failure.JOB)) == (
        "HHVM 1.0.0, debian-12-bookworm, make-binary-package: the job failed: a reason. "
        f"The whole log: s3://hhvm-scratch/jobs/1.0.0/{NAME}/{attempt(1)}/log.txt\nIts last lines:\none\ntwo"
    )


def test_the_attempts_at_a_job_are_listed_oldest_first_with_their_failures(store: Store) -> None:
    for number, failure in ((10, Failure.DISK), (2, Failure.LOST)):
        attempts.failed(store, JOB, NAME, attempt(number), failure, "a reason")
    found = attempts.of_job(store, "1.0.0", NAME)
    assert [one.id for one in found] == [attempt(2), attempt(10)]
    assert [one.failed(store) for one in found] == [
        attempts.Failed(Failure.LOST, "a reason"),
        attempts.Failed(Failure.DISK, "a reason"),
    ]
    assert [one.log(store) for one in found] == [None, None]


def test_an_attempt_without_a_failure_has_none_and_its_log_is_named(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    store.scratch.put(keys.job_file("1.0.0", NAME, attempt(2), keys.LOG), b"")
    last = attempts.of_job(store, "1.0.0", NAME)[-1]
    assert last.failed(store) is None
    assert last.log(store) == f"s3://hhvm-scratch/jobs/1.0.0/{NAME}/{attempt(2)}/log.txt"


def test_the_attempts_at_another_job_whose_name_begins_alike_are_not_listed(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    assert attempts.of_job(store, "1.0.0", NAME.removesuffix("b")) == []


def test_what_a_worker_writes_beside_the_attempts_is_not_taken_for_one(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    for name in ("99999999T999999.999999Z-1/failure.json", "x/y/failure.json", "failure.json"):
        store.scratch.put(keys.attempts("1.0.0", NAME) + name, b"{}")
    assert [one.id for one in attempts.of_job(store, "1.0.0", NAME)] == [attempt(1)]
