"""Tasks that every program has: small functions that combine tasks, functions and values.

In: values, tasks, plain functions. Out: tasks of the namespace "rayflow", which are in every task table. Never: does
anything that a user's own task could not do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from rayflow.errors import BadArguments
from rayflow.lang.combinators import force, quote
from rayflow.lang.operations import APPLY, SUBRUN, call_of
from rayflow.lang.scripts import script_of
from rayflow.lang.tasks import Task, task
from rayflow.lang.terms.expressions import Expression, Form, Term
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview
from rayflow.values.handles import merged

rayflow_namespace = "rayflow"

P = ParamSpec("P")
R = TypeVar("R")


@task(version="1")
def throw(error: Any) -> Any:
    """Raise an error, lazily: `cond(ok, result, throw(ValueError("not ok")))`.

    error: an exception, or a class of exceptions. Raises BadArguments for anything else.
    """
    if not (isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))):
        raise BadArguments(f"throw(error) takes an exception or a class of exceptions, not {preview(error)}.")
    raise error


@task(version="1")
def identity(value: Any) -> Any:
    """Return the value. It makes a call, with a job and a record, of a plain value."""
    return value


@task(version="1")
def const(value: Any, /, *ignored: Any, **also_ignored: Any) -> Any:
    """Return the first argument when all the others are computed: `const(result, write_log(), clean_up())`."""
    return value


@task(name=APPLY.rpartition(".")[2], version="1")
def apply_func(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a plain function as a task: `apply_func(math.sqrt, f(1))`.

    The result is cached by the function's code and the arguments. A call runs again when the code changes.
    """
    return func(*args, **kwargs)


@task(name="compose", version="1")
def composed(functions: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call the last function with the arguments, and each one before it with the result of the one after it."""
    *outer, innermost = functions
    term = call_of(innermost, args, kwargs)
    for function in reversed(outer):
        term = call_of(function, (term,), {})
    return term


@task(version="1")
def merge_handles(handles: Any) -> Any:
    """Merge the states of one handle that several calls have returned: the result comes after all of them.

    handles: a list of states of the same handle. Raises BadArguments for others.
    """
    return merged(handles)


@task(version="1")
def join_thread(thread: Any) -> Any:
    """The value of a thread that `fork_thread` has made. It waits for the thread, or evaluates the expression of one
    that another execution has forked."""
    return force(thread)


@front_door
def fork_thread(expr: Term) -> Any:
    """Start to evaluate an expression now, beside everything else; `join_thread(thread)` gives its value.

    A thread is a value: it can be returned and passed on. An execution ends when all its threads have ended. When a
    thread fails and no call joins it, the execution lists the failure and does not fail.
    """
    return Form("fork_thread", (join_thread(quote(expr)),))


@task(name="no_prov", version="1", prov=False)
def unrecorded(quoted: Any) -> Any:
    """The value of a quoted expression. The calls below this one are not recorded."""
    return quoted.eval()


@front_door
def no_prov(expr: Any) -> Any:
    """The value of an expression, or of a container of expressions, without records of the calls in and below it.

    Use it for wide graphs of tiny calls. The value itself is cached, and valid until a task below changes. The calls
    that computed it are not in the log.
    """
    return unrecorded(quote(expr))


@task(name=SUBRUN.rpartition(".")[2], version="1", bundle=False)
def subrun_of(thunk: Any) -> Any:
    """A nested execution in one worker. Its body there is in rayflow.runtime.subruns."""
    raise AssertionError(f"a plain call evaluates nothing: {thunk!r}")


@front_door
def subrun(expr: Term, profile: Term = None, /, **options: Any) -> Any:
    """The value of an expression that one worker evaluates in one call. Use it for wide graphs of tiny calls.

    profile: the profile of that call, by its name: `subrun(expr, "large")`.
    options: options of that call: `num_cpus`, `memory`, `retries` and so on.

    The calls below run one after the other in the worker's process, whatever resources they ask for. They are recorded
    and cached as always. A limit of theirs also applies outside the subrun only when the subrun has it as an option:
    `subrun(expr, limits=["db"])`. Raises BadArguments for a profile that is given twice, BadOption for a wrong option.
    """
    if profile is not None:
        if given := options.keys() & {"profile", "executor"}:
            raise BadArguments(f"subrun(expr, profile): the profile is given twice, also as {given.pop()}=.")
        options["profile"] = profile
    return (subrun_of.options(**options) if options else subrun_of)(quote(expr))


@front_door
def compose(*functions: Any) -> Any:
    """A task that calls these functions in turn: `compose(f, g)(x)` is `f(g(x))`.

    functions: tasks, or plain functions; each of them is a call of its own. Raises BadArguments for anything else, and
    for none.
    """
    if not functions:
        raise BadArguments("compose(f, g, ...) needs at least one task or function.")
    for each in functions:
        _check_callable(each, "compose(f, g, ...)")
    return composed.partial(list(functions))


@front_door
def as_task(func: Callable[P, R]) -> Task[P, R]:
    """A task that calls a plain function: `as_task(math.sqrt)(f(1))` is `apply_func(math.sqrt, f(1))`.

    It has no name of its own. Raises BadArguments for an object that cannot be called.
    """
    _check_callable(func, "as_task(func)")
    made: Any = func if isinstance(func, Task | Expression) else apply_func.partial(func)
    return made  # type: ignore[no-any-return]  # a partial takes the remaining parameters of its task


def _check_callable(function: Any, where: str) -> None:
    if not (callable(function) or isinstance(function, Expression)):
        raise BadArguments(f"{where}: {preview(function)} cannot be called.")


TASKS: Mapping[str, Task[..., Any]] = {
    each.fullname: each
    for each in (
        throw, identity, const, apply_func, merge_handles, join_thread, subrun_of, composed, unrecorded, script_of
    )
}
"""They are in the table of every execution, since expressions may name them that were made without them."""
