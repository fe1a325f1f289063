"""What a service is asked about schedules.

In: names of schedules and tasks, plain data, times in microseconds since the epoch. Out: schedules as plain data, with
their next moments; requests to the keeper. Never: decides when something fires.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from itertools import islice
from typing import Any

from rayflow.errors import BadArguments, NotFound
from rayflow.keeper import requests
from rayflow.keeper.commands import BindFiring
from rayflow.lang.durable.schedules import CATCH_UP, catch_up_seconds, checked_overlap
from rayflow.lang.events.timetables import from_plain, from_text, moments_after, said, text_of
from rayflow.service.flows import call_for
from rayflow.service.service import Service
from rayflow.values.encoding.previews import preview

MOST_NEXT = 1_000
"""No more of the next moments than these are listed."""

_LONGEST_NAME = 200
_LATEST_US = 253_402_214_400_000_000
"""The last day of the year 9999: a moment after it has no local time everywhere."""


class ServiceSchedules:
    """The schedules of a service. Any thread may ask."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def listed(self) -> list[dict[str, Any]]:
        """All schedules, by name."""
        return [_shown(each) for each in self._service.look(lambda keeper: keeper.schedules())]

    def described(self, text: str, *, limit: int) -> dict[str, Any]:
        """One schedule, with its next moments, what has become of it, and its latest firings."""
        known = self._known(text)
        name = known["schedule"]
        return {
            **_shown(known),
            "next": self.coming(name, count=5),
            "changes": [_shown(each) for each in self._service.questions.schedule_changes(name)],
            "firings": self._service.questions.firings(name, limit=limit),
        }

    def coming(self, text: str, *, count: int) -> list[int]:
        """The next moments of a schedule; none, if it is paused or has ended."""
        known = self._known(text)
        if known["next_at"] is None:
            return []
        return list(islice(moments_after(from_text(known["timetable"]), known["decided_to"]), min(count, MOST_NEXT)))

    def put(
        self,
        name: str,
        flow: Any,
        timetable: Any,
        *,
        arguments: Any = None,
        overlap: Any = None,
        catch_up: Any = None,
    ) -> Future[Any]:
        """Make or change a schedule. Raises BadArguments, NoSuchTask."""
        where = f"schedule {name!r}"
        if not name or "/" in name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise BadArguments(f"{where}: a name is a text of up to {_LONGEST_NAME} characters without a slash.")
        if not isinstance(flow, str):
            raise BadArguments(f"{where} names no task, as `flow`.")
        if arguments is not None and not isinstance(arguments, Mapping):
            raise BadArguments(f"{where}: arguments are an object, by name, not {preview(arguments)}.")
        task = self._service.task_named(flow)
        spec = requests.ScheduleSpec(
            text_of(from_plain(timetable, f"{where}: timetable")),
            checked_overlap("skip" if overlap is None else overlap, where),
            round(catch_up_seconds(CATCH_UP if catch_up is None else catch_up, where) * 1_000_000),
        )
        packed = json.dumps(dict(arguments), sort_keys=True) if arguments else None
        call_for(task, BindFiring(name, 0, task.fullname, packed))
        return self._service.ask(
            lambda at, request: requests.PutScheduleRequested(at, request, name, task.fullname, spec, packed)
        )

    def pause(self, text: str, is_paused: bool) -> Future[Any]:
        """Pause a schedule, or have it go on."""
        name = self._known(text)["schedule"]
        return self._service.ask(lambda at, request: requests.PauseRequested(at, request, name, is_paused))

    def delete(self, text: str) -> Future[Any]:
        """Delete a schedule that was put."""
        name = self._known(text)["schedule"]
        return self._service.ask(lambda at, request: requests.DeleteScheduleRequested(at, request, name))

    def trigger(self, text: str, moment: int | None) -> Future[Any]:
        """Start a run of a schedule for a moment; by default for now."""
        name = self._known(text)["schedule"]
        _check_moments(moment)
        return self._service.ask(
            lambda at, request: requests.TriggerRequested(at, request, name, at if moment is None else moment)
        )

    def backfill(self, text: str, first: int, last: int | None) -> Future[Any]:
        """Start the runs of all moments between two times that have had none."""
        name = self._known(text)["schedule"]
        _check_moments(first, last)
        return self._service.ask(lambda at, request: requests.BackfillRequested(at, request, name, first, last))

    def _known(self, text: str) -> dict[str, Any]:
        """The schedule that a text names: by its name, or by the end of it if only one ends so. Raises NotFound."""
        known = self._service.look(lambda keeper: keeper.schedules())
        exact = [each for each in known if each["schedule"] == text]
        found = exact or [each for each in known if each["schedule"].rpartition(".")[2] == text]
        if len(found) == 1:
            return found[0]
        names = ", ".join(each["schedule"] for each in found or known)
        if found:
            raise NotFound(f"{text} may be any of {names}: write one of these.")
        raise NotFound(f"There is no schedule {text!r}" + (f"; there are {names}." if names else ", nor any other."))


def _check_moments(*moments: Any) -> None:
    for moment in moments:
        if moment is not None and not (type(moment) is int and 0 <= moment <= _LATEST_US):
            raise BadArguments(f"{preview(moment)} is not a moment: give microseconds since 1970, in UTC.")


def shown_answer(answer: Any) -> Any:
    """The keeper's answer to a request as JSON has it."""
    return _shown(answer) if isinstance(answer, dict) and "timetable" in answer else answer


def _shown(known: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule as JSON has it."""
    table = from_text(known["timetable"])
    arguments = None if known["arguments"] is None else json.loads(known["arguments"])
    return {
        **known,
        "timetable": [each.plain() for each in table],
        "when": said(table),
        "arguments": arguments,
    }
