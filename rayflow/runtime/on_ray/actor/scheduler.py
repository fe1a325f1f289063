"""The scheduler: an actor around a loop.

In: requests from a driver. Out: progress and outcomes. Never: decides (the evaluator does); reads a large value.

The loop turns in a thread of its own. Only that thread changes the evaluator, the store and the data of the executions.
The actor's methods run in other threads: they post functions for the loop, and read.

The actor holds metadata only. If it is killed, the driver starts another one and submits its execution again. The new
actor finds the finished work in the store. If the store or the loop fails, the executions end with that error, and a
new loop with the same store takes its place. It writes the rows that could not be written, when the store is back.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import ray

from rayflow.errors import Bug, StoreUnavailable, VersionMismatch, WorldError
from rayflow.evaluator import commands, messages
from rayflow.records import JobRow
from rayflow.runtime.ending import commit_last
from rayflow.runtime.listener import ExecutionCounts, LoopListener
from rayflow.runtime.live.live_board import LiveBoard
from rayflow.runtime.loop import Loop, collect_rarely
from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.actor.carrier import RayCarrier
from rayflow.runtime.on_ray.actor.unread_news import UnreadNews
from rayflow.runtime.protocol.attempts import WorkerContext, pack_finish
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.worker.task_lookup import HOST
from rayflow.store.live.live_files import CancelOrder
from rayflow.store.store import Store
from rayflow.values.display import masking
from rayflow.values.display.python_warnings import write_warnings
from rayflow.values.filesystems.filesystems import use_base
from rayflow.values.process import waits
from rayflow.values.process.free_memory import give_back
from rayflow.version import VERSION

if TYPE_CHECKING:
    from rayflow.runtime.on_ray.actor.metrics import SchedulerMetrics

PROGRESS_SECONDS = 0.1
"""How often the counts that a driver can see are brought up to date."""

REPAIR_SECONDS = 1.0
"""How long a loop whose store has failed waits before it tries again to write its rows."""

_OF_SCHEDULER = ""
"""In place of an execution's id: for warnings of the scheduler's process, which the driver gets once."""


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of an execution, for its driver.

    known: whether it was submitted here. finish: packed; set if it has ended. error: set if it could not go on, because
    the store or rayflow failed. waiting: sentences about calls that cannot start. warnings: the new warnings since the
    last request, of this execution and of the scheduler. lines: how many lines were printed so far in its channel.
    masks: the secrets that became known while it ran. ended: its jobs that ended since the last request, if the driver
    wants them.
    """

    known: bool
    by_task: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...]
    warnings: tuple[str, ...]
    finish: commands.Finish | None
    error: BaseException | None = None
    lines: int = 0
    masks: tuple[masking.Mask, ...] = ()
    ended: tuple[JobRow, ...] = ()


