"""rayflow: a Ray-native distributed evaluator for Python workflows.

Mark a function with `@task`. A call of a task returns a lazy expression, which `run` evaluates:

    from rayflow import run, task

    @task
    def add(a, b):
        return a + b

    print(run(add(add(1, 2), 3)))

rayflow does not run a call again whose code and arguments it has seen before: it returns the recorded result. It
records every call, and you can query the records with SQL.

In: nothing. Out: the names in `__all__`, which are the whole public interface. Never: imports one of them before it is
used, so that `import rayflow` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayflow.api import Scheduler, history, run
    from rayflow.client.async_client import aconnect
    from rayflow.client.client import connect
    from rayflow.deployments.deployment_tasks import deployment_task
    from rayflow.errors import NonRetriable
    from rayflow.lang.admission.settings import debounce, limit, rate
    from rayflow.lang.builtins import (
        apply_func,
        as_task,
        compose,
        const,
        fork_thread,
        identity,
        join_thread,
        merge_handles,
        no_prov,
        subrun,
        throw,
    )
    from rayflow.lang.combinators import (
        all_,
        and_,
        any_,
        apply_tags,
        catch,
        catch_all,
        cond,
        delay,
        flat_map,
        flatten,
        force,
        get_context,
        len_,
        map_,
        not_,
        or_,
        quote,
        seq,
        starmap,
        zip_,
    )
    from rayflow.lang.durable.effects import RetryAfter, effect
    from rayflow.lang.durable.flows import event, flow
    from rayflow.lang.durable.schedules import cron, every
    from rayflow.lang.durable.streams import stream
    from rayflow.lang.durable.waits import (
        any_of,
        ask,
        child,
        continue_as,
        emit,
        finally_,
        first,
        join,
        now,
        sleep,
        sleep_until,
        spawn,
        uuid,
        wait_for_event,
        within,
    )
    from rayflow.lang.events.event_values import Event, Firing, RunRef
    from rayflow.lang.gather import gather
    from rayflow.lang.parameters.job_info import JobInfo
    from rayflow.lang.parameters.kept import Kept
    from rayflow.lang.rules import Become, Fail, Failed, Need, form
    from rayflow.lang.scripts import script
    from rayflow.lang.tasks import Task, task
    from rayflow.lang.wrappers import wraps_task
    from rayflow.runtime.on_ray.gangs import Gang, get_gang
    from rayflow.values.custom import Handler, Value, register_handler
    from rayflow.values.files.files import ContentDir, ContentFile, ContentFileSet, Dir, File, FileSet
    from rayflow.values.handles import Handle
    from rayflow.values.secrets import Secret

__all__ = [
    "Become",
    "ContentDir",
    "ContentFile",
    "ContentFileSet",
    "Dir",
    "Event",
    "Fail",
    "Failed",
    "File",
    "FileSet",
    "Firing",
    "Gang",
    "Handle",
    "Handler",
    "JobInfo",
    "Kept",
    "Need",
    "NonRetriable",
    "RetryAfter",
    "RunRef",
    "Scheduler",
    "Secret",
    "Task",
    "Value",
    "aconnect",
    "all_",
    "and_",
    "any_",
    "any_of",
    "apply_func",
    "apply_tags",
    "as_task",
    "ask",
    "catch",
    "catch_all",
    "child",
    "compose",
    "cond",
    "connect",
    "const",
    "continue_as",
    "cron",
    "debounce",
    "delay",
    "deployment_task",
    "effect",
    "emit",
    "event",
    "every",
    "finally_",
    "first",
    "flat_map",
    "flatten",
    "flow",
    "force",
    "fork_thread",
    "form",
    "gather",
    "get_context",
    "get_gang",
    "history",
    "identity",
    "join",
    "join_thread",
    "len_",
    "limit",
    "map_",
    "merge_handles",
    "no_prov",
    "not_",
    "now",
    "or_",
    "quote",
    "rate",
    "register_handler",
    "run",
    "script",
    "seq",
    "sleep",
    "sleep_until",
    "spawn",
    "starmap",
    "stream",
    "subrun",
    "task",
    "throw",
    "uuid",
    "wait_for_event",
    "within",
    "wraps_task",
    "zip_",
]

_PLACES = {
    "Scheduler": "rayflow.api",
    "history": "rayflow.api",
    "run": "rayflow.api",
    "aconnect": "rayflow.client.async_client",
    "connect": "rayflow.client.client",
    "deployment_task": "rayflow.deployments.deployment_tasks",
    "gather": "rayflow.lang.gather",
    "debounce": "rayflow.lang.admission.settings",
    "limit": "rayflow.lang.admission.settings",
    "rate": "rayflow.lang.admission.settings",
    "apply_func": "rayflow.lang.builtins",
    "as_task": "rayflow.lang.builtins",
    "compose": "rayflow.lang.builtins",
    "const": "rayflow.lang.builtins",
    "fork_thread": "rayflow.lang.builtins",
    "identity": "rayflow.lang.builtins",
    "join_thread": "rayflow.lang.builtins",
    "merge_handles": "rayflow.lang.builtins",
    "no_prov": "rayflow.lang.builtins",
    "subrun": "rayflow.lang.builtins",
    "throw": "rayflow.lang.builtins",
    "all_": "rayflow.lang.combinators",
    "and_": "rayflow.lang.combinators",
    "any_": "rayflow.lang.combinators",
    "apply_tags": "rayflow.lang.combinators",
    "catch": "rayflow.lang.combinators",
    "catch_all": "rayflow.lang.combinators",
    "cond": "rayflow.lang.combinators",
    "delay": "rayflow.lang.combinators",
    "flat_map": "rayflow.lang.combinators",
    "flatten": "rayflow.lang.combinators",
    "force": "rayflow.lang.combinators",
    "get_context": "rayflow.lang.combinators",
    "RetryAfter": "rayflow.lang.durable.effects",
    "effect": "rayflow.lang.durable.effects",
    "Event": "rayflow.lang.events.event_values",
    "Firing": "rayflow.lang.events.event_values",
    "RunRef": "rayflow.lang.events.event_values",
    "cron": "rayflow.lang.durable.schedules",
    "every": "rayflow.lang.durable.schedules",
    "event": "rayflow.lang.durable.flows",
    "stream": "rayflow.lang.durable.streams",
    "flow": "rayflow.lang.durable.flows",
    "any_of": "rayflow.lang.durable.waits",
    "ask": "rayflow.lang.durable.waits",
    "child": "rayflow.lang.durable.waits",
    "continue_as": "rayflow.lang.durable.waits",
    "emit": "rayflow.lang.durable.waits",
    "finally_": "rayflow.lang.durable.waits",
    "first": "rayflow.lang.durable.waits",
    "join": "rayflow.lang.durable.waits",
    "now": "rayflow.lang.durable.waits",
    "sleep": "rayflow.lang.durable.waits",
    "sleep_until": "rayflow.lang.durable.waits",
    "spawn": "rayflow.lang.durable.waits",
    "uuid": "rayflow.lang.durable.waits",
    "wait_for_event": "rayflow.lang.durable.waits",
    "within": "rayflow.lang.durable.waits",
    "NonRetriable": "rayflow.errors",
    "len_": "rayflow.lang.combinators",
    "map_": "rayflow.lang.combinators",
    "not_": "rayflow.lang.combinators",
    "or_": "rayflow.lang.combinators",
    "quote": "rayflow.lang.combinators",
    "seq": "rayflow.lang.combinators",
    "starmap": "rayflow.lang.combinators",
    "zip_": "rayflow.lang.combinators",
    "Become": "rayflow.lang.rules",
    "Fail": "rayflow.lang.rules",
    "Failed": "rayflow.lang.rules",
    "Need": "rayflow.lang.rules",
    "form": "rayflow.lang.rules",
    "JobInfo": "rayflow.lang.parameters.job_info",
    "Kept": "rayflow.lang.parameters.kept",
    "script": "rayflow.lang.scripts",
    "Task": "rayflow.lang.tasks",
    "task": "rayflow.lang.tasks",
    "Gang": "rayflow.runtime.on_ray.gangs",
    "get_gang": "rayflow.runtime.on_ray.gangs",
    "Handler": "rayflow.values.custom",
    "Value": "rayflow.values.custom",
    "register_handler": "rayflow.values.custom",
    "Handle": "rayflow.values.handles",
    "Secret": "rayflow.values.secrets",
    "wraps_task": "rayflow.lang.wrappers",
    "ContentDir": "rayflow.values.files.files",
    "ContentFile": "rayflow.values.files.files",
    "ContentFileSet": "rayflow.values.files.files",
    "Dir": "rayflow.values.files.files",
    "File": "rayflow.values.files.files",
    "FileSet": "rayflow.values.files.files",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'rayflow' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
