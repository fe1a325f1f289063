"""Durations and moments as users write them, and as forms hold them.

In: seconds, texts such as "30m", timedeltas; aware datetimes; lazy ones of each. Out: seconds; microseconds since the
epoch. Never: reads a clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.terms.expressions import Expression, Operation, Term
from rayflow.values.encoding.previews import preview

Duration: TypeAlias = int | float | str | timedelta
"""Seconds, a text such as "400ms", "5s", "30m", "2h" or "7d", or a timedelta."""

MOST_SECONDS = 10**10
"""The longest duration: three hundred years."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_of(duration: Any, where: str = "a duration") -> float:
    """The seconds of a duration. Raises BadArguments for anything else, and for what is negative or too long."""
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, bool) or not isinstance(duration, int | float | str):
        raise BadArguments(
            f'{where} takes seconds, a text such as "30m", or a timedelta, not {preview(duration)} of type '
            f"{type(duration).__name__}."
        )
    else:
        try:
            seconds = parse_seconds(duration, where=where)
        except BadOption as error:
            raise BadArguments(str(error)) from None
    if not 0 <= seconds <= MOST_SECONDS:
        raise BadArguments(f"{where}: a duration is from 0 to {MOST_SECONDS:,} seconds, not {preview(duration)}.")
    return seconds


def microseconds_of(moment: Any, where: str = "a moment") -> int:
    """The microseconds since the epoch of an aware datetime. Raises BadArguments for anything else."""
    if not isinstance(moment, datetime):
        raise BadArguments(f"{where} takes a datetime with a time zone, not {preview(moment)}.")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise BadArguments(
            f"{where}: {moment!r} has no time zone, so nobody knows when that is. Write datetime(..., tzinfo=UTC), or "
            'tzinfo=ZoneInfo("Europe/Oslo"), or moment.astimezone() for the zone of this machine.'
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """The datetime in UTC of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def lazy_seconds(duration: Term, where: str) -> Term:
    """The seconds of a duration, now or, for a lazy one, later. Raises BadArguments as `seconds_of`."""
    return Operation("seconds", (duration,)) if isinstance(duration, Expression) else seconds_of(duration, where)


def lazy_microseconds(moment: Term, where: str) -> Term:
    """The microseconds of a moment, now or, for a lazy one, later. Raises BadArguments as `microseconds_of`."""
    return Operation("microseconds", (moment,)) if isinstance(moment, Expression) else microseconds_of(moment, where)
