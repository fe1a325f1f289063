"""Outcomes as bytes: the value or failure of a place, as it is recorded and passed on.

In: an outcome. Out: bytes of plain data, which any process can read without user code. Never: pickles an object.
"""

from __future__ import annotations

from typing import Any

from rayflow.lang.terms.codec import dumps, loads
from rayflow.values.display.tracebacks import Frame
from rayflow.values.failures import Failure, Outcome, Related

_FAILURE = b"F"
"""First byte of a packed failure. A packed term never starts so."""


def pack_outcome(outcome: Outcome) -> bytes:
    """The bytes of an outcome: of a value, which is a symbolic term, or of a failure."""
    return _FAILURE + dumps(_plain(outcome)) if isinstance(outcome, Failure) else dumps(outcome)


def unpack_outcome(packed: bytes) -> Outcome:
    """The outcome that these bytes hold. Raises ValueError if they are damaged."""
    return _failure(*loads(packed[1:])) if packed[:1] == _FAILURE else loads(packed)


def error_of(packed: bytes) -> str | None:
    """Type and message of a packed failure; None for a value. It does not unpack a value."""
    return unpack_outcome(packed).summary if packed[:1] == _FAILURE else None  # type: ignore[attr-defined]


def _plain(failure: Failure) -> tuple[Any, ...]:
    return (
        failure.type_name, failure.classes, failure.message, failure.digest, failure.pickled,
        _plain_frames(failure.frames), failure.trail, failure.fault, failure.notes, _plain_related(failure.related),
    )  # fmt: skip


def _plain_frames(frames: tuple[Frame, ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple([(frame.file, frame.line, frame.function, frame.text, frame.left_out) for frame in frames])


def _plain_related(related: tuple[Related, ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        [
            (each.relation, each.summary, each.pickled, _plain_frames(each.frames), each.notes,
             _plain_related(each.related), each.trail)
            for each in related
        ]
    )  # fmt: skip


def _failure(
    type_name: str, classes: tuple[str, ...], message: str, digest: bytes, pickled: bytes | None,
    frames: tuple[Any, ...], trail: tuple[str, ...], fault: str, notes: tuple[str, ...], related: tuple[Any, ...],
) -> Failure:  # fmt: skip
    below = tuple(map(_related, related))
    return Failure(type_name, classes, message, digest, pickled, _frames(frames), trail, fault, notes, below)


def _frames(frames: tuple[Any, ...]) -> tuple[Frame, ...]:
    return tuple([Frame(*frame) for frame in frames])


def _related(plain: tuple[Any, ...]) -> Related:
    relation, summary, pickled, frames, notes, related, trail = plain
    return Related(relation, summary, pickled, _frames(frames), notes, tuple(map(_related, related)), trail)
