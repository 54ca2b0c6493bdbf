"""Requests that are made beside something else."""

from __future__ import annotations

import threading

import pytest

from hhvm_packaging.store.concurrently import alongside

SECONDS = 10
"""After which something that should have happened never will."""


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
