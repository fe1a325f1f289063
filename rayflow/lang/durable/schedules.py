"""Schedules as a user writes them: when runs of a flow start by the clock.

In: expressions of cron, periods, names of policies. Out: timetables for `@flow(schedule=...)`. Never: starts a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.events.event_values import Firing
from rayflow.lang.events.moments import Duration, seconds_of
from rayflow.lang.events.timetables import CronTimes, EveryTimes, Timetable, cron_times, every_times
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview

OVERLAPS = ("skip", "queue", "allow", "cancel_previous")
"""What follows when a schedule fires while a run of it has not ended."""

CATCH_UP = "1h"
"""How late a firing may be, by default."""


@front_door
def cron(expression: str, tz: str = "UTC") -> CronTimes:
    """The times that an expression of cron names: `@flow(schedule=cron("0 9 * * 1-5", tz="Europe/Oslo"))`.

    expression: minute, hour, day of the month, month, day of the week. tz: the zone whose clocks count. A local time
    that the clocks pass over fires when they jump; one that they show twice fires once, the first time. Raises
    BadArguments for a wrong expression, and for an unknown zone.
    """
    return cron_times(expression, tz, f"cron({preview(expression)})")


@front_door
def every(period: Duration, *, start: datetime | None = None) -> EveryTimes:
    """A moment in each period: `@flow(schedule=every("5m"))`. They do not drift, however long the runs take.

    period: one second at least. start: the first moment, an aware datetime; by default the moments are counted from
    1970-01-01 in UTC, so that every("1h") fires at full hours. Raises BadArguments.
    """
    return every_times(period, start, f"every({preview(period)})")


def timetable_of(schedule: Any, where: str) -> Timetable:
    """The timetable of one or several schedules. Raises BadOption for anything else."""
    parts = tuple(schedule) if isinstance(schedule, list | tuple) else (schedule,)
    for each in parts:
        if not isinstance(each, CronTimes | EveryTimes):
            raise BadOption(
                f'{where}: schedule takes cron("0 9 * * *"), every("5m"), or a list of these, not {preview(each)}.'
            )
    if not parts:
        raise BadOption(f"{where}: schedule is an empty list: nothing would ever start.")
    return parts


def checked_overlap(overlap: Any, where: str) -> str:
    """An overlap policy. Raises BadArguments for anything else."""
    if overlap not in OVERLAPS:
        raise BadArguments(f"{where}: overlap is one of {', '.join(OVERLAPS)}, not {preview(overlap)}.")
    return str(overlap)


def catch_up_seconds(catch_up: Any, where: str) -> float:
    """How late a firing may be. Raises BadArguments for what is not a duration."""
    return seconds_of(catch_up, f"{where}: catch_up")


def check_parameters(parameters: Sequence[inspect.Parameter], where: str) -> None:
    """Raise BadOption if the clock cannot start a run: a parameter has neither a default nor the type Firing."""
    for each in parameters:
        is_rest = each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if is_rest or each.default is not inspect.Parameter.empty or _may_be_firing(each.annotation):
            continue
        raise BadOption(
            f"{where}: the clock gives no argument for {each.name}. Write a default, or {each.name}: Firing for the "
            "firing itself."
        )


def _may_be_firing(annotation: Any) -> bool:
    return annotation is Firing or (isinstance(annotation, str) and "Firing" in annotation)
