"""Where a user's function really runs.

In: calls as plain data. Out: replies as plain data: a packed term or a failure, what it cost, what it printed. Never:
decides whether something runs, talks to the scheduler, knows Ray.

The same code runs in a Ray worker and in this process (`inline`), so that a body behaves alike far and near: fresh
containers, read-only arrays, results that have been encoded and read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import importlib
import inspect
import io
import linecache
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from rayflow.errors import BadModule, NoSuchTask, RayflowError, TaskTimeout
from rayflow.evaluator.events import Cost
from rayflow.lang import modules, tasks
from rayflow.lang.codec import SCALARS, dumps, loads
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, TaskRef, Term, render
from rayflow.lang.operations import TABLE
from rayflow.lang.packing import pack, realize
from rayflow.records import LogRow, Row
from rayflow.store.base import Store
from rayflow.values.digests import digest
from rayflow.values.encoding import decode, decode_inline, from_bytes
from rayflow.values.failures import Failure, failure_from_exception
from rayflow.values.nested import build
from rayflow.values.refs import Encoded, TaggedTree, ValueRef

INLINE_LOG_BYTES = 65536
"""Output of a call up to this size is a row; more is a blob. In bytes."""

TIMEOUT_GRACE_SECONDS = 3.0
"""How long after its timeout a call that cannot be interrupted keeps its worker, before that is ended."""

HOST = socket.gethostname()


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as it travels to a worker.

    arguments: bound arguments by name when all are scalars, else their packed form.
    """

    job: int
    attempt: int
    job_id: bytes
    task: str
    task_hash: bytes
    arguments: dict[str, Any] | bytes
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a call. Exactly one of `term` and `failure` is set."""

    job: int
    attempt: int
    term: bytes | None
    failure: Failure | None
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker process has to know before it can run a project's tasks.

    project_dir: relative paths of the user's are relative to it, where it exists. paths: for sys.path.
    store_url: where large values are kept. channel: goes before everything that the project's tasks print; empty when
    nobody watches.
    """

    project_dir: str | None
    paths: tuple[str, ...]
    store_url: str
    table: Mapping[str, TaskEntry] = field(default_factory=dict)
    channel: str = ""


def pack_arguments(arguments: Mapping[str, Term]) -> dict[str, Any] | bytes:
    """Arguments as they travel: as they are when they are scalars, else packed."""
    if all(type(value) in SCALARS for value in arguments.values()):
        return dict(arguments)
    return dumps(dict(arguments))


