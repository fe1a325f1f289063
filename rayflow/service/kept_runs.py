"""The runs that a service keeps, as far as both cores leave them to it.

In: what the keeper orders of runs, and what has happened at their places. Out: the messages and rows that start, take
up and end an evaluation; the outcomes of runs that have ended. Never: decides.

For each run that has not ended the service remembers what has happened at its places: so a run that waits can leave the
evaluator's memory, and be taken up again without a question to the store.
"""

from __future__ import annotations

import marshal
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import groupby

from rayflow.evaluator import commands
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import children, loads
from rayflow.lang.terms.expressions import TaskCall, render
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import ExecutionRow, PlaceRow, Row, RunRow
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import Clock
from rayflow.runtime.keeping.keeper_turn import CONTINUED, Begun
from rayflow.runtime.protocol.execution_row import opening_row
from rayflow.runtime.protocol.requests import Request
from rayflow.values.failures import Failure
from rayflow.values.native import SCALARS

MOST_ENDED = 10_000
"""So many runs that have ended are remembered with their outcomes; of others the store is asked."""


class KeptRuns:
    """What a service knows of its runs. Only the loop's thread changes it.

    table: the tasks of the loaded code. settings: of every run. begun: is told of each evaluation that begins,
    and whether it is the first one of its run. gone: is told of each run that has ended. bind: makes the root term of
    the run that an event starts; keys: what a run asks of admission; both may post that later. bind_firing: makes the
    root term of the run that the clock starts. recall, places_of: read the rows of a run that has ended, and what has
    happened at its places; recall_firings: the firings of a schedule. replied: gets the answers to requests.
    """

    def __init__(
        self,
        project_dir: str,
        table: Mapping[str, TaskEntry],
        settings: RunSettings,
        clock: Clock,
        *,
        begun: Callable[[str, bool], None],
        bind: Callable[[orders.BindEvent], requests.BoundArguments | None],
        keys: Callable[[orders.ComputeKeys], requests.KeysComputed | None],
        recall: Callable[[orders.Recall], requests.Recalled],
        bind_firing: Callable[[orders.BindFiring], requests.BoundFiring],
        recall_firings: Callable[[orders.RecallFirings], requests.FiringsRecalled],
        places_of: Callable[[str], list[PlaceRow]],
        replied: Callable[[orders.RequestReply], None],
        gone: Callable[[str], None] = lambda run_id: None,
        ray_version: str | None = None,
    ) -> None:
        self._project_dir = project_dir
        self._table = table
        self._settings = settings
        self._clock = clock
        self._begun = begun
        self.bind = bind
        self.keys = keys
        self.recall = recall
        self.bind_firing = bind_firing
        self.recall_firings = recall_firings
        self._places_of = places_of
        self.replied = replied
        self._ray_version = ray_version
        self._gone = gone
        self._pins: defaultdict[str, list[PlaceRow]] = defaultdict(list)
        """What has happened at the places of the runs in the evaluator's memory."""
        self._packed: dict[str, bytes] = {}
        """The same of the runs that are not there, packed: a third of the memory."""
        self._requests: dict[str, Request] = {}
        """The requests of the evaluations that go on."""
        self._row: ExecutionRow | None = None
        self._ended: OrderedDict[str, RunRow] = OrderedDict()
        self._waiters: defaultdict[str, list[Future[RunRow | None]]] = defaultdict(list)

    def take_up(self, places: Iterable[PlaceRow], run_ids: Iterable[str] = ()) -> None:
        """What has happened at the places of the runs that have not ended, as the store has it: one run after another.

        run_ids: ids that others hold. The same objects are held here, instead of equal ones.
        """
        known = {run_id: run_id for run_id in run_ids}
        for run_id, rows in groupby(places, lambda row: row.execution_id):
            self._packed[known.get(run_id, run_id)] = _packed(rows)

    @property
    def apart(self) -> Collection[str]:
        """The ids of the runs with places that are not in the evaluator's memory."""
        return self._packed.keys()

    def places(self) -> Iterator[PlaceRow]:
        """What has happened at the places of the runs that are not in the evaluator's memory."""
        for packed in self._packed.values():
            yield from _unpacked(packed)

    # --- what the tick of both cores asks -----------------------------------------------------------------------------

    def missing(self, order: orders.Evaluate) -> tuple[str, ...]:
        names: set[str] = set()
        stack = [loads(order.root)]
        while stack:
            term = stack.pop()
            if type(term) in SCALARS:
                continue
            if type(term) is TaskCall and term._task not in self._table:
                names.add(term._task)
            stack.extend(children(term))
        return tuple(sorted(names))

    def begin(self, order: orders.Evaluate, resolved: Mapping[bytes, bytes]) -> Begun:
        at = self._clock.now()
        request = Request(
            execution_id=order.run_id,
            root=order.root,
            table=self._table,
            settings=self._settings,
            row=self._opening_row(order, at),
            life=order.life,
        )
        self._requests[order.run_id] = request
        if order.run_id in self._packed:
            self._pins[order.run_id] = _unpacked(self._packed.pop(order.run_id))
        elif order.generation and order.run_id not in self._pins:
            self._pins[order.run_id] = self._places_of(order.run_id)  # a run that had ended is retried
        self._begun(order.run_id, not order.life and not order.generation)
        submitted = request.submitted(at)._replace(
            is_run=True,
            pins=tuple(self._pins.get(order.run_id, ())),
            resolved=resolved,
            generation=order.generation,
            cancelled_by=(order.by or "") if order.stops else None,
        )
        return Begun(submitted, request.opening_rows(self._ray_version))

    def _opening_row(self, order: orders.Evaluate, at: int) -> ExecutionRow:
        term = loads(order.root)
        if self._row is None:
            self._row = opening_row(order.run_id, term, self._project_dir, at)
        return self._row._replace(
            execution_id=order.run_id,
            life=order.life,
            root=order.root,
            task_name=term._task if type(term) is TaskCall else None,
            arguments=render(term),
            started_at=at,
        )

    def note(self, row: PlaceRow) -> None:
        self._pins[row.execution_id].append(row)

    def forgotten(self, run_id: str) -> None:
        del self._requests[run_id]
        if run_id in self._pins:
            self._packed[run_id] = _packed(self._pins.pop(run_id))

    def evaluated(self, finish: commands.Finish) -> tuple[requests.RunEnded, Sequence[Row]]:
        at = self._clock.now()
        failure = finish.outcome if isinstance(finish.outcome, Failure) else None
        ended = requests.RunEnded(
            at,
            finish.execution_id,
            pack_outcome(finish.outcome),
            None if failure is None else failure.summary[:4000],
            is_cancelled=failure is not None and failure.is_cancelled,
        )
        request = self._requests.pop(finish.execution_id)
        closing = request.closing_row(finish._replace(at=at))
        if failure is not None and failure.is_cancelled and CONTINUED in failure.message:
            closing = closing._replace(status="done", error=None)
        return ended, (closing,)

    # --- runs that have ended -----------------------------------------------------------------------------------------

    def ended(self, row: RunRow) -> None:
        self._pins.pop(row.run_id, None)
        self._packed.pop(row.run_id, None)
        self._ended[row.run_id] = row
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
        self._gone(row.run_id)
        waiters = self._waiters.pop(row.run_id, [])
        if row.next_run_id is not None:  # what waits for a run waits for the last one of its chain
            self._waiters[row.next_run_id] += waiters
            return
        for future in waiters:
            _settle(future, row)

    def began_again(self, run_id: str) -> None:
        """A run that had ended goes on."""
        self._ended.pop(run_id, None)

    def end_of(self, run_id: str) -> RunRow | None:
        """The last row of a run that has ended lately."""
        return self._ended.get(run_id)

    def ends(self) -> list[RunRow]:
        """The last rows of the runs that have ended lately."""
        return list(self._ended.values())

    def last_in_chain(self, run_id: str) -> str:
        """The run in which a run goes on that has ended as another call, as far as that was lately; else the same."""
        while (row := self._ended.get(run_id)) is not None and row.next_run_id is not None:
            run_id = row.next_run_id
        return run_id

    def await_end(self, run_id: str, future: Future[RunRow | None]) -> None:
        """Give a future the last row of a run, when it has ended. Of a chain, that of its last run."""
        last = self.last_in_chain(run_id)
        row = self._ended.get(last)
        if row is not None:
            _settle(future, row)
        else:
            self._waiters[last].append(future)

    def refuse_all(self, error: Exception) -> None:
        """The service has ended: nobody gets a last row any more."""
        for futures in self._waiters.values():
            for future in futures:
                with suppress(InvalidStateError):
                    future.set_exception(error)
        self._waiters.clear()

    def leave(self, run_id: str, future: Future[RunRow | None]) -> None:
        """Nobody waits for a future of `await_end` any more."""
        run_id = self.last_in_chain(run_id)
        waiters = self._waiters.get(run_id)
        if waiters is not None and future in waiters:
            waiters.remove(future)
            if not waiters:
                del self._waiters[run_id]


def _settle(future: Future[RunRow | None], row: RunRow) -> None:
    with suppress(InvalidStateError):  # who has asked may give up at any moment
        future.set_result(row)


def _packed(rows: Iterable[PlaceRow]) -> bytes:
    return marshal.dumps([tuple(row) for row in rows])


def _unpacked(packed: bytes) -> list[PlaceRow]:
    return [PlaceRow(*cells) for cells in marshal.loads(packed)]
