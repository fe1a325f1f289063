"""Where a user's function really runs.

In: calls as plain data. Out: replies as plain data: a packed term or a failure, what it cost, what it printed. Never:
decides whether something runs, talks to the scheduler, knows Ray.

The same code runs in a Ray worker and in this process (`inline`), so that a body behaves alike far and near: fresh
containers, read-only arrays, results that have been encoded and read again.
"""

from __future__ import annotations

import inspect
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rayflow.errors import RayflowError, TaskFailed
from rayflow.evaluator.events import Cost
from rayflow.lang import tasks
from rayflow.lang.checking import check_arguments
from rayflow.lang.codec import WITH_WITNESSES, dumps, loads
from rayflow.lang.collecting import collecting_calls
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, TaskRef, Term
from rayflow.lang.operations import TABLE
from rayflow.lang.packing import pack
from rayflow.lang.realizing import realize
from rayflow.records import Row
from rayflow.runtime.body import deadline, ended_text, hint_of, inside_body, post_mortem, unused_text
from rayflow.runtime.bringing import entries_of
from rayflow.runtime.calls import Call, Reply, Surroundings
from rayflow.runtime.finding import HOST, Finder, forget_modules
from rayflow.runtime.given import Given
from rayflow.runtime.printing import Output, prints_for_itself
from rayflow.runtime.results import altered_text, pack_result, with_states
from rayflow.runtime.suspended import Bodies, Body
from rayflow.runtime.travelling import made
from rayflow.store.base import Store
from rayflow.values.encoding import decode, decode_inline
from rayflow.values.failures import Failure, Outcome, failure_from_exception
from rayflow.values.hooks import entering
from rayflow.values.main_module import tell
from rayflow.values.nested import build
from rayflow.values.refs import Encoded, TaggedTree, ValueRef
from rayflow.values.states import use_project
from rayflow.values.witnesses import Witness, check

if TYPE_CHECKING:
    from rayflow.runtime.coroutines import Entry


def cost_since(started_at: int, wall: float, cpu: float) -> Cost:
    """What a call took that began at this time, by these clocks."""
    return Cost(
        started_at,
        time.perf_counter() - wall,
        time.thread_time() - cpu,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        HOST,
        os.getpid(),
    )