class Worker:
    """Runs calls in this process.

    store: where large values are written and read. printed: called with (task name, stream, text) as a body prints.
    timed: called before a body that has a timeout; the process is then ended when the body outlives its timeout and
    cannot be interrupted. Without it, such a body runs on. debug: stop in the debugger where a body raises.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        store: Store,
        *,
        printed: Callable[[str, str, str], None] | None = None,
        timed: Callable[[Call], None] | None = None,
        debug: bool = False,
    ) -> None:
        self.surroundings = surroundings
        self.store = store
        self.printed = printed
        self.timed = timed
        self.debug = debug
        self.table = dict(surroundings.table)
        self.kept: dict[bytes, Encoded] = {}
        """Large values that the calls of this reply have made, by digest."""
        self._verified: dict[tuple[str, bytes], tasks.Task[..., Any]] = {}
        self._provided: dict[str, tasks.Task[..., Any]] = {}
        self._enter()

    def _enter(self) -> None:
        """Make this process one of the project's: unknown tasks are asked for here, its modules are found first."""
        global _current
        before, _current = _current, self
        paths = self.surroundings.paths
        if self._is_users_process():
            sys.path.extend(place for place in paths if place not in sys.path)
            return
        sys.path[:] = [*paths, *(place for place in sys.path if place not in paths)]
        if before is not None and before.surroundings.project_dir != self.surroundings.project_dir:
            _forget_modules(before.surroundings.project_dir)

    def _is_users_process(self) -> bool:
        """Whether this is the user's own process, whose modules are theirs to change."""
        return self.timed is None

    def learn(self, entries: Iterable[TaskEntry]) -> None:
        """Take in tasks that the table lacks: other calls have met them."""
        for entry in entries:
            self.table.setdefault(entry.name, entry)

    # --- a call -------------------------------------------------------------------------------------------------------

    def run(self, call: Call, fetched: Mapping[bytes, Encoded] | None = None) -> Reply:
        """Run one call. Whatever the user's code does comes back as a Reply; only KeyboardInterrupt passes through."""
        if _current is not self:
            self._enter()
        started_at = time.time_ns() // 1000
        wall, cpu = time.perf_counter(), time.thread_time()
        term: bytes | None = None
        failure: Failure | None = None
        entries: tuple[TaskEntry, ...] = ()
        output = _Output(call.task, self.printed)
        try:
            task = self.find(call.task, call.task_hash)
            arguments = self._arguments(call, fetched or {})
            args, kwargs = task.parameters.spread(arguments)
            with tasks.collecting_calls() as created, output, _body(), _deadline(call, self.timed):
                result = task.func(*args, **kwargs)
                if inspect.iscoroutine(result):
                    result = _awaited(result)
            reached: set[int] = set()
            symbolic = pack(result, self._keep, reached=reached)
            term = dumps(symbolic)
            if created:
                unused = [each for each in created if id(each) not in reached]
                if unused:
                    output.tell(_unused_text(unused))
                entries = self._entries_of(created)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit of a body too: the task failed, not the worker
            if self.debug and not isinstance(error, RayflowError):
                _post_mortem(error)
            failure = failure_from_exception(error, project_dir=self.surroundings.project_dir)
            term = None
        cost = Cost(
            started_at,
            time.perf_counter() - wall,
            time.thread_time() - cpu,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            HOST,
            os.getpid(),
        )
        rows = output.rows(call, self.store) if output.text else ()
        return Reply(call.job, call.attempt, term, failure, cost, entries, rows)

    def operate(
        self, name: str, args: tuple[Term, ...], fetched: Mapping[bytes, Encoded] | None = None
    ) -> tuple[bytes | None, Failure | None]:
        """Apply an operation: a packed term, or the failure."""
        if _current is not self:
            self._enter()
        try:
            values = [self._real(arg, fetched or {}) for arg in args]
            with _body():
                return dumps(pack(TABLE[name](*values), self._keep)), None
        except Exception as error:  # whatever Python raises on the user's values is the user's error, as a value
            return None, failure_from_exception(error, project_dir=self.surroundings.project_dir)

    # --- values -------------------------------------------------------------------------------------------------------

    def _arguments(self, call: Call, fetched: Mapping[bytes, Encoded]) -> dict[str, Any]:
        if isinstance(call.arguments, dict):
            return call.arguments
        real: dict[str, Any] = self._real(loads(call.arguments), fetched)
        return real

    def _real(self, term: Term, fetched: Mapping[bytes, Encoded]) -> Any:
        def fetch(ref: ValueRef) -> Any:
            if ref.inline is not None:
                return decode_inline(ref)
            encoded = fetched.get(ref.digest) or self.kept.get(ref.digest)
            return decode(encoded if encoded is not None else self.store.get_blob(ref.digest))

        return realize(term, fetch, _task_of, _build_tree)

    def _keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        """A large value is in the store before anything that names it is sent."""
        self.store.put_blob(ref.digest, encoded)
        self.kept[ref.digest] = encoded

    # --- tasks --------------------------------------------------------------------------------------------------------

    def find(self, name: str, task_hash: bytes) -> tasks.Task[..., Any]:
        """The task of this name with exactly this code. Raises BadModule when this process cannot have that."""
        found = self._verified.get((name, task_hash))
        if found is None:
            found = tasks.registered().get(name)
            if found is None or found.hash != task_hash:
                found = self.provide(name) or tasks.find_task(name)
            if found.hash != task_hash:
                raise BadModule(
                    f"The code of {name} on this worker ({found.place} on {HOST}) is not the code that was submitted: "
                    "the file was changed after the run had started, or this machine has another copy of the project. "
                    "Run it again."
                )
            self._verified[name, task_hash] = found
        return found

    def provide(self, name: str) -> tasks.Task[..., Any] | None:
        """A task that no module here has defined yet: import its module, or take the function that travelled."""
        known = self._provided.get(name)
        if known is not None:
            return known
        entry = self.table.get(name)
        if entry is None:
            return None
        if entry.code is not None:
            return self._by_value(entry, entry.code)
        return self._by_module(entry)

    def _by_value(self, entry: TaskEntry, code: bytes) -> tasks.Task[..., Any]:
        """The task of a function that travelled. It may name itself, or another that names it, as a global."""
        task: tasks.Task[..., Any] = tasks.Task.__new__(tasks.Task)
        partials: list[tuple[tasks.Task[..., Any], dict[str, Any]]] = []

        def partial_later(**changes: Any) -> tasks.Task[..., Any]:
            partials.append((tasks.Task.__new__(tasks.Task), changes))
            return partials[-1][0]

        task.__dict__["_again"] = partial_later
        self._provided[entry.name] = task
        try:
            function = decode(from_bytes(code))
        except BaseException:
            del self._provided[entry.name]
            raise
        del task.__dict__["_again"]
        tasks.Task.__init__(task, function, entry.options)
        task.__dict__.update(fullname=entry.name, hash=entry.hash)
        for partial, changes in partials:
            partial.__dict__.update(task._again(**changes).__dict__)
        return task

    def _by_module(self, entry: TaskEntry) -> tasks.Task[..., Any] | None:
        """The task of a module that is imported here. An older version of the project's modules is let go of first."""
        assert entry.module is not None
        if self._is_users_process():
            if entry.name in tasks.registered():
                return None
        elif entry.module in sys.modules or entry.name in tasks.registered():
            _forget_modules(self.surroundings.project_dir)
        try:
            importlib.import_module(entry.module)
        except ImportError as error:
            if entry.file is None or not os.path.exists(entry.file):
                raise BadModule(
                    f"{entry.name} cannot be run on {HOST}: its module {entry.module} does not import there ({error}). "
                    "Install what it needs on the workers, or give them an environment: runtime_env in rayflow.toml."
                ) from error
            modules.load_file(entry.file)
        known: tasks.Task[..., Any] | None = tasks.registered().get(entry.name)
        if known is None and entry.file is not None and os.path.exists(entry.file):
            # Another module of that name came first on this worker's path.
            modules.load_file(entry.file)
            known = tasks.registered().get(entry.name)
        if known is None:
            raise NoSuchTask(f"The module {entry.module} on this worker ({HOST}) defines no task {entry.name!r}.")
        return known

    def _entries_of(self, created: list[TaskCall]) -> tuple[TaskEntry, ...]:
        """Entries of tasks that the body has called and the table that was sent does not know.

        With them go the tasks of the modules that it has imported: those that were called may call them.
        """
        names = {call._task for call in created} - self.table.keys()
        if not names:
            return ()
        beside = [name for name, task in tasks.registered().items() if "<locals>" not in task.func.__qualname__]
        names.update(name for name in beside if name not in self.table)
        return tuple(tasks.find_task(name).entry() for name in sorted(names))


