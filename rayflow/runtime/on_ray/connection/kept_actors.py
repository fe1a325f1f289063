"""The scheduler actors that rest in this process until its next run: an actor takes most of a second to start.

In: an actor whose executions have ended. Out: the same actor, for one run at a time. Never: starts or ends an actor;
gives one that belongs to another connection to Ray, or to the process that this one was forked from.

Ray ends these actors together with the process, also when the process is killed, since they belong to its Ray job.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray

MOST_KEPT = 2
"""How many actors rest at the same time, at most: each takes the memory of a Python process."""


@dataclass(frozen=True, slots=True)
class KeptActor:
    """An actor at rest. rests: the reference of the answer that it rests. connection: the one it belongs to."""

    actor: Any
    rests: Any
    connection: tuple[str, str]


_kept: dict[int, deque[KeptActor]] = {}
"""By process id: a forked process must not touch, nor drop, the actors of its parent."""


def keep(actor: Any, rests: Any) -> None:
    """Keep an actor that has been told to rest. The caller has asked `is_room`."""
    resting().append(KeptActor(actor, rests, _connection()))


def is_room() -> bool:
    """Whether one more actor may rest."""
    return len(resting()) < MOST_KEPT


def take() -> KeptActor | None:
    """An actor of this connection to Ray; None when there is none. Those of earlier connections are forgotten."""
    connection = _connection()
    here = resting()
    while here:
        try:
            found = here.pop()
        except IndexError:  # another thread has taken it
            break
        if found.connection == connection:
            return found
    return None


def resting() -> deque[KeptActor]:
    """The actors that rest in this process."""
    return _kept.setdefault(os.getpid(), deque())


def _connection() -> tuple[str, str]:
    """Which connection to Ray this is: the node of its cluster, and the job, which is new with each connection."""
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_job_id()
