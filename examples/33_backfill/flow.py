"""A nightly backfill: one run for each day, each with its own history, and a summary of all."""

import datetime
from pathlib import Path

from rayflow import catch, child, effect, flow, task

TABLE = Path("table.txt")


@task
def measure(day: str) -> int:
    """What is to be known of a day. (A stand-in for a long computation.)"""
    if day.endswith("-13"):
        raise ValueError(f"no data for {day}")
    return sum(map(int, day.replace("-", ""))) * 10


@effect
def write(day: str, value: int) -> int:
    """Write it where others read it."""
    with TABLE.open("a") as file:
        file.write(f"{day} {value}\n")
    return value


@flow
def load(day: str) -> int:
    """The run of one day."""
    return write(day, measure(day))


@task
def missing(error: Exception) -> None:
    """A day that cannot be had is left out."""


@task
def summary(days: list[str], values: list[int | None]) -> dict[str, object]:
    """What has become of all of them."""
    return {"days": len(days), "sum": sum(each or 0 for each in values), "missing": values.count(None)}


@flow
def backfill(first: str = "2026-05-11", count: int = 4) -> dict[str, object]:
    """A child for each day: a run of its own, with an id that says which day it is. One day's failure is no other's."""
    start = datetime.date.fromisoformat(first)
    days = [str(start + datetime.timedelta(days=number)) for number in range(count)]
    values = [catch(child(load(day), id=f"load {day}"), ValueError, missing) for day in days]
    return summary(days, values)
