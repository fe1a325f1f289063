"""What a run asks of admission: its queue, mutex and limits, with the keys that its arguments have given.

In: names and numbers, or a row's JSON. Out: `Demands`. Never: decides.

A name says of which flow a limit is, which of the flow's limits, and for which key: each name counts apart. The name of
a mutex is its key alone, so that flows can share one.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

DEFAULT_QUEUE = "default"
"""The queue of a run that names none."""

KEEPS = ("last", "first", "all")
"""Whose arguments the run of a debounce has."""


class Limit(NamedTuple):
    """So many runs under this name run at a time."""

    name: str
    most: int


class Rate(NamedTuple):
    """So many runs under this name are admitted in a period."""

    name: str
    most: int
    per_us: int


class Debounce(NamedTuple):
    """Starts under this name become one run, when none has come for `quiet_us`, at the latest `max_wait_us` after the
    first. keep: whose arguments it has: "last", "first", or "all" of them in one list."""

    name: str
    quiet_us: int
    max_wait_us: int | None = None
    keep: str = "last"


class Demands(NamedTuple):
    """What a run asks of admission.

    queue, priority: None for those of its starter. fairness: the runs of one queue take turns by it. mutex: only one
    run has it at a time. release_on_wait: whether the mutex is given back while nothing of the run runs. limits: how
    many run at a time. throttles: how many are admitted in a period; others wait. rates: the same; others are refused.
    """

    queue: str | None = None
    priority: int | None = None
    fairness: str | None = None
    mutex: str | None = None
    release_on_wait: bool = False
    limits: tuple[Limit, ...] = ()
    throttles: tuple[Rate, ...] = ()
    rates: tuple[Rate, ...] = ()
    debounce: Debounce | None = None


NO_DEMANDS = Demands()
"""Those of a run of which nothing is asked but its queue."""


def told(name: str) -> str:
    """The name of a limit, rate or debounce for people: its flow, and its key if it has one."""
    _, flow, _, key = name.split(":", 3)
    return f"{flow} for {key!r}" if key else flow


def as_text(demands: Demands) -> str:
    """Demands as JSON, for a row, without what is not asked. (Queue and priority have columns of their own.)"""
    said = demands._replace(queue=None, priority=None)._asdict()
    return json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False, sort_keys=True)


@lru_cache(maxsize=4096)
def from_text(text: str) -> Demands:
    """Demands from a row."""
    said: dict[str, Any] = json.loads(text)
    made = Demands(**said)
    return made._replace(
        limits=tuple([Limit(*each) for each in made.limits]),
        throttles=tuple([Rate(*each) for each in made.throttles]),
        rates=tuple([Rate(*each) for each in made.rates]),
        debounce=Debounce(*made.debounce) if made.debounce else None,
    )
