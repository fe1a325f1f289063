"""Runs calls in this process: finds their tasks, runs their bodies, packs their results.

In: calls as plain data. Out: replies as plain data: a packed term or a failure, what it cost, what it printed. Never:
decides whether something runs, talks to the scheduler, knows Ray.

The same code runs in a Ray worker and in the user's process (`inline`), so that a body behaves alike in both: it gets
fresh containers and read-only arrays, and its result is encoded and read again.
"""

from __future__ import annotations

import copy
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rayflow.errors import RayflowError, StoreUnavailable, TaskFailed
from rayflow.lang import tasks
from rayflow.lang.created_calls import CreatedCalls, collecting_calls
from rayflow.lang.durable.streams import write_items_by
from rayflow.lang.operations import TABLE
from rayflow.lang.packing.pack import pack
from rayflow.lang.parameters.argument_checks import check_arguments
from rayflow.lang.parameters.kept import KeptObject, refuse_inside
from rayflow.lang.registry import task_source, use_task_source
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import WITH_WITNESSES, dumps, loads
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.records import Row
from rayflow.runtime.output.printing import prints_for_itself, write_item
from rayflow.runtime.protocol.attempts import Call, OperationReply, Reply, WorkerContext
from rayflow.runtime.protocol.main_classes import classes_of
from rayflow.runtime.protocol.stream_items import TakeItems
from rayflow.runtime.worker.body import (
    deadline,
    ended_text,
    hint_of,
    inside_body,
    post_mortem,
    secret_text,
    unused_text,
)
from rayflow.runtime.worker.call_values import CallValues
from rayflow.runtime.worker.enclosure import Enclosure
from rayflow.runtime.worker.kept_objects import loaded_argument
from rayflow.runtime.worker.met_tasks import entries_of
from rayflow.runtime.worker.process_policy import USERS_PROCESS, ProcessPolicy
from rayflow.runtime.worker.process_state import change_so_far, own_process, watch_process
from rayflow.runtime.worker.results import altered_text, input_states, pack_result, with_states
from rayflow.runtime.worker.task_lookup import TaskFinder, forget_modules
from rayflow.runtime.worker.waiting_bodies import AwaitingBody, WaitingBodies, WaitingBody
from rayflow.store.store import Store
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.failures import Failure, Outcome, failure_from_exception
from rayflow.values.files.file_states import use_project
from rayflow.values.filesystems.fsync import WrittenPaths
from rayflow.values.process.main_module import use_driver_script
from rayflow.values.refs import Encoded
from rayflow.values.witnesses import Witness, check


