"""The driver: opens the store, tries the fast path, and else hands the expression to an inline loop or to Ray.

In: an expression and settings. Out: a `Submission`. Never: evaluates an expression itself; imports Ray before a
call has to run.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from rayflow.config import Config, check_address
from rayflow.errors import Cancelled, NotFound, NotSerializable, RayflowError, StoreUnavailable
from rayflow.evaluator import commands, messages
from rayflow.evaluator.hashes import MEANING
from rayflow.evaluator.own_failures import cancelled_text
from rayflow.lang.builtins import TASKS
from rayflow.lang.modules import importable_from
from rayflow.lang.options.options import merge, merge_context
from rayflow.lang.options.runtime_environments import shown_in, with_variables
from rayflow.lang.options.tags import laid_over, tag_pairs
from rayflow.lang.packing.realize import realized
from rayflow.lang.registry import refresh_code
from rayflow.lang.tasks import task_table
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Term
from rayflow.pasting import command
from rayflow.records import JobRow
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import CLOCK, Clock
from rayflow.runtime.draft import Draft
from rayflow.runtime.driver.looking_up import looked_up
from rayflow.runtime.driver.reporting import filtering, print_receiver
from rayflow.runtime.driver.start_time import waited_since
from rayflow.runtime.ending import commit_last, tidy_up
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.keeping.held_executions import HeldExecutions
from rayflow.runtime.listener import ExecutionCounts, LoopListener
from rayflow.runtime.listing_rows import listing_rows
from rayflow.runtime.live.live_board import LiveBoard
from rayflow.runtime.live.outlook import BodySpan, Outlook
from rayflow.runtime.loop import Loop
from rayflow.runtime.outbox import LARGEST_TERM_BYTES
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.execution_row import check_store_stays, opening_row
from rayflow.runtime.protocol.main_classes import keep_travelling, kept_travelling, script_here
from rayflow.runtime.protocol.reports import Progress, Reporter, Silent, Summary, shows_progress
from rayflow.runtime.protocol.requests import (
    Request,
    check_execution_id,
    check_profiles,
    known_tags,
    new_execution_id,
    packed_context,
    status_of,
    written,
)
from rayflow.runtime.signals import Interrupted, exit_when_stopped, interruptible, stopped_by
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.results import pack_expression
from rayflow.runtime.worker.worker import Worker
from rayflow.store.live.live_files import CancelOrder
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.digests import digest, to_hex
from rayflow.values.display.python_warnings import write_own_warnings
from rayflow.values.display.tracebacks import front_door, raise_failure
from rayflow.values.encoding.encoding import decode, decode_inline
from rayflow.values.failures import Failure, exception_from_failure
from rayflow.values.files.file_states import use_project
from rayflow.values.filesystems.filesystems import is_url
from rayflow.values.process.free_memory import give_back
from rayflow.values.process.main_module import is_interactive
from rayflow.values.refs import Encoded, ValueRef
from rayflow.values.witnesses import WitnessCollector

if TYPE_CHECKING:
    from rayflow.runtime.planning.dry import DryRun

MANY_JOBS = 20_000
"""From this many cached jobs on, their evaluator is freed before their rows are written."""


def store_to_read(url: str) -> Store:
    """The store at a URL, read-only; an empty one in memory if the URL has no store."""
    try:
        return open_store(url, create=False, read_only=True)
    except NotFound:
        return open_store(":memory:")


class Submission(Protocol):
    """An execution that was started."""

    @property
    def execution_id(self) -> str:
        """The id of the execution."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value. Raises the task's exception, Cancelled, or TimeoutError after `timeout` seconds."""

    def cancel(self) -> None:
        """Stop starting new calls, and end the running calls."""


