"""Decorators over tasks.

In: a function from a task to the function that is to stand in its place. Out: a decorator that makes a task of it,
under the first task's name. Never: runs either.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from rayflow.lang.options import check_options
from rayflow.lang.registry import rename
from rayflow.lang.tasks import Task, register_task

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

_GENERIC = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


@overload
def wraps_task(wrapper: Callable[[Task[P, R]], Callable[Q, S]], /) -> Callable[[Task[P, R]], Task[Q, S]]: ...


@overload
def wraps_task(
    **options: Any,
) -> Callable[[Callable[[Task[P, R]], Callable[Q, S]]], Callable[[Task[P, R]], Task[Q, S]]]: ...


def wraps_task(wrapper: Any = None, /, **options: Any) -> Any:
    """Make a decorator for tasks of a function that takes a task and gives the function to run in its place.

        @wraps_task
        def doubled(inner):
            def wrapper(*args, **kwargs):
                return 2 * inner.func(*args, **kwargs)
            return wrapper

        @doubled
        @task
        def three():
            return 3

    The new task has the name, signature, documentation and options of the one below; `options` given here come on top.
    Its hash is made of the wrapper's code, of what the wrapper has captured (arguments of a decorator with arguments),
    and of the code below. `inner.func(...)` runs the body below as part of this one; `inner(...)` is a lazy call of the
    task below, which is a task of its own, called `three.inner`. Decorators may be stacked.

    Raises BadOption for an unknown option; the decorator raises TypeError above anything but a task.
    """

    checked = check_options(options, where="@wraps_task")

    def make(wrap: Callable[[Task[..., Any]], Callable[..., Any]]) -> Callable[[Task[..., Any]], Task[..., Any]]:
        @functools.wraps(wrap)
        def decorate(inner: Task[..., Any] | None = None) -> Task[..., Any]:
            if inner is None:
                name = wrap.__name__
                raise TypeError(
                    f"@{name} is a decorator already: write it without brackets. One that takes arguments is a "
                    f"function of them that makes {name} and returns it."
                )
            return _wrapped(wrap, inner, checked)

        return decorate

    return make if wrapper is None else make(wrapper)


def _wrapped(
    wrap: Callable[[Task[..., Any]], Callable[..., Any]], inner: Task[..., Any], options: Mapping[str, Any]
) -> Task[..., Any]:
    if not isinstance(inner, Task):
        raise TypeError(f"@{wrap.__name__} wraps tasks: write it above @task, not below ({inner!r} is none).")
    if inner._args or inner._kwargs or inner._call_options:
        raise TypeError(f"@{wrap.__name__} wraps a task before arguments or options are given: {inner!r} has some.")
    if inner._suffix:
        raise TypeError(f"{inner!r} is wrapped already: make another task of its function for another decorator.")
    # From here on the name is the new task's. The wrapper may want to know the one below by its own.
    rename(inner, f".inner{inner._layer or ''}")
    function = wrap(inner)
    if not inspect.isfunction(function) or function is inner.func:
        raise TypeError(f"@{wrap.__name__} has to return a function of its own that calls the task, not {function!r}.")
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
