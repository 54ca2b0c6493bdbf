"""Concurrent calls, for S3 requests whose order does not matter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")


def run_all(calls: Iterable[Callable[[], T]], *, at_once: int) -> list[T]:
    """Call all ``calls`` in threads, at most ``at_once`` at a time. Return their results in the same order.

    If calls raise, this raises the exception of the first of them in the order of ``calls``, once all calls
    have ended. With ``at_once`` 1 there are no threads, and no call follows one that raised.
    """
    if at_once == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(at_once) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


@contextmanager
def alongside(calls: Iterable[Callable[[], object]], *, at_once: int) -> Generator[None]:
    """Call all ``calls`` in threads while the block runs, at most ``at_once`` at a time, the block included.

    All calls have ended when the ``with`` statement ends. It raises the block's exception, else that of the
    first call that raised, in the order of ``calls``. With ``at_once`` 1 all calls run before the block.
    """
    if at_once == 1:
        run_all(calls, at_once=1)
        yield
        return
    with ThreadPoolExecutor(at_once - 1) as pool:
        running = [pool.submit(call) for call in calls]
        yield  # ruff: ignore[fallible-context-manager] - the pool waits for the calls even if the block raises
        for call in running:
            call.result()
