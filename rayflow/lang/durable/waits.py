"""Waits and races as a user writes them: each is one line that makes a Form.

In: terms, durations, moments. Out: expressions. Never: waits.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rayflow.errors import BadArguments
from rayflow.lang.events.conditions import condition_of
from rayflow.lang.events.event_values import Event, RunRef, run_id_of
from rayflow.lang.events.moments import Duration, lazy_microseconds, lazy_seconds
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, Term
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now

if TYPE_CHECKING:
    from rayflow.lang.lazy import Lazy

T = TypeVar("T")
U = TypeVar("U")


@front_door
def sleep(duration: Duration) -> Lazy[None]:
    """None, after a duration: `seq([step(), sleep("7d"), next_step()])`, or `await sleep("5s")`.

    Nothing runs meanwhile, and no worker is held. The end is fixed when the sleep begins, also if the process is
    stopped and started again. Raises BadArguments for what is not a duration.
    """
    return _lazy(Form("sleep", (lazy_seconds(duration, "sleep"),)))


@front_door
def sleep_until(moment: datetime) -> Lazy[None]:
    """None, at a moment: `sleep_until(datetime(2027, 1, 1, tzinfo=UTC))`. One that is past ends at once.

    Raises BadArguments for a datetime without a time zone.
    """
    return _lazy(Form("sleep_until", (lazy_microseconds(moment, "sleep_until"),)))


@overload
def wait_for_event(
    name: str,
    *,
    key: str | int | None = None,
    timeout: Duration | None = None,
    where: Any = None,
    since: Duration = "run",
    take: Literal["shared", "exclusive"] = "shared",
) -> Lazy[Event | None]: ...


@overload
def wait_for_event(
    name: str,
    *,
    key: str | int | None = None,
    timeout: Duration | None = None,
    default: Lazy[T],
    where: Any = None,
    since: Duration = "run",
    take: Literal["shared", "exclusive"] = "shared",
) -> Lazy[Event | T]: ...


@overload
def wait_for_event(
    name: str,
    *,
    key: str | int | None = None,
    timeout: Duration | None = None,
    default: T,
    where: Any = None,
    since: Duration = "run",
    take: Literal["shared", "exclusive"] = "shared",
) -> Lazy[Event | T]: ...


@front_door
def wait_for_event(
    name: str,
    *,
    key: str | int | None = None,
    timeout: Duration | None = None,
    default: Any = None,
    where: Any = None,
    since: Duration = "run",
    take: Literal["shared", "exclusive"] = "shared",
) -> Any:
    """The next event of this name, or `default` when the timeout comes first. It needs a service (`rayflow serve`).

        wait_for_event("approval", key=order.id, timeout="2d", where=event.data["amount"] > 5)

    key: of the event, exactly this one; without it, any. where: a condition on the event's fields. since: "run": the
    events from the request for the root run on; "now": from the opening of the wait on; "any": all that are kept; or a
    duration. take: "shared": other runs see the event, too; "exclusive": one such wait in all gets it. Raises
    BadArguments for a wrong name, a condition that needs the user's code, and other values than these.
    """
    if not isinstance(name, Expression) and not (isinstance(name, str) and name):
        raise BadArguments(f"wait_for_event(name): a name is a text, not {preview(name)}.")
    if take not in ("shared", "exclusive"):
        raise BadArguments(f'wait_for_event: take is "shared" or "exclusive", not {preview(take)}.')
    seen: Term = since if since in ("run", "now", "any") else lazy_seconds(since, "wait_for_event: since")
    until = None if timeout is None else lazy_seconds(timeout, "wait_for_event: timeout")
    condition = condition_of(where, "wait_for_event")
    late = Quoted(as_now(default)) if isinstance(default, Expression) else as_now(default)
    return Form("event", (name, as_now(key), until, late, condition, seen, take))


@front_door
def ask(prompt: str, form: Any = str, *, timeout: Duration | None = None) -> Any:
    """The answer of a person, as `rayflow answer` or the API gives it. It needs a service.

    prompt: the question. form: the type of the answer, such as bool, a Literal, or a dataclass; it is checked when the
    answer is given. timeout: None comes then. Raises BadArguments for what is not a duration.
    """
    until = None if timeout is None else lazy_seconds(timeout, "ask: timeout")
    return Form("ask", (as_now(prompt), as_now(form), until))


@front_door
def emit(
    name: str, data: Any = None, *, key: str | int | None = None, at: datetime | None = None, id: str | None = None
) -> Lazy[str]:
    """Emit an event, and give its id. It needs a service.

    at: deliver it then. id: an event of one id is accepted once; by default it follows from the place in the run, so
    that a run emits it once. Raises BadArguments for a wrong name or a datetime without a time zone.
    """
    if not isinstance(name, Expression) and not (isinstance(name, str) and name):
        raise BadArguments(f"emit(name, data): a name is a text, not {preview(name)}.")
    due = None if at is None else lazy_microseconds(at, "emit: at")
    return _lazy(Form("emit", (name, as_now(data), as_now(key), due, as_now(id))))


@overload
def child(expr: Lazy[T], *, id: str | None = None) -> Lazy[T]: ...


@overload
def child(expr: T, *, id: str | None = None) -> Lazy[T]: ...


@front_door
def child(expr: Any, *, id: str | None = None) -> Any:
    """The value of an expression that is evaluated in a run of its own, which this run waits for. It needs a service.

    It is cancelled with this run. id: of that run; by default it follows from the place here. Raises BadArguments for
    what is not an expression.
    """
    return Form("child", (_other_run("child", expr), as_now(id)))


@front_door
def spawn(expr: Any, *, id: str | None = None, tie: bool = False) -> Lazy[RunRef]:
    """Start a run of its own for an expression, and give a reference to it at once. It needs a service.

    tie: cancel it with this run. id: as for `child`. Raises BadArguments for what is not an expression.
    """
    return _lazy(Form("spawn", (_other_run("spawn", expr), as_now(id), tie)))


@front_door
def join(run: RunRef | str) -> Any:
    """The value of another run, when it has ended: of a `RunRef`, or by its id. It needs a service.

    It fails as that run has failed. Raises BadArguments for anything else.
    """
    if isinstance(run, Expression):
        return Form("join", (Operation("run_id", (run,)),))
    if not isinstance(run, RunRef | str):
        raise BadArguments(f"join(run) takes what spawn has given, or the id of a run, not {preview(run)}.")
    return Form("join", (run_id_of(run),))


@overload
def continue_as(call: Lazy[T]) -> Lazy[T]: ...


@overload
def continue_as(call: T) -> Lazy[T]: ...


@front_door
def continue_as(call: Any) -> Any:
    """End this run, and go on as this call, without the history: for loops without end. It needs a service.

        return continue_as(poll(cursor))

    The next run has the same place among other runs: what waits for this one waits for the last of the chain. Raises
    BadArguments for what is not a call of a task.
    """
    if not isinstance(call, TaskCall):
        raise BadArguments(f"continue_as(call) takes a call of a task, not {preview(call)}.")
    return Form("continue_as", (_other_run("continue_as", call),))


def _other_run(name: str, expr: Any) -> Quoted:
    if not isinstance(expr, Expression):
        raise BadArguments(f"{name}(expr) takes an expression, such as the call of a task, not {preview(expr)}.")
    return Quoted(expr)


# --- races and clean-ups ----------------------------------------------------------------------------------------------


@overload
def first(term: Lazy[T], /) -> Lazy[T]: ...


@overload
def first(term: T, /) -> Lazy[T]: ...


@overload
def first(one: Lazy[T], two: Lazy[U], /) -> Lazy[T | U]: ...


@overload
def first(one: Lazy[T], two: U, /) -> Lazy[T | U]: ...


@overload
def first(one: T, two: Lazy[U], /) -> Lazy[T | U]: ...


@overload
def first(one: T, two: U, /) -> Lazy[T | U]: ...


@overload
def first(*terms: Any) -> Lazy[Any]: ...


@front_door
def first(*terms: Any) -> Any:
    """The value of the term that settles first, or its failure. The others are left: their waits close.

        first(wait_for_event("paid", key=order.id), sleep("3d"))

    Raises BadArguments without terms.
    """
    if not terms:
        raise BadArguments("first(a, b, ...) needs at least one term.")
    return Form("first", tuple([as_now(term) for term in terms]))


@overload
def any_of(term: Lazy[T], /) -> Lazy[T]: ...


@overload
def any_of(term: T, /) -> Lazy[T]: ...


@overload
def any_of(one: Lazy[T], two: Lazy[U], /) -> Lazy[T | U]: ...


@overload
def any_of(one: Lazy[T], two: U, /) -> Lazy[T | U]: ...


@overload
def any_of(one: T, two: Lazy[U], /) -> Lazy[T | U]: ...


@overload
def any_of(one: T, two: U, /) -> Lazy[T | U]: ...


@overload
def any_of(*terms: Any) -> Lazy[Any]: ...


@front_door
def any_of(*terms: Any) -> Any:
    """The value of the term that is there first, leaving out those that fail. When all fail: the first failure by
    position. Raises BadArguments without terms."""
    if not terms:
        raise BadArguments("any_of(a, b, ...) needs at least one term.")
    return Form("any_of", tuple([as_now(term) for term in terms]))


@overload
def within(expr: Lazy[T], duration: Duration) -> Lazy[T | None]: ...


@overload
def within(expr: Lazy[T], duration: Duration, default: Lazy[U]) -> Lazy[T | U]: ...


@overload
def within(expr: Lazy[T], duration: Duration, default: U) -> Lazy[T | U]: ...


@overload
def within(expr: T, duration: Duration) -> Lazy[T | None]: ...


@overload
def within(expr: T, duration: Duration, default: Lazy[U]) -> Lazy[T | U]: ...


@overload
def within(expr: T, duration: Duration, default: U) -> Lazy[T | U]: ...


@front_door
def within(expr: Any, duration: Duration, default: Any = None) -> Any:
    """The value of a term, or `default` when the duration is over first. Then the term is left: its waits close.

    Raises BadArguments for what is not a duration.
    """
    return Form("within", (as_now(expr), lazy_seconds(duration, "within"), as_now(default)))


@overload
def finally_(expr: Lazy[T], cleanup: Any) -> Lazy[T]: ...


@overload
def finally_(expr: T, cleanup: Any) -> Lazy[T]: ...


@front_door
def finally_(expr: Any, cleanup: Any) -> Any:
    """The value of `expr`, after `cleanup` was evaluated: also where `expr` fails, or the execution is cancelled.

        finally_(use(machine), release(machine))

    A failure of `cleanup` is the failure of the whole.
    """
    return Form("finally_", (as_now(expr), as_now(cleanup)))


# --- noted once -------------------------------------------------------------------------------------------------------


@front_door
def now() -> Lazy[datetime]:
    """The time when this is evaluated, in UTC; the same whenever the execution is taken up again."""
    return _lazy(Form("now", ()))


@front_door
def uuid() -> Lazy[str]:
    """A text that no other place of any execution has; the same whenever the execution is taken up again."""
    return _lazy(Form("uuid", ()))


def _lazy(form: Form) -> Lazy[Any]:
    """A form, as type checkers see it."""
    return form  # type: ignore[return-value]  # the class is there for type checkers alone
