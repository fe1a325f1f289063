"""The scheduler: an actor around a loop.

In: requests from a driver. Out: progress and outcomes. Never: decides (the evaluator does), touches a large value.

The loop turns in a thread of its own; the actor's methods only enqueue and wait. The actor holds metadata alone. If it
is killed, Ray starts it again, empty; the driver then submits its execution again, and what was done is found in the
store.
"""

from __future__ import annotations

import pickle
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from rayflow.errors import Bug
from rayflow.evaluator import commands, events
from rayflow.runtime.carrier import RayCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.outbox import now
from rayflow.runtime.requests import Request
from rayflow.runtime.workers import Surroundings
from rayflow.store.store import open_store
from rayflow.values.digests import digest, to_hex

@dataclass(frozen=True, slots=True)
class Status:
    """Where an execution is, for the driver.

    finish: set when it has ended. broken: the text of an error of ours that stopped the scheduler.
    """

    known: bool
    by_task: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...]
    warnings: tuple[str, ...]
    finish: commands.Finish | None
    broken: str | None = None


class Scheduler:
    """One evaluator on a cluster, for one driver."""

    def __init__(self, store_url: str, limits: Mapping[str, float]) -> None:
        self._store = open_store(store_url)
        self._warnings: list[str] = []
        self._loop = Loop(self._store, RayCarrier, limits=limits, warned=self._warnings.append)
        self._carrier: RayCarrier = self._loop.carrier  # type: ignore[assignment]  # made by the line above
        self._requests: dict[str, Request] = {}
        self._ended: dict[str, commands.Finish] = {}
        self._changed = threading.Condition()
        self._broken: str | None = None
        self._surroundings: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._turn_for_ever, name="rayflow-loop", daemon=True)
        self._thread.start()

    # --- what a driver asks -----------------------------------------------------------------------------------------

    def submit(self, request: Request, surroundings: Surroundings) -> None:
        """Start an execution. A repeated submission of one that is known does nothing."""
        with self._changed:
            if request.execution_id in self._requests:
                return
            self._requests[request.execution_id] = request
        packed = pickle.dumps(surroundings, protocol=5)
        key = to_hex(digest("surroundings", packed))
        if key not in self._surroundings:
            self._surroundings[key] = ray.put(packed)
        self._carrier.surroundings[request.execution_id] = (key, self._surroundings[key])
        self._store.append([opening_row(request)])
        self._store.commit()
        self._loop.outbox.refresh()
        self._loop.post(request.submitted())

    def wait(self, execution_id: str, seconds: float) -> Status:
        """The status of an execution, at once when it has ended, else after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: execution_id in self._ended or self._broken is not None, timeout=seconds)
            warnings = tuple(self._warnings)
            self._warnings.clear()
        finish = self._ended.get(execution_id)
        return Status(
            execution_id in self._requests,
            finish.by_task if finish else self._loop.evaluator.explain(execution_id),
            self._carrier.waiting,
            warnings,
            finish,
            self._broken,
        )

    def cancel(self, execution_id: str) -> None:
        """Stop starting new calls, and end what runs."""
        self._loop.post(events.Cancelled(now(), execution_id))

    def release(self, execution_id: str) -> None:
        """The driver has what it wanted of this execution: tidy up after it."""
        with self._changed:
            self._ended.pop(execution_id, None)
            self._requests.pop(execution_id, None)
            self._carrier.surroundings.pop(execution_id, None)
        self._store.compact(execution_id)

    def process_id(self) -> int:
        """The actor's process id, for diagnosis."""
        import os

        return os.getpid()

    # --- the loop's thread --------------------------------------------------------------------------------------------

    def _turn_for_ever(self) -> None:
        try:
            while True:
                self._loop.turn()
                if self._loop.outbox.finished:
                    self._finish()
        except BaseException as error:  # ours, whatever it is: the driver must hear of it, not wait for ever
            story = traceback.format_exc()
            with self._changed:
                self._broken = f"{error}\n{story}" if isinstance(error, Bug) else story
                self._changed.notify_all()

    def _finish(self) -> None:
        """Commit what an execution has left, then tell whoever waits."""
        finished = dict(self._loop.outbox.finished)
        self._loop.outbox.finished.clear()
        for execution_id, finish in finished.items():
            request = self._requests.get(execution_id)
            if request is not None:
                self._store.append([request.closing_row(finish)])
        self._store.commit()
        with self._changed:
            self._ended.update(finished)
            self._changed.notify_all()


def opening_row(request: Request) -> Any:
    """The opening row of an execution, with what only the cluster knows."""
    return request.row._replace(life=request.life, ray_version=ray.__version__)

