"""Flows: tasks that say what starts a run of them, and what follows its end; and the events that do.

In: a function and settings. Out: a `Task` that has them as `flow_settings`; subscriptions. Never: starts a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.admission.keys import Key
from rayflow.lang.admission.settings import DebounceSetting, Limits, Rates, admission_settings
from rayflow.lang.durable.schedules import CATCH_UP, catch_up_seconds, check_parameters, checked_overlap, timetable_of
from rayflow.lang.events.conditions import field_of_event, without_lazy_parts
from rayflow.lang.events.moments import Duration, seconds_of
from rayflow.lang.events.timetables import CronTimes, EveryTimes
from rayflow.lang.tasks import FlowSettings, Task, described, task
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Operation
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Subscription:
    """The events that start a run of a flow. name: of the events. condition: packed, or None for all of that name."""

    name: str
    condition: bytes | None = None


class _Events:
    """What `event` is: the placeholder of an event in a condition, and the maker of subscriptions.

    `event("order.created", where=event.data["amount"] > 5)` names the events that start a run of a flow. `event.data`,
    `event.key`, `event.name`, `event.id`, `event.time` and `event.number` are fields of the event that a condition is
    tested on.
    """

    @front_door
    def __call__(self, name: str, *, where: Any = None) -> Subscription:
        """The events of this name that meet the condition. Raises BadArguments for a wrong name or condition."""
        if not isinstance(name, str) or not name:
            raise BadArguments(f"event(name): a name is a text, not {preview(name)}.")
        if where is None:
            return Subscription(name)
        return Subscription(name, dumps(without_lazy_parts(where, f"event({name!r})")))

    @property
    def data(self) -> Operation:
        """What the event tells."""
        return field_of_event("data")

    @property
    def key(self) -> Operation:
        """The event's key."""
        return field_of_event("key")

    @property
    def name(self) -> Operation:
        """The event's name."""
        return field_of_event("name")

    @property
    def id(self) -> Operation:
        """The event's id."""
        return field_of_event("id")

    @property
    def time(self) -> Operation:
        """When the event was accepted, in microseconds since the epoch."""
        return field_of_event("time")

    @property
    def number(self) -> Operation:
        """The event's place among all events."""
        return field_of_event("number")


event = _Events()


@overload
def flow(func: Callable[P, R], /) -> Task[P, R]: ...


@overload
def flow(**settings: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@front_door
def flow(
    func: Callable[..., Any] | None = None,
    /,
    *,
    on: Subscription | list[Subscription] | tuple[Subscription, ...] = (),
    timeout: Duration | None = None,
    on_failure: Task[..., Any] | str | None = None,
    on_cancel: Task[..., Any] | str | None = None,
    schedule: CronTimes | EveryTimes | Sequence[CronTimes | EveryTimes] | None = None,
    overlap: str | None = None,
    catch_up: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    fairness: Key | None = None,
    mutex: Key | None = None,
    release_on_wait: bool = False,
    max_concurrency: Limits | None = None,
    throttle: Rates | None = None,
    rate_limit: Rates | None = None,
    debounce: DebounceSetting | None = None,
    **options: Any,
) -> Any:
    """Make a flow of a function: a task that a service starts runs of. A call in an expression is an ordinary call.

        @flow(on=event("order.created"), timeout="2h")
        def checkout(order: Order): ...

    on: the events that start a run; the flow's first argument is the event's data. timeout: how long a run may take.
    on_failure, on_cancel: flows that are started when a run has failed or was cancelled, with a dict of its run_id, id,
    flow, state, error and reason.

    schedule: `cron("0 9 * * *", tz="Europe/Oslo")`, `every("5m")`, or a list: when the clock starts a run. Its
    arguments are the defaults of the parameters; one with the type hint `Firing` gets the firing. overlap: what a
    firing does while a run of the schedule has not ended: "skip" (the default), "queue", "allow" or "cancel_previous".
    catch_up: how late a firing may be; one that no service was up for, and that is later, is recorded as missed. The
    default is "1h".

    These say when a run may run; a key is a template over the arguments, such as "tenant:{order.tenant}", or a function
    of them. queue: the queue whose slots it takes. priority: the greater comes first in its queue. fairness: a key: the
    runs of the queue take turns by it. mutex: a key: one run with it at a time. release_on_wait: give the mutex back
    while nothing of the run runs. max_concurrency: how many run at a time, or `limit(...)`. throttle: `rate(...)`:
    others wait. rate_limit: `rate(...)`: other starts are refused with RateLimited. debounce: `debounce(...)`.

    The other options are those of `task`. Raises BadOption for wrong settings, and as `task`.
    """
    admission = {
        "queue": queue, "priority": priority, "fairness": fairness, "mutex": mutex, "release_on_wait": release_on_wait,
        "max_concurrency": max_concurrency, "throttle": throttle, "rate_limit": rate_limit, "debounce": debounce,
    }  # fmt: skip

    @front_door
    def make(function: Callable[..., Any]) -> Task[..., Any]:
        where = f"@flow of {described(function)}"
        subscriptions = (on,) if isinstance(on, Subscription) else tuple(on)
        for each in subscriptions:
            if not isinstance(each, Subscription):
                raise BadOption(f'{where}: on takes event("name"), or a list of these, not {preview(each)}.')
        if schedule is None and (overlap is not None or catch_up is not None):
            raise BadOption(f"{where}: overlap and catch_up are settings of a schedule, and there is no schedule=.")
        timetable = () if schedule is None else timetable_of(schedule, where)
        try:
            seconds = None if timeout is None else seconds_of(timeout, f"{where}: timeout")
            policy = checked_overlap("skip" if overlap is None else overlap, where)
            late = catch_up_seconds(CATCH_UP if catch_up is None else catch_up, where)
        except BadArguments as error:
            raise BadOption(str(error)) from None
        made: Task[..., Any] = task(**options)(function)
        if timetable:
            check_parameters(tuple(made.signature.parameters.values()), where)
        made.flow_settings = FlowSettings(
            on=tuple([(each.name, each.condition) for each in subscriptions]),
            timeout_seconds=seconds,
            on_failure=_named(on_failure, "on_failure", where),
            on_cancel=_named(on_cancel, "on_cancel", where),
            timetable=timetable,
            overlap=policy,
            catch_up_seconds=late,
            admission=admission_settings(admission, made.parameters, _hints(function), where),
        )
        return made

    return make if func is None else make(func)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's parameters, as far as all of them are known where it is defined."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # a name that comes later
        return {}


def _named(hook: Any, setting: str, where: str) -> str | None:
    if hook is None or isinstance(hook, str):
        return hook
    if isinstance(hook, Task):
        return hook.fullname
    raise BadOption(f"{where}: {setting} takes a flow, or the full name of one, not {preview(hook)}.")
