"""Concurrent calls: when they run, when they have ended, and which exception is raised."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from hhvm_packaging.store.concurrently import alongside, run_all

SECONDS = 10
"""How long to wait for what must happen."""


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_results_are_in_the_order_of_the_calls(at_once: int) -> None:
    assert run_all((partial(pow, number, 2) for number in range(5)), at_once=at_once) == [0, 1, 4, 9, 16]


def test_calls_run_at_the_same_time_but_never_more_than_allowed() -> None:
    meeting, counting = threading.Barrier(2), threading.Lock()
    running, most = 0, 0

    def call() -> None:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        meeting.wait(SECONDS)
        with counting:
            running -= 1

    run_all([call] * 4, at_once=2)
    assert most == 2


def test_the_first_exception_in_the_order_of_the_calls_is_raised_once_all_have_ended() -> None:
    done: list[str] = []
    failed = threading.Event()

    def fail_late() -> None:
        assert failed.wait(SECONDS)
        raise KeyError("first")

    def fail_early() -> None:
        failed.set()
        raise ZeroDivisionError

    with pytest.raises(KeyError, match="first"):
        run_all([fail_late, fail_early, lambda: done.append("last")], at_once=2)
    assert done == ["last"]


def test_one_at_a_time_stops_at_the_first_exception() -> None:
    done: list[str] = []
    with pytest.raises(ZeroDivisionError):
        run_all([lambda: 1 / 0, lambda: done.append("last")], at_once=1)
    assert done == []


@pytest.mark.parametrize("at_once", [2, 8])
def test_they_are_made_while_the_block_runs_and_have_ended_when_it_does(at_once: int) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        assert go_on.wait(SECONDS)
        ended.set()

    with alongside([call], at_once=at_once):
        assert begun.wait(SECONDS)
        go_on.set()
    assert ended.is_set()


def test_one_at_a_time_means_one_after_the_other_and_before_the_block() -> None:
    done: list[str] = []
    with alongside([lambda: done.append("first"), lambda: done.append("second")], at_once=1):
        assert done == ["first", "second"]


def test_one_that_failed_fails_what_comes_after_the_block_once_all_have_ended() -> None:
    done: list[str] = []
    with (
        pytest.raises(ZeroDivisionError),
        alongside([lambda: 1 / 0, lambda: done.append("other")], at_once=2),
    ):
        done.append("block")
    assert sorted(done) == ["block", "other"]


def test_a_block_that_failed_fails_as_it_did_once_all_have_ended() -> None:
    done: list[str] = []
    with pytest.raises(KeyError, match="block"), alongside([lambda: done.append("call")], at_once=2):
        raise KeyError("block")
    assert done == ["call"]
