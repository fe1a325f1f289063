"""When a schedule fires: expressions of cron in a time zone, and periods.

In: expressions, zones, periods; times in microseconds since the epoch. Out: the next and the previous moments of a
timetable; its plain form. Never: reads a clock.

The moments of a timetable follow from its text and the rules of the zone alone, which are constant tables. So the
keeper computes them itself, whenever it has to: it records up to which moment it has decided, and never which comes
next. When a country changes its clocks, the next service goes by the new rules, and repeats nothing.

A cron expression names local times. They are found without a zone, in order, and each is then put on the line of time:
one that the clocks pass over becomes the moment when they jump, and one that they show twice is the first of both. This
never changes the order, so several local times may become one moment, and no moment goes missing.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from rayflow.errors import BadArguments
from rayflow.lang.events.moments import microseconds_of, moment_of, seconds_of
from rayflow.values.encoding.previews import preview

SECOND_US = 1_000_000

_FIELDS = "minute, hour, day of the month, month, day of the week"
_SOME_DAY = datetime(2024, 1, 1)


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The local times that a cron expression names. zone: as in `Europe/Oslo`."""

    expression: str
    zone: str = "UTC"

    def after(self, moment: int) -> Iterator[int]:
        """Its moments after this one, in order."""
        zone = _zone(self.zone)
        local = moment_of(moment).astimezone(zone).replace(tzinfo=None)
        last = moment
        for each in _local_times(self.expression, local):
            at = _instant(each, zone)
            if at > last:  # not, where the clocks go back, the times that have been; nor twice the end of a gap
                last = at
                yield at

    def before(self, moment: int) -> int | None:
        """Its last moment before this one; None if there is none in 50 years."""
        zone = _zone(self.zone)
        aware = moment_of(moment).astimezone(zone)
        local = aware.replace(tzinfo=None)
        if aware.fold:  # then later times of the clock have been shown before this moment
            local += (aware.replace(fold=0).utcoffset() or _NOTHING) - (aware.utcoffset() or _NOTHING)
        found = (_instant(each, zone) for each in _local_times(self.expression, local, is_reverse=True))
        return next((at for at in found if at < moment), None)

    def plain(self) -> dict[str, Any]:
        """It as JSON can have it."""
        return {"cron": self.expression, "tz": self.zone}

    def __str__(self) -> str:
        return f"cron {self.expression} ({self.zone})"


@dataclass(frozen=True, slots=True)
class EveryTimes:
    """The moments `start`, one period later, and so on, without drift. Both in microseconds."""

    period: int
    start: int = 0

    def after(self, moment: int) -> Iterator[int]:
        """Its moments after this one, in order."""
        at = self.start if moment < self.start else moment - (moment - self.start) % self.period + self.period
        while True:
            yield at
            at += self.period

    def before(self, moment: int) -> int | None:
        """Its last moment before this one; None if there is none."""
        if moment <= self.start:
            return None
        return moment - 1 - (moment - 1 - self.start) % self.period

    def plain(self) -> dict[str, Any]:
        """It as JSON can have it."""
        seconds = self.period / SECOND_US if self.period % SECOND_US else self.period // SECOND_US
        start = {"start": moment_of(self.start).isoformat()} if self.start else {}
        return {"every": seconds, **start}

    def __str__(self) -> str:
        units = (("d", 86_400), ("h", 3_600), ("m", 60))
        seconds, left = divmod(self.period, SECOND_US)
        whole = [f"{seconds // size}{unit}" for unit, size in units if not left and seconds % size == 0]
        period = whole[0] if whole else f"{self.period / SECOND_US:.10g}s"
        return f"every {period}" + (f" from {moment_of(self.start).isoformat()} on" if self.start else "")


Timetable: TypeAlias = tuple[CronTimes | EveryTimes, ...]
"""All moments of its parts. A moment of two parts is one moment."""


# --- the moments of a timetable ---------------------------------------------------------------------------------------


def moments_after(timetable: Timetable, moment: int) -> Iterator[int]:
    """The moments of a timetable after this one, in order. It may have no end."""
    parts = [each.after(moment) for each in timetable]
    heads = [next(part, None) for part in parts]
    while (at := min((head for head in heads if head is not None), default=None)) is not None:
        yield at
        heads = [next(part, None) if head == at else head for part, head in zip(parts, heads, strict=True)]


def next_moment(timetable: Timetable, after: int) -> int | None:
    """The first moment of a timetable after this one; None if there is none."""
    return next(moments_after(timetable, after), None)


def previous_moment(timetable: Timetable, before: int) -> int | None:
    """The last moment of a timetable before this one; None if there is none."""
    return max((at for each in timetable if (at := each.before(before)) is not None), default=None)


def moments_between(timetable: Timetable, after: int, last: int, most: int) -> list[int]:
    """The moments after one, up to another and with it, but no more than so many."""
    found: list[int] = []
    for at in islice(moments_after(timetable, after), most):
        if at > last:
            break
        found.append(at)
    return found