class Worker(TaskFinder):
    """Runs the calls of one project in this process.

    store: where large values are written and read. policy: what it may do to the process. printed: called with (task
    name, stream, text) as a body prints. began: called before a body that has a timeout. evaluate: runs a call whose
    body is a nested execution. debug: stop in the debugger where a body raises.
    """

    def __init__(
        self,
        surroundings: WorkerContext,
        store: Store,
        *,
        policy: ProcessPolicy = USERS_PROCESS,
        printed: Callable[[str, str, str], None] | None = None,
        began: Callable[[Call], None] | None = None,
        evaluate: Callable[[Worker, Call], Reply] | None = None,
        debug: bool = False,
    ) -> None:
        super().__init__(surroundings, policy)
        self.store = store
        self.printed = printed
        self.began = began
        self.evaluate = evaluate
        self.debug = debug
        self.take_items: TakeItems | None = None
        """Gets what bodies write to streams; the carrier sets it, unless this is for a nested evaluation."""
        self.is_nested = False
        """Whether it runs the calls of an evaluation inside one of its calls."""
        self.kept: dict[bytes, Encoded] = {}
        """Large values that the calls have made since the last clearing, by digest."""
        self.written = WrittenPaths()
        """Files that the calls have written and that are perhaps not on the disk yet."""
        self._writers: set[int] = set()
        """The jobs whose calls have written these."""
        watch_process()
        prints_for_itself()
        write_items_by(write_item)
        self._enter()

    def _enter(self) -> None:
        """Make this process one of the project's: its modules are found, and unknown tasks are asked of this worker."""
        before = use_task_source(self)
        use_project(self.surroundings.project_dir, self.surroundings.files)
        paths = self.surroundings.paths
        if not self.policy.has_users_main:
            use_driver_script(self.surroundings.script, classes_of)
        if self.policy.puts_paths_first:
            sys.path[:] = [*paths, *(place for place in sys.path if place not in paths)]
        else:
            sys.path.extend(place for place in paths if place not in sys.path)
        other = before.surroundings.project_dir if isinstance(before, TaskFinder) else None
        if not self.policy.trusts_modules and other != self.surroundings.project_dir:
            forget_modules(other)

    def for_nested_calls(self, execution_id: str) -> Worker:
        """This worker for the calls of an evaluation inside one of its calls: they share all that it has.

        They are not reported to `began`: the outer call was, and its process is ended for it. execution_id: of the
        execution around them, to which their items go.
        """
        nested = copy.copy(self)
        nested.began = None
        nested.is_nested = True
        take = self.take_items
        if take is not None:
            nested.take_items = lambda written: take(written._replace(execution_id=execution_id))
        return nested

    # --- what it does -------------------------------------------------------------------------------------------------

    def run(
        self, call: Call, fetched: Mapping[bytes, Encoded] | None = None, bodies: WaitingBodies | None = None
    ) -> Reply:
        """Run one call. Any outcome of the user's code comes back as a Reply; only KeyboardInterrupt passes through.

        fetched: large values that came with the call. bodies: where a body that awaits may stay.
        """
        if task_source() is not self:
            self._enter()
        if call.under is not None and self.evaluate is not None:
            return self.evaluate(self, call)
        return Attempt(self, call, fetched or {}, bodies).run()

    def operate(
        self, name: str, args: tuple[Term, ...], fetched: Mapping[bytes, Encoded] | None = None
    ) -> OperationReply:
        """Apply an operation: a packed term, or the failure; and entries of tasks that the table lacks."""
        if task_source() is not self:
            self._enter()
        values = CallValues(self.store, fetched or {}, self.kept)
        process = own_process()
        try:
            operands = [values.real(arg) for arg in args]
            with collecting_calls() as created, WrittenPaths() as written:
                with inside_body():
                    term = TABLE[name](*operands)
                process.end_child(None)
                packed = values.conditions.stamped(dumps(pack(term, values.keep)))
                written.sync()
                return OperationReply(packed, None, entries_of(created, self.table))
        except KeyboardInterrupt as error:
            process.end_child(error)
            raise
        except BaseException as error:  # an error of any class from the user's values is a failure
            process.end_child(error)
            return OperationReply(None, self.failure_from(error, f"the operation {name}"))

    def check(self, witnesses: Sequence[Witness]) -> dict[Witness, bool]:
        """Whether each of these witnesses is still valid, asked with the user's code."""
        if task_source() is not self:
            self._enter()
        with inside_body():
            return check(witnesses, self.store, warn_user)

    def note_writer(self, job: int) -> None:
        """Note that the call of this job has written files."""
        self._writers.add(job)

    def sync(self) -> dict[int, Failure]:
        """Sync the files that calls have written, before their results are sent. Gives the failures of the calls whose
        files could not be synced, by job."""
        if not self.written:
            return {}
        try:
            self.written.sync()
        except StoreUnavailable as error:
            return dict.fromkeys(self._writers, self.failure_from(error, "its files"))
        self._writers.clear()
        return {}

    def failure_from(self, error: BaseException, what: str) -> Failure:
        """An error of user code as data. One that is not an Exception would end any process that raises it again, and
        becomes a TaskFailed. what: the source of the error, for people."""
        if not isinstance(error, Exception):
            error = TaskFailed(ended_text(error, what)).with_traceback(error.__traceback__)
        failure = failure_from_exception(error, project_dir=self.surroundings.project_dir)
        hint = hint_of(failure)
        return failure if hint is None else replace(failure, notes=(*failure.notes, hint))


# --- one attempt ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Answer:
    """The packed result of a body. is_paused: the term holds the expressions that the body awaits, in place of a
    result. entries: of tasks that the body has met."""

    term: bytes
    rows: tuple[Row, ...] = ()
    entries: tuple[TaskEntry, ...] = ()
    is_paused: bool = False


@dataclass(slots=True)
class Ran:
    """A body that has run already. error: what it has raised, in place of a result."""

    result: Any = None
    error: BaseException | None = None


