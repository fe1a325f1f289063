"""The driver's side: open the store, take the fast path, else hand the expression to whoever runs it.

In: an expression and a configuration. Out: `Submission`. Never: evaluates, imports Ray before something has to run.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rayflow.config import Config, check_address
from rayflow.errors import Cancelled, NotFound, StoreUnavailable
from rayflow.evaluator import commands, events
from rayflow.lang.builtins import TASKS
from rayflow.lang.codec import dumps
from rayflow.lang.expressions import Term
from rayflow.lang.options import merge, merge_context
from rayflow.lang.registry import look_again
from rayflow.lang.tasks import task_table
from rayflow.runtime.again import kept_settings, packed_root, recorded
from rayflow.runtime.calls import Surroundings
from rayflow.runtime.circumstances import opening_row
from rayflow.runtime.ending import commit_last, tidy_up
from rayflow.runtime.inline import InlineCarrier, LookingCarrier, NeedsWorker
from rayflow.runtime.loop import Loop, collecting_rarely, reporting
from rayflow.runtime.outbox import LARGEST_TERM_BYTES, now
from rayflow.runtime.reports import Progress, Reporter, Silent, Summary
from rayflow.runtime.requests import (
    Request,
    Wanted,
    check_execution_id,
    check_profiles,
    known_tags,
    new_execution_id,
    packed_context,
    status_of,
    written,
)
from rayflow.runtime.results import pack_expression
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.travelling import keep_travelling, kept_travelling, script_here
from rayflow.runtime.workers import Worker, realized
from rayflow.store.base import Store
from rayflow.store.memory import MemoryStore
from rayflow.store.store import open_store
from rayflow.values.digests import digest, to_hex
from rayflow.values.encoding import decode, decode_inline
from rayflow.values.failures import Failure, exception_from_failure
from rayflow.values.main_module import is_interactive
from rayflow.values.refs import Encoded, ValueRef
from rayflow.values.states import use_project

if TYPE_CHECKING:
    from rayflow.runtime.dry import DryRun


def store_to_read(url: str) -> Store:
    """The store at a URL, to be read; an empty one in memory where there is none."""
    try:
        return open_store(url, create=False, read_only=True)
    except NotFound:
        return MemoryStore()


class Submission(Protocol):
    """An execution that was started."""

    @property
    def execution_id(self) -> str:
        """Its id."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value. Raises the task's exception, Cancelled, or TimeoutError after `timeout` seconds."""

    def cancel(self) -> None:
        """Stop starting new calls, and end what runs."""


