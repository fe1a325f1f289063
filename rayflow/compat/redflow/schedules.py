"""The schedules of workflows: one for each of their cron triggers.

In: the workflows of this process. Out: schedules of the service, as `rayflow schedules` lists them. Never: decides when
one fires.
"""

from __future__ import annotations

from rayflow.compat.redflow.registry import get_default_registry, task_name
from rayflow.compat.redflow.types import CronTrigger
from rayflow.keeper.schedule_states import ACTIVE, PAUSED
from rayflow.lang.durable.schedules import cron
from rayflow.lang.events.timetables import CronTimes
from rayflow.service.schedules import ServiceSchedules
from rayflow.service.service import Service

SECONDS = 60.0
"""How long the service may take for each change."""

OPEN = (ACTIVE, PAUSED)
"""The states of schedules that have not been deleted."""

_PREFIX = "redflow:"


def timetable_of_trigger(trigger: CronTrigger) -> CronTimes:
    """When a trigger fires. Raises BadArguments."""
    return cron(trigger.expression, trigger.timezone or "UTC")


def schedule_names(workflow: str, triggers: list[CronTrigger]) -> list[str]:
    """The names of a workflow's schedules, in the order of its triggers."""
    return [
        f"{_PREFIX}{task_name(workflow)}:{number if trigger.id is None else trigger.id.replace('/', '-')}"
        for number, trigger in enumerate(triggers, 1)
    ]


def put_schedules(service: Service) -> None:
    """Give a service the schedules of all workflows, and delete those of triggers that there are no more."""
    schedules = ServiceSchedules(service)
    known = {each["schedule"]: each for each in schedules.listed() if each["state"] in OPEN}
    wanted = set()
    for definition in get_default_registry().list():
        triggers = definition.options.cron
        for name, trigger in zip(schedule_names(definition.options.name, triggers), triggers, strict=True):
            wanted.add(name)
            timetable = [timetable_of_trigger(trigger).plain()]
            arguments = None if trigger.input is None else {"input": trigger.input}
            flow = definition.flow.fullname
            there = known.get(name, {})
            if (there.get("timetable"), there.get("arguments"), there.get("flow")) != (timetable, arguments, flow):
                schedules.put(name, flow, timetable, arguments=arguments).result(SECONDS)
    for name in known:
        if name.startswith(_PREFIX) and name not in wanted:
            schedules.delete(name).result(SECONDS)