_current: Worker | None = None
"""The worker of this process that ran last: it is asked for tasks that no module has defined."""


def _provide(name: str) -> tasks.Task[..., Any] | None:
    return _current.provide(name) if _current is not None else None


tasks.provide_tasks(_provide)


def _forget_modules(project_dir: str | None) -> None:
    """Let go of the project's modules, so that the next import reads their files as they are now."""
    if project_dir is None:
        return
    inside = os.path.join(os.path.abspath(project_dir), "")
    gone = {
        name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) is not None
        and os.path.abspath(file).startswith(inside)
        and not modules.is_installed(file)
        and name.partition(".")[0] not in ("rayflow", "__main__")
    }
    for name in gone:
        del sys.modules[name]
    tasks.forget_tasks(gone)
    importlib.invalidate_caches()
    linecache.checkcache()


def _awaited(coroutine: Any) -> Any:
    """The result of a coroutine, also where an event loop is running already (inline in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    results: list[Any] = []
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=wait, name="rayflow-async")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _task_of(ref: TaskRef) -> tasks.Task[..., Any]:
    found: tasks.Task[..., Any] = tasks.find_task(ref.name, ref.args, ref.kwargs, ref.options)
    return found


def _build_tree(tree: TaggedTree, parts: Any) -> Any:
    return build(tree.kind, tree.header, parts)


def _unused_text(unused: list[TaskCall]) -> str:
    shown = ", ".join(render(call, 80) for call in unused[:3])
    more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
    return (
        f"rayflow: created and not returned: {shown}{more}. A call is lazy: it runs only if it is part of what the "
        "task returns.\n"
    )


def _post_mortem(error: BaseException) -> None:
    import pdb
    import traceback

    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)


# --- around a body ----------------------------------------------------------------------------------------------------

_inside = threading.local()


def is_inside_body() -> bool:
    """Whether this thread is running a task's body."""
    return getattr(_inside, "depth", 0) > 0


