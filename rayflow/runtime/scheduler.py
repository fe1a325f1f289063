"""The scheduler: an actor around a loop.

In: requests from a driver. Out: progress and outcomes. Never: decides (the evaluator does), touches a large value.

The loop turns in a thread of its own; the actor's methods only enqueue and wait. The actor holds metadata alone. If it
is killed, the driver starts another and submits its execution again, and what was done is found in the store. If the
store fails, or the loop does, the executions end with that error, and a new loop with the same store takes its place:
rows that could not be written are written when the store is back.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from rayflow.errors import Bug, StoreUnavailable, VersionMismatch, WorldError
from rayflow.evaluator import commands, events
from rayflow.runtime import remote
from rayflow.runtime.calls import Surroundings
from rayflow.runtime.carrier import RayCarrier
from rayflow.runtime.ending import commit_last
from rayflow.runtime.finding import HOST
from rayflow.runtime.loop import Loop, collect_rarely
from rayflow.runtime.outbox import now
from rayflow.runtime.requests import Request
from rayflow.store.base import Store
from rayflow.values.filesystems import use_base
from rayflow.version import VERSION

PROGRESS_SECONDS = 0.1
"""How often the counts that a driver can see are brought up to date."""

REPAIR_SECONDS = 1.0
"""How long a loop whose store has failed waits before it tries again to write what is left."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where an execution is, for the driver.

    finish: set when it has ended. error: set when it could not go on: the store failed, or rayflow did. lines: how many
    lines were printed so far in its channel.
    """

    known: bool
    by_task: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...]
    warnings: tuple[str, ...]
    finish: commands.Finish | None
    error: BaseException | None = None
    lines: int = 0


class Scheduler:
    """One evaluator on a cluster, for one driver."""

    def __init__(self, store_url: str, limits: Mapping[str, float]) -> None:
        self._store_url = store_url
        self._limits = dict(limits)
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._loop: Loop | None = None
        self._warnings: list[str] = []
        self._requests: dict[str, Request] = {}
        self._finished: dict[str, tuple[commands.Finish, int]] = {}
        self._errors: dict[str, BaseException] = {}
        self._by_task: dict[str, Mapping[str, Mapping[str, int]]] = {}
        self._looked_at = 0.0
        gc.freeze()
        collect_rarely()

    # --- what a driver asks -------------------------------------------------------------------------------------------

    def submit(self, request: Request, surroundings: Surroundings) -> None:
        """Start an execution. A repeated submission of one that is known does nothing.

        Raises StoreUnavailable when it cannot be recorded, VersionMismatch when driver and cluster do not fit together.
        """
        if request.row.rayflow_version != VERSION:
            raise VersionMismatch(
                f"This driver has rayflow {request.row.rayflow_version}, {HOST} in the cluster has {VERSION}: install "
                "the same on both."
            )
        use_base(surroundings.project_dir)
        store = self._open()
        with self._changed:
            if request.execution_id in self._requests:
                return
            store.append(request.opening_rows(ray.__version__))
            store.commit()
            self._requests[request.execution_id] = request
            loop = self._loop
            assert loop is not None
            carrier_of(loop).take_up(request.execution_id, surroundings)
            loop.outbox.refresh()
            loop.post(request.submitted())

    def _open(self) -> Store:
        """Open the store and start the loop, when that has not been done."""
        with self._opening:
            if self._store is None:
                self._store = remote.open_here(self._store_url)
                self._loop = self._new_loop(self._store)
                threading.Thread(target=self._turn_for_ever, name="rayflow-loop", daemon=True).start()
            return self._store

    def _new_loop(self, store: Store) -> Loop:
        return Loop(store, RayCarrier, limits=self._limits, warned=self._warnings.append)

    def wait(self, execution_id: str, seconds: float) -> Status:
        """The status of an execution, at once when it has ended, else after so many seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    execution_id in self._finished
                    or execution_id in self._errors
                    or execution_id not in self._requests
                ),
                timeout=seconds,
            )
            warnings = tuple(self._warnings)
            self._warnings.clear()
            finish, lines = self._finished.get(execution_id, (None, 0))
            by_task = finish.by_task if finish else self._by_task.get(execution_id, {})
            waiting = carrier_of(self._loop).waiting if self._loop is not None else ()
            known = execution_id in self._requests
            return Status(known, by_task, waiting, warnings, finish, self._errors.get(execution_id), lines)

    def cancel(self, execution_id: str) -> None:
        """Stop starting new calls, and end what runs."""
        with self._changed:
            if self._loop is not None:
                self._loop.post(events.Cancelled(now(), execution_id))

    def release(self, execution_id: str) -> None:
        """The driver has what it wanted of this execution: tidy up after it. Raises StoreUnavailable."""
        with self._changed:
            self._requests.pop(execution_id, None)
            self._finished.pop(execution_id, None)
            self._errors.pop(execution_id, None)
            self._by_task.pop(execution_id, None)
        self._open().compact(execution_id)
        gc.collect()

    def process_id(self) -> int:
        """The actor's process id, for diagnosis."""
        return os.getpid()

    # --- the loop's thread --------------------------------------------------------------------------------------------

    def _turn_for_ever(self) -> None:
        while True:
            loop = self._loop
            assert loop is not None
            try:
                loop.turn()
                if loop.outbox.finished:
                    self._finish(loop)
                moment = time.monotonic()
                if moment - self._looked_at > PROGRESS_SECONDS:
                    self._looked_at = moment
                    self._by_task = {name: loop.evaluator.explain(name) for name in list(loop.evaluator.executions)}
            except BaseException as error:  # whatever it is: the driver must hear of it, and not wait for ever
                try:
                    self._start_anew(loop, error)
                except BaseException:
                    # Without this thread every driver would wait for ever. They start another actor, and there they
                    # submit their executions once more.
                    traceback.print_exc()
                    os._exit(1)

    def _finish(self, loop: Loop) -> None:
        """Commit what an execution has left, then tell whoever waits."""
        finished = dict(loop.outbox.finished)
        loop.outbox.finished.clear()
        carrier = carrier_of(loop)
        known = [(self._requests.get(execution_id), finish) for execution_id, finish in finished.items()]
        rows = [request.closing_row(finish) for request, finish in known if request is not None]
        commit_last(loop.store, rows, self._warnings.append)
        with self._changed:
            for execution_id, finish in finished.items():
                self._finished[execution_id] = finish, carrier.lines_of(execution_id)
                carrier.forget(execution_id)
            self._changed.notify_all()

    def _start_anew(self, loop: Loop, error: BaseException) -> None:
        """End all executions with an error that is not theirs, and go on with an empty loop."""
        if isinstance(error, StoreUnavailable) and loop.outbox.finished:
            self._finish(loop)  # these have ended all the same
        if not isinstance(error, WorldError):
            error = Bug(f"The scheduler stopped on an error of its own:\n{traceback.format_exc()}")
        with self._changed:
            for execution_id in self._requests:
                if execution_id not in self._finished:
                    self._errors.setdefault(execution_id, error)
            carrier_of(loop).abandon()
            self._loop = self._new_loop(loop.store)
            self._changed.notify_all()
        time.sleep(REPAIR_SECONDS)


def carrier_of(loop: Loop) -> RayCarrier:
    """The loop's carrier, by its type."""
    carrier: Any = loop.carrier
    assert isinstance(carrier, RayCarrier)
    return carrier
