"""The flows of the loaded code, as the keeper knows them; and the runs that events start.

In: tasks, events. Out: what the keeper needs to know of flows; root terms. Never: starts a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rayflow.errors import BadArguments, RayflowError
from rayflow.keeper.commands import BindEvent
from rayflow.keeper.requests import BoundArguments, FlowSpec
from rayflow.lang.admission.keys import Key, key_of
from rayflow.lang.arguments.from_text import convert
from rayflow.lang.arguments.from_words import arguments_of
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
                demands=None if admission is None or has_keys else demands_of(name, admission, _constant),
                has_keys=has_keys,
            )
    return found


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
