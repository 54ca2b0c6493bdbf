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


def test_the_last_try_of_a_distribution_is_found_whichever_run_it_was_of(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    later = NAME.replace("0123456789ab", "ba9876543210")
    attempts.failed(store, JOB, later, attempt(5), Failure.DISK, "no space")
    last = attempts.last(store, "1.0.0", "make-binary-package", "debian-12-bookworm")
    assert last is not None
    assert (last.name, last.id) == (later, attempt(5))
    assert last.failed(store) == attempts.Failed(Failure.DISK, "no space")
    assert last.log(store) is None


def test_a_try_without_a_failure_has_none_and_its_log_is_named(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    store.scratch.put(f"{keys.job('1.0.0', NAME, attempt(2))}log.txt", b"")
    last = attempts.last(store, "1.0.0", "make-binary-package", "debian-12-bookworm")
    assert last is not None
    assert last.failed(store) is None
    assert last.log(store) == f"s3://hhvm-scratch/jobs/1.0.0/{NAME}/{attempt(2)}/log.txt"


def test_another_distribution_whose_name_begins_alike_is_not_taken_for_it(store: Store, fail: Fail) -> None:
    fail(Failure.LOST)
    assert attempts.last(store, "1.0.0", "make-binary-package", "debian-12") is None
