"""Ids that follow from other ids.

In: ids and places. Out: the ids of runs and events that the keeper makes itself. Never: chance.
"""

from __future__ import annotations

from rayflow.values.digests import short_digest

_RESERVED = ("child:", "event:", "hook:", "schedule:")
"""Beginnings of the ids that the keeper makes. Users' ids may not begin so."""


def derived_run_id(id: str) -> str:
    """The run id of the first run with this id: a UUID (version 8) that is the same everywhere."""
    made = bytearray(short_digest("run", id.encode()))
    made[6] = (made[6] & 0x0F) | 0x80
    made[8] = (made[8] & 0x3F) | 0x80
    text = made.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def child_id(run_id: str, place: bytes) -> str:
    """The id of a run that a child or spawn at this place starts, if the user gives none."""
    return f"child:{run_id}:{place.hex()}"


def event_run_id(event_id: str, flow: str) -> str:
    """The id of the run of a flow that an event starts."""
    return f"event:{event_id}:{flow}"


def hook_id(run_id: str, hook: str, generation: int) -> str:
    """The id of the run that a failure or cancel starts. hook: "failure" or "cancel"."""
    return f"hook:{run_id}:{hook}" + (f":{generation}" if generation else "")


def firing_id(schedule: str, moment: int) -> str:
    """The id of the run that a schedule starts for a moment, in microseconds since the epoch."""
    return f"schedule:{schedule}:{moment}"


def emitted_id(run_id: str, place: bytes) -> str:
    """The id of an event that a run emits, if the user gives none."""
    return f"{run_id}:{place.hex()}"


def delivery_target(chain: str, place: bytes) -> str:
    """The target of a delivery to a wait: events are taken once in a chain of runs."""
    return f"{chain}:{place.hex()}"


def is_own_id(id: str) -> bool:
    """Whether an id is a user's own."""
    return not id.startswith(_RESERVED)
