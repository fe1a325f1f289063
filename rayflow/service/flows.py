"""The flows of the loaded code, as the keeper knows them; and the runs that events and the clock start.

In: tasks, events, firings. Out: what the keeper needs to know of flows; root terms. Never: starts a run.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from rayflow.errors import BadArguments, RayflowError
from rayflow.keeper.commands import BindEvent, BindFiring
from rayflow.keeper.requests import BoundArguments, BoundFiring, FlowSpec, ScheduleSpec
from rayflow.lang.admission.keys import Key, key_of
from rayflow.lang.arguments.from_text import convert
from rayflow.lang.arguments.from_words import arguments_of, call_of
from rayflow.lang.arguments.json_schemas import input_schema
from rayflow.lang.events.event_values import Firing
from rayflow.lang.events.moments import moment_of
from rayflow.lang.events.timetables import said, text_of
from rayflow.lang.packing.pack import Keep
from rayflow.lang.tasks import Task
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Term, render
from rayflow.runtime.worker.results import pack_expression
from rayflow.service.admission import demands_of, demands_of_call
from rayflow.values.digests import digest


def flow_specs(tasks: Mapping[str, Task[..., Any]]) -> dict[str, FlowSpec]:
    """What the keeper needs to know of each flow among these tasks, by full name."""
    found: dict[str, FlowSpec] = {}
    for name, task in tasks.items():
        settings = task.flow_settings
        if settings is not None:
            seconds = settings.timeout_seconds
            admission = settings.admission
            has_keys = admission is not None and admission.has_keys
            found[name] = FlowSpec(
                name,
                on=settings.on,
                timeout_us=None if seconds is None else int(seconds * 1_000_000),
                on_failure=settings.on_failure,
                on_cancel=settings.on_cancel,
                schedule=None if not settings.timetable else ScheduleSpec(
                    text_of(settings.timetable), settings.overlap, round(settings.catch_up_seconds * 1_000_000)
                ),
                demands=None if admission is None or has_keys else demands_of(name, admission, _constant),
                has_keys=has_keys,
            )
    return found


def described_flows(tasks: Mapping[str, Task[..., Any]]) -> list[dict[str, Any]]:
    """The flows among these tasks as plain data, by name: what they take, and what starts and follows their runs."""
    return [_described(name, task) for name, task in sorted(tasks.items()) if task.flow_settings is not None]


def _described(name: str, task: Task[..., Any]) -> dict[str, Any]:
    settings = task.flow_settings
    assert settings is not None
    return {
        "name": name,
        "documentation": inspect.getdoc(task.func) or "",
        "input": input_schema(task),
        "events": [
            {"name": event, "where": None if condition is None else render(loads(condition))}
            for event, condition in settings.on
        ],
        "schedule": said(settings.timetable) if settings.timetable else None,
        "timeout_seconds": settings.timeout_seconds,
        "on_failure": settings.on_failure,
        "on_cancel": settings.on_cancel,
    }


def _constant(key: Key, setting: str) -> str | None:
    """A key that is the same for all runs."""
    return key_of(key, {}, setting)


def input_hash(root: bytes) -> bytes:
    """The identity of a run's input."""
    return digest("input", root)


def bound_to_event(
    order: BindEvent, task: Task[..., Any] | None, at: int, realize: Callable[[Term], Any], keep: Keep
) -> BoundArguments:
    """The run of a flow that an event starts: the flow's first parameter takes the event's data, by its type hint.

    realize: the object behind a symbolic value. keep: stores large values.
    """
    answer = BoundArguments(at, order.event_id, order.flow)
    if task is None:
        return answer._replace(error=f"the service has no flow {order.flow}")
    try:
        data = None if order.event.data is None else realize(loads(order.event.data))
        parameters = arguments_of(task)
        if not parameters:
            call = task()
        else:
            first = parameters[0]
            try:
                call = task(convert(data, first.hint))
            except BadArguments as error:
                raise BadArguments(f"the event's data do not fit {first.name}: {error}") from None
        symbolic, _ = pack_expression(call, keep)
    except RayflowError as error:
        return answer._replace(error=str(error))
    except Exception as error:  # the user's classes check what they are made of, and may raise anything
        return answer._replace(error=f"the event's data do not fit: {type(error).__name__}: {error}")
    root = dumps(symbolic)
    found = answer._replace(root=root, input_hash=input_hash(root), arguments=render(symbolic))
    try:
        return found._replace(demands=demands_of_call(task, root, realize))
    except RayflowError as error:
        return answer._replace(error=str(error))



def bound_to_firing(order: BindFiring, task: Task[..., Any] | None, at: int, keep: Keep) -> BoundFiring:
    """The run that a schedule starts: its arguments are those of the schedule, and the firing for a parameter of this
    type. keep: stores large values."""
    answer = BoundFiring(at, order.schedule, order.moment)
    if task is None:
        return answer
    try:
        symbolic, _ = pack_expression(call_for(task, order), keep)
    except RayflowError as error:
        return answer._replace(error=str(error))
    except Exception as error:  # the user's classes check what they are made of, and may raise anything
        return answer._replace(error=f"the arguments do not fit: {type(error).__name__}: {error}")
    root = dumps(symbolic)
    return answer._replace(root=root, input_hash=input_hash(root), arguments=render(symbolic))


def call_for(task: Task[..., Any], order: BindFiring) -> Any:
    """The call of a task that a firing starts. Raises BadArguments for arguments that do not fit."""
    data = {} if order.arguments is None else json.loads(order.arguments)
    previous = None if order.previous is None else moment_of(order.previous).isoformat()
    firing = {"schedule": order.schedule, "moment": moment_of(order.moment).isoformat(), "previous": previous}
    for parameter in arguments_of(task):
        if parameter.name not in data and (parameter.hint is Firing or Firing in get_args(parameter.hint)):
            data[parameter.name] = firing
    return call_of(task, (), data=data)
