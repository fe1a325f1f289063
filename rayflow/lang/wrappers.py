"""Decorators over tasks.

In: a function that takes a task and returns the function to run in its place. Out: a decorator that makes a task of
that function, under the name of the first task. Never: runs either of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from rayflow.errors import BadTask
from rayflow.lang.options.options import check_options
from rayflow.lang.registry import rename
from rayflow.lang.tasks import Task, described, register_task, task
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

_GENERIC = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


@overload
def wraps_task(wrapper: Callable[[Task[P, R]], Callable[Q, S]], /) -> Callable[[Callable[P, R]], Task[Q, S]]: ...


@overload
def wraps_task(
    **options: Any,
) -> Callable[[Callable[[Task[P, R]], Callable[Q, S]]], Callable[[Callable[P, R]], Task[Q, S]]]: ...


@front_door
def wraps_task(wrapper: Any = None, /, **options: Any) -> Any:
    """Make a decorator for tasks, from a function that takes a task and returns the function to run in its place.

        @wraps_task
        def doubled(inner):
            def wrapper(*args, **kwargs):
                return 2 * inner.func(*args, **kwargs)
            return wrapper

        @doubled
        @task
        def three():
            return 3

    The new task has the name, signature, documentation and options of the task below it; `options` are added to these.
    Its hash covers the code of the wrapper, the values that the wrapper has captured (the arguments of a decorator with
    arguments), and the code of the task below. `inner.func(...)` runs the body below as part of this one. `inner(...)`
    is a lazy call of the task below, whose name is then `three.inner`. Decorators may be stacked. Above a plain
    function the decorator makes a task of it, so `@task` may be left out where it has no options.

    Raises BadOption for an unknown option. The decorator raises BadTask above anything but a task or a function.
    """

    checked = check_options(options, where="@wraps_task")

    @front_door
    def make(wrap: Callable[[Task[..., Any]], Callable[..., Any]]) -> Callable[[Callable[..., Any]], Task[..., Any]]:
        @front_door
        @functools.wraps(wrap)
        def decorate(inner: Callable[..., Any] | None = None) -> Task[..., Any]:
            if inner is None:
                name = wrap.__name__
                raise BadTask(
                    f"@{name} is a decorator already: write it without brackets. One that takes arguments is a "
                    f"function of them that makes {name} and returns it."
                )
            return _wrapped(wrap, _as_task(wrap, inner), checked)

        return decorate

    return make if wrapper is None else make(wrapper)


def _as_task(wrap: Callable[..., Any], inner: Any) -> Task[..., Any]:
    if isinstance(inner, Task):
        return inner
    if not inspect.isfunction(inner.__func__ if isinstance(inner, staticmethod) else inner):
        raise BadTask(f"@{wrap.__name__} stands above a task or a plain function, and {described(inner)} is neither.")
    return task(inner)


def _wrapped(
    wrap: Callable[[Task[..., Any]], Callable[..., Any]], inner: Task[..., Any], options: Mapping[str, Any]
) -> Task[..., Any]:
    if inner._args or inner._kwargs or inner._call_options:
        what = f"{described(inner)} has some"
        raise BadTask(f"@{wrap.__name__} wraps a task before arguments or options are given: {what}.")
    if inner._suffix:
        what = f"{described(inner)} is wrapped already"
        raise BadTask(f"{what}: make another task of its function for another decorator.")
    # From here on the new task has the name. The task below gets another one, which the wrapper may use.
    rename(inner, f".inner{inner._layer or ''}")
    function = wrap(inner)
    if not inspect.isfunction(function) or function is inner.func:
        what = described(wrap)
        raise BadTask(f"@{what} has to return a function of its own that calls the task, not {preview(function)}.")
    own = inspect.signature(function, follow_wrapped=False)
    takes_all = all(parameter.kind in _GENERIC for parameter in own.parameters.values())
    assigned = functools.WRAPPER_ASSIGNMENTS if takes_all else ("__module__", "__name__", "__qualname__", "__doc__")
    functools.update_wrapper(function, inner.func, assigned=assigned)
    if not takes_all:
        function.__dict__["__signature__"] = own
    merged = {**inner.definition_options, **options}
    includes = [*(inner.definition_options.get("hash_includes") or ()), *(options.get("hash_includes") or ())]
    if includes:
        merged["hash_includes"] = includes
    made: Task[..., Any] = Task(function, merged)
    made._inner, inner._outer = inner, made
    made._layer = (inner._layer or 1) + 1
    made._is_static = inner._is_static
    register_task(inner)
    register_task(made)
    return made
