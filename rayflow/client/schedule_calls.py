"""The calls of a service's API that concern schedules, for both clients.

In: names of schedules, timetables, moments. Out: `ApiCall`. Never: sends anything.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from rayflow.client.wire import ApiCall, path_of
from rayflow.lang.durable.schedules import timetable_of
from rayflow.lang.events.moments import Duration, microseconds_of, seconds_of
from rayflow.lang.tasks import Task

LISTED = ApiCall("GET", path_of("schedules"))
"""All schedules."""


def show_call(name: str, limit: int) -> ApiCall:
    """One schedule with its latest firings."""
    return ApiCall("GET", path_of("schedules", name, limit=limit))


def next_call(name: str, count: int) -> ApiCall:
    """The next moments of a schedule."""
    return ApiCall("GET", path_of("schedules", name, "next", count=count))


def put_call(
    name: str,
    flow: Task[..., Any] | str,
    schedule: Any,
    *,
    arguments: Mapping[str, Any] | None,
    overlap: str,
    catch_up: Duration,
) -> ApiCall:
    """The call that makes or changes a schedule. See `ClientSchedules.put`."""
    where = f"schedule {name!r}"
    body = {
        "flow": flow.fullname if isinstance(flow, Task) else flow,
        "timetable": [each.plain() for each in timetable_of(schedule, where)],
        "arguments": None if arguments is None else dict(arguments),
        "overlap": overlap,
        "catch_up": seconds_of(catch_up, f"{where}: catch_up"),
    }
    return ApiCall("PUT", path_of("schedules", name), body)


def delete_call(name: str) -> ApiCall:
    """The call that deletes a schedule."""
    return ApiCall("DELETE", path_of("schedules", name))


def pause_call(name: str, is_paused: bool) -> ApiCall:
    """The call that pauses a schedule, or has it go on."""
    return ApiCall("POST", path_of("schedules", name, "pause" if is_paused else "resume"), {})


def trigger_call(name: str, moment: datetime.datetime | None) -> ApiCall:
    """The call that starts a run for a moment; by default for now. A call that is sent again names the same moment, so
    it is one run."""
    at = time.time_ns() // 1_000 if moment is None else microseconds_of(moment, "moment")
    return ApiCall("POST", path_of("schedules", name, "trigger"), {"moment": at})


def backfill_call(name: str, first: datetime.datetime, last: datetime.datetime | None) -> ApiCall:
    """The call that starts the runs of all moments between two times."""
    until = None if last is None else microseconds_of(last, "last")
    return ApiCall(
        "POST", path_of("schedules", name, "backfill"), {"first": microseconds_of(first, "first"), "last": until}
    )
