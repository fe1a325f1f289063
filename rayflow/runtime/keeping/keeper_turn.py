"""The keeper beside the evaluator: one tick of a service.

In: messages for the evaluator, requests for the keeper. Out: the commands of both; first the rows that both have
written. Never: decides.

Both cores answer each other in one tick, until neither has anything to say: a wait that opens becomes a request to the
keeper, and what the keeper resolves becomes a message for the evaluator. All rows of that are committed together,
before anything leaves the process. So neither core has to be told how far the other one has been recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.keeper import Keeper
from rayflow.records import PlaceRow, Row
from rayflow.runtime.clock import Clock
from rayflow.runtime.keeping.beside import Turned
from rayflow.runtime.keeping.wait_requests import wait_opened


class RunShell(Protocol):
    """What a service does for the runs that it keeps. Only the loop's thread calls it."""

    def begin(self, order: orders.Evaluate) -> tuple[messages.Submitted, Sequence[Row]]:
        """The message that starts or takes up the evaluation of a run, and the rows to record with it."""

    def wake(self, run_id: str) -> tuple[messages.Submitted, Sequence[Row]]:
        """The same for a run that has left the evaluator's memory while it waited."""

    def bind(self, order: orders.BindEvent) -> requests.BoundArguments:
        """The root term of the run that an event starts."""

    def note(self, row: PlaceRow) -> None:
        """Something has happened at a place of a run: it holds when the run is taken up again."""

    def note_outcome(self, run_id: str, place: bytes, outcome: bytes) -> None:
        """A wait of a run has this outcome: it holds when the run is taken up again."""

    def ended(self, finish: commands.Finish) -> tuple[requests.RunEnded, Sequence[Row]]:
        """The evaluation of a run has ended: what to tell the keeper, and the rows to record with it."""

    def replied(self, reply: orders.Reply) -> None:
        """A request has its answer."""


MOST_PARKED = 1_000
"""So many runs that wait for their open waits alone stay in the evaluator's memory. Those that have waited longest
leave it, and are taken up again when a wait of theirs is resolved."""


class KeeperTurn:
    """The keeper of a service, as it stands beside the evaluator. shell: does what is outside of both cores."""

    def __init__(self, keeper: Keeper, shell: RunShell, clock: Clock) -> None:
        self.keeper = keeper
        self._shell = shell
        self._clock = clock
        self._asked: deque[requests.Request] = deque()
        self._alarm: int | None = None
        self._alarm_seconds = 0.0
        self._parked: dict[str, None] = {}
        """The runs in the evaluator's memory that wait for their open waits alone, longest first."""

    def post(self, request: requests.Request) -> None:
        """Hand a request to the keeper, from any thread. The caller wakes the loop."""
        self._asked.append(request)

    def has_news(self) -> bool:
        return bool(self._asked) or (self._alarm is not None and self._clock.seconds() >= self._alarm_seconds)

    def seconds_left(self) -> float | None:
        return None if self._alarm is None else max(0.0, self._alarm_seconds - self._clock.seconds())

    def turn(self, evaluator: Evaluator, batch: Sequence[messages.Message]) -> Turned:
        """One tick of both cores."""
        carried: list[commands.Command] = []
        rows: list[Row] = []
        after: list[Callable[[], None]] = []
        incoming: Sequence[messages.Message] = batch
        asked = self._taken()
        while incoming or asked:
            if incoming:
                for command in evaluator.handle(incoming):
                    self._of_evaluator(command, carried, rows, asked)
            incoming = []
            if asked:
                answered = self.keeper.handle(asked)
                asked = []
                for order in answered:
                    self._of_keeper(order, evaluator, rows, incoming, asked, after)
            if not (incoming or asked):
                incoming = self._forgotten(evaluator)
        return Turned(carried, rows, after)

    def _forgotten(self, evaluator: Evaluator) -> list[messages.Message]:
        """Let runs leave the evaluator's memory, if too many of those in it only wait."""
        forgotten: list[messages.Message] = []
        while len(self._parked) > MOST_PARKED:
            run_id = next(iter(self._parked))
            del self._parked[run_id]
            forgotten.append(messages.Forget(self._clock.now(), run_id))
        return forgotten

    def _wake(self, run_id: str, rows: list[Row], incoming: list[messages.Message]) -> None:
        """Take up a run that is not in the evaluator's memory, unless this tick does so already."""
        if not any(type(each) is messages.Submitted and each.execution_id == run_id for each in incoming):
            message, opening = self._shell.wake(run_id)
            rows.extend(opening)
            incoming.append(message)

    def _taken(self) -> list[requests.Request]:
        """The requests that have come, and the alarm if its time has come."""
        asked: list[requests.Request] = []
        while self._asked:
            asked.append(self._asked.popleft())
        if self._alarm is not None and self._clock.seconds() >= self._alarm_seconds:
            self._alarm = None
            asked.append(requests.TimeCame(self._clock.now()))
        return asked

    def _of_evaluator(
        self,
        command: commands.Command,
        carried: list[commands.Command],
        rows: list[Row],
        asked: list[requests.Request],
    ) -> None:
        kind = type(command)
        if kind is commands.OpenWait:
            asked.append(wait_opened(command, self._clock.now()))
        elif kind is commands.CloseWait:
            asked.append(requests.WaitClosed(self._clock.now(), command.execution_id, command.place))
        elif kind is commands.Parked:
            asked.append(requests.RunParked(self._clock.now(), command.execution_id))
            self._parked[command.execution_id] = None
        elif kind is commands.Finish:
            ended, closing = self._shell.ended(command)
            asked.append(ended)
            rows.extend(closing)
            carried.append(command)
        else:
            if kind is commands.Record:
                for row in command.rows:
                    if type(row) is PlaceRow:
                        self._shell.note(row)
            carried.append(command)

    def _of_keeper(
        self,
        order: orders.KeeperCommand,
        evaluator: Evaluator,
        rows: list[Row],
        incoming: list[messages.Message],
        asked: list[requests.Request],
        after: list[Callable[[], None]],
    ) -> None:
        kind = type(order)
        if kind is orders.Write:
            rows.extend(order.rows)
        elif kind is orders.Evaluate:
            message, opening = self._shell.begin(order)
            rows.extend(opening)
            incoming.append(message)
        elif kind is orders.Resolve:
            self._shell.note_outcome(order.run_id, order.place, order.outcome)
            self._parked.pop(order.run_id, None)
            if order.run_id in evaluator.executions:
                incoming.append(messages.Resolved(self._clock.now(), order.run_id, order.place, order.outcome))
            else:
                self._wake(order.run_id, rows, incoming)
        elif kind is orders.StopRun:
            self._parked.pop(order.run_id, None)
            if order.run_id not in evaluator.executions:
                self._wake(order.run_id, rows, incoming)  # its clean-up has to be found
            incoming.append(messages.CancelRequested(self._clock.now(), order.run_id, order.by))
        elif kind is orders.BindEvent:
            asked.append(self._shell.bind(order))
        elif kind is orders.SetAlarm:
            self._alarm = order.at
            self._alarm_seconds = self._clock.seconds() + max(0.0, (order.at - self._clock.now()) / 1_000_000)
        elif kind is orders.Reply:
            after.append(partial(self._shell.replied, order))
