"""The schedules of a rehearsal, as its test sees them: `rehearsal.schedules`.

In: the service of a rehearsal, names of schedules. Out: what `client.schedules` gives, when everything has happened
that follows. Never: decides when something fires.
"""

from __future__ import annotations

import builtins
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from rayflow.lang.durable.schedules import CATCH_UP, timetable_of
from rayflow.lang.events.moments import Duration, microseconds_of
from rayflow.lang.tasks import Task
from rayflow.service.schedules import ServiceSchedules, shown_answer
from rayflow.testing.rehearsed_runs import RehearsedRun
from rayflow.testing.rehearsed_service import RehearsedService


class RehearsedSchedules:
    """The schedules of a rehearsal. The methods, and their errors, are those of `client.schedules`."""

    def __init__(self, service: Callable[[], RehearsedService]) -> None:
        self._service_now = service

    @property
    def _schedules(self) -> ServiceSchedules:
        return ServiceSchedules(self._service_now())

    def list(self) -> builtins.list[dict[str, Any]]:
        """All schedules, by name."""
        return self._schedules.listed()

    def show(self, name: str, *, limit: int = 20) -> dict[str, Any]:
        """One schedule, with its next moments, its changes, and its latest firings, newest first."""
        return self._schedules.described(name, limit=limit)

    def next(self, name: str, count: int = 5) -> builtins.list[int]:
        """Its next moments, in microseconds; none if it is paused or has ended."""
        return self._schedules.coming(name, count=count)

    def put(
        self,
        name: str,
        flow: Task[..., Any] | str,
        schedule: Any,
        *,
        arguments: Mapping[str, Any] | None = None,
        overlap: str = "skip",
        catch_up: Duration = CATCH_UP,
    ) -> dict[str, Any]:
        """Make a schedule, or change one that was put."""
        timetable = [each.plain() for each in timetable_of(schedule, f"schedule {name!r}")]
        task = flow.fullname if isinstance(flow, Task) else flow
        return self._asked(
            lambda asked: asked.put(name, task, timetable, arguments=arguments, overlap=overlap, catch_up=catch_up)
        )

    def pause(self, name: str) -> dict[str, Any]:
        """Pause it: its moments are skipped until it is resumed."""
        return self._asked(lambda asked: asked.pause(name, True))

    def resume(self, name: str) -> dict[str, Any]:
        """Have it go on after a pause."""
        return self._asked(lambda asked: asked.pause(name, False))

    def trigger(self, name: str, moment: datetime.datetime | None = None) -> RehearsedRun:
        """Start a run of it, for a moment; by default for now. Let it go on until it has ended, or waits."""
        at = self._service_now().now() if moment is None else microseconds_of(moment, "moment")
        answer = self._asked(lambda asked: asked.trigger(name, at))
        return RehearsedRun(self._service_now, answer["run_id"], is_new=answer["is_new"])

    def backfill(self, name: str, first: datetime.datetime, last: datetime.datetime | None = None) -> dict[str, Any]:
        """Start the runs of all its moments from first to last (by default now) that have had none."""
        until = None if last is None else microseconds_of(last, "last")
        return self._asked(lambda asked: asked.backfill(name, microseconds_of(first, "first"), until))

    def delete(self, name: str) -> dict[str, Any]:
        """Delete one that was put."""
        return self._asked(lambda asked: asked.delete(name))

    def _asked(self, ask: Callable[[ServiceSchedules], Any]) -> dict[str, Any]:
        """The answer to a request, when everything has happened that follows."""
        found: dict[str, Any] = shown_answer(self._service_now().answered(lambda _: ask(self._schedules)))
        return found
