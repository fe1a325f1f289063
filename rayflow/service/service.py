"""The service: one process that keeps the runs of one store.

In: modules with flows, a configuration, requests from any thread. Out: answers, as futures; runs brought to their ends.
Never: decides; speaks HTTP (`http_api` does).

One thread turns the loop, with the evaluator and the keeper in it. Other threads only post: each request has a name,
and a future that gets the keeper's reply when everything that the reply says is committed. The service holds the
store's lease from its start to its end: a service that loses it stops at once, and sends nothing more.
"""

from __future__ import annotations

import itertools
import json
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from rayflow import errors
from rayflow.config import Config, check_address
from rayflow.errors import Bug, NoSuchTask, RayflowError
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.keeper import Keeper
from rayflow.lang.builtins import TASKS
from rayflow.lang.modules import importable_from, load
from rayflow.lang.tasks import Task, registered, task_table
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import TaskCall, Term, render
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import CLOCK, Clock
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.keeping.keeper_turn import KeeperTurn
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop, collect_rarely
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.reports import Reporter
from rayflow.runtime.protocol.requests import new_execution_id, packed_context
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.results import pack_expression
from rayflow.runtime.worker.worker import Worker
from rayflow.service.kept_runs import KeptRuns
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.files.file_states import use_project
from rayflow.values.filesystems.filesystems import use_base
from rayflow.values.refs import Encoded, ValueRef

TURN_SECONDS = 0.2
"""The longest time between two looks at whether the service is to stop."""