# --- making one -------------------------------------------------------------------------------------------------------


def cron_times(expression: Any, zone: Any, where: str) -> CronTimes:
    """The times of a cron expression. Raises BadArguments for a wrong one, and for an unknown zone."""
    if not isinstance(expression, str) or len(expression.split()) != 5:
        raise BadArguments(
            f"{where}: an expression of cron is a text of five fields ({_FIELDS}), not {preview(expression)}. "
            'For periods below a minute there is every("10s").'
        )
    checked_zone(zone, where)
    expression = " ".join(expression.split())
    try:
        CronSim(expression, _SOME_DAY)  # refuses also what never comes, such as February 30
    except (CronSimError, ValueError, AssertionError) as error:
        raise BadArguments(f"{where}: {error} in {expression!r}. The fields are {_FIELDS}.") from None
    return CronTimes(expression, zone)


def checked_zone(zone: Any, where: str) -> None:
    """Raise BadArguments for what is not the name of a time zone."""
    if not isinstance(zone, str):
        raise BadArguments(f'{where}: a time zone is a name such as "Europe/Oslo", not {preview(zone)}.')
    try:
        _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(zone, sorted(available_timezones()), n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ' They are called as in "Europe/Oslo".'
        raise BadArguments(f"{where}: there is no time zone {zone!r}.{meant}") from None


def every_times(period: Any, start: Any, where: str) -> EveryTimes:
    """The times of a period. start: an aware datetime, or None for the epoch. Raises BadArguments."""
    period_us = round(seconds_of(period, where) * SECOND_US)
    if period_us < SECOND_US:
        raise BadArguments(f"{where}: the shortest period of a schedule is one second, not {preview(period)}.")
    return EveryTimes(period_us, 0 if start is None else microseconds_of(start, f"{where}: start"))


# --- its plain form ---------------------------------------------------------------------------------------------------


def text_of(timetable: Timetable) -> str:
    """A timetable as JSON."""
    return json.dumps([each.plain() for each in timetable])


@lru_cache(maxsize=1_000)
def from_text(text: str) -> Timetable:
    """The timetable of such a text."""
    return from_plain(json.loads(text), "the timetable")


def from_plain(data: Any, where: str) -> Timetable:
    """The timetable of plain data: `{"cron": "0 9 * * *", "tz": "Europe/Oslo"}`, `{"every": "5m", "start": "..."}`, or
    a list of these. Raises BadArguments for anything else."""
    parts = data if isinstance(data, list) else [data]
    if not parts:
        raise BadArguments(f"{where} is empty: nothing would ever start.")
    return tuple(_part(each, where) for each in parts)


def _part(data: Any, where: str) -> CronTimes | EveryTimes:
    names = set(data) if isinstance(data, Mapping) else set()
    if "cron" in names and names <= {"cron", "tz"}:
        return cron_times(data["cron"], data.get("tz", "UTC"), where)
    if "every" in names and names <= {"every", "start"}:
        return every_times(data["every"], _start(data.get("start"), where), where)
    raise BadArguments(
        f'{where}: write {{"cron": "0 9 * * *", "tz": "Europe/Oslo"}} or {{"every": "5m"}}, or a list of these, not '
        f"{preview(data)}."
    )


def _start(text: Any, where: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise BadArguments(
            f"{where}: start is a time such as 2027-01-01T00:00:00+00:00, not {preview(text)}."
        ) from None


def said(timetable: Sequence[CronTimes | EveryTimes]) -> str:
    """A timetable in words."""
    return ", ".join(map(str, timetable))


# --- local times ------------------------------------------------------------------------------------------------------

_NOTHING = timedelta()


@lru_cache(maxsize=1_000)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local_times(expression: str, local: datetime, *, is_reverse: bool = False) -> Iterator[datetime]:
    """The times of an expression after (or before) a local time, without a zone, in order. They end where years do, or
    where 50 years name none."""
    times = CronSim(expression, local, reverse=is_reverse)
    while True:
        try:
            yield next(times)
        except (StopIteration, OverflowError):
            return


def _instant(local: datetime, zone: ZoneInfo) -> int:
    """The moment of a local time: the first, where the clocks show it twice; where they pass over it, the moment when
    they jump."""
    aware = local.replace(tzinfo=zone)
    if aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        return microseconds_of(aware)
    late, early = microseconds_of(aware) // SECOND_US, microseconds_of(aware.replace(fold=1)) // SECOND_US
    before = _offset(early, zone)
    while late - early > 1:  # the clocks jump after `early`, and not after `late`
        middle = (early + late) // 2
        early, late = (middle, late) if _offset(middle, zone) == before else (early, middle)
    return late * SECOND_US


def _offset(second: int, zone: ZoneInfo) -> timedelta | None:
    return moment_of(second * SECOND_US).astimezone(zone).utcoffset()