class Worker(Finder):
    """Runs calls in this process.

    store: where large values are written and read. printed: called with (task name, stream, text) as a body prints.
    timed: called before a body that has a timeout; the process is then ended when the body outlives its timeout and
    cannot be interrupted. Without it, such a body runs on. evaluate: runs the calls that are an evaluation of their
    own. debug: stop in the debugger where a body raises.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        store: Store,
        *,
        printed: Callable[[str, str, str], None] | None = None,
        timed: Callable[[Call], None] | None = None,
        evaluate: Callable[[Worker, Call], Reply] | None = None,
        debug: bool = False,
    ) -> None:
        super().__init__(surroundings, is_users_process=timed is None)
        self.store = store
        self.printed = printed
        self.timed = timed
        self.evaluate = evaluate
        self.debug = debug
        self.kept: dict[bytes, Encoded] = {}
        """Large values that the calls of this reply have made, by digest."""
        self._given = Given()
        prints_for_itself()
        self._enter()

    def _enter(self) -> None:
        """Make this process one of the project's: unknown tasks are asked for here, its modules are found first."""
        global _current
        before, _current = _current, self
        use_project(self.surroundings.project_dir, self.surroundings.files)
        paths = self.surroundings.paths
        if self.is_users_process:
            sys.path.extend(place for place in paths if place not in sys.path)
            return
        tell(self.surroundings.script, made)
        sys.path[:] = [*paths, *(place for place in sys.path if place not in paths)]
        if before is not None and before.surroundings.project_dir != self.surroundings.project_dir:
            forget_modules(before.surroundings.project_dir)

    # --- a call -------------------------------------------------------------------------------------------------------

    def run(
        self, call: Call, fetched: Mapping[bytes, Encoded] | None = None, bodies: Bodies | None = None
    ) -> Reply:
        """Run one call. Whatever the user's code does comes back as a Reply; only KeyboardInterrupt passes through.

        bodies: where a body that awaits may stay, and those that have stayed.
        """
        if _current is not self:
            self._enter()
        if call.under is not None and self.evaluate is not None:
            return self.evaluate(self, call)
        body = bodies.take(call) if bodies is not None else None
        self._given = Given() if body is None else body.given
        started_at = time.time_ns() // 1000
        wall, cpu = time.perf_counter(), time.thread_time()
        term: bytes | None = None
        failure: Failure | None = None
        entries: tuple[TaskEntry, ...] = ()
        output = Output(call.task, self.printed) if body is None else body.output
        rows: tuple[Row, ...] = ()
        entry: Entry | None = None
        is_paused = False
        try:
            task = self.find(call.task, call.task_hash)
            args, kwargs = self._bound(task, call, fetched or {}) if body is None else ((), {})
            with collecting_calls(None if body is None else body.created) as created:
                with output, inside_body(), deadline(call, self.timed):
                    if body is not None:
                        entry = body.entry
                        result = entry.go_on(_known(call))
                    else:
                        result = task.func(*args, **kwargs)
                        if inspect.iscoroutine(result):
                            entry = self._entry(call, fetched or {})
                            result = entry.run(result, may_stay=bodies is not None and bodies.has_room)
                    if task.script and (entry is None or not entry.is_paused):
                        result = self._run_script(task.script, result)
                if type(call.arguments) is bytes and call.arguments[:1] == WITH_WITNESSES:
                    output.tell(altered_text(call.arguments, call.task))
                is_paused = entry is not None and entry.is_paused
                reached: set[int] = entry.reached if entry is not None else set()
                if is_paused:
                    term = dumps(result)
                else:
                    result, states = with_states(result, call, self.table.get(call.task))
                    symbolic, rows = pack_result(result, self._keep, reached)
                    term, rows = dumps(symbolic), (*rows, *states)
                    if task.follows_code:
                        term = self._given.stamped(term)
                unused: list[TaskCall] = []
                if created or created.tasks or body is not None:
                    unused = [*(body.unused if body is not None else ()), *created]
                    unused = [each for each in unused if id(each) not in reached]
                    if unused and not is_paused:
                        output.tell(unused_text(unused))
                    entries = entries_of(created, self.table)
                if bodies is not None and entry is not None and entry.is_open:
                    created.clear()
                    bodies.keep(call, Body(call.attempt, entry, output, created, self._given, unused))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit of a body too: the task failed, not the worker
            if entry is not None and entry.is_open:
                entry.leave()
            if self.debug and not isinstance(error, RayflowError):
                post_mortem(error)
            failure = (entry and entry.failure_of(error)) or self._failure(error, call.task)
            term = None
        cost = cost_since(started_at, wall, cpu)
        try:
            rows = (*(rows if failure is None else ()), *output.rows(call, self.store))
        except Exception as error:  # a log that cannot be kept: this call's failure, and no other's of its bundle
            unkept = self._failure(error, call.task)
            note = f"what it printed could not be kept: {unkept.summary}"
            failure = replace(failure, notes=(*failure.notes, note)) if failure is not None else unkept
            term = None
        return Reply(call.job, call.attempt, term, failure, cost, entries, rows, is_paused and term is not None)

    def _entry(self, call: Call, fetched: Mapping[bytes, Encoded]) -> Entry:
        """What a coroutine is run by."""
        from rayflow.runtime.coroutines import Entry  # asyncio is slow to import, and few bodies need it

        return Entry(_known(call), keep=self._keep, real=lambda term: self._entered(term, fetched))

    def _run_script(self, option: Any, returned: Any) -> Any:
        from rayflow.runtime.scripts import run_script  # few calls are scripts

        return run_script(returned, as_bytes=option == "bytes", project_dir=self.surroundings.project_dir)

    def _failure(self, error: BaseException, what: str) -> Failure:
        """An error of user code as data. What is no Exception would end the process that raises it: it is told as
        one."""
        if not isinstance(error, Exception):
            error = TaskFailed(ended_text(error, what)).with_traceback(error.__traceback__)
        failure = failure_from_exception(error, project_dir=self.surroundings.project_dir)
        hint = hint_of(failure)
        return failure if hint is None else replace(failure, notes=(*failure.notes, hint))

    def operate(
        self, name: str, args: tuple[Term, ...], fetched: Mapping[bytes, Encoded] | None = None
    ) -> tuple[bytes | None, Failure | None, tuple[TaskEntry, ...]]:
        """Apply an operation: a packed term, or the failure; and entries of tasks that the table lacks."""
        if _current is not self:
            self._enter()
        self._given = Given()
        try:
            values = [self._real(arg, fetched or {}) for arg in args]
            with collecting_calls() as created:
                with inside_body():
                    term = TABLE[name](*values)
                packed = self._given.stamped(dumps(pack(term, self._keep)))
                return packed, None, entries_of(created, self.table)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever Python raises on the user's values is the user's error, as a value
            return None, self._failure(error, f"the operation {name}"), ()

    def check(self, witnesses: Sequence[Witness]) -> dict[Witness, bool]:
        """Whether each of these witnesses still holds, asked with the user's code."""
        if _current is not self:
            self._enter()
        with inside_body():
            return check(witnesses, self.store, lambda text: warnings.warn(text, stacklevel=2))

    # --- values -------------------------------------------------------------------------------------------------------

    def _bound(
        self, task: tasks.Task[..., Any], call: Call, fetched: Mapping[bytes, Encoded]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """What the task's function is called with."""
        arguments = self._arguments(call, fetched)
        if task.checks:
            check_arguments(task.checks, arguments, task.name)
        return task.parameters.spread(arguments)

    def _arguments(self, call: Call, fetched: Mapping[bytes, Encoded]) -> dict[str, Any]:
        if isinstance(call.arguments, dict):
            return call.arguments
        real: dict[str, Any] = self._entered(loads(call.arguments), fetched)
        return real

    def _entered(self, term: Term, fetched: Mapping[bytes, Encoded]) -> Any:
        """What a body gets: its values are prepared."""
        with entering():
            return self._real(term, fetched)

    def _real(self, term: Term, fetched: Mapping[bytes, Encoded]) -> Any:
        def fetch(ref: ValueRef) -> Any:
            if ref.witnesses:
                self._given.take_ref(ref)
            if ref.inline is not None:
                return decode_inline(ref)
            encoded = fetched.get(ref.digest) or self.kept.get(ref.digest)
            return decode(encoded if encoded is not None else self.store.get_blob(ref.digest))

        def built(tree: TaggedTree, parts: Any) -> Any:
            made = _build_tree(tree, parts)
            self._given.take_container(made)
            return made

        return realize(term, fetch, _task_of, built)

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        """A large value is in the store before anything that names it is sent."""
        self.store.put_blob(ref.digest, encoded)
        self.kept[ref.digest] = encoded


_current: Worker | None = None
"""The worker of this process that ran last: it is asked for tasks that no module has defined."""


def _provide(name: str) -> tasks.Task[..., Any] | None:
    return _current.provide(name) if _current is not None else None


tasks.provide_tasks(_provide)


def _known(call: Call) -> dict[bytes, Outcome]:
    """The outcomes of what its body has awaited that a call brings with it."""
    values, failures = call.known or (b"", {})
    return {**(loads(values) if values else {}), **failures}


def realized(term: Term, fetch: Callable[[ValueRef], Any]) -> Any:
    """The objects that a symbolic value stands for, with this process's tasks. fetch: reads a reference."""
    return realize(term, fetch, _task_of, _build_tree)


def _task_of(ref: TaskRef) -> tasks.Task[..., Any]:
    found: tasks.Task[..., Any] = tasks.find_task(ref.name, ref.args, ref.kwargs, ref.options)
    return found


def _build_tree(tree: TaggedTree, parts: Any) -> Any:
    return build(tree.kind, tree.header, parts)
