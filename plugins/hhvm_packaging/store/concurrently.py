"""Calls at the same time, for requests whose order does not matter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")


def run_all(calls: Iterable[Callable[[], T]], *, at_once: int) -> list[T]:
    """What the calls return, in their order, so many at a time: most of a request's time is waiting.

    All have ended when this returns or raises what the first of the failed ones raised.
    """
    if at_once == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(at_once) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


@contextmanager
def alongside(calls: Iterable[Callable[[], object]], *, at_once: int) -> Generator[None]:
    """Make the calls while the block runs, so many requests at a time with the block's own.

    All have ended when this does, or raises what the first of the failed ones raised.
    """
    if at_once == 1:
        run_all(calls, at_once=1)
        yield
        return
    with ThreadPoolExecutor(at_once - 1) as pool:
        running = [pool.submit(call) for call in calls]
        yield  # ruff: ignore[fallible-context-manager] - the pool waits for all of them, whatever it raises
        for call in running:
            call.result()
