"""Effects: tasks whose calls change something outside, and so are made once.

In: a function. Out: a `Task` whose calls are effects; the errors by which its body says when to try again. Never: runs
a body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from rayflow.errors import UserError
from rayflow.lang.events.moments import Duration, seconds_of
from rayflow.lang.tasks import Task, task
from rayflow.values.display.tracebacks import front_door

P = ParamSpec("P")
R = TypeVar("R")


@overload
def effect(func: Callable[P, R], /) -> Task[P, R]: ...


@overload
def effect(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@front_door
def effect(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make an effect of a function: a task whose call changes something outside.

        @effect(retries=5, retry_delay=0.25, timeout=10)
        def charge(order, amount, job: JobInfo = JobInfo()):
            return bank.charge(order.card, amount, idempotency_key=job.idempotency_key)

    Each call is made once at its place in an execution. It is never answered from the cache, and two equal calls are
    two effects. An execution that is taken up again finds the outcome that was recorded. If an attempt had started
    whose end is not known, `on_unknown` says whether it is made again. Options are those of `task`, without those of
    the cache. Raises BadOption, BadTask and DuplicateTask as `task`.
    """
    made = task(effect=True, **options)
    return made if func is None else made(func)


class RetryAfter(UserError):
    """The body of a task raises this to be tried again after a delay: `raise RetryAfter("400ms", "rate limit")`.

    The attempt counts against `retries`, as any other that fails. The delay replaces that of the options.
    retry_after_seconds: the delay. Raises BadArguments for what is not a duration.
    """

    def __init__(self, delay: Duration, message: str = "") -> None:
        super().__init__(delay, message)
        self.retry_after_seconds = float(seconds_of(delay, "RetryAfter"))

    def __str__(self) -> str:
        return f"{self.args[1] or 'try again'} (after {self.retry_after_seconds:g} s)"
