"""The runs that a service keeps, as far as both cores leave them to it.

In: what the keeper orders of runs, and what has happened at their places. Out: the messages and rows that start, take
up and end an evaluation. Never: decides; touches a thread.

For each run that has not ended the service remembers what has happened at its places: so a run that waits can leave the
evaluator's memory, and be taken up again without a question to the store.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayflow.config import Config
from rayflow.evaluator import commands, messages
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import ExecutionRow, PlaceRow, Row
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import Clock
from rayflow.runtime.protocol.execution_row import opening_row
from rayflow.runtime.protocol.requests import Request
from rayflow.values.failures import Failure


class KeptRun:
    """A run that has not ended. root: its packed term. life, generation: as in `Evaluate`. pins: what has happened at
    its places. resolved: the packed outcomes of its waits, by place. request: of its present life, while it is
    evaluated."""

    __slots__ = ("generation", "life", "pins", "request", "resolved", "root")

    def __init__(self, root: bytes, life: int = 0, generation: int = 0) -> None:
        self.root = root
        self.life = life
        self.generation = generation
        self.pins: list[PlaceRow] = []
        self.resolved: dict[bytes, bytes] = {}
        self.request: Request | None = None


class KeptRuns:
    """The runs of a service, by id. begun: is told of an execution that begins here. table: the tasks of the loaded
    code. settings: of every run."""

    def __init__(
        self,
        config: Config,
        table: Mapping[str, TaskEntry],
        settings: RunSettings,
        clock: Clock,
        *,
        bind: Callable[[orders.BindEvent, int], requests.BoundArguments],
        begun: Callable[[str], None],
        replied: Callable[[orders.Reply], None],
        ray_version: str | None = None,
    ) -> None:
        self._config = config
        self._table = table
        self._settings = settings
        self._clock = clock
        self._bind = bind
        self._begun = begun
        self._replied = replied
        self._ray_version = ray_version
        self._runs: dict[str, KeptRun] = {}
        self._row: ExecutionRow | None = None

    def take_up(
        self, roots: Mapping[str, tuple[bytes, int, int]], places: Sequence[PlaceRow], resolved: Mapping[str, Any]
    ) -> None:
        """The open runs of the store: root, life and generation by id; their places; the outcomes of their waits."""
        for run_id, (root, life, generation) in roots.items():
            self._runs[run_id] = KeptRun(root, life, generation)
        for row in places:
            if row.execution_id in self._runs:
                self._runs[row.execution_id].pins.append(row)
        for run_id, outcomes in resolved.items():
            if run_id in self._runs:
                self._runs[run_id].resolved.update(outcomes)

    # --- what the turn of both cores asks -----------------------------------------------------------------------------

    def begin(self, order: orders.Evaluate) -> tuple[messages.Submitted, Sequence[Row]]:
        run = self._runs.get(order.run_id)
        if run is None:
            run = self._runs[order.run_id] = KeptRun(order.root)
        run.life, run.generation = order.life, order.generation
        return self._submitted(order.run_id, run)

    def wake(self, run_id: str) -> tuple[messages.Submitted, Sequence[Row]]:
        run = self._runs[run_id]
        run.life += 1
        return self._submitted(run_id, run)

    def _submitted(self, run_id: str, run: KeptRun) -> tuple[messages.Submitted, Sequence[Row]]:
        at = self._clock.now()
        request = run.request = Request(
            execution_id=run_id,
            root=run.root,
            table=self._table,
            settings=self._settings,
            row=self._opening_row(run_id, run, at),
            life=run.life,
        )
        self._begun(run_id)
        submitted = request.submitted(at)._replace(
            pins=tuple(run.pins), resolved=run.resolved, is_run=True, generation=run.generation
        )
        return submitted, request.opening_rows(self._ray_version)

    def _opening_row(self, run_id: str, run: KeptRun, at: int) -> ExecutionRow:
        term = loads(run.root)
        if self._row is None:
            self._row = opening_row(run_id, term, self._config.project_dir, at)
        from rayflow.lang.terms.expressions import TaskCall, render

        return self._row._replace(
            execution_id=run_id,
            life=run.life,
            root=run.root,
            task_name=term._task if type(term) is TaskCall else None,
            arguments=render(term),
            host=socket.gethostname(),
            started_at=at,
        )

    def bind(self, order: orders.BindEvent) -> requests.BoundArguments:
        return self._bind(order, self._clock.now())

    def note(self, row: PlaceRow) -> None:
        run = self._runs.get(row.execution_id)
        if run is not None:
            run.pins.append(row)

    def note_outcome(self, run_id: str, place: bytes, outcome: bytes) -> None:
        run = self._runs.get(run_id)
        if run is not None:
            run.resolved[place] = outcome

    def ended(self, finish: commands.Finish) -> tuple[requests.RunEnded, Sequence[Row]]:
        at = self._clock.now()
        run = self._runs.get(finish.execution_id)
        failure = finish.outcome if isinstance(finish.outcome, Failure) else None
        ended = requests.RunEnded(
            at,
            finish.execution_id,
            pack_outcome(finish.outcome),
            failure.summary[:4000] if failure is not None else None,
            is_cancelled=failure is not None and failure.is_cancelled,
        )
        if run is None or run.request is None:
            return ended, ()
        closing = run.request.closing_row(finish._replace(at=at))
        run.request = None
        return ended, (closing,)

    def replied(self, reply: orders.Reply) -> None:
        self._replied(reply)

    def forget(self, run_id: str) -> None:
        """A run has ended for good."""
        self._runs.pop(run_id, None)