class SchedulerActor:
    """One evaluator on a cluster, for one driver.

    tells_jobs: whether the driver wants to know of each job. has_metrics: whether it gives Ray its metrics.

    Between two runs of its process it may rest. Then it has no store and no loop, and takes new settings.
    """

    def __init__(
        self, store_url: str, limits: Mapping[str, float], tells_jobs: bool = False, has_metrics: bool = False
    ) -> None:
        self._store_url = store_url
        self._limits = dict(limits)
        self._tells_jobs = tells_jobs
        self._has_metrics = has_metrics
        self._metrics: SchedulerMetrics | None = None
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._loop: Loop[RayCarrier] | None = None
        self._live: LiveBoard | None = None
        self._thread: threading.Thread | None = None
        self._posted: deque[tuple[Callable[[Loop[RayCarrier]], None], Future[None]]] = deque()
        """Actions for the loop's thread, which does them before its next turn."""
        self._changed = threading.Condition()
        """The loop's thread changes the books below while it has this lock; the actor's methods read them so."""
        self._requests: dict[str, Request] = {}
        self._finished: dict[str, tuple[commands.Finish, int]] = {}
        self._errors: dict[str, BaseException] = {}
        self._by_task: dict[str, Mapping[str, Mapping[str, int]]] = {}
        self._cancelled: dict[str, int] = {}
        """For an execution that was cancelled before it came here, its last life that must not start."""
        self._warnings: UnreadNews[str] = UnreadNews()
        self._ended: UnreadNews[JobRow] = UnreadNews()
        waits.listen(self._warned)
        gc.freeze()
        collect_rarely()

    # --- what a driver asks, in the actor's threads -------------------------------------------------------------------

    def prepare(self, store_url: str, limits: Mapping[str, float], tells_jobs: bool, has_metrics: bool = False) -> None:
        """Be ready for executions; with these settings, if the actor has rested. Raises StoreUnavailable."""
        with self._opening:
            if self._store is None:
                self._store_url, self._limits, self._tells_jobs = store_url, dict(limits), tells_jobs
                self._has_metrics = has_metrics
        self._open()

    def rest(self) -> None:
        """Let go of the store and of the executions, which have all ended. Raises StoreUnavailable.

        The next run may have another store, or the same folder with other files in it. So nothing is left of this one.
        """
        with self._opening:
            if self._thread is not None:
                ended = self._post(self._end_loop)
                self._thread.join()
                self._thread = None
                ended.result()
        gc.collect()

    def submit(self, request: Request, surroundings: WorkerContext) -> None:
        """Start an execution. Does nothing for one that is known, and for one that was cancelled before it came here.

        Raises StoreUnavailable when it cannot be recorded, VersionMismatch when driver and cluster do not fit together.
        """
        if request.row.rayflow_version != VERSION:
            raise VersionMismatch(
                f"This driver has rayflow {request.row.rayflow_version}, {HOST} in the cluster has {VERSION}: install "
                "the same on both."
            )
        use_base(surroundings.project_dir)
        masking.learn(request.masks)
        self._open()
        self._post(partial(self._begin, request, surroundings)).result()

    def wait(self, execution_id: str, seconds: float) -> Status:
        """The status of an execution, at once when it has ended, else after so many seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    execution_id in self._finished or execution_id in self._errors or execution_id not in self._requests
                ),
                timeout=seconds,
            )
            warnings = self._warnings.take(_OF_SCHEDULER)[0] + self._warnings.take(execution_id)[0]
            ended, lost = self._ended.take(execution_id)
            if lost:
                warnings += (f"{lost:,} more jobs have ended while nobody waited for this execution.",)
            request = self._requests.get(execution_id)
            finish, lines = self._finished.get(execution_id, (None, 0))
            return Status(
                known=request is not None,
                by_task=finish.by_task if finish is not None else self._by_task.get(execution_id, {}),
                waiting=self._loop.carrier.waiting if self._loop is not None else (),
                warnings=warnings,
                finish=finish,
                error=self._errors.get(execution_id),
                lines=lines,
                masks=masking.known(request.masks) if finish is not None and request is not None else (),
                ended=ended,
            )

    def cancel(self, execution_id: str, life: int, by: str = "") -> None:
        """Let an execution start no new calls, and end its running calls. by: the cause of the cancellation.

        An unknown execution may still be on its way here. Then this life of it, and earlier ones, will not start.
        """
        self._post(partial(self._cancel, execution_id, life, by))

    def release(self, execution_id: str) -> None:
        """Forget an execution whose driver has its result, and merge its small files. Raises StoreUnavailable."""
        self._open()
        live = self._live
        self._post(partial(self._let_go, execution_id)).result()
        if live is not None:
            live.await_end(execution_id)  # here, not in the loop's thread: a slow store must not hold up the others

    def process_id(self) -> int:
        """The actor's process id, for diagnosis."""
        return os.getpid()

    def _open(self) -> None:
        """Open the store and start the loop, when that has not been done. Raises StoreUnavailable."""
        with self._opening:
            if self._store is None:
                write_warnings(self._take_warning)
                self._store = remote.open_here(self._store_url)
                self._live = LiveBoard(self._store.folder, "ray")
                self._loop = self._new_loop(self._store)
                self._thread = threading.Thread(target=self._turn_until_rest, name="rayflow-loop", daemon=True)
                self._thread.start()

    def _post(self, action: Callable[[Loop[RayCarrier]], None]) -> Future[None]:
        """Have the loop's thread do something before its next turn, after all that was posted before."""
        done: Future[None] = Future()
        self._posted.append((action, done))
        if self._loop is not None:
            self._loop.wake()
        return done

    # --- news, from any thread ----------------------------------------------------------------------------------------

    def _warned(self, text: str) -> None:
        self._warnings.add(_OF_SCHEDULER, text)

    def _take_warning(self, text: str, file: str) -> str:
        """A warning of Python's in this process: the driver shows it."""
        self._warned(text)
        return ""

    def _warned_of(self, execution_id: str, text: str) -> None:
        if execution_id in self._requests:  # else its driver does not ask any more
            self._warnings.add(execution_id, text)

    def _job_ended(self, row: JobRow) -> None:
        if row.execution_id in self._requests:
            self._ended.add(row.execution_id, row)

    # --- the loop's thread --------------------------------------------------------------------------------------------

    def _new_loop(self, store: Store) -> Loop[RayCarrier]:
        listener = LoopListener(
            warned=self._warned_of,
            job_ended=self._job_ended if self._tells_jobs else None,
            progress=self._take_counts,
            progress_seconds=PROGRESS_SECONDS,
            live=self._live.take if self._live is not None else None,
        )
        carrier_of = partial(RayCarrier, history=store.history, warned=self._warned_of)
        loop = Loop(store, carrier_of, limits=self._limits, listener=listener)
        if self._has_metrics:
            from rayflow.runtime.on_ray.actor.metrics import SchedulerMetrics

            self._metrics = SchedulerMetrics(loop)
        return loop

    def _take_counts(self, counts: ExecutionCounts) -> None:
        self._by_task = dict(counts)
        if self._metrics is not None:
            self._metrics.take(counts)

    def _turn_until_rest(self) -> None:
        while (loop := self._loop) is not None:
            try:
                self._turn(loop)
            except BaseException as error:  # any error: the driver must get it, and not wait for ever
                try:
                    self._start_anew(loop, error)
                except BaseException:
                    # Without this thread every driver would wait for ever. They start another actor, and there they
                    # submit their executions once more.
                    traceback.print_exc()
                    os._exit(1)

    def _turn(self, loop: Loop[RayCarrier]) -> None:
        self._do_posted(loop)
        if loop is not self._loop:
            return
        loop.turn()
        if loop.outbox.finished:
            self._finish(loop)

    def _do_posted(self, loop: Loop[RayCarrier]) -> None:
        """Run the posted functions. An error in one goes to its caller, and does not end the loop."""
        while self._posted:
            action, done = self._posted.popleft()
            try:
                action(loop)
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def _begin(self, request: Request, context: WorkerContext, loop: Loop[RayCarrier]) -> None:
        """Hand an execution to the evaluator, and record that it begins. Raises LeaseHeld; then nothing is recorded."""
        execution_id = request.execution_id
        if execution_id in self._requests or request.life <= self._cancelled.get(execution_id, -1):
            return
        loop.carrier.take_up(execution_id, context)
        try:
            loop.submit(request.submitted(loop.clock.now()))
        except BaseException:
            loop.carrier.forget(execution_id)
            raise
        loop.store.append(request.opening_rows(ray.__version__))
        loop.store.commit()
        with self._changed:
            self._requests[execution_id] = request
        if self._live is not None:
            self._live.begin(
                execution_id,
                life=request.life,
                first_life=request.first_life,
                started_at=request.row.started_at,
                cancel=partial(self._ordered, execution_id, request.life),
                running=loop.carrier.running_calls,
                warned=partial(self._warned_of, execution_id),
            )

    def _ordered(self, execution_id: str, life: int, order: CancelOrder) -> None:
        """Somebody asks for the end of an execution, perhaps again. The evaluator hears only the first request."""
        self.cancel(execution_id, life, order.text)

    def _cancel(self, execution_id: str, life: int, by: str, loop: Loop[RayCarrier]) -> None:
        if execution_id in self._requests:
            loop.post(messages.CancelRequested(loop.clock.now(), execution_id, by))
        else:
            with self._changed:
                self._cancelled[execution_id] = life

    def _let_go(self, execution_id: str, loop: Loop[RayCarrier]) -> None:
        """Forget an execution, and merge its small files in the store."""
        with self._changed:
            for book in (self._requests, self._finished, self._errors, self._by_task, self._cancelled):
                book.pop(execution_id, None)
            self._warnings.take(execution_id)
            self._ended.take(execution_id)
        if self._live is not None:
            self._live.end(execution_id, seconds=0)
        # What the execution took must be free before the merging, which takes much, too.
        give_back()
        loop.store.compact(execution_id)
        give_back()

    def _end_loop(self, loop: Loop[RayCarrier]) -> None:
        loop.carrier.abandon()
        with self._changed:
            for book in (self._requests, self._finished, self._errors, self._by_task, self._cancelled):
                book.clear()
            self._store = self._loop = None
        if self._live is not None:
            self._live.leave()
            self._live = None
        self._metrics = None
        loop.store.close()

    def _finish(self, loop: Loop[RayCarrier]) -> None:
        """Commit the last rows of the executions that have ended, then inform their drivers."""
        at = loop.clock.now()
        finished = {execution_id: finish._replace(at=at) for execution_id, finish in loop.outbox.finished.items()}
        loop.outbox.finished.clear()

        def warned(text: str) -> None:
            for execution_id in finished:
                self._warned_of(execution_id, text)

        requests = [(self._requests.get(execution_id), finish) for execution_id, finish in finished.items()]
        rows = [request.closing_row(finish) for request, finish in requests if request is not None]
        is_recorded = commit_last(loop.store, rows, warned)
        if self._metrics is not None:
            self._metrics.end(finished)
        if self._live is not None:
            for execution_id in finished:
                if is_recorded:
                    self._live.end(execution_id, seconds=0)  # `release` waits for it
                else:
                    self._live.leave(execution_id)
        carrier = loop.carrier
        with self._changed:
            for execution_id, finish in finished.items():
                self._finished[execution_id] = pack_finish(finish), carrier.lines_of(execution_id)
                carrier.forget(execution_id)
            self._changed.notify_all()

    def _start_anew(self, loop: Loop[RayCarrier], error: BaseException) -> None:
        """End all executions with an error that is not theirs, and go on with an empty loop."""
        if isinstance(error, StoreUnavailable) and loop.outbox.finished:
            self._finish(loop)  # these have ended all the same
        if not isinstance(error, WorldError):
            error = Bug(f"The scheduler stopped on an error of its own:\n{traceback.format_exc()}")
        with self._changed:
            for execution_id in self._requests:
                if execution_id not in self._finished:
                    self._errors.setdefault(execution_id, error)
            loop.carrier.abandon()
            if self._live is not None:
                self._live.leave()
            self._loop = self._new_loop(loop.store)
            self._changed.notify_all()
        time.sleep(REPAIR_SECONDS)
