"""The flows that the benchmarks of durable runs give to a service: `rayflow serve tests/benchmarks/durable_flows.py`."""

from __future__ import annotations

import datetime
import time
from typing import Any

from rayflow import effect, flow, sleep, sleep_until, task, wait_for_event


@effect
def charge(number: int) -> int:
    """Something outside, which takes no time."""
    return number


@effect
def linger(seconds: float) -> float:
    """Something outside that takes its time."""
    time.sleep(seconds)
    return seconds


@task
def done(number: int) -> int:
    """A pure call that does nothing."""
    return number


@task
def done_all(count: int) -> list[Any]:
    """A subtree of so many calls."""
    return [done(number) for number in range(count)]


@task
def last_of(numbers: list[int], woken: Any) -> int:
    """The end of `after_subtree`."""
    return numbers[-1]


@flow
def one_effect(number: int) -> Any:
    """One effect."""
    return charge(number)


@flow
def two_effects(seconds: float) -> Any:
    """An effect that goes on for so long, and one after it."""
    return charge(linger(seconds))


@flow
def waiting(key: str) -> Any:
    """It waits for an event that never comes."""
    return wait_for_event("never", key=key)


@flow
def sleeping(seconds: float) -> Any:
    """It sleeps."""
    return sleep(seconds)


@flow
def after_subtree(count: int, wakes_at: str) -> Any:
    """It sleeps beside a finished subtree of so many calls."""
    return last_of(done_all(count), sleep_until(datetime.datetime.fromisoformat(wakes_at)))


@flow
async def after_outcomes(count: int, wakes_at: str) -> int:
    """A body that has awaited so many effects, and then sleeps."""
    found = 0
    for number in range(count):
        found = await charge(number)
    await sleep_until(datetime.datetime.fromisoformat(wakes_at))
    return found