class Driver:
    """Submits expressions of one process to one store.

    store: to use in place of the one that the configuration names. debug: stop in the debugger where a task raises.
    clock: the clock of every loop and record of this driver. keeps_actor: the scheduler actor may come from an earlier
    run of this process, and stays for the next one.
    """

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        store: Store | None = None,
        *,
        debug: bool = False,
        clock: Clock = CLOCK,
        keeps_actor: bool = False,
    ) -> None:
        write_own_warnings()
        self._keeps_actor = keeps_actor
        self.clock = clock
        self.debug = debug
        self.config = config
        self.reporter = filtering(reporter, config)
        if store is None:
            check_store_stays(config.store)
        self._is_new_store = store is None and not is_url(config.store) and not os.path.exists(config.store)
        self.store: Store = open_store(config.store) if store is None else store
        self._cluster: Any = None
        self._joining = threading.Lock()
        self.is_recorded = True
        self.live = LiveBoard(self.store.folder, "inline", clock)

    # --- submitting ---------------------------------------------------------------------------------------------------

    def submit(self, expr: Term, settings: RunSettings) -> Submission:
        """Evaluate an expression: from the cache alone if that is enough, else inline or on Ray.

        A store that cannot be written still answers from the cache, without a record. Raises BadArguments for an
        execution id that is not a UUID, or that the store has already.
        """
        since = waited_since()
        if settings.execution_id is not None:
            check_execution_id(settings.execution_id, self.store)
        try:
            return self._start(self._request(expr, settings, since))
        except StoreUnavailable as error:
            over = Driver(self.config, self.reporter, self.store.layered(), clock=self.clock)
            answered = over._from_cache(over._request(expr, settings, since))
            if answered is None:
                raise
            self.reporter.warned(f"The answer is from the cache; that it was asked for is not recorded. {error}")
            return answered

    def dry_run(self, expr: Term, settings: RunSettings) -> DryRun:
        """Find out what an evaluation would do. This runs nothing, and writes nothing to the store."""
        from rayflow.runtime.planning import dry

        over = Driver(self.config, Silent(), self.store.layered(), clock=self.clock)
        request = over._request(expr, settings)
        return dry.dry_run(over.store, request, over.worker_context(request), self.clock)

    def _start(self, request: Request) -> Submission:
        self.reporter.started(request.execution_id, self.config.store, self._is_new_store)
        self._is_new_store = False
        if request.life:
            self.reporter.recorded(request.execution_id)
        if self.config.inline:
            self._take_along(request)
            return InlineSubmission(self, request)
        if self.config.address is not None:
            check_address(self.config.address)  # even if nothing has to run: the next run may need it
        answered = self._from_cache(request)
        if answered is not None:
            return answered
        from rayflow.runtime.on_ray.cluster import cluster_for

        self._take_along(request)
        with self._joining:
            if self._cluster is None:
                self._cluster = cluster_for(self.config, self.reporter, self._keeps_actor)
            cluster = self._cluster
        submission: Submission = cluster.submit(self, request)
        return submission

    def _request(self, expr: Term, settings: RunSettings, since: float | None = None) -> Request:
        use_project(self.config.project_dir, self.config.files)
        refresh_code(at_all=is_interactive())
        symbolic, parts = pack_expression(expr, self._keep)
        root = dumps(symbolic)
        with WitnessCollector() as noticed:
            table = task_table(TASKS)
            context = packed_context(settings.context, self._keep)
        check_profiles(settings, table, symbolic)
        execution_id = settings.execution_id or new_execution_id()
        root_blob = None
        if len(root) > LARGEST_TERM_BYTES:
            root_blob = digest("term", root)
            self.store.put_blob(root_blob, Encoded("bytes", b"", (root,)))
        row = opening_row(execution_id, symbolic, self.config.project_dir, self.clock.now())._replace(
            root=root if root_blob is None else None,
            root_blob=root_blob,
            options=written(shown_in(settings.options)),
            context=written(settings.context) if settings.context else None,
            cache=settings.cache,
            fail_fast=settings.fail_fast,
        )
        tags = tag_pairs(laid_over(known_tags(row), settings.tags))
        return Request(
            execution_id=execution_id,
            root=root,
            table=table,
            settings=replace(settings, context=context, tags=tags),
            row=row,
            parts=(*parts, *listing_rows(noticed.found)),
            waited_since=since,
        )

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        self.store.put_blob(ref.digest, encoded)

    def _take_along(self, request: Request) -> None:
        """Add the tasks and classes of `__main__` to a request; a resumed one has them already."""
        if not request.life:
            request.script = script_here()
            blob = keep_travelling(self.store, request.table, request.script)
            request.row = request.row._replace(task_table=blob)

    def worker_context(self, request: Request, channel: str = "") -> WorkerContext:
        """The settings that a worker needs to run this request's tasks. channel: where to send their prints."""
        paths = tuple(dict.fromkeys(importable_from(self.config.project_dir)))
        config = self.config
        return WorkerContext(
            config.project_dir, paths, config.store, request.table, channel, config.files, script=request.script,
            shows_prints=config.logs,
        )  # fmt: skip

    def _from_cache(self, request: Request) -> Submission | None:
        """The fast path: evaluate with a carrier that looks up and runs nothing; None when a call has to run.

        Nothing is written or reported until the cache has answered everything: else the real run does both.
        """
        held, answered = HeldExecutions(self.store), None
        try:
            answered = self._answered(request, held)
        finally:
            held.leave(request.execution_id, is_over=answered is not None)
        return answered

    def _answered(self, request: Request, held: HeldExecutions) -> Submission | None:
        draft = Draft(self.store)
        warnings: list[str] = []
        ended: list[JobRow] = []
        listener = LoopListener(
            warned=lambda _, text: warnings.append(text),
            job_ended=ended.append if self.job_ended is not None else None,
        )
        worker = Worker(self.worker_context(request), self.store)
        finish = looked_up(request, worker, held, draft, listener, self.clock)
        if finish is None:
            return None
        if finish.counts.get("jobs", 0) >= MANY_JOBS:
            give_back()  # before the rows are written, which takes memory, too
        for text in warnings:
            self.reporter.warned(text)
        for row in ended:
            self.reporter.job_ended(row)
        finish = finish._replace(at=self.clock.now())
        draft.keep([*request.tag_rows(), request.closing_row(finish)])
        self.report_end(request, finish)
        return Ended(self, request.execution_id, finish)

    @property
    def job_ended(self) -> Callable[[JobRow], None] | None:
        """Gets each job that ends; None where nothing wants to know."""
        return self.reporter.job_ended if self.config.log_level == "verbose" else None

    def report_end(self, request: Request, finish: commands.Finish) -> None:
        """Tell the reporter how an execution ended. The duration is the recorded one, from begin to end."""
        seconds = max(0.0, (finish.at - request.row.started_at) / 1_000_000)
        failures = tuple((to_hex(job_id), name, failure) for job_id, name, failure in finish.failures)
        self.reporter.ended(
            Summary(
                request.execution_id, status_of(finish), seconds, finish.counts, finish.by_task, failures,
                request.startup_seconds,
            )
        )  # fmt: skip

    def outlook(self) -> Outlook:
        """The forecast of one execution, from what the store knows of its tasks."""
        return Outlook(self._spans_of, shows_progress(self.reporter))

    def _spans_of(self, names: Iterable[str]) -> dict[str, BodySpan]:
        history = self.store.history()
        try:
            return {name: BodySpan(*span) for name, span in history.task_spans(names).items()}
        finally:
            history.close()

    def record_cancelled(self, request: Request, by: str) -> None:
        """Record that an execution was cancelled, when its scheduler cannot do so any more."""
        commit_last(self.store, [request.cancelled_row(by, self.clock.now())], self.reporter.warned)

    # --- resuming and rerunning ---------------------------------------------------------------------------------------

    def resume(self, execution_id: str) -> Submission:
        """Go on with an execution; with a failed one, as a retry. Raises LeaseHeld if another process evaluates it."""
        from rayflow.runtime.driver.rerun import next_generation, packed_root, recorded_settings

        since = waited_since()
        known = self.store.history().execution_row(execution_id)
        root = packed_root(self.store, known)
        recorded, context, lacking = recorded_settings(known)
        options = with_variables(recorded, self.config.options, f"The execution {execution_id}")
        self._warn_of_lacking(lacking)
        travelled, script = kept_travelling(self.store, known.task_table)
        table = {**travelled, **task_table(TASKS)}
        row = known._replace(
            life=known.life + 1,
            status="running",
            finished_at=None,
            error=None,
            host=socket.gethostname(), pid=os.getpid(), meaning=MEANING.decode(),
        )  # fmt: skip
        settings = RunSettings(
            cache=self.config.cache if known.cache is None else known.cache,  # recorded by an older rayflow
            fail_fast=bool(known.fail_fast),
            options=options,
            context=packed_context(context, self._keep),
            profiles=self.config.profiles,
        )
        check_profiles(settings, table, None)
        request = Request(
            execution_id=known.execution_id,
            root=root,
            table=table,
            settings=settings,
            row=row,
            life=known.life + 1,
            script=script,
            waited_since=since,
            generation=next_generation(self.store, execution_id) if known.status == "failed" else 0,
        )
        return self._start(request)

    def rerun(self, text: str, settings: RunSettings, arguments: Mapping[str, Any] | None = None) -> Submission:
        """Evaluate a recorded execution or call again. settings, arguments: these come before the recorded
        ones."""
        from rayflow.runtime.driver.rerun import recorded_expression, with_arguments

        table = task_table(TASKS)
        found = recorded_expression(self.store, text, table)
        term = with_arguments(found.term, arguments, table) if arguments else found.term
        self._warn_of_lacking(found.lacking)
        options = with_variables(merge(found.options, settings.options), settings.options, "What runs again")
        context = merge_context(found.context, settings.context)
        return self.submit(term, replace(settings, options=options, context=context))

    def _warn_of_lacking(self, names: Sequence[str]) -> None:
        if names:
            self.reporter.warned(
                f"The execution goes on without its option {' and '.join(names)}: only plain data is kept of options."
            )

    # --- results ------------------------------------------------------------------------------------------------------

    def value_of(self, finish: commands.Finish) -> Any:
        """The result as an object; raises the failure as its own exception."""
        if isinstance(finish.outcome, Failure):
            if finish.outcome.is_cancelled:
                raise Cancelled(
                    f"Execution {finish.execution_id} {cancelled_text(finish.outcome)}. What was finished is kept: "
                    f"`{command('resume', finish.execution_id, store=self.config.store)}` goes on."
                )
            raise_failure(exception_from_failure(finish.outcome, project_dir=self.config.project_dir))
        try:
            return realized(finish.outcome, self._fetch)
        except RayflowError:
            raise
        except Exception as error:  # the classes of the user's values may raise anything
            raise NotSerializable(
                f"The result was computed and is kept, and cannot be read in this process ({type(error).__name__}: "
                f"{error}). Can the modules of its classes be imported here, and are they as they were?"
            ) from error

    def _fetch(self, ref: ValueRef) -> Any:
        if ref.inline is not None:
            return decode_inline(ref)
        return decode(self.store.get_blob(ref.digest))

    def close(self) -> None:
        """Release the cluster, and commit the rows that wait."""
        self.live.leave()
        with self._joining:
            cluster, self._cluster = self._cluster, None
        try:
            if cluster is not None:
                cluster.release()
        finally:
            try:
                self.store.close()
            except StoreUnavailable:
                if self.is_recorded:  # if not, the user was warned
                    raise


