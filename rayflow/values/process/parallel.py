"""Runs several functions at a time, in threads.

In: functions. Out: their results. Never: knows what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

AT_ONCE = 16
"""The default number of functions that run at a time."""


def at_once(work: Iterable[Callable[[], Any]], *, most: int = AT_ONCE) -> list[Any]:
    """Run all functions, at most this many at a time; returns their results, in order.

    When all have ended, the error of the first that failed is raised.
    """
    waiting = list(work)
    if len(waiting) < 2:
        return [each() for each in waiting]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(most, len(waiting)), thread_name_prefix="rayflow-copy") as pool:
        futures = [pool.submit(each) for each in waiting]
    for future in futures:
        error = future.exception()
        if error is not None:
            raise error.with_traceback(None)  # the frames of the thread tell the user nothing
    return [future.result() for future in futures]
