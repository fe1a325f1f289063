"""Tasks that every program has: small functions that plug others together.

In: values, tasks, plain functions. Out: tasks of the namespace "rayflow", which are in every task table. Never: does
anything that a user's own task could not do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from rayflow.errors import BadArguments
from rayflow.lang.combinators import force
from rayflow.lang.expressions import Expression, Form, Quoted, Term
from rayflow.lang.operations import APPLY, SUBRUN, call_of
from rayflow.lang.scripts import script_of
from rayflow.lang.tasks import Task, task

rayflow_namespace = "rayflow"

P = ParamSpec("P")
R = TypeVar("R")


@task(version="1")
def throw(error: Any) -> Any:
    """Fail with this error: an exception, or a class of exceptions."""
    if not (isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))):
        raise BadArguments(f"throw(error) takes an exception or a class of exceptions, not {error!r}.")
    raise error


@task(version="1")
def identity(value: Any) -> Any:
    """The value itself."""
    return value


@task(version="1")
def const(value: Any, /, *ignored: Any, **also_ignored: Any) -> Any:
    """The first argument, once the others are known too."""
    return value


@task(name=APPLY.rpartition(".")[2], version="1")
def apply_func(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a plain function gives for these arguments, as a call of its own: the function's code counts."""
    return func(*args, **kwargs)


@task(name="compose", version="1")
def composed(functions: Any, /, *args: Any, **kwargs: Any) -> Any:
    """The functions one after the other, the last one first, each on what the one before has given."""
    *outer, innermost = functions
    term = call_of(innermost, args, kwargs)
    for function in reversed(outer):
        term = call_of(function, (term,), {})
    return term


@task(version="1")
def join_thread(thread: Any) -> Any:
    """What the expression of a thread comes to: where this execution has forked it, it is waited for; else reduced."""
    return force(thread)


def fork_thread(expr: Term) -> Any:
    """Start reducing an expression now, and go on; gives a thread, a value that `join_thread` takes.

    An execution ends when its threads have. The failure of one that nobody joins is listed, and fails nothing else.
    """
    return Form("fork_thread", (join_thread(Quoted(expr)),))


@task(name="no_prov", version="1", prov=False)
def unrecorded(quoted: Any) -> Any:
    """What a quoted expression comes to; nothing below this call is recorded."""
    return quoted.eval()


def no_prov(expr: Any) -> Any:
    """The value of an expression, or of a container of expressions, without records of the calls in and below it.

    It is for wide graphs of tiny calls. The value itself is cached, as long as no task below has changed; what it took
    to compute it cannot be asked.
    """
    return unrecorded(Quoted(expr))


@task(name=SUBRUN.rpartition(".")[2], version="1", bundle=False)
def subrun_of(thunk: Any) -> Any:
    """An evaluation of its own in one worker; runtime/subruns.py is its body there."""
    raise AssertionError(f"a plain call evaluates nothing: {thunk!r}")


def subrun(expr: Term, /, **options: Any) -> Any:
    """The value of an expression, evaluated by one worker in one call: for wide graphs of tiny calls.

    options: of that call: `num_cpus`, `memory`, `retries` and so on. The calls below run in its process one after the
    other, whatever resources they ask for; they are recorded and kept as ever. A limit of theirs is held against what
    runs outside only where the subrun has it: `subrun(expr, limits=["db"])`.
    """
    return (subrun_of.options(**options) if options else subrun_of)(Quoted(expr))


def compose(*functions: Any) -> Any:
    """`compose(f, g)(x)` is `f(g(x))`. Tasks stay calls of their own; plain functions become such. Gives a task."""
    if not functions:
        raise BadArguments("compose(f, g, ...) needs at least one task or function.")
    for each in functions:
        _check_callable(each, "compose(f, g, ...)")
    return composed.partial(list(functions))


def as_task(func: Callable[P, R]) -> Task[P, R]:
    """A plain function as a task, without a name of its own: each call of it is `apply_func(func, ...)`."""
    _check_callable(func, "as_task(func)")
    made: Any = func if isinstance(func, Task | Expression) else apply_func.partial(func)
    return made  # type: ignore[no-any-return]  # a partial takes what is left of its task's parameters


def _check_callable(function: Any, where: str) -> None:
    if not (callable(function) or isinstance(function, Expression)):
        raise BadArguments(f"{where}: {function!r} cannot be called.")


TASKS: Mapping[str, Task[..., Any]] = {
    each.fullname: each
    for each in (throw, identity, const, apply_func, join_thread, subrun_of, composed, unrecorded, script_of)
}
"""They are in the table of every execution, since expressions may name them that were made without them."""
