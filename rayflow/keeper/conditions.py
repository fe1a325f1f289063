"""Conditions on events: which of them a wait or a flow takes.

In: a packed condition, and an event. Out: whether it is so. Never: user code, or the bytes of a value that is not in
the event itself. (`rayflow.lang.events.conditions` says what a condition may hold, and what it means.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rayflow.lang.events.conditions import holds
from rayflow.lang.terms.codec import loads
from rayflow.records import EventRow


@lru_cache(maxsize=256)
def _unpacked(packed: bytes) -> Any:
    return loads(packed)


def is_fulfilled(condition: bytes | None, event: EventRow) -> bool:
    """Whether a condition holds of an event. None is a condition that holds of all."""
    if condition is None:
        return True
    fields = {
        "id": event.event_id,
        "name": event.name,
        "key": event.key,
        "data": None if event.data is None else _unpacked(event.data),
        "time": event.due_at or event.at,
        "number": event.number,
    }
    return holds(_unpacked(condition), fields)