class Attempt:
    """One attempt of one call, from finding its task to its reply.

    bodies: where the body may stay when it awaits. waiting: the body, when it has stayed since its last attempt.
    enclosure, ran: what encloses the body, and its end, if it has run already; its enclosure is then left here.
    """

    def __init__(
        self,
        worker: Worker,
        call: Call,
        fetched: Mapping[bytes, Encoded],
        bodies: WaitingBodies | None,
        enclosure: Enclosure | None = None,
        ran: Ran | None = None,
    ) -> None:
        waiting = bodies.take(call) if bodies is not None else None
        self._worker = worker
        self._call = call
        self._bodies = bodies
        self._waiting = waiting
        self._coroutine: AwaitingBody | None = None
        self._kept: dict[str, Term] = {}
        self._ran = ran
        self._enclosure = enclosure or Enclosure(worker.printed, worker.written, waiting, worker.take_items)
        self._output = self._enclosure.output
        self._process = self._enclosure.process
        if waiting is None:
            self._values = CallValues(worker.store, fetched, worker.kept)
        else:
            self._values = waiting.values

    def run(self) -> Reply:
        """Run the body. Raises KeyboardInterrupt alone."""
        answer: _Answer | None = None
        failure: Failure | None = None
        try:
            answer = self._answer()
        except KeyboardInterrupt as error:
            self._process.end_child(error)
            self._enclosure.meter.cost()
            raise
        except BaseException as error:  # also SystemExit from a body: the task has failed, not the worker
            failure = self._failure_from(error)
        self._process.end_child(None)
        if self._enclosure.written:
            self._worker.note_writer(self._call.job)
        return self._reply(answer, failure)

    def _answer(self) -> _Answer:
        """Run the body, and pack its result."""
        worker, call, waiting, enclosure = self._worker, self._call, self._waiting, self._enclosure
        try:
            task = worker.find(call.task, call.task_hash)
            arguments = self._arguments(task) if waiting is None and self._ran is None else {}
            with_files = call.arguments if type(call.arguments) is bytes else b""
            if with_files[:1] != WITH_WITNESSES:
                with_files = b""
            before = input_states(with_files) if with_files and waiting is None and self._ran is None else None
            if self._ran is None:
                enclosure.enter()
            try:
                with deadline(call, worker.policy, worker.began):
                    result = self._result(task, arguments)
                    coroutine = self._coroutine
                    is_paused = coroutine is not None and coroutine.is_paused
                    if task.script and not is_paused:
                        result = _script_result(task.script, result, worker.surroundings.project_dir)
                change = change_so_far() if coroutine is not None and coroutine.is_open else None
            except BaseException as error:
                enclosure.leave_body(error)
                raise
            enclosure.leave_body(None)
            created = enclosure.created
            if with_files:
                self._output.tell(altered_text(with_files, call.task, before))
            reached = coroutine.reached if coroutine is not None else set()
            answer = _Answer(dumps(result), is_paused=True) if is_paused else self._packed(task, result, reached)
            if created or created.tasks or waiting is not None:
                unused = self._unused(created, reached)
                if unused and not is_paused:
                    self._output.tell(unused_text(unused))
                answer.entries = entries_of(created, worker.table)
            else:
                unused = []
            if self._bodies is not None and coroutine is not None and coroutine.is_open:
                created.clear()
                values, output = self._values, self._output
                self._bodies.keep(call, WaitingBody(call.attempt, coroutine, output, created, values, unused, change))
            return answer
        finally:
            enclosure.leave()

    def _arguments(self, task: tasks.Task[..., Any]) -> Mapping[str, Any]:
        """The arguments for the task's function, by parameter; those that are kept stay to be loaded."""
        call = self._call
        arguments = call.arguments
        if not isinstance(arguments, dict):
            began = time.perf_counter()
            terms = loads(arguments)
            arguments = self._values.for_body(terms)
            if self._values.has_kept:
                refuse_inside(arguments, task.name)
            self._kept = {name: terms[name] for name, value in arguments.items() if type(value) is KeptObject}
            self._enclosure.meter.stage_in += time.perf_counter() - began
        self._output.begin(call.label or call.task, None if call.label else arguments, call)
        if task.checks and not self._kept:
            check_arguments(task.checks, arguments, task.name)
        return arguments

    def _loaded(self, task: tasks.Task[..., Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments with the kept objects in their places."""
        if not self._kept:
            return arguments
        began = time.perf_counter()
        user, directory = self._values.user, self._worker.surroundings.project_dir or ""
        loaded = {name: loaded_argument(arguments[name], term, user, directory) for name, term in self._kept.items()}
        self._enclosure.meter.stage_in += time.perf_counter() - began
        if task.checks:
            check_arguments(task.checks, {**arguments, **loaded}, task.name)
        return {**arguments, **loaded}

    def _result(self, task: tasks.Task[..., Any], arguments: Mapping[str, Any]) -> Any:
        """The result of the body; of a coroutine that pauses, the expressions that it waits for."""
        if self._waiting is not None:
            self._coroutine = self._waiting.coroutine
            return self._coroutine.go_on(_awaited_outcomes(self._call))
        if self._ran is None:
            args, kwargs = task.parameters.spread(self._loaded(task, arguments))
            result = task.func(*args, **kwargs)
        elif self._ran.error is not None:
            raise self._ran.error
        else:
            result = self._ran.result
        if not inspect.iscoroutine(result):
            return result
        self._coroutine = _coroutine_body(self._call, self._values)
        may_stay = self._bodies is not None and self._bodies.has_room
        return self._coroutine.run(self._process.around(result), may_stay=may_stay)

    def _packed(self, task: tasks.Task[..., Any], result: Any, reached: set[int]) -> _Answer:
        """The result as it travels, with its conditions and rows about the values in it."""
        began = time.perf_counter()
        conditions = self._values.conditions
        result, state_rows = with_states(result, self._call, self._worker.table.get(self._call.task))
        symbolic, rows = pack_result(result, self._values.keep, reached)
        term = conditions.stamped(dumps(symbolic), with_code=task.follows_code)
        self._enclosure.meter.stage_out += time.perf_counter() - began
        self._output.tell(secret_text(conditions.secrets()))
        return _Answer(term, (*rows, *state_rows))

    def _unused(self, created: CreatedCalls, reached: set[int]) -> list[TaskCall]:
        """The calls that the body has made so far, but that it neither returns nor awaits."""
        earlier = self._waiting.unused if self._waiting is not None else ()
        return [each for each in (*earlier, *created) if id(each) not in reached]

    def _failure_from(self, error: BaseException) -> Failure:
        """The failure of the call, whose body or result has raised this error."""
        self._process.end_child(error)
        coroutine = self._coroutine
        if coroutine is not None and coroutine.is_open:
            coroutine.leave()
        if self._worker.debug and not isinstance(error, RayflowError):
            post_mortem(error)
        failure = coroutine.failure_of(error) if coroutine is not None else None
        return failure or self._worker.failure_from(error, self._call.task)

    def _reply(self, answer: _Answer | None, failure: Failure | None) -> Reply:
        """The reply, with the log. A log that cannot be stored fails this call, and no other one of its bundle."""
        call, cost = self._call, self._enclosure.meter.cost()
        rows: tuple[Row, ...] = answer.rows if answer is not None else ()
        try:
            rows = (*rows, *self._output.rows(call, self._worker.store))
        except Exception as error:
            unlogged = self._worker.failure_from(error, call.task)
            note = f"what it printed could not be kept: {unlogged.summary}"
            failure = unlogged if failure is None else replace(failure, notes=(*failure.notes, note))
        entries = answer.entries if answer is not None else ()
        term = answer.term if answer is not None and failure is None else None
        is_paused = answer is not None and answer.is_paused and failure is None
        return Reply(call.job, call.attempt, term, failure, cost, entries, rows, is_paused)


def _coroutine_body(call: Call, values: CallValues) -> AwaitingBody:
    """A new coroutine body for a call."""
    from rayflow.runtime.worker.coroutines import CoroutineBody  # asyncio is slow to import, and few bodies need it

    return CoroutineBody(_awaited_outcomes(call), keep=values.keep, real=values.for_body)


def _script_result(option: Any, returned: Any, project_dir: str | None) -> Any:
    from rayflow.runtime.worker.scripts.run_script import run_script  # few calls are scripts

    return run_script(returned, as_bytes=option == "bytes", project_dir=project_dir)


def _awaited_outcomes(call: Call) -> dict[bytes, Outcome]:
    """The outcomes of the expressions that the body has awaited, which its call brings along."""
    values, failures = call.known or (b"", {})
    return {**(loads(values) if values else {}), **failures}
