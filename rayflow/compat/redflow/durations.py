"""Times as redflow writes them: milliseconds, texts, datetimes with or without a zone.

In: what a user has given. Out: milliseconds and aware datetimes. Never: reads a clock.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any, TypeAlias

Target: TypeAlias = int | float | str | datetime
"""Milliseconds, a text such as "30s", "5m" or "2h", or a moment."""

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.IGNORECASE)
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds_of(given: Any) -> int | None:
    """The milliseconds of a duration: a number of them, or a text. None for anything else."""
    if isinstance(given, str):
        found = _TEXT.fullmatch(given.strip())
        return None if found is None else math.floor(float(found[1]) * _UNITS[found[2].lower()])
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return math.floor(given) if math.isfinite(given) and given >= 0 else None


def moment_in_zone(moment: datetime) -> datetime:
    """A datetime with a zone. One without is in the zone of this machine."""
    return moment.astimezone() if moment.tzinfo is None else moment


def milliseconds_until(given: Any, now: datetime) -> int | None:
    """The milliseconds from now to a duration's end or a moment, at least 0. None for anything else."""
    if isinstance(given, datetime):
        return max(0, math.floor((moment_in_zone(given) - now).total_seconds() * 1000))
    return milliseconds_of(given)
