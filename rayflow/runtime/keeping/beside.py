"""The part of a tick that resolves waits.

In: the messages of a tick. Out: what follows from them, of the evaluator and of what stands beside it. Never: carries
anything out.

A service has the keeper beside its evaluator. A plain run has timers alone. The fast path has nothing there: a wait
shows it that the cache cannot answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    PlaceRow,
    QueueRow,
    RequestRow,
    Row,
    RunRow,
    ScheduleRow,
    WaitRow,
)
from rayflow.store.store import Store

DURABLE: frozenset[type] = frozenset(
    {PlaceRow, RunRow, WaitRow, EventRow, DeliveryRow, ScheduleRow, FiringRow, RequestRow, QueueRow, ChargeRow}
)
"""Rows that must be committed before anything else of their tick is carried out."""


ABOUT_WAITS = frozenset({commands.OpenWait, commands.CloseWait, commands.Parked})
"""The evaluator's commands that what stands beside it carries out."""


class Turned(NamedTuple):
    """What follows from the messages of a tick.

    commands: of the evaluator, without those about waits. rows: to be committed before any of the commands is carried
    out. after: functions to call when the rows are committed and the commands are on their way.
    """

    commands: Sequence[commands.Command]
    rows: Sequence[Row] = ()
    after: Sequence[Callable[[], None]] = ()


class Beside(Protocol):
    """What stands beside the evaluator."""

    def turn(self, evaluator: Evaluator, batch: Sequence[messages.Message]) -> Turned:
        """Have these messages handled, and all that follows from them."""

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        """An execution begins here: the message as the evaluator is to get it. One that is taken up again gets what has
        happened at its places."""

    def guard(self, rows: Iterable[Row]) -> None:
        """These durable rows are about to be committed. Raises LeaseHeld if another process evaluates their
        execution."""

    def has_news(self) -> bool:
        """Whether `turn` has something to do although no message has come."""

    def seconds_left(self) -> float | None:
        """Seconds until `has_news` becomes true by itself; None if it never does."""


def with_places(submitted: messages.Submitted, store: Store) -> messages.Submitted:
    """The message for an execution that is taken up again, with what has happened at its places."""
    if not submitted.life or submitted.under is not None:
        return submitted
    records = store.run_records()
    try:
        execution_id = submitted.execution_id
        return submitted._replace(
            pins=records.places_of([execution_id])[execution_id],
            resolved=records.resolved_waits([execution_id])[execution_id],
        )
    finally:
        records.close()


class WaitsAside:
    """Beside the evaluator of the fast path: it resolves no wait, and notes that one was met."""

    def __init__(self, store: Store) -> None:
        self.has_met_wait = False
        self._store = store

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        return with_places(submitted, self._store)

    def guard(self, rows: Iterable[Row]) -> None:
        """Nothing is committed."""

    def turn(self, evaluator: Evaluator, batch: Sequence[messages.Message]) -> Turned:
        kept = []
        for command in evaluator.handle(batch):
            if isinstance(command, commands.OpenWait):
                self.has_met_wait = True
            elif not isinstance(command, commands.CloseWait | commands.Parked):
                kept.append(command)
        return Turned(kept)

    def has_news(self) -> bool:
        return False

    def seconds_left(self) -> float | None:
        return None
