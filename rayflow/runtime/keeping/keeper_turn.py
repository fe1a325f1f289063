"""The keeper beside the evaluator: one tick of a service.

In: messages for the evaluator, requests for the keeper. Out: the commands of both; first the rows that both have
written. Never: decides.

Both cores answer each other in one tick, until neither has anything to say: a wait that opens becomes a request to the
keeper, and what the keeper resolves becomes a message for the evaluator. All rows of that are committed together,
before anything leaves the process. So neither core has to know how far the other one has been recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from rayflow.errors import Bug
from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.keeper import Keeper
from rayflow.records import PlaceRow, Row, RunRow
from rayflow.runtime.clock import Clock
from rayflow.runtime.keeping.beside import Turned
from rayflow.runtime.keeping.wait_requests import wait_opened


class RunShell(Protocol):
    """What a service does for the runs that it keeps. Only the loop's thread calls it."""

    def missing(self, order: orders.Evaluate) -> tuple[str, ...]:
        """The names of the tasks of a run's root term that the loaded code lacks."""

    def begin(self, order: orders.Evaluate, resolved: Mapping[bytes, bytes]) -> Begun:
        """Start the evaluation of a run, or take it up again. resolved: the packed outcomes of its waits."""

    def bind(self, order: orders.BindEvent) -> requests.BoundArguments | None:
        """The root term of the run that an event starts. None if that is posted later."""

    def keys(self, order: orders.ComputeKeys) -> requests.KeysComputed | None:
        """What a run asks of admission. None if that is posted later."""

    def recall(self, order: orders.Recall) -> requests.Recalled:
        """The rows of a run that has ended, from the store."""

    def bind_firing(self, order: orders.BindFiring) -> requests.BoundFiring:
        """The root term of the run of a firing."""

    def recall_firings(self, order: orders.RecallFirings) -> requests.FiringsRecalled:
        """The firings of a schedule, from the store."""

    def note(self, row: PlaceRow) -> None:
        """Something has happened at a place of a run: it holds when the run is taken up again."""

    def forgotten(self, run_id: str) -> None:
        """A run that waits leaves the evaluator's memory."""

    def evaluated(self, finish: commands.Finish) -> tuple[requests.RunEnded, Sequence[Row]]:
        """The evaluation of a run has ended: what to tell the keeper, and the rows to record with it."""

    def ended(self, row: RunRow) -> None:
        """A run has ended, and that is recorded."""

    def began_again(self, run_id: str) -> None:
        """A run that had ended goes on, and that is recorded: whoever has retried it."""

    def replied(self, reply: orders.RequestReply) -> None:
        """A request has its answer, and all that it says is recorded."""


class Begun(NamedTuple):
    """An evaluation that begins: the message that starts it, and the rows to record with it."""

    submitted: messages.Submitted
    rows: Sequence[Row]


ENDED = frozenset({"done", "failed", "cancelled"})
"""The states of a run that has ended."""

CONTINUED = "continued"
"""The cause with which the evaluation of a run ends that goes on as another call."""

MOST_PARKED = 1_000
"""So many runs that wait for their open waits alone stay in the evaluator's memory. Those that have waited longest
leave it, and are taken up again when a wait of theirs is resolved."""