class Service:
    """The runs of one store. Use it as: `open()`, then requests, then `close()`.

    targets: files or modules with the flows. reporter: is told what happens, and what tasks print.
    """

    def __init__(self, config: Config, targets: Sequence[str], reporter: Reporter, *, clock: Clock = CLOCK) -> None:
        self.config = config
        self._targets = targets
        self._reporter = reporter
        self._clock = clock
        self._numbers = itertools.count(1)
        self._futures: dict[str, Future[Any]] = {}
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.store: Store
        self._turn: KeeperTurn
        self._loop: Loop[Any]
        self._runs: KeptRuns
        self.ended = threading.Event()
        """Set when the service has ended, by itself or by `close`."""

    # --- start and end ------------------------------------------------------------------------------------------------

    def open(self, *, standby_seconds: float | None = None) -> None:
        """Load the flows, take the lease, fold the records, and begin to turn.

        standby_seconds: how long to wait for another service of the store to end. Raises LeaseHeld, StoreUnavailable,
        and what the modules raise.
        """
        use_project(self.config.project_dir, self.config.files)
        use_base(self.config.project_dir)
        for target in self._targets:
            load(target)
        self.store = open_store(self.config.store)
        table = task_table(TASKS)
        settings = RunSettings(
            cache=self.config.cache,
            options=self.config.options,
            context=packed_context(self.config.context, self._keep),
            profiles=self.config.profiles,
        )
        self._context = self._worker_context(table)
        self._runs = KeptRuns(
            self.config, table, settings, self._clock,
            bind=self._bound, begun=self._begun, replied=self._replied,
        )  # fmt: skip
        self._turn = KeeperTurn(Keeper(), self._runs, self._clock)
        self._loop = self._new_loop()
        self._fold(table)
        self._thread = threading.Thread(target=self._turn_until_stopped, name="rayflow-service", daemon=True)
        self._thread.start()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Take nothing new, let attempts end for so long, and leave every run where it is."""
        self._stopping.set()
        self._loop.wake()
        if self._thread is not None:
            self._thread.join()

    def _fold(self, table: Mapping[str, Any]) -> None:
        """Hand the open runs of the store to the keeper."""

    def _worker_context(self, table: Mapping[str, Any]) -> WorkerContext:
        paths = tuple(dict.fromkeys(importable_from(self.config.project_dir)))
        config = self.config
        return WorkerContext(config.project_dir, paths, config.store, table, "", config.files, shows_prints=config.logs)

    def _new_loop(self) -> Loop[Any]:
        listener = LoopListener(warned=lambda _, text: self._reporter.warned(text))
        if self.config.inline:
            worker = Worker(self._context, self.store, evaluate=evaluate)
            return Loop(
                self.store,
                lambda loop: InlineCarrier(loop, worker),
                limits=self.config.limits,
                listener=listener,
                clock=self._clock,
                beside=self._turn,
            )
        if self.config.address is not None:
            check_address(self.config.address)
        from rayflow.runtime.on_ray.actor.carrier import RayCarrier
        from rayflow.runtime.on_ray.connection import connecting

        connecting.connect(self.config, self._reporter)

        def carrier_of(loop: Any) -> RayCarrier:
            return RayCarrier(loop, self.store.history, lambda _, text: self._reporter.warned(text))

        return Loop(
            self.store, carrier_of, limits=self.config.limits, listener=listener, clock=self._clock, beside=self._turn
        )

    def _begun(self, execution_id: str) -> None:
        take_up = getattr(self._loop.carrier, "take_up", None)
        if take_up is not None:
            take_up(execution_id, self._context)

    # --- the loop's thread --------------------------------------------------------------------------------------------

    def _turn_until_stopped(self) -> None:
        collect_rarely()
        try:
            while not self._stopping.is_set():
                self._loop.turn(TURN_SECONDS)
                for execution_id in list(self._loop.outbox.finished):
                    del self._loop.outbox.finished[execution_id]
                    self._loop.carrier.forget(execution_id)
            self._loop.store.close()
        except BaseException as error:
            self._error = error
            if not isinstance(error, RayflowError):
                traceback.print_exc()
        finally:
            self.ended.set()
            for future in list(self._futures.values()):
                future.set_exception(self._error or RuntimeError("The service has ended."))

    def _replied(self, reply: orders.Reply) -> None:
        future = self._futures.pop(reply.request, None)
        if future is None:
            return
        if reply.error is None:
            future.set_result(reply.answer)
        else:
            name, message = reply.error
            of = getattr(errors, name, None)
            future.set_exception(of(message) if of is not None else Bug(f"{name}: {message}"))

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        self.store.put_blob(ref.digest, encoded)

    # --- requests, from any thread ------------------------------------------------------------------------------------

    def ask(self, make: Callable[[int, str], requests.Request]) -> Future[Any]:
        """Hand a request to the keeper. make: makes it, of the time and its name. Gives the keeper's reply."""
        future: Future[Any] = Future()
        name = str(next(self._numbers))
        self._futures[name] = future
        self._turn.post(make(self._clock.now(), name))
        self._loop.wake()
        return future

    def task_named(self, name: str) -> Task[..., Any]:
        """The task of the loaded code with this full name, or with this short one if only one has it."""
        known = registered()
        if name in known:
            return known[name]
        found = [full for full in known if full.rpartition(".")[2] == name]
        if len(found) == 1:
            return known[found[0]]
        what = f"{name} may be {' or '.join(sorted(found))}" if found else f"The service knows no task {name!r}"
        raise NoSuchTask(f"{what}. It has loaded {', '.join(self._targets)}.")

    def start(
        self,
        expr: Term,
        *,
        id: str | None = None,
        reuse: str = "return",
        due_at: int | None = None,
        priority: int = 0,
        tags: Mapping[str, Any] | None = None,
    ) -> Future[Any]:
        """Start a run of an expression of this process."""
        symbolic, parts = pack_expression(expr, self._keep)
        if parts:
            self.store.append(parts)
        return self.start_packed(
            dumps(symbolic),
            flow=symbolic._task if type(symbolic) is TaskCall else None,
            arguments=render(symbolic),
            id=id, reuse=reuse, due_at=due_at, priority=priority, tags=tags,
        )  # fmt: skip

    def start_packed(
        self,
        root: bytes,
        *,
        flow: str | None,
        arguments: str,
        id: str | None = None,
        reuse: str = "return",
        due_at: int | None = None,
        priority: int = 0,
        tags: Mapping[str, Any] | None = None,
    ) -> Future[Any]:
        """Start a run of a packed root term."""
        run_id = new_execution_id() if id is None else run_id_of(id)
        timeout_us = None
        return self.ask(
            lambda at, name: requests.StartRequested(
                at=at, request=name, run_id=run_id, root=root, input_hash=digest("input", root), flow=flow,
                arguments=arguments, id=id, reuse=reuse, due_at=due_at, priority=priority,
                tags=json.dumps(dict(tags)) if tags else None, timeout_us=timeout_us,
            )
        )  # fmt: skip

    def _bound(self, order: orders.BindEvent, at: int) -> requests.BoundArguments:
        raise NotImplementedError


def run_id_of(id: str) -> str:
    """The id of the run that has this id of its starter's: a UUID of version 8, made of the text."""
    raw = bytearray(digest("run", id.encode())[:16])
    raw[6] = 0x80 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
