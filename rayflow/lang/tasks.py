"""Tasks: a user's function with a name, a hash and options.

In: functions and options. Out: `Task`, whose calls are lazy; its entry in the task table; the registry of all tasks of
this process. Never: runs a body (the worker does, through `Task.func`).
"""

from __future__ import annotations

import functools
import inspect
import linecache
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from rayflow.errors import BadArguments, BadOption, DuplicateTask, NoSuchTask
from rayflow.lang import sources
from rayflow.lang.codec import dumps
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, TaskRef, Term, task_identity
from rayflow.lang.modules import is_installed, namespace_of, pick, project_of
from rayflow.lang.options import check_options, merge
from rayflow.lang.packing import pack
from rayflow.lang.signatures import Parameters, parameters_of
from rayflow.values.digests import digest, to_hex
from rayflow.values.encoding import encode, to_bytes
from rayflow.values.identity import value_hash
from rayflow.values.nested import copy_containers
from rayflow.values.refs import Encoded, ValueRef

P = ParamSpec("P")
R = TypeVar("R")

_NATIVE = frozenset({list, tuple, dict, set, frozenset})
_NAME = re.compile(r"[A-Za-z_][\w.<>\[\]-]*")


class Task(Generic[P, R]):
    """A function that rayflow may run anywhere and whose results it keeps.

    Calling it gives a lazy expression. `func` is the plain function, for tests and for use as a helper.
    """

    def __init__(
        self,
        func: Callable[P, R],
        options: Mapping[str, Any] | None = None,
        *,
        args: tuple[Term, ...] = (),
        kwargs: Mapping[str, Term] | None = None,
        call_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.func = func
        self.definition_options = dict(options or {})
        self._args = args
        self._kwargs = dict(kwargs or {})
        self._call_options = dict(call_options or {})
        functools.update_wrapper(self, func)
        self.parameters, self._defaults = parameters_of(func)
        self._length = _length_of(func, self.definition_options)

    # --- identity ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def fullname(self) -> str:
        """Namespace and name; the products of one factory carry a digest of the values that they captured."""
        name = self.definition_options.get("name") or self.func.__qualname__
        namespace = self.definition_options.get("namespace")
        if namespace is None:
            module = sys.modules.get(self.func.__module__)
            given = self.func.__globals__.get("rayflow_namespace")
            file = self.func.__globals__.get("__file__") or getattr(module, "__file__", None)
            namespace = given if given is not None else namespace_of(self.func.__module__, file)
        full = f"{namespace}.{name}" if namespace else name
        captured = self._captured()
        return f"{full}[{to_hex(captured)[:8]}]" if captured else full

    def _captured(self) -> bytes | None:
        cells = self.func.__closure__ or ()
        if not cells:
            return None
        contents = []
        for variable, cell in zip(self.func.__code__.co_freevars, cells, strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not yet bound: the function names itself or a later one
                continue
            if content is not self:
                contents.append((variable, content.fullname if isinstance(content, Task) else content))
        return value_hash(contents)

    @functools.cached_property
    def code(self) -> sources.CodeIdentity:
        """What the task's hash is made of: its code and all that it reaches in the project."""
        return sources.code_identity(
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
        identity = digest("version", str(version).encode()) if version is not None else self.code.digest
        parts = [self.fullname.encode(), identity]
        if includes:
            parts.append(value_hash(list(includes)))
        return digest("task_hash", *parts)

    @functools.cached_property
    def project_dir(self) -> str | None:
        """The directory of the project that the function belongs to; None for a function without a file."""
        file = self.func.__globals__.get("__file__")
        if not file or is_installed(file):
            return None
        import os

        return project_of(os.path.dirname(os.path.abspath(file)))

    @property
    def name(self) -> str:
        """The last part of the full name."""
        return self.fullname.rpartition(".")[2]

    @property
    def is_async(self) -> bool:
        """Whether the body is a coroutine function."""
        return inspect.iscoroutinefunction(self.func)

    @property
    def nout(self) -> int | None:
        """How many items the result has, when that is known."""
        return self._length

    @property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.func)

    @property
    def source(self) -> str | None:
        """The function's source text, as it was loaded."""
        return self.code.definitions[0].source if self.code.definitions else None

    @property
    def place(self) -> str:
        """File and line of the definition."""
        return f"{self.func.__code__.co_filename}:{self.func.__code__.co_firstlineno}"

    # --- calls ------------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A lazy call. Its type is the result's, since a lazy value may be used wherever the value may.

        Raises BadArguments when the arguments do not fit the signature. Containers are copied: changing a list after
        the call does not change the call.
        """
        terms: tuple[Term, ...] = args
        named: dict[str, Term] = kwargs
        if self._args or self._kwargs:
            terms = (*self._args, *args)
            named = {**self._kwargs, **kwargs}
        self.parameters.bind(terms, named, name=self.name)
        if any(type(term) in _NATIVE for term in terms):
            terms = tuple([copy_containers(term) if type(term) in _NATIVE else term for term in terms])
        if named:
            named = {key: copy_containers(term) if type(term) in _NATIVE else term for key, term in named.items()}
        call = TaskCall(self.fullname, terms, named or None, self._call_options or None, self._length)
        if _created is not None:
            _created.append(call)
        return call  # type: ignore[return-value]  # lazy; see the docstring

    def options(self, **options: Any) -> Task[P, R]:
        """The same task with other options for its calls. Raises BadOption for an unknown name or a wrong type."""
        checked = check_options(options, where=f"{self.fullname}.options", at_call=True)
        return self._again(call_options=merge(self._call_options, checked))

    def partial(self, *args: Any, **kwargs: Any) -> Task[..., R]:
        """The same task with some arguments given. Raises BadArguments when they do not fit the signature."""
        terms = (*self._args, *args)
        named = {**self._kwargs, **kwargs}
        self.parameters.bind(terms, named, name=self.name, partial=True)
        return self._again(args=terms, kwargs=named)

    def _again(self, **changes: Any) -> Task[P, R]:
        kept: dict[str, Any] = {"args": self._args, "kwargs": self._kwargs, "call_options": self._call_options}
        again: Task[P, R] = Task(self.func, self.definition_options, **{**kept, **changes})
        for name in ("fullname", "code", "hash"):
            if name in self.__dict__:
                again.__dict__[name] = self.__dict__[name]
        return again

    def __get__(self, instance: object, owner: type | None = None) -> Task[P, R]:
        if instance is not None:
            raise BadArguments(
                f"{self.fullname} is a task inside a class and was called on an object. Make it a module-level task "
                "that takes the object as an argument, or a @staticmethod."
            )
        return self

    def __repr__(self) -> str:
        bound = ", ".join([*map(repr, self._args), *(f"{k}={v!r}" for k, v in self._kwargs.items())])
        return f"<task {self.fullname}{f' with ({bound})' if bound else ''}>"

    # --- a task as a value ------------------------------------------------------------------------------------------

    def __rayflow_symbol__(self) -> TaskRef:
        return TaskRef(self.fullname, self.hash, self._args, self._kwargs, self._call_options)

    def __rayflow_identity__(self) -> bytes:
        return task_identity(self.fullname, self.hash, self._args, self._kwargs, self._call_options)

    def __reduce__(self) -> tuple[Any, ...]:
        return find_task, (self.fullname, self._args, self._kwargs, self._call_options)

    def entry(self) -> TaskEntry:
        """What the evaluator and the workers have to know of this task."""
        module, file = self._home()
        defaults = (
            pack(dict(self._defaults), _refuse_large, root=f"{self.fullname}'s defaults") if self._defaults else None
        )
        version = self.definition_options.get("version")
        return TaskEntry(
            name=self.fullname,
            hash=self.hash,
            parameters=self.parameters,
            defaults=dumps(defaults) if defaults is not None else None,
            options={k: v for k, v in self.definition_options.items() if k not in ("name", "namespace")},
            module=module,
            file=file,
            qualname=self.func.__qualname__,
            code=None if module else to_bytes(encode(self.func)),
            source=self.source if version is None else None,
            place=self.place,
            doc=(inspect.getdoc(self.func) or "").partition("\n")[0] or None,
            version=None if version is None else str(version),
            definitions=self.code.definitions if version is None else (),
            unresolved=self.code.unresolved if version is None else (),
        )

    def _home(self) -> tuple[str | None, str | None]:
        """Module and file by which a worker can import the function; (None, None) when it has to travel by value."""
        module = sys.modules.get(self.func.__module__)
        if self.func.__module__ == "__main__" or module is None or "<locals>" in self.func.__qualname__:
            return None, None
        found: Any = module
        for part in self.func.__qualname__.split("."):
            found = getattr(found, part, None)
        if not (found is self.func or (isinstance(found, Task) and found.func is self.func)):
            return None, None  # a lambda, or a name that was bound again: importing would find another function
        return self.func.__module__, getattr(module, "__file__", None)


def _refuse_large(ref: ValueRef, encoded: Encoded, value: Any) -> None:
    raise BadOption(
        f"A default value of type {ref.kind} is {ref.size:,} bytes: too large for a default. Pass it as an argument, "
        "or make it in the body."
    )


def _length_of(func: Callable[..., Any], options: Mapping[str, Any]) -> int | None:
    if options.get("nout") is not None:
        return int(options["nout"])
    annotation = getattr(func, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        if not annotation.lower().startswith(("tuple[", "typing.tuple[")):
            return None
        try:
            annotation = eval(annotation, func.__globals__)
        except Exception:  # an annotation that only a type checker can resolve: the length stays unknown
            return None
    args = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is tuple and args and Ellipsis not in args:
        return len(args)
    return None


def _name_of_task(value: object) -> str | None:
    return value.fullname if isinstance(value, Task) else None


# --- the registry -----------------------------------------------------------------------------------------------------

_registry: dict[str, Task[..., Any]] = {}
_unregistered: list[Task[..., Any]] = []
"""Tasks defined since the registry was last asked: a full name may need a closure that is only complete later."""

_created: list[TaskCall] | None = None
"""Calls made while a body runs, when somebody wants to know which of them were never returned."""


def registered() -> Mapping[str, Task[..., Any]]:
    """Every task of this process by full name. Raises DuplicateTask for two functions under one name."""
    while _unregistered:
        _register(_unregistered.pop(0))
    return _registry


def _register(task: Task[..., Any]) -> None:
    known = _registry.get(task.fullname)
    if known is not None and not _replaces(task, known):
        raise DuplicateTask(
            f"Two tasks are called {task.fullname!r}: one at {known.place}, one at {task.place}. Rename one, or give "
            "it @task(name=...) or a namespace of its own."
        )
    _registry[task.fullname] = task


def _replaces(task: Task[..., Any], known: Task[..., Any]) -> bool:
    """Whether a definition is the same one made again: a module loaded again, a notebook cell run again."""
    new, old = task.func.__code__, known.func.__code__
    if new is old or new.co_filename != old.co_filename:
        # Two notebook cells have two file names, and neither is a file; two modules of one name are two files.
        return new is old or not (linecache.getline(old.co_filename, 1) and _is_file(old.co_filename))
    if new.co_firstlineno == old.co_firstlineno or not _is_file(new.co_filename):
        return True
    # The file was edited and loaded again, unless both definitions still stand in it.
    linecache.checkcache(new.co_filename)
    return not all(
        re.search(rf"def\s+{re.escape(code.co_name)}\b", _text_around(code.co_filename, code.co_firstlineno))
        for code in (new, old)
    )


def _text_around(file: str, line: int) -> str:
    return "".join(linecache.getline(file, number) for number in range(line, line + 12))


def _is_file(name: str) -> bool:
    import os

    return os.path.exists(name)


def find_task(
    fullname: str,
    args: tuple[Term, ...] = (),
    kwargs: Mapping[str, Term] | None = None,
    call_options: Mapping[str, Any] | None = None,
) -> Task[..., Any]:
    """The task of this full name in this process. Raises NoSuchTask with the nearest names."""
    known = registered().get(fullname)
    if known is None:
        for provide in _providers:
            known = provide(fullname)
            if known is not None:
                break
    if known is None:
        known = pick(_registry.values(), fullname, where="This process")
        raise NoSuchTask(f"No task has the full name {fullname!r}.")
    if args or kwargs or call_options:
        return known._again(args=args, kwargs=dict(kwargs or {}), call_options=dict(call_options or {}))
    return known


_providers: list[Callable[[str], Task[..., Any] | None]] = []
"""Who can find a task that no module of this process has defined yet (a worker, in its task table)."""


def provide_tasks(provider: Callable[[str], Task[..., Any] | None]) -> None:
    """Ask `provider` for tasks that this process has not defined."""
    _providers.append(provider)


def forget_tasks(module_names: Iterable[str]) -> None:
    """Forget the tasks that these modules have defined: they are about to be imported anew."""
    names = frozenset(module_names)
    for name in [name for name, known in registered().items() if known.func.__module__ in names]:
        del _registry[name]


class collecting_calls:
    """Collects the calls made while a body runs: `with collecting_calls() as calls`."""

    def __enter__(self) -> list[TaskCall]:
        global _created
        self._before = _created
        _created = []
        return _created

    def __exit__(self, *_: object) -> None:
        global _created
        _created = self._before


@overload
def task(func: Callable[P, R]) -> Task[P, R]: ...


@overload
def task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(func: Callable[P, R] | None = None, **options: Any) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of a function: `@task` or `@task(retries=2, num_cpus=4)`.

    A call of the task gives a lazy expression; `rayflow.run(expr)` or `rayflow run` gives the value. The function
    should be pure: what it returns should depend on its arguments and its code alone. The options are listed in
    `rayflow.lang.options.OPTIONS`.

    Raises BadOption for an unknown option and TypeError for something that is not a function.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        if isinstance(function, Task):
            raise TypeError(f"{function.fullname} is a task already: write @task only once.")
        if isinstance(function, staticmethod):
            function = function.__func__
        if not inspect.isfunction(function):
            raise TypeError(f"@task needs a plain function, not {function!r}. Wrap it: def name(...): return ...")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator function: its result cannot be kept. Return a list instead of "
                "using yield."
            )
        checked = check_options(options, where=f"@task of {function.__qualname__}")
        name = checked.get("name")
        if name is not None and not _NAME.fullmatch(name):
            raise BadOption(f"@task of {function.__qualname__}: {name!r} is no name; use letters, digits, _ and dots.")
        made: Task[P, R] = Task(function, checked)
        _unregistered.append(made)
        if "<locals>" not in function.__qualname__:
            # Module level: nothing is captured, so the name is known and a second one is found at once, at its place.
            registered()
        return made

    return make if func is None else make(func)


def tasks_of(module: Any) -> Iterator[Task[..., Any]]:
    """The tasks that a module defines, in the order of their definition; those that it imported come after."""
    own = [value for value in vars(module).values() if isinstance(value, Task)]
    yield from (each for each in own if each.func.__module__ == module.__name__)
    yield from (each for each in own if each.func.__module__ != module.__name__)


def task_table(extra: Mapping[str, Task[..., Any]] | None = None) -> dict[str, TaskEntry]:
    """The entries of all tasks of this process. A task whose code cannot be hashed is left out with a warning."""
    table: dict[str, TaskEntry] = {}
    for name, each in {**registered(), **(extra or {})}.items():
        try:
            table[name] = each.entry()
        except Exception as error:
            warnings.warn(f"task {name} is left out: {error}", stacklevel=2)
    return table


__all__ = [
    "Parameters", "Task", "find_task", "forget_tasks", "provide_tasks", "registered", "task", "task_table", "tasks_of"
]  # fmt: skip
