"""Events, firings and references to runs, as values; and their symbolic forms for processes without user code.

In: the fields of an event, the id of a run. Out: `Event`, `Firing`, `RunRef`, terms. Never: accepts an event, starts a
run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rayflow.lang.events.moments import moment_of
from rayflow.lang.terms.expressions import Operation, Term
from rayflow.values.encoding.nested import parts_of
from rayflow.values.refs import TaggedTree


@dataclass(frozen=True)
class Event:
    """Something that has happened outside, and was accepted once: what `wait_for_event` gives.

    id: its own id; the same id is accepted once. name, key: by which waits and flows find it; key is None where it has
    none. data: what it tells. time: when it was accepted, in UTC. number: its place among all events of its store.
    """

    id: str
    name: str
    key: str | None
    data: Any
    time: datetime
    number: int


@dataclass(frozen=True)
class RunRef:
    """A reference to a run that `spawn` has started. `join(ref)` waits for its result. id: the id of the run."""

    id: str


@dataclass(frozen=True)
class Firing:
    """The firing of a schedule that has started a run: the argument for a parameter of this type.

    schedule: its name. moment: when the run was due, in UTC; it may have started later. previous: the moment of the
    schedule before this one, whatever became of it; None for the first one. So runs that each handle what has happened
    from `previous` on and before `moment` handle everything once. (An event with the time of `moment` was accepted
    after the firing.)
    """

    schedule: str
    moment: datetime
    previous: datetime | None = None


def event_term(id: str, name: str, key: str | None, data: Term, at: int, number: int) -> Term:
    """The term that becomes an Event, for the outcome of a wait. data: symbolic. at: microseconds since the epoch."""
    return Operation("event", (id, name, key, data, at, number))


def run_ref_term(run_id: str) -> Term:
    """The symbolic RunRef of a run, for the outcome of a wait."""
    container = parts_of(RunRef(run_id))
    assert container is not None
    return TaggedTree(container.kind, container.header, tuple(container.parts))


def event_of(id: str, name: str, key: str | None, data: Any, at: int, number: int) -> Event:
    """The operation behind `event_term`."""
    return Event(id, name, key, data, moment_of(at), number)


def run_id_of(run: Any) -> str:
    """The id of a run that is given as a RunRef or as the id itself."""
    return run if isinstance(run, str) else str(run.id)