@contextlib.contextmanager
def _body() -> Iterator[None]:
    _inside.depth = getattr(_inside, "depth", 0) + 1
    try:
        yield
    finally:
        _inside.depth -= 1


@contextlib.contextmanager
def _deadline(call: Call, timed: Callable[[Call], None] | None) -> Iterator[None]:
    """Raise TaskTimeout in the body when its time is over; end the process when even that does not stop it."""
    if call.timeout is None:
        yield
        return
    message = f"{call.task} ran longer than its timeout of {call.timeout:g} s"
    if timed is not None:
        timed(call)
        # A thread of C that does not need Python's lock, which the body may never give back.
        faulthandler.dump_traceback_later(call.timeout + TIMEOUT_GRACE_SECONDS, exit=True, file=_nowhere())
    on_main = threading.current_thread() is threading.main_thread()
    thread = threading.get_ident()
    timer: threading.Timer | None = None
    previous: Any = None

    def ring(*_: Any) -> None:
        raise TaskTimeout(message)

    if on_main:
        previous = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, call.timeout)
    else:
        # Another thread can only be told between two of its bytecodes.
        import ctypes

        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        timer = threading.Timer(call.timeout, raise_in, (ctypes.c_ulong(thread), ctypes.py_object(TaskTimeout)))
        timer.daemon = True
        timer.start()
    try:
        yield
    except TaskTimeout as error:
        if error.args:
            raise
        raise TaskTimeout(message) from None
    finally:
        if on_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        if timer is not None:
            timer.cancel()
        if timed is not None:
            faulthandler.cancel_dump_traceback_later()


@functools.cache
def _nowhere() -> TextIO:
    return open(os.devnull, "w")


class _Output:
    """What a body prints: kept for its log, and told at once, line by line, to whoever watches."""

    def __init__(self, task: str, printed: Callable[[str, str, str], None] | None) -> None:
        self._task = task
        self._printed = printed
        self.text: dict[str, list[str]] = {}
        self._before: tuple[TextIO, TextIO] | None = None

    def __enter__(self) -> None:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(self, "stdout", sys.stdout), _Stream(self, "stderr", sys.stderr)

    def __exit__(self, *_: object) -> None:
        assert self._before is not None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stream):
                stream.finish()
        sys.stdout, sys.stderr = self._before

    def add(self, stream: str, text: str) -> None:
        self.text.setdefault(stream, []).append(text)

    def show(self, stream: str, text: str) -> None:
        if self._printed is not None:
            self._printed(self._task, stream, text)

    def tell(self, text: str) -> None:
        """A line of our own about the task."""
        self.add("stderr", text)
        self.show("stderr", text)

    def rows(self, call: Call, store: Store) -> tuple[Row, ...]:
        rows = []
        for stream, pieces in self.text.items():
            text = "".join(pieces)
            data = text.encode("utf-8", "replace")
            if len(data) <= INLINE_LOG_BYTES:
                rows.append(LogRow(call.job_id, call.attempt, stream, text, None))
            else:
                name = digest("log", data)
                store.put_blob(name, Encoded("text", b"", (data,)))
                rows.append(LogRow(call.job_id, call.attempt, stream, None, name))
        return tuple(rows)


class _Stream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr while a body runs."""

    def __init__(self, output: _Output, name: str, beneath: TextIO) -> None:
        self._output = output
        self._name = name
        self._beneath = beneath
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a read-only attribute in typeshed
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._beneath.fileno()

    def write(self, text: str) -> int:
        self._output.add(self._name, text)
        self._line += text
        if "\n" in self._line:
            whole, _, self._line = self._line.rpartition("\n")
            self._output.show(self._name, whole + "\n")
        return len(text)

    def finish(self) -> None:
        """Show a last line that did not end."""
        if self._line:
            self._output.show(self._name, self._line + "\n")
            self._line = ""