class Driver:
    """Submits expressions of one process to one store.

    store: to use in place of the one that the configuration names. debug: stop in the debugger where a task raises.
    """

    def __init__(
        self, config: Config, reporter: Reporter, store: Store | None = None, *, debug: bool = False
    ) -> None:
        self.debug = debug
        self.config = config
        self.reporter = reporter
        self._is_new_store = store is None and "://" not in config.store and not Path(config.store).exists()
        self.store: Store = open_store(config.store) if store is None else store
        self._cluster: Any = None
        self._joining = threading.Lock()
        self.is_recorded = True

    # --- submitting ---------------------------------------------------------------------------------------------------

    def submit(self, expr: Term, wanted: Wanted) -> Submission:
        """Evaluate an expression: from the cache alone if that does, else inline or on Ray.

        In a store that cannot be written, what is cached is answered all the same, without a record. Raises
        BadArguments for an execution id that is none, or that there is already.
        """
        if wanted.execution_id is not None:
            check_execution_id(wanted.execution_id, self.store)
        try:
            return self._start(self._request(expr, wanted))
        except StoreUnavailable as error:
            over = Driver(self.config, self.reporter, self.store.layered())
            answered = over._from_cache(over._request(expr, wanted))
            if answered is None:
                raise
            self.reporter.warned(f"The answer is from the cache; that it was asked for is not recorded. {error}")
            return answered

    def dry_run(self, expr: Term, wanted: Wanted) -> DryRun:
        """What evaluating an expression would do. Nothing is run, or written to the store."""
        from rayflow.runtime import dry

        over = Driver(self.config, Silent(), self.store.layered())
        request = over._request(expr, wanted)
        return dry.dry_run(over.store, request, over.surroundings(request))

    def _start(self, request: Request) -> Submission:
        self.reporter.started(request.execution_id, self.config.store, self._is_new_store)
        self._is_new_store = False
        if request.life:
            self.reporter.recorded(request.execution_id)
        if self.config.inline:
            self._take_along(request)
            return InlineSubmission(self, request)
        if self.config.address is not None:
            check_address(self.config.address)  # also where nothing has to run: the next run may need it
        answered = self._from_cache(request)
        if answered is not None:
            return answered
        if self.config.address is not None:
            from rayflow.runtime.warm import prepare_token

            prepare_token(self.config.address)  # before Ray is imported: it reads the mode then, and never again
        from rayflow.runtime.cluster import cluster_for

        self._take_along(request)
        with self._joining:
            if self._cluster is None:
                self._cluster = cluster_for(self.config, self.reporter)
            cluster = self._cluster
        submission: Submission = cluster.submit(self, request)
        return submission

    def _request(self, expr: Term, wanted: Wanted) -> Request:
        use_project(self.config.project_dir, self.config.files)
        look_again(at_all=is_interactive())
        symbolic, parts = pack_expression(expr, self._keep)
        root = dumps(symbolic)
        table = task_table(TASKS)
        check_profiles(self.config.profiles, table, wanted.options, symbolic)
        execution_id = wanted.execution_id or new_execution_id()
        root_blob = None
        if len(root) > LARGEST_TERM_BYTES:
            root_blob = digest("term", root)
            self.store.put_blob(root_blob, Encoded("bytes", b"", (root,)))
        row = opening_row(execution_id, symbolic, self.config.project_dir)._replace(
            root=root if root_blob is None else None,
            root_blob=root_blob,
            options=written(wanted.options),
            context=written(wanted.context) if wanted.context else None,
            cache=wanted.cache, fail_fast=wanted.fail_fast,
        )
        return Request(
            execution_id, root, table, wanted.options, wanted.cache, row,
            context=packed_context(wanted.context, self._keep), profiles=self.config.profiles,
            tags={**known_tags(row), **wanted.tags}, fail_fast=wanted.fail_fast, parts=parts,
        )

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        self.store.put_blob(ref.digest, encoded)

    def _take_along(self, request: Request) -> None:
        """Let what stands in `__main__` travel with a request; one that is taken up again has it already."""
        if not request.life:
            request.script = script_here()
            kept = keep_travelling(self.store, request.table, request.script)
            request.row = request.row._replace(task_table=kept)

    def surroundings(self, request: Request, channel: str = "") -> Surroundings:
        """What a worker has to know to run this request's tasks. channel: where to send what they print."""
        paths = tuple(dict.fromkeys([self.config.project_dir, *(place for place in sys.path if place)]))
        config = self.config
        return Surroundings(
            config.project_dir, paths, config.store, request.table, channel, config.files, script=request.script
        )

    def _from_cache(self, request: Request) -> Submission | None:
        """The fast path: reduce with a shell that can look up and not run; None at the first call that has to run."""
        worker = Worker(self.surroundings(request), self.store)
        loop = Loop(self.store, lambda loop: LookingCarrier(loop, worker), deferred=True, warned=self.reporter.warned)
        loop.post(request.submitted())
        started = time.monotonic()
        try:
            with collecting_rarely():
                finish = loop.run(request.execution_id)
        except NeedsWorker:
            return None
        self.store.keep([*loop.outbox.deferred_rows(), *request.tag_rows(), request.closing_row(finish)])
        self.report_end(request, finish, time.monotonic() - started)
        return Ended(self, request.execution_id, finish)

    def report_end(self, request: Request, finish: commands.Finish, seconds: float) -> None:
        """Tell the reporter how an execution ended."""
        failures = tuple((to_hex(job_id), name, failure) for job_id, name, failure in finish.failures)
        self.reporter.ended(
            Summary(request.execution_id, status_of(finish), seconds, finish.counts, finish.by_task, failures)
        )

    # --- taking up again ----------------------------------------------------------------------------------------------

    def resume(self, execution_id: str) -> Submission:
        """Take up an execution that was not ended."""
        known = self.store.history().execution_row(execution_id)
        root = packed_root(self.store, known)
        options, context, lacking = kept_settings(known)
        self._warn_of_lacking(lacking)
        travelled, script = kept_travelling(self.store, known.task_table)
        table = {**travelled, **task_table(TASKS)}
        row = known._replace(
            life=known.life + 1,
            status="running",
            finished_at=None,
            error=None,
            host=socket.gethostname(), pid=os.getpid(),
        )
        check_profiles(self.config.profiles, table, options, None)
        cache = self.config.cache if known.cache is None else known.cache  # recorded by an older rayflow
        return self._start(
            Request(
                known.execution_id, root, table, options, cache, row, known.life + 1, fail_fast=bool(known.fail_fast),
                context=packed_context(context, self._keep), profiles=self.config.profiles, script=script,
            )
        )

    def rerun(self, text: str, wanted: Wanted) -> Submission:
        """Evaluate what was recorded under an id once more; what `wanted` says counts more than what was kept."""
        found = recorded(self.store, text, task_table(TASKS))
        self._warn_of_lacking(found.lacking)
        options, context = merge(found.options, wanted.options), merge_context(found.context, wanted.context)
        return self.submit(found.term, replace(wanted, options=options, context=context))

    def _warn_of_lacking(self, names: Sequence[str]) -> None:
        if names:
            self.reporter.warned(
                f"The execution goes on without its option {' and '.join(names)}: only plain data is kept of options."
            )

    # --- results ------------------------------------------------------------------------------------------------------

    def value_of(self, finish: commands.Finish) -> Any:
        """The result as an object; raises the failure as its own exception."""
        if isinstance(finish.outcome, Failure):
            if finish.outcome.type_name == "rayflow.errors.Cancelled":
                raise Cancelled(
                    f"Execution {finish.execution_id} was cancelled. What was finished is kept: "
                    f"`rayflow resume {finish.execution_id}` goes on."
                )
            raise exception_from_failure(finish.outcome)
        return realized(finish.outcome, self._fetch)

    def _fetch(self, ref: ValueRef) -> Any:
        if ref.inline is not None:
            return decode_inline(ref)
        return decode(self.store.get_blob(ref.digest))

    def close(self) -> None:
        """Let the cluster go, and commit what is left."""
        with self._joining:
            cluster, self._cluster = self._cluster, None
        try:
            if cluster is not None:
                cluster.release()
        finally:
            try:
                self.store.close()
            except StoreUnavailable:
                if self.is_recorded:  # else it was told
                    raise


