"""Outcomes as bytes, and back.

In: the outcome of a reduction: a symbolic value, or a `Failure`. Out: bytes that any process can read without user
code. Never: a user's object; an exception (a failure has its own one as bytes, which are passed on unread).

An outcome is written as a packed term: a pair of the word "value" and the value, or of the word "failure" and a dict of
all fields of the failure. So the witnesses and blobs of a value stand at the front, as for any packed term.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rayflow.lang.terms.codec import dumps, loads
from rayflow.values.display.tracebacks import Frame
from rayflow.values.failures import Failure, Outcome, Related

_VALUE, _FAILURE = "value", "failure"


def pack_outcome(outcome: Outcome) -> bytes:
    """The packed form of a symbolic value or of a failure."""
    if isinstance(outcome, Failure):
        return dumps((_FAILURE, _as_data(outcome)))
    return dumps((_VALUE, outcome))


def unpack_outcome(packed: bytes) -> Outcome:
    """The value or failure of a packed outcome. Raises ValueError when the bytes are not a packed outcome."""
    try:
        kind, content = loads(packed)
    except TypeError as error:
        raise ValueError(f"not a packed outcome: {error}") from error
    if kind == _VALUE:
        return content
    if kind != _FAILURE:
        raise ValueError(f"not a packed outcome, but {kind!r}")
    return Failure(**_read(content))


def _as_data(part: Failure | Related) -> dict[str, Any]:
    """The fields of a failure, or of an error that belongs to it, by name."""
    data = {each.name: getattr(part, each.name) for each in fields(part)}
    data["frames"] = tuple([tuple([getattr(frame, each.name) for each in fields(Frame)]) for frame in part.frames])
    data["related"] = tuple([_as_data(each) for each in part.related])
    return data


def _read(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **data,
        "frames": tuple([Frame(*frame) for frame in data["frames"]]),
        "related": tuple([Related(**_read(each)) for each in data["related"]]),
    }


def error_of(packed: bytes) -> str | None:
    """Type and message of a packed failure; None for a value."""
    found = unpack_outcome(packed)
    return found.summary if isinstance(found, Failure) else None