class Ended:
    """A submission that the cache has answered."""

    def __init__(self, driver: Driver, execution_id: str, finish: commands.Finish) -> None:
        self._driver = driver
        self.execution_id = execution_id
        self._finish = finish

    @front_door
    def result(self, timeout: float | None = None) -> Any:
        return self._driver.value_of(self._finish)

    def cancel(self) -> None:
        """Nothing: the execution has ended."""


class InlineSubmission:
    """An execution in this process: it runs while `result()` waits."""

    def __init__(self, driver: Driver, request: Request) -> None:
        self._driver = driver
        self._request = request
        self.execution_id = request.execution_id
        self._finish: commands.Finish | None = None
        self._broken: BaseException | None = None
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None
        self._is_ordered = False
        self._interrupted: object | None = None
        self._outlook = driver.outlook()
        self._loop = self._new_loop()
        request.begin(driver.clock.now())
        self._loop.submit(request.submitted(driver.clock.now()))
        driver.store.keep(request.opening_rows())
        driver.reporter.recorded(request.execution_id)
        driver.live.begin(
            self.execution_id,
            life=request.life,
            first_life=request.first_life,
            started_at=request.row.started_at,
            cancel=self._ordered,
            running=self._loop.carrier.running_calls,
            warned=driver.reporter.warned,
            commit=self._commit_beside_body,
        )
        self._started = time.monotonic()

    def _new_loop(self) -> Loop[InlineCarrier]:
        driver = self._driver
        context = driver.worker_context(self._request)
        printed = print_receiver(driver.reporter, self.execution_id)
        worker = Worker(context, driver.store, printed=printed, debug=driver.debug, evaluate=evaluate)
        return Loop(
            driver.store,
            lambda loop: InlineCarrier(loop, worker),
            limits=driver.config.capacities,
            listener=self._listener(),
            clock=driver.clock,
        )

    def _listener(self) -> LoopListener:
        """Passes on to the reporter what happens in the loop."""
        reporter = self._driver.reporter

        def warned(_: str, text: str) -> None:
            reporter.warned(text)

        return LoopListener(
            warned=warned, job_ended=self._driver.job_ended, progress=self._report, live=self._driver.live.take
        )

    @front_door
    def result(self, timeout: float | None = None) -> Any:
        with exit_when_stopped(self._driver.reporter.warned), self._lock:
            if self._broken is not None:
                raise self._broken
            if self._finish is None:
                with interruptible(lambda: self._loop.carrier.body is not None) as self._interrupt:
                    self._finish = self._run(timeout)
        return self._driver.value_of(self._finish)

    def _run(self, timeout: float | None) -> commands.Finish:
        try:
            finish = self._loop.run(self.execution_id, None if timeout is None else _patience(timeout))
        except Interrupted as error:
            cancelled = self._run_down(error)
            if cancelled is None:
                raise
            return cancelled
        except KeyboardInterrupt as error:
            by = stopped_by(error, self.execution_id, self._driver.config.store)
            self._loop.post(messages.CancelRequested(self._loop.clock.now(), self.execution_id, by))
            self._run_down(error)
            raise
        except TimeoutError:
            raise  # it goes on with the next result()
        except BaseException as error:
            self._loop.carrier.forget(self.execution_id)
            ended = self._loop.finished(self.execution_id)
            if ended is None or not isinstance(error, StoreUnavailable):
                # Half a tick is lost, so the execution can never end: each result() raises the same error.
                self._break(error)
                raise
            finish = ended
        self._keep(finish)
        return finish

    def _run_down(self, error: KeyboardInterrupt) -> commands.Finish | None:
        """Turn until the interrupted execution has ended, and record its end. None when it can never end."""
        finish = self._loop.run_down(self.execution_id)
        if finish is None:
            self._break(error)
            self._driver.store.commit()
        else:
            self._keep(finish)
        return finish

    def _break(self, error: BaseException) -> None:
        """The execution can never end: each result() raises this error, and nothing is said of it any more."""
        self._broken = error
        self._driver.live.leave(self.execution_id)

    def _keep(self, finish: commands.Finish) -> None:
        driver = self._driver
        warned = driver.reporter.warned
        finish = finish._replace(at=driver.clock.now())
        driver.is_recorded = commit_last(driver.store, [self._request.closing_row(finish)], warned)
        if driver.is_recorded:
            driver.live.end(self.execution_id)
            tidy_up(driver.store, self.execution_id, warned)
        else:
            driver.live.leave(self.execution_id)
        driver.report_end(self._request, finish)

    def _report(self, counts: ExecutionCounts) -> None:
        by_task = counts.get(self.execution_id)
        if by_task is not None:
            elapsed = time.monotonic() - self._started
            rates, left = self._outlook.rates(by_task), self._outlook.left(by_task, elapsed)
            self._driver.reporter.progress(Progress(self.execution_id, elapsed, by_task, rates=rates, left=left))

    def cancel(self) -> None:
        self._loop.post(messages.CancelRequested(self._loop.clock.now(), self.execution_id))

    def _commit_beside_body(self) -> None:
        """Record what has ended while a body runs, perhaps for hours. Between bodies the loop does it.

        The body may end at this moment, or be a nested execution with a loop of its own. So the store looks that no
        part of a tick is recorded.
        """
        if self._loop.carrier.body is not None:
            self._driver.store.commit_beside()

    def _ordered(self, order: CancelOrder) -> None:
        """Another process asks for the end of this execution. A body that runs is interrupted, as Ctrl-C does it."""
        if not self._is_ordered:
            self._is_ordered = True
            self._loop.post(messages.CancelRequested(self._loop.clock.now(), self.execution_id, order.text))
        body = self._loop.carrier.body
        if self._interrupt is not None and body is not None and body is not self._interrupted:
            self._interrupted = body  # once: it may take its time to tidy up
            self._interrupt()


def _patience(seconds: float) -> Callable[[], None]:
    """A function that raises TimeoutError when it is called more than so many seconds from now."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise TimeoutError("The execution has not ended yet; it goes on with the next result().")

    return check