class Ended:
    """A submission that has ended already."""

    def __init__(self, driver: Driver, execution_id: str, finish: commands.Finish) -> None:
        self._driver = driver
        self.execution_id = execution_id
        self._finish = finish

    def result(self, timeout: float | None = None) -> Any:
        return self._driver.value_of(self._finish)

    def cancel(self) -> None:
        """Nothing is left to cancel."""


class InlineSubmission:
    """An execution in this process: it runs while somebody waits for its result."""

    def __init__(self, driver: Driver, request: Request) -> None:
        self._driver = driver
        self._request = request
        self.execution_id = request.execution_id
        self._finish: commands.Finish | None = None
        self._broken: BaseException | None = None
        self._lock = threading.Lock()
        self._loop = self._new_loop()
        driver.store.keep(request.opening_rows())
        driver.reporter.recorded(request.execution_id)
        self._started = time.monotonic()
        self._loop.post(request.submitted())

    def _new_loop(self) -> Loop:
        driver = self._driver
        surroundings = driver.surroundings(self._request)
        printed = driver.reporter.printed if driver.config.logs else None
        worker = Worker(surroundings, driver.store, printed=printed, debug=driver.debug, evaluate=evaluate)
        return Loop(
            driver.store,
            lambda loop: InlineCarrier(loop, worker),
            limits=driver.config.limits,
            warned=driver.reporter.warned,
        )

    def result(self, timeout: float | None = None) -> Any:
        with self._lock:
            if self._broken is not None:
                raise self._broken
            if self._finish is None:
                self._finish = self._run(timeout)
        return self._driver.value_of(self._finish)

    def _run(self, timeout: float | None) -> commands.Finish:
        end = None if timeout is None else time.monotonic() + timeout
        try:
            finish = self._loop.run(self.execution_id, reporting(self._report, end))
        except KeyboardInterrupt as error:
            self._loop.post(events.Cancelled(now(), self.execution_id))
            cancelled = self._loop.run_down(self.execution_id)
            if cancelled is None:
                self._broken = error
                self._driver.store.commit()
            else:
                self._keep(cancelled)
            raise
        except TimeoutError:
            raise  # it goes on with the next result()
        except BaseException as error:
            self._loop.carrier.forget(self.execution_id)
            ended = self._loop.finished(self.execution_id)
            if ended is None or not isinstance(error, StoreUnavailable):
                # Half a tick is lost, so it can never end: it says so again to who asks again.
                self._broken = error
                raise
            finish = ended
        self._keep(finish)
        return finish

    def _keep(self, finish: commands.Finish) -> None:
        driver = self._driver
        warned = driver.reporter.warned
        driver.is_recorded = commit_last(driver.store, [self._request.closing_row(finish)], warned)
        if driver.is_recorded:
            tidy_up(driver.store, self.execution_id, warned)
        seconds = time.monotonic() - self._started
        driver.report_end(self._request, finish, seconds)

    def _report(self) -> None:
        by_task = self._loop.evaluator.explain(self.execution_id)
        self._driver.reporter.progress(Progress(self.execution_id, time.monotonic() - self._started, by_task))

    def cancel(self) -> None:
        self._loop.post(events.Cancelled(now(), self.execution_id))
