"""Tasks: a user's function with a name, a hash and options.

In: functions and options. Out: `Task`, whose calls are lazy; its entry in the task table; the registry of all tasks of
this process. Never: runs a body (the worker does, through `Task.func`).
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from rayflow.errors import BadArguments, BadOption, BadTask
from rayflow.installation import is_installed
from rayflow.lang import created_calls
from rayflow.lang.admission.settings import AdmissionSettings
from rayflow.lang.code.captured_values import captured_by
from rayflow.lang.code.code_graph import CodeIdentity
from rayflow.lang.code.counted_distributions import counted_versions
from rayflow.lang.code.identity import code_identity
from rayflow.lang.modules import namespace_of, project_of
from rayflow.lang.options.options import check_of_effect, check_options, merge, merge_context
from rayflow.lang.packing.pack import notice_task
from rayflow.lang.parameters.argument_checks import Parameter, check_arguments, checks_of, fit_by_type
from rayflow.lang.parameters.signatures import Parameters, length_of, parameters_of
from rayflow.lang.registry import find_task, forget_tasks, register, registered
from rayflow.lang.task_table import TaskEntry, entry_of
from rayflow.lang.terms.expressions import FIXED, TaskCall, TaskRef, Term
from rayflow.lang.terms.task_identity import task_identity
from rayflow.values.digests import digest, to_hex
from rayflow.values.display.tracebacks import front_door, hide_frames
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now, opened
from rayflow.values.encoding.whole_numbers import text_of

if TYPE_CHECKING:
    from rayflow.lang.events.timetables import Timetable

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)

_MOST_KINDS = 64
"""How many combinations of the types of arguments a task remembers as fitting."""
_MOST_TYPES = 16
"""How many arguments a call may have that is remembered so."""

_NAME = re.compile(r"[A-Za-z_][\w<>\[\]-]*(\.[\w<>\[\]-]+)*")
_NAMESPACE = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True)
class FlowSettings:
    """What `@flow` says about the runs of a task.

    on: the events that start a run: the name of each, with the packed condition, or None. timeout_seconds: how long a
    run may take; None for no limit. on_failure, on_cancel: full names of the flows that follow such an end. timetable:
    when the clock starts a run; overlap, catch_up_seconds: as for `flow`. admission: what its runs ask before they run;
    None for nothing.
    """

    on: tuple[tuple[str, bytes | None], ...] = ()
    timeout_seconds: float | None = None
    on_failure: str | None = None
    on_cancel: str | None = None
    timetable: Timetable = ()
    overlap: str = "skip"
    catch_up_seconds: float = 0.0
    admission: AdmissionSettings | None = None


class Task(Generic[P, R_co]):
    """A function that rayflow runs on a worker and whose results it caches. `@task` makes one.

    A call returns a lazy expression. `func` is the plain function: for tests, and to call it as a helper.
    """

    def __init__(self, func: Callable[P, R_co], options: Mapping[str, Any] | None = None) -> None:
        self.func = func
        self.definition_options = dict(options or {})
        self._args: tuple[Term, ...] = ()
        self._kwargs: dict[str, Term] = {}
        self._call_options: dict[str, Any] = {}
        functools.update_wrapper(self, func, updated=())
        self.parameters, self.defaults = parameters_of(func)
        self._length = length_of(func, self.definition_options.get("nout"))
        self._fitting: set[tuple[Any, ...]] = set()
        self.script = self.definition_options.get("script", False)
        self._is_static = False
        self._inner: Task[..., Any] | None = None
        self._outer: Task[..., Any] | None = None
        self._layer = 0
        self._suffix = ""
        self.flow_settings: FlowSettings | None = None
        """What a flow says about its runs; None for other tasks."""
        config_args = self.definition_options.get("config_args") or ()
        unknown = [name for name in config_args if name not in self.parameters.names]
        if unknown:
            raise BadOption(
                f"@task of {described(func)}: config_args names {unknown[0]!r}, which is not a parameter; "
                f"the parameters are: {', '.join(self.parameters.names)}."
            )

    @property
    def origin(self) -> Any:
        """The function that the user wrote, under the decorators between it and @task."""
        return inspect.unwrap(self.func)

    # --- identity ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def fullname(self) -> str:
        """Namespace and name; the products of one factory carry a digest of the values that they captured."""
        captured = captured_by(self)
        return f"{self._bare_name}[{to_hex(captured)[:8]}]" if captured else self._bare_name

    @functools.cached_property
    def _bare_name(self) -> str:
        """Namespace and name, without the digest of the captured values."""
        origin = self.origin
        name = self.definition_options.get("name") or self.func.__qualname__
        namespace = self.definition_options.get("namespace")
        if namespace is None:
            module = sys.modules.get(origin.__module__)
            given = origin.__globals__.get("rayflow_namespace")
            file = origin.__globals__.get("__file__") or getattr(module, "__file__", None)
            namespace = given if given is not None else namespace_of(origin.__module__, file)
        return f"{namespace}.{name}{self._suffix}" if namespace else f"{name}{self._suffix}"

    @functools.cached_property
    def code(self) -> CodeIdentity:
        """The identity of the task's code, and of all code that it uses in the project."""
        return code_identity(
            self.func,
            project_dir=self.project_dir,
            track_helpers=self.definition_options.get("track_helpers", True),
            is_task=_name_of_task,
        )

    @functools.cached_property
    def hash(self) -> bytes:
        """The task_hash: 20 bytes over the full name and the code identity, or the version where one is given."""
        version = self.definition_options.get("version")
        includes = self.definition_options.get("hash_includes")
        source = self.definition_options.get("source")
        if version is not None:
            identity = digest("version", text_of(version).encode())
        else:
            identity = digest("source", source.encode()) if source is not None else self.code.digest
        parts = [self.fullname.encode(), identity]
        if includes:
            parts.append(value_hash(list(includes)))
        if self.script:
            parts.append(f"script:{self.script}".encode())
        counted = self.counted_versions()
        if counted:
            parts.append(b"distributions:" + json.dumps(counted).encode())
        return digest("task_hash", *parts)

    def counted_versions(self) -> dict[str, str]:
        """The versions of distributions that count for its identity, by name: of the option `hash_distributions`.
        Raises BadOption for a name that is not installed here."""
        option = self.definition_options.get("hash_distributions")
        files: list[str] = []
        if option is True:
            places = {each.place.rpartition(":")[0] for each in self.code.definitions if each.place}
            own = self.origin.__code__.co_filename
            files = [path for each in places if os.path.isfile(path := os.path.join(self.project_dir or "", each))]
            files = [*files, own] if os.path.isfile(own) else files
        return counted_versions(option, files, f"@task of {described(self.func)}")

    @functools.cached_property
    def follows_code(self) -> bool:
        """Whether results depend on the code of the classes of its arguments. They do where they depend on helpers."""
        given = self.definition_options
        return given.get("version") is None and given.get("source") is None and given.get("track_helpers", True)

    @functools.cached_property
    def project_dir(self) -> str | None:
        """The directory of the project that the function belongs to; None for a function without a file."""
        file = self.origin.__globals__.get("__file__")
        if not file or is_installed(file):
            return None
        return project_of(os.path.dirname(os.path.abspath(file)))

    @property
    def name(self) -> str:
        """The last part of the full name."""
        return self.fullname.rpartition(".")[2]

    @functools.cached_property
    def checks(self) -> tuple[Parameter, ...]:
        """The checks of its arguments, compiled from the annotations."""
        if self._inner is not None and "__signature__" not in vars(self.func):
            return self._inner.checks
        return checks_of(self.func) if self.definition_options.get("check_types", True) else ()

    @property
    def is_async(self) -> bool:
        """Whether the user's function is a coroutine function, also under decorators."""
        return inspect.iscoroutinefunction(self.origin) or inspect.iscoroutinefunction(self.func)

    @property
    def is_effect(self) -> bool:
        """Whether its calls are effects: each is made once at its place in a run."""
        return self.definition_options.get("effect") is True

    @property
    def nout(self) -> int | None:
        """How many items the result has; None if that is not known."""
        return self._length

    @property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.func)

    @property
    def source(self) -> str | None:
        """The function's source text, as it was loaded; or the text given as the option `source`.

        Of a task that wraps another one, that one's.
        """
        given: str | None = self.definition_options.get("source")
        if given is not None:
            return given
        if self._inner is not None:
            return self._inner.source
        return self.code.definitions[0].source if self.code.definitions else None

    @property
    def place(self) -> str:
        """File and line of the definition."""
        code = self.origin.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    # --- calls ------------------------------------------------------------------------------------------------------

    # The call of an async task is its result, not a coroutine.
    @overload
    def __call__(self: Task[P, Coroutine[Any, Any, S]], *args: P.args, **kwargs: P.kwargs) -> S: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A lazy call. For type checkers it has the type of the result, since a lazy value may stand wherever the value
        may. (So they accept `await gather(f(1))`, but not `await f(1)`.)

        The call has its arguments as they are now. An argument that is changed after the call does not change the call,
        or raises ArgumentChanged when the call is evaluated. Raises BadArguments when the arguments do not fit the
        signature or the annotations.
        """
        try:
            # A plain call costs little: where the types tell that the arguments fit, and that nobody can change them,
            # they are neither bound nor checked nor copied.
            kinds = tuple(map(type, args)) if not kwargs else (*map(type, args), *kwargs, *map(type, kwargs.values()))
            if kinds not in self._fitting:
                args, kwargs = self._fitted(args, kwargs, kinds)
            call = TaskCall(self.fullname, args, kwargs or None, self._call_options or None, self._length)
            if created_calls.active:
                created_calls.note_call(call)
            return call
        except BaseException as error:  # a front door, without the cost of one more function
            hide_frames(error)
            raise

    def _fitted(
        self, args: tuple[Term, ...], kwargs: dict[str, Term], kinds: tuple[Any, ...]
    ) -> tuple[tuple[Term, ...], dict[str, Term]]:
        """The terms of a call, as they are now. kinds: their types, and the keywords."""
        terms, named = args, kwargs
        has_bound = bool(self._args or self._kwargs)
        if has_bound:
            terms = (*self._args, *args)
            named = {**self._kwargs, **kwargs}
        bound = self.parameters.bind(terms, named, name=self.name)
        if self.checks:
            if has_bound:
                bound = opened(bound)
            check_arguments(self.checks, bound, self.name)
        if FIXED.issuperset(map(type, terms)) and FIXED.issuperset(map(type, named.values())):
            is_room = len(self._fitting) < _MOST_KINDS and len(kinds) <= _MOST_TYPES
            if is_room and not has_bound and fit_by_type(self.checks, bound):
                self._fitting.add(kinds)
            return terms, named
        return tuple([as_now(term) for term in terms]), {key: as_now(term) for key, term in named.items()}

    @front_door
    def options(self, **options: Any) -> Task[P, R_co]:
        """The same task with other options for its calls. Raises BadOption for an unknown name or a wrong type."""
        where = f"{self.fullname}.options"
        checked = check_options(options, where=where, at_call=True)
        check_of_effect(checked, self.is_effect, where)
        kept = {name: as_now(value) for name, value in checked.items()}
        return self._again(call_options=merge(self._call_options, kept))

    @front_door
    def export_options(self, **options: Any) -> Task[P, R_co]:
        """The same task with options for every call that its calls make below them. Raises BadOption as `options`."""
        return self.options(export_options=options)

    @front_door
    def update_context(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Task[P, R_co]:
        """The same task with values that `get_context` reads in its calls and below: `update_context(a=1)`, or
        `update_context({"a": {"b": 1}})` for `get_context("a.b")`. Raises BadOption for a lazy value."""
        if values is not None and not isinstance(values, Mapping):
            raise BadOption(
                f"{self.fullname}.update_context takes names and values, or a dict of them, not {values!r}: write "
                "update_context(a=1)."
            )
        return self.options(context=merge_context(values or {}, named))

    @front_door
    def partial(self, *args: Any, **kwargs: Any) -> Task[..., R_co]:
        """The same task with some arguments given. Raises BadArguments when they do not fit the signature."""
        terms = (*self._args, *map(as_now, args))
        named = {**self._kwargs, **{name: as_now(term) for name, term in kwargs.items()}}
        self.parameters.bind(terms, named, name=self.name, partial=True)
        return self._again(args=terms, kwargs=self.parameters.in_order(named))

    def _again(
        self,
        *,
        args: tuple[Term, ...] | None = None,
        kwargs: dict[str, Term] | None = None,
        call_options: dict[str, Any] | None = None,
    ) -> Task[P, R_co]:
        """The same task with other arguments or options. Only these differ; a copy costs less than a new one."""
        again: Task[P, R_co] = object.__new__(type(self))
        again.__dict__.update(self.__dict__)
        again._args = self._args if args is None else args
        again._kwargs = self._kwargs if kwargs is None else kwargs
        again._call_options = self._call_options if call_options is None else call_options
        if again._args or again._kwargs:
            again._fitting = set()  # the types of the given arguments alone do not tell whether the call fits
        return again

    @front_door
    def __get__(self, instance: object, owner: type | None = None) -> Task[P, R_co]:
        if instance is not None and not self._is_static:
            raise BadArguments(
                f"{self.fullname} is a task inside a class and was called on an object. Make it a module-level task "
                "that takes the object as an argument, or a @staticmethod."
            )
        return self

    def __repr__(self) -> str:
        bound = ", ".join([*map(preview, self._args), *(f"{k}={preview(v)}" for k, v in self._kwargs.items())])
        return f"<task {self.fullname}{f' with ({bound})' if bound else ''}>"

    # --- a task as a value ------------------------------------------------------------------------------------------

    def __rayflow_symbol__(self) -> TaskRef:
        created_calls.note_task(self.fullname)
        return TaskRef(self.fullname, self.hash, self._args, self._kwargs, self._call_options)

    def __rayflow_identity__(self) -> bytes:
        return task_identity(self.fullname, self.hash, self._args, self._kwargs, self._call_options)

    def bound_identity(self) -> bytes:
        """The identity of the additions by `partial` and `options`; empty if there are none."""
        if not (self._args or self._kwargs or self._call_options):
            return b""
        return task_identity("", b"", self._args, self._kwargs, self._call_options)

    def __reduce__(self) -> tuple[Any, ...]:
        notice_task(self.fullname, self.hash)
        created_calls.note_task(self.fullname)
        return find_task, (self.fullname, self._args, self._kwargs, self._call_options)

    def entry(self) -> TaskEntry:
        """This task as data, for the evaluator and the workers."""
        return entry_of(self)


def _name_of_task(value: object) -> str | None:
    return value.fullname if isinstance(value, Task) else None


# --- making tasks -----------------------------------------------------------------------------------------------------


@overload
def task(func: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@front_door
def task(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task of a function: `@task` or `@task(retries=2, num_cpus=4)`.

        @task(cache_for="1d")
        def prices(day):
            return download(day)

        run(prices("2026-01-02"))

    A call of the task returns a lazy expression; `rayflow.run(expr)` or `rayflow run` gives the value. The function
    should be pure: its result should depend only on its arguments and its code. An `async def` function may await
    expressions. The table `rayflow.lang.options.options.OPTIONS` lists the options.

    Raises BadOption for an unknown option or a wrong value, BadTask for anything but a plain function, DuplicateTask
    where another task has the name.
    """

    @front_door
    def make(function: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(function, Task):
            raise BadTask(f"{described(function.origin)} is a task already. Write @task only once.")
        is_static = isinstance(function, staticmethod)
        if isinstance(function, staticmethod):
            function = function.__func__
        if not inspect.isfunction(function):
            raise BadTask(f"@task needs a plain function, not {described(function)}. {_advice(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadTask(
                f"{described(function)} is a generator function, and rayflow cannot keep a generator. Return a list "
                "instead of using yield."
            )
        where = f"@task of {described(function)}"
        checked = check_options(options, where=where)
        name = checked.get("name")
        if name is not None and not _NAME.fullmatch(name):
            raise BadOption(f"{where}: {preview(name)} is not a valid name; use letters, digits, _ and dots.")
        _check_namespace(checked.get("namespace"), where)
        if "namespace" not in checked:
            of_module = inspect.unwrap(function).__globals__.get("rayflow_namespace")
            _check_namespace(of_module, f"{where}: rayflow_namespace")
        made: Task[..., Any] = Task(function, checked)
        made._is_static = is_static
        register_task(made)
        return made

    return make if func is None else make(func)


def described(thing: Any) -> str:
    """A decorated thing in words for an error, with its file and line where these are known."""
    if isinstance(thing, Task):
        return f"the task {described(thing.origin)}"
    kind = "the class " if isinstance(thing, type) else ""
    name = getattr(thing, "__qualname__", None)
    place = _place_of(inspect.unwrap(getattr(thing, "__func__", thing)))
    return f"{kind}{name if isinstance(name, str) else preview(thing)}{f' ({place})' if place else ''}"


def _place_of(thing: Any) -> str:
    code = getattr(thing, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):  # built in, an instance, or typed in somewhere
        return ""


def _advice(thing: Any) -> str:
    if isinstance(thing, type):
        return "Write a function that makes the object: @task def make(...): return ..."
    if isinstance(thing, classmethod):
        return "Make it a @staticmethod, or a function outside the class."
    if inspect.ismethod(thing):
        return "Write a function that takes the object as an argument."
    if not callable(thing):
        return "Options have names: @task(retries=2)."
    return "Write a function that calls it: @task def call(...): return ..."


def _check_namespace(namespace: Any, where: str) -> None:
    if namespace is None or namespace == "":
        return
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise BadOption(
            f"{where}: {preview(namespace)} is not a valid namespace; use letters, digits, _ and -, with one "
            "dot between parts."
        )


def register_task(made: Task[..., Any]) -> None:
    """Add a new task to the registry. Raises DuplicateTask where another task has its name."""
    # At module level nothing is captured, so the name is known and a second one is found at once, at its place.
    register(made, at_once="<locals>" not in made.func.__qualname__)


def tasks_of(module: Any, *, imported: bool = True) -> Iterator[Task[..., Any]]:
    """The tasks that a module defines, in the order of their definition; those that it imported come after."""
    found = [value for value in vars(module).values() if isinstance(value, Task)]
    yield from (each for each in found if each.func.__module__ == module.__name__)
    if imported:
        yield from (each for each in found if each.func.__module__ != module.__name__)


def task_table(extra: Mapping[str, Task[..., Any]] | None = None) -> dict[str, TaskEntry]:
    """The entries of all tasks of this process, and of the modules that their bodies import.

    A task whose code cannot be hashed is left out with a warning.
    """
    table: dict[str, TaskEntry] = {}
    waiting = {**registered(), **(extra or {})}
    seen: set[str] = set()
    while waiting:
        seen.update(waiting)
        for name, each in waiting.items():
            try:
                table[name] = each.entry()
            except Exception as error:
                code = each.origin.__code__
                text = f"The task {name} cannot be run, since its code cannot be told: {error}"
                warn_user(text, place=(code.co_filename, code.co_firstlineno))
        # To hash a body, the modules of the project that it imports have been imported, and their tasks defined.
        waiting = {name: each for name, each in registered().items() if name not in seen}
    return table


__all__ = [
    "Parameters", "Task", "find_task", "forget_tasks", "registered", "task", "task_table", "tasks_of"
]  # fmt: skip
