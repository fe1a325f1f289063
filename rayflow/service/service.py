"""The service: one process that keeps the runs of one store.

In: modules with flows, a configuration, requests from any thread. Out: answers, as futures; runs brought to their ends.
Never: decides; speaks HTTP (`http_api` does).

One thread turns the loop, with the evaluator and the keeper in it. Other threads only post: each request has a name,
and a future that gets the keeper's reply when everything that the reply says is committed. The service holds the
store's lease from its start to its end: a service that loses it stops at once, and sends nothing more.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from rayflow import errors
from rayflow.config import Config, check_address
from rayflow.errors import (
    BadArguments,
    BlobDamaged,
    Bug,
    NoSuchTask,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    WorldError,
)
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.demands import Demands
from rayflow.keeper.ids import derived_run_id
from rayflow.keeper.keeper import Keeper
from rayflow.lang.arguments import from_words
from rayflow.lang.arguments.from_text import convert
from rayflow.lang.builtins import TASKS
from rayflow.lang.modules import importable_from, load
from rayflow.lang.packing.realize import realized
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.tasks import Task, registered, task_table
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import TaskCall, Term, render
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import RunRow
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import CLOCK, Clock, SteadyClock
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.keeping.keeper_turn import ENDED, KeeperTurn
from rayflow.runtime.listed_jobs import ListedJobs
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop, collect_rarely
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.reports import Reporter
from rayflow.runtime.protocol.requests import new_execution_id, packed_context
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.results import pack_expression
from rayflow.runtime.worker.worker import Worker
from rayflow.service.admission import KeyDesk
from rayflow.service.flow_shell import FlowShell
from rayflow.service.flows import bound_to_firing, flow_specs, input_hash
from rayflow.service.kept_runs import KeptRuns
from rayflow.service.metrics import MeasuredSink, Metrics
from rayflow.service.patience import PatientSink
from rayflow.service.questions import Questions, with_explanation
from rayflow.service.run_queries import RunFilter
from rayflow.service.stream_pages import StreamPages
from rayflow.store.lease import Lease
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.digests import DIGEST_BYTES, digest
from rayflow.values.encoding.encoding import decode, decode_inline, from_bytes, to_bytes
from rayflow.values.files.file_states import use_project
from rayflow.values.filesystems.filesystems import use_base
from rayflow.values.process.free_memory import give_back_pages
from rayflow.values.refs import Encoded, ValueRef
from rayflow.webhook_settings import webhooks_of

T = TypeVar("T")

TURN_SECONDS = 0.2
"""The longest time between two looks at whether the service is to stop."""

COMMITS_BETWEEN_CLEARINGS = 5_000
"""After so many commits free memory is returned to the system."""


class Service:
    """The runs of one store. Use it as: `hold()`, `open()`, then requests, then `close()`.

    targets: files or modules with the flows; the flows that this process has defined count, too. reporter: is told
    what happens. clock: the time of what happens. That it is set, forward or back, while the service runs moves no
    deadline. holder: the name of this process, for those who want to hold the store.
    """

    def __init__(
        self,
        config: Config,
        targets: Sequence[str],
        reporter: Reporter,
        *,
        clock: Clock = CLOCK,
        holder: str = "rayflow serve",
    ) -> None:
        self.config = config
        self._holder = holder
        self.error: BaseException | None = None
        """Why the service has ended by itself, if it has."""
        self.has_ended = threading.Event()
        self.metrics = Metrics()
        self.webhooks = webhooks_of(config.webhooks)
        """The webhooks that the configuration has, by name."""
        self._targets = targets
        self._reporter = reporter
        self._clock = clock
        self._futures: dict[str, Future[Any]] = {}
        self._posted: deque[tuple[Callable[[], Any], Future[Any], float]] = deque()
        """Questions for the loop's thread, which answers them before its next turn; and when they were asked."""
        self._stopping = threading.Event()
        self._grace_seconds = 0.0
        self._thread: threading.Thread | None = None
        self._desk = KeyDesk()
        self.store: Store
        self.questions: Questions
        self.streams: StreamPages
        self._turn: KeeperTurn
        self._loop: Loop[Any]
        self._runs: KeptRuns
        self._flows: FlowShell

    # --- start and end ------------------------------------------------------------------------------------------------

    def hold(self, *, wait_seconds: float = 0.0) -> None:
        """Load the flows, and take the lease of the store.

        wait_seconds: how long to wait for another service of the store to end. Raises LeaseHeld, StoreUnavailable, and
        what the modules raise.
        """
        use_project(self.config.project_dir, self.config.files)
        use_base(self.config.project_dir)
        for target in self._targets:
            load(target)
        self.store = open_store(self.config.store)
        self._lease = Lease(self.store.folder, self._holder)
        self._lease.take(wait=wait_seconds)
        self._lease.renew_beside()
        self.store.commit_by(self._lease)

    @property
    def has_taken_over(self) -> bool:
        """Whether the service before it has not ended by itself: it may hang, and still have its port."""
        return self._lease.has_taken_over

    def open(self) -> None:
        """Fold the records, and begin to turn. Raises StoreUnavailable, ClusterUnavailable."""
        self.store.compact()  # what a killed service left: many small files, which each question would read
        records = self.store.run_records()
        _, latest_at = records.latest()
        records.close()
        self._clock = SteadyClock(self._clock, latest_at)
        self.begin()
        self._thread = threading.Thread(target=self._turn_until_stopped, name="rayflow-service", daemon=True)
        self._thread.start()

    def begin(self) -> requests.Recovered:
        """Take up the runs of the store, with all that is in memory made anew. Returns what the keeper begins with."""
        self.questions = Questions(self.store)
        recovered = self.questions.recovered(self._clock.now())
        table = self._tasks()
        settings = RunSettings(
            cache=self.config.cache,
            options=self.config.options,
            context=packed_context(self.config.context, self._keep),
            profiles=self.config.profiles,
        )
        self._context = self._worker_context(table)
        self._flows = FlowShell(self._desk, self._clock.now, self._realized, self._keep, self._post_request)
        self._runs = KeptRuns(
            self.config.project_dir,
            table,
            settings,
            self._clock,
            begun=self._begun,
            bind=self._flows.bind,
            keys=self._flows.keys,
            recall=lambda order: self.questions.recalled(order, self._clock.now()),
            bind_firing=self._bound_to_firing,
            recall_firings=lambda order: self.questions.recalled_firings(order, self._clock.now()),
            places_of=self.questions.places_of,
            replied=self._replied,
            gone=lambda run_id: self._loop.streams.forget(run_id),
        )
        self._turn = KeeperTurn(Keeper(), self._runs, self._clock)
        run_ids = list(dict.fromkeys(row.run_id for row in recovered.runs))
        self._runs.take_up(self.questions.places(run_ids), run_ids)
        self._loop = self._new_loop()
        self.streams = StreamPages(self._loop.streams, self.questions, self._has_ended)
        self._turn.post(requests.FlowsKnown(self._clock.now(), flow_specs(registered())))  # runs may end at once
        self._turn.post(recovered._replace(at=self._clock.now()))
        self._turn.post(requests.QueuesConfigured(self._clock.now(), dict(self.config.queues)))
        return recovered

    def _tasks(self) -> Mapping[str, TaskEntry]:
        """The tasks of the loaded code."""
        return task_table(TASKS)

    def close(self, grace_seconds: float = 0.0) -> None:
        """Take nothing new, let attempts end for so long, and leave every run where it is. Gives the lease back."""
        self._grace_seconds = grace_seconds
        self._stopping.set()
        if self._thread is not None:
            self._loop.wake()
            self._thread.join()
        if not self._lease.is_lost:
            self._lease.close()

    def _worker_context(self, table: Mapping[str, Any]) -> WorkerContext:
        config = self.config
        paths = tuple(dict.fromkeys(importable_from(config.project_dir)))
        return WorkerContext(config.project_dir, paths, config.store, table, "", config.files, shows_prints=config.logs)

    def _new_loop(self) -> Loop[Any]:
        listener = LoopListener(warned=lambda _, text: self._reporter.warned(text))
        loop_of: Callable[..., Loop[Any]] = partial(
            Loop,
            self.store,
            limits=self.config.limits,
            listener=listener,
            clock=self._clock,
            beside=self._turn,
            sink=MeasuredSink(PatientSink(self.store, self._reporter.warned, self._stopping), self.metrics),
            listed=ListedJobs(self.questions.listed_jobs(self._runs.apart)),
        )
        if self.config.inline:
            worker = Worker(self._context, self.store, evaluate=evaluate)
            return loop_of(carrier_of=lambda loop: InlineCarrier(loop, worker))
        if self.config.address is not None:
            check_address(self.config.address)
        from rayflow.runtime.on_ray.actor.carrier import RayCarrier
        from rayflow.runtime.on_ray.connection import connecting

        connecting.connect(self.config, self._reporter)
        warned = listener.warned
        return loop_of(carrier_of=lambda loop: RayCarrier(loop, self.store.history, warned))

    def _begun(self, execution_id: str, is_new: bool) -> None:
        """An evaluation begins here: a carrier that sends calls away has to know their surroundings. is_new: it is the
        first one of its run."""
        self._loop.streams.begin(execution_id, is_new=is_new)
        take_up = getattr(self._loop.carrier, "take_up", None)
        if take_up is not None:
            take_up(execution_id, self._context)

    # --- the loop's thread --------------------------------------------------------------------------------------------

    def _turn_until_stopped(self) -> None:
        collect_rarely()
        commits = -COMMITS_BETWEEN_CLEARINGS
        try:
            while not self._stopping.is_set():
                self._turn_once(TURN_SECONDS)
                if self.store.commits - commits >= COMMITS_BETWEEN_CLEARINGS:
                    commits = self.store.commits
                    give_back_pages()  # the first time what the recovery has left behind
            self._loop.wind_down(self._grace_seconds)
            self.store.close()
        except BaseException as error:
            self.error = error
            if not isinstance(error, WorldError):
                traceback.print_exc()
        finally:
            self.has_ended.set()  # before: who asks from now on looks at it after each request
            for name in list(self._futures):
                self._refuse_if_ended(self._futures.pop(name))
            while self._posted:
                self._refuse_if_ended(self._posted.popleft()[1])
            self._runs.refuse_all(self._ended())

    def _ended(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"The service has ended: {self.error or 'it was told to'}.")

    def _refuse_if_ended(self, future: Future[Any]) -> None:
        """Nobody answers a request any more that came as the service ended. Any thread may call it."""
        if self.has_ended.is_set():
            with suppress(InvalidStateError):
                future.set_exception(self._ended())

    def _turn_once(self, longest_seconds: float) -> None:
        while self._posted:
            ask, future, posted = self._posted.popleft()
            self.metrics.waited(time.perf_counter() - posted)
            _fill(future, ask)
        self._loop.turn(longest_seconds)
        for execution_id in list(self._loop.outbox.finished):
            del self._loop.outbox.finished[execution_id]
            self._loop.carrier.forget(execution_id)

    def _replied(self, reply: orders.RequestReply) -> None:
        future = self._futures.pop(reply.request, None)
        if future is None:
            return
        with suppress(InvalidStateError):  # who has asked may give up at any moment
            if reply.error is None:
                future.set_result(reply.answer)
            else:
                name, message = reply.error
                error = getattr(errors, name, Bug)(message)
                if isinstance(error, RateLimited):
                    error.retry_after = reply.answer["retry_after_us"] / 1_000_000
                future.set_exception(error)

    def _post_request(self, request: requests.Request) -> None:
        """Hand the keeper what it has asked for."""
        self._turn.post(request)
        self._loop.wake()

    def _bound_to_firing(self, order: orders.BindFiring) -> requests.BoundFiring:
        return bound_to_firing(order, registered().get(order.flow), self._clock.now(), self._keep)

    def _value_in(self, packed: bytes) -> Any:
        """The object behind a packed value."""
        return self._realized(loads(packed))

    def _realized(self, term: Term) -> Any:
        """The object behind a symbolic value."""
        return realized(term, self._fetch)

    def _fetch(self, ref: ValueRef) -> Any:
        return decode_inline(ref) if ref.inline is not None else decode(self.store.get_blob(ref.digest))

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        self.store.put_blob(ref.digest, encoded)

    # --- from any thread ----------------------------------------------------------------------------------------------

    def ask(self, make: Callable[[int, str], requests.Request], future: Future[Any] | None = None) -> Future[Any]:
        """Hand a request to the keeper. make: makes it, of the time and its name. Gives the keeper's reply.

        future: what gets the reply; a new one by default.
        """
        future = Future() if future is None else future
        name = uuid.uuid4().hex
        self._futures[name] = future
        self._turn.post(make(self._clock.now(), name))
        self._loop.wake()
        self._refuse_if_ended(future)
        return future

    def look(self, question: Callable[[Keeper], T]) -> T:
        """Ask the keeper something that changes nothing: in the loop's thread, between two turns."""
        return self._post(partial(question, self._turn.keeper)).result()

    def _post(self, ask: Callable[[], T]) -> Future[T]:
        """Have the loop's thread do something between two turns."""
        future: Future[T] = Future()
        self._posted.append((ask, future, time.perf_counter()))
        self._loop.wake()
        self._refuse_if_ended(future)
        return future

    def task_named(self, name: str) -> Task[..., Any]:
        """The task of the loaded code with this full name, or with this short one if only one has it."""
        known: dict[str, Task[..., Any]] = {
            full: each for full, each in registered().items() if not full.startswith("rayflow.")
        }
        if name in known:
            return known[name]
        found = sorted(full for full in known if full.rpartition(".")[2] == name)
        if len(found) == 1:
            return known[found[0]]
        loaded = f"It has loaded {', '.join(self._targets) or 'what its program has imported'}"
        if found:
            raise NoSuchTask(f"{name} may be {' or '.join(found)}: write one of these. {loaded}.")
        raise NoSuchTask(f"The service knows no task {name!r}. {loaded}: {', '.join(sorted(known)) or 'no tasks'}.")

    def start_named(
        self,
        name: str,
        arguments: Mapping[str, Any],
        words: Sequence[str] = (),
        directory: str | None = None,
        **how: Any,
    ) -> Future[Any]:
        """Start a run of a task by its name. arguments: plain data by name, read by the type hints of the task's
        parameters. words: the same as on a command line, typed in this directory. how: as for `start_packed`."""
        task = self.task_named(name)
        call = from_words.call_of(task, words, data=arguments, typed_at=directory or self.config.project_dir)
        symbolic, _ = pack_expression(call, self._keep)
        return self.start_packed(dumps(symbolic), flow=task.fullname, arguments=render(symbolic), **how)

    def start_packed(
        self,
        root: bytes,
        *,
        flow: str | None = None,
        arguments: str = "",
        id: str | None = None,
        reuse: str = "return",
        due_at: int | None = None,
        queue: str | None = None,
        priority: int | None = None,
        tags: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        is_repeated: bool = False,
    ) -> Future[Any]:
        """Start a run of a packed root term.

        request_id: of the request: the same request again gives the run that it has started. is_repeated: it may have
        come before, so that its run may have ended long ago. The others: as in `StartRequested`.
        """
        if reuse not in ("return", "reject", "if_failed"):
            raise BadArguments(f"reuse={reuse!r}: write return, reject or if_failed.")
        try:
            term = loads(root)
        except ValueError as error:
            raise BadArguments(f"The root term cannot be read: {error}. Has the client the same rayflow?") from None
        if flow is None and type(term) is TaskCall:
            flow = term._task
        run_id = new_execution_id()
        if request_id is not None and id is None:
            # The id of the run follows from that of the request: nothing else has to be known of starts.
            run_id = derived_run_id(f"request:{request_id}")
            known = self._runs.end_of(run_id) or (self.questions.last_of(run_id) if is_repeated else None)
            if known is not None:
                joined = known.next_run_id
                return _done({"run_id": joined or run_id, "state": known.state, "is_new": joined is None})
        given = None if not tags else json.dumps(dict(tags))

        def request(at: int, name: str) -> requests.StartRequested:
            return requests.StartRequested(
                at=at, request=name, run_id=run_id, root=root, input_hash=input_hash(root), flow=flow,
                arguments=arguments or render(term), id=id, reuse=reuse, due_at=due_at, queue=queue, priority=priority,
                tags=given, request_id=None if id is None else request_id,
            )  # fmt: skip

        future: Future[Any] = Future()

        def start(demands: Demands | None) -> None:
            self.ask(lambda at, name: request(at, name)._replace(demands=demands), future)

        def failed(error: Exception) -> None:
            with suppress(InvalidStateError):  # who has asked may give up at any moment
                future.set_exception(error)

        self._flows.with_demands(flow, root, start, failed)
        return future

    def run_id(self, text: str) -> str:
        """The run that a text names: its id, the id that its starter gave it, or the beginning of its id."""
        known = self.known_id(text)
        return self.questions.run_id(text) if known is None else known

    def known_id(self, text: str) -> str | None:
        """The same, without a question to the store: None if it may be a run that ended long ago, or the beginning of
        an id."""
        known = self._turn.keeper.id_of(text)
        return text if known is None and self._runs.end_of(text) is not None else known

    def describe(self, text: str) -> dict[str, Any]:
        """A run as plain data: what it is, its state, its open waits, and why it is where it is."""
        run_id = self.run_id(text)
        kept, explained, waits = self.look(
            lambda keeper: (keeper.run(run_id), keeper.explain(run_id), keeper.waits(run_id))
        )
        end = self.questions.end_of(run_id) if kept is None else None
        last_id = kept["run_id"] if kept is not None else end.run_id if end is not None else run_id
        told = self.questions.describe(last_id, explained, waits)
        # Of a chain, the last run says how it is.
        return told if last_id == run_id else {**told, "run_id": run_id, "goes_on_as": last_id}

    def runs(self, wanted: RunFilter, *, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """The runs that a filter means, newest first. before: as in `Questions.runs`."""
        rows = self.questions.runs(wanted, before=before, limit=limit)
        still_open = [row["run_id"] for row in rows if row["state"] not in ENDED]
        explained = self.look(lambda keeper: {run_id: keeper.explain(run_id) for run_id in still_open})
        told = [with_explanation(row, explained.get(row["run_id"])) for row in rows]
        lately = {run_id for run_id, cause in explained.items() if cause is None}  # they have ended between the looks
        return [self.describe(row["run_id"]) if row["run_id"] in lately else row for row in told]

    def history(self, text: str) -> list[dict[str, Any]]:
        """The transitions of a run and of its waits, and what was done at its places, in order."""
        return self.questions.history(self.run_id(text))

    def end_of(self, run_id: str) -> RunRow | None:
        """The last row of a run that has ended lately; None for any other. Of a chain, that of its last run."""
        return self._runs.end_of(self._runs.last_in_chain(run_id))

    def _has_ended(self, run_id: str) -> bool:
        """Whether a run has ended. Any thread may ask, and does not wait for the loop."""
        return self._runs.end_of(run_id) is not None or self._turn.keeper.id_of(run_id) is None

    def await_end(self, run_id: str) -> Future[RunRow | None]:
        """The last row of a run, when it has ended; None if the service does not keep it: then ask the store."""
        future: Future[RunRow | None] = Future()

        def wait() -> None:
            last = self._runs.last_in_chain(run_id)
            if self._runs.end_of(last) is None and self._turn.keeper.run(last) is None:
                future.set_result(None)
            else:
                self._runs.await_end(run_id, future)

        posted = self._post(wait)
        posted.add_done_callback(lambda _: self._refuse_if_ended(future))
        return future

    def leave(self, run_id: str, future: Future[RunRow | None]) -> None:
        """Nobody waits for a future of `await_end` any more."""
        self._post(partial(self._runs.leave, run_id, future))

    # request_id: the id that a client has given to its request: the same request again has no effect, and gets the same
    # answer. None: there is no such request before or after it.

    def cancel(
        self, run_id: str, reason: str, *, is_first: bool = False, request_id: str | None = None
    ) -> Future[Any]:
        """End a run. The answer: whether it had not ended. A second request ends its clean-up, too.

        is_first: this is no second request, whatever has come before: a clean-up that goes on is left alone.
        """
        return self.ask(
            lambda at, name: requests.CancelRunRequested(
                at, name, run_id, reason, request_id, ends_cleanup=not is_first
            )
        )

    def retry(self, run_id: str, reason: str, *, request_id: str | None = None) -> Future[Any]:
        """Have a failed run go on."""
        return self.ask(lambda at, name: requests.RetryRequested(at, name, run_id, reason, request_id))

    def asks(self, *, after: int = 0, limit: int) -> list[dict[str, Any]]:
        """The open questions to people, oldest first. after: only those with a greater `number`."""
        return self.look(lambda keeper: keeper.asks(after, limit))

    def answer(self, run_id: str, value: Any, place: str | None, *, request_id: str | None = None) -> Future[Any]:
        """Answer an open question of a run. value: plain data, read by the question's form. Raises BadArguments."""
        if request_id is not None:
            known = self.look(lambda keeper: keeper.answered(request_id))
            if known is not None:  # which question it was, and its form, is known no more
                return _done(known.answer)
        asked = [each for each in self.look(lambda keeper: keeper.waits(run_id)) if each["kind"] == "ask"]
        chosen = [each for each in asked if place is None or each["place"].startswith(place)]
        of_place = bytes.fromhex(chosen[0]["place"]) if len(chosen) == 1 else None
        if of_place is not None:
            value = self._fitting(run_id, of_place, value)
        symbolic, _ = pack_expression(value, self._keep)
        outcome = pack_outcome(symbolic)
        return self.ask(lambda at, name: requests.AnswerRequested(at, name, run_id, of_place, outcome, request_id))

    def _fitting(self, run_id: str, place: bytes, value: Any) -> Any:
        """An answer as an object of the form that its question has."""
        packed = self.look(lambda keeper: keeper.form(run_id, place))
        try:
            return value if packed is None else convert(value, self._value_in(packed))
        except BadArguments as error:
            raise BadArguments(f"The answer does not fit: {error}") from None

    def emit(
        self,
        name: str,
        data: Any,
        *,
        key: str | None = None,
        id: str | None = None,
        due_at: int | None = None,
        strict: bool = False,
        request_id: str | None = None,
    ) -> Future[Any]:
        """Emit an event. The answer: the event, and its deliveries. Without an id it has one that follows from that of
        the request."""
        symbolic, _ = pack_expression(data, self._keep)
        packed = dumps(symbolic)
        content = digest("event", name.encode(), repr(key).encode(), packed)
        event_id = id if id is not None else uuid.uuid4().hex if request_id is None else f"request:{request_id}"
        return self.ask(
            lambda at, request: requests.EmitRequested(
                at, request, event_id, name, key, packed, content, due_at=due_at, strict=strict
            )
        )

    def event(self, event_id: str) -> dict[str, Any]:
        """An event and its deliveries."""
        recorded = self.questions.event(event_id)
        if recorded is None:
            raise NotFound(f"There is no event {event_id!r} in this store.")
        kept = self.look(lambda keeper: keeper.event(event_id))
        return recorded if kept is None else {**recorded, **kept}

    def events(self, *, name: str | None, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """The latest events, newest first. before: as in `Questions.events`."""
        return self.questions.events(name=name, before=before, limit=limit)

    # --- about the service --------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """How many runs there are, how many begin and end, what waits longest."""
        return self.questions.stats(self._clock.now())

    def metrics_text(self) -> bytes:
        """The measures of the service, for Prometheus."""
        self.look(lambda keeper: self.metrics.look_at(keeper.state))
        return self.metrics.text()

    def warned(self, text: str) -> None:
        """Say something in the log of the service."""
        self._reporter.warned(text)

    # --- large values -------------------------------------------------------------------------------------------------

    def queues(self) -> list[dict[str, Any]]:
        """The queues, by name: slots (None for any number), used, and how many runs are waiting."""
        return self.look(lambda keeper: keeper.queues())

    def set_queue(self, queue: str, slots: int | None) -> Future[Any]:
        """Give a queue so many slots; None for any number. The answer: what `queues` says of it."""
        return self.ask(lambda at, name: requests.QueueRequested(at, name, queue, slots))

    def put_blob(self, text: str, content: bytes) -> None:
        """Take in a large value of an argument. Raises BadArguments for what is none."""
        try:
            encoded = from_bytes(content)
        except BlobDamaged as error:
            raise BadArguments(f"This is not the encoded value {text}: {error}") from None
        self.store.put_blob(_digest_in(text), encoded)

    def blob(self, text: str) -> bytes:
        """The bytes of a large value."""
        return to_bytes(self.store.get_blob(_digest_in(text)))


def _done(answer: Any) -> Future[Any]:
    """An answer that is there already."""
    future: Future[Any] = Future()
    future.set_result(answer)
    return future


def _fill(future: Future[Any], ask: Callable[[], Any]) -> None:
    """Answer a question. Its error is the asker's: the runs go on."""
    with suppress(InvalidStateError):
        try:
            future.set_result(ask())
        except Exception as error:
            future.set_exception(error)


def _digest_in(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES:
        raise BadArguments(f"{text!r} is not the hash of a value.")
    return found