HALF_A_MICROSECOND = 5e-7
"""An alarm that is nearer has come: its time is whole microseconds, and seconds are rounded."""


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
        self._lacking: list[str] = []
        """The runs in the evaluator's memory that wait for code: they leave it in this turn."""
        self._open: dict[str, set[bytes]] = {}
        """For each run in the evaluator's memory, the places of the waits that are open for it."""

    def post(self, request: requests.Request) -> None:
        """Hand a request to the keeper, from any thread. The caller wakes the loop."""
        self._asked.append(request)

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        raise Bug("A service starts its executions by the keeper.")

    def guard(self, rows: Iterable[Row]) -> None:
        """The service holds the lease of the whole store."""

    def has_news(self) -> bool:
        return bool(self._asked) or self.seconds_left() == 0.0

    def seconds_left(self) -> float | None:
        if self._alarm is None:
            return None
        left = self._alarm_seconds - self._clock.seconds()
        return left if left >= HALF_A_MICROSECOND else 0.0

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
                    self._of_keeper(order, rows, incoming, asked, after)
            if not (incoming or asked):
                incoming = self._forgotten()
        return Turned(carried, rows, after)

    def _forgotten(self) -> list[messages.Message]:
        """Let runs leave the evaluator's memory that wait for code; and others, if too many in it only wait."""
        forgotten: list[messages.Message] = []
        while self._lacking or len(self._parked) > MOST_PARKED:
            run_id = self._lacking.pop() if self._lacking else next(iter(self._parked))
            self._parked.pop(run_id, None)
            self._open.pop(run_id, None)
            self._shell.forgotten(run_id)
            forgotten.append(messages.Forget(self._clock.now(), run_id))
        return forgotten

    def _begin(
        self,
        order: orders.Evaluate,
        rows: list[Row],
        incoming: list[messages.Message],
        asked: list[requests.Request],
    ) -> None:
        """Take up a run, or tell the keeper why that cannot be."""
        missing = self._shell.missing(order)
        if missing:
            asked.append(requests.RunEnded(self._clock.now(), order.run_id, b"", missing=missing))
            return
        begun = self._shell.begin(order, self.keeper.resolved(order.run_id))
        self._open[order.run_id] = set()
        rows.extend(begun.rows)
        incoming.append(begun.submitted)
        if order.stops > 1:
            incoming.append(messages.CancelRequested(self._clock.now(), order.run_id, order.by or ""))

    def _wake(
        self, run_id: str, rows: list[Row], incoming: list[messages.Message], asked: list[requests.Request]
    ) -> bool:
        """Take up a run that has left the evaluator's memory. Returns whether it had."""
        self._parked.pop(run_id, None)
        if run_id in self._open:
            return False
        order = self.keeper.evaluation(run_id)
        if order is None:
            return False
        self._begin(order, rows, incoming, asked)
        return True

    def _taken(self) -> list[requests.Request]:
        """The requests that have come, and the alarm if its time has come."""
        asked: list[requests.Request] = []
        while self._asked:
            asked.append(self._asked.popleft())
        if self.seconds_left() == 0.0:
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
        """Sort a command of the evaluator: to the keeper, or to those that are carried out."""
        at = self._clock.now()
        match command:
            case commands.OpenWait():
                self._open[command.execution_id].add(command.place)
                asked.append(wait_opened(command, at))
            case commands.CloseWait():
                self._open[command.execution_id].discard(command.place)
                asked.append(requests.WaitClosed(at, command.execution_id, command.place))
            case commands.Parked() if command.missing:
                self._lacking.append(command.execution_id)
                asked.append(requests.RunEnded(at, command.execution_id, b"", missing=command.missing))
            case commands.Parked():
                self._parked[command.execution_id] = None
                places = tuple(self._open[command.execution_id])
                asked.append(requests.RunParked(at, command.execution_id, places))
            case commands.Finish():
                self._parked.pop(command.execution_id, None)
                self._open.pop(command.execution_id, None)
                ended, closing = self._shell.evaluated(command)
                asked.append(ended)
                rows.extend(closing)
                carried.append(command)
            case _:
                if type(command) is commands.Record:
                    for row in command.rows:
                        if type(row) is PlaceRow:
                            self._shell.note(row)
                carried.append(command)

    def _of_keeper(
        self,
        order: orders.KeeperCommand,
        rows: list[Row],
        incoming: list[messages.Message],
        asked: list[requests.Request],
        after: list[Callable[[], None]],
    ) -> None:
        """Do what the keeper orders; what has to wait for the commit goes to `after`."""
        at = self._clock.now()
        match order:
            case orders.Write():
                rows.extend(order.rows)
                for row in order.rows:
                    if type(row) is RunRow and row.state in ENDED:
                        after.append(partial(self._shell.ended, row))
                    elif type(row) is RunRow and row.generation:
                        after.append(partial(self._shell.began_again, row.run_id))
            case orders.KeepPlaces():
                rows.extend(order.rows)
                for place in order.rows:
                    self._shell.note(place)
            case orders.Evaluate():
                if order.run_id not in self._open:
                    self._begin(order, rows, incoming, asked)
            case orders.Resolve():
                if not self._wake(order.run_id, rows, incoming, asked):
                    self._open.get(order.run_id, set()).discard(order.place)
                    incoming.append(messages.Resolved(at, order.run_id, order.place, order.outcome))
            case orders.StopRun():
                # One that has left the memory is taken up, to find its clean-ups; that it is stopped comes with it.
                if not self._wake(order.run_id, rows, incoming, asked):
                    incoming.append(messages.CancelRequested(at, order.run_id, order.by))
            case orders.ForgetRun():
                if order.run_id in self._open:
                    incoming.append(messages.CancelRequested(at, order.run_id, CONTINUED))
            case orders.BindEvent():
                bound = self._shell.bind(order)
                if bound is not None:
                    asked.append(bound)
            case orders.ComputeKeys():
                computed = self._shell.keys(order)
                if computed is not None:
                    asked.append(computed)
            case orders.Recall():
                asked.append(self._shell.recall(order))
            case orders.BindFiring():
                asked.append(self._shell.bind_firing(order))
            case orders.RecallFirings():
                after.append(lambda: self.post(self._shell.recall_firings(order)))
            case orders.SetAlarm():
                self._alarm = order.at
                self._alarm_seconds = self._clock.seconds() + max(0.0, (order.at - at) / 1_000_000)
            case orders.RequestReply():
                after.append(partial(self._shell.replied, order))
