"""Conditions on events: which of them a wait or a flow takes.

In: a packed condition, and an event. Out: whether it is so. Never: user code, or the bytes of a value that is not in
the event itself. (`rayflow.lang.events.conditions` says what a user may write.)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rayflow.lang.events.conditions import THIS_EVENT
from rayflow.lang.operations import TABLE
from rayflow.lang.terms.codec import children, loads
from rayflow.lang.terms.expressions import Form, Operation, Term
from rayflow.records import EventRow
from rayflow.values.native import SCALARS

ALLOWED = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "invert", "getitem", "getattr", "len", "truth", "identity"}
)
"""The operations that are carried out in a condition."""


@lru_cache(maxsize=256)
def _unpacked(packed: bytes) -> Any:
    return loads(packed)


class _Unknown:
    """No answer."""


_UNKNOWN = _Unknown()
_EVENT = object()
"""The event itself, which only gives its fields."""

_PLAIN = (list, tuple, dict, set, frozenset)


def is_fulfilled(condition: bytes | None, event: EventRow) -> bool:
    """Whether a packed condition holds of an event. None is a condition that holds of all."""
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


def holds(condition: Term, event: Mapping[str, Any]) -> bool:
    """Whether an event meets a condition. event: its fields by name, all plain data.

    What Python would answer with an error, such as an item that the data lack, has no answer: `&` and `|` look at the
    other side alone then, as in SQL, and a condition without an answer is not met.
    """
    return _truth(_value(condition, event)) is True


def _value(condition: Term, event: Mapping[str, Any]) -> Any:
    """The value of a term over an event. Each expression comes up twice: its parts are done in between."""
    values: list[Any] = []
    stack: list[tuple[Term, bool]] = [(condition, False)]
    while stack:
        term, is_ready = stack.pop()
        kind = type(term)
        if kind is Form:
            values.append(_EVENT if term._name == THIS_EVENT else _UNKNOWN)
        elif kind is not Operation and kind not in _PLAIN:
            values.append(term if kind in SCALARS else _UNKNOWN)
        elif not is_ready:
            stack.append((term, True))
            stack.extend((part, False) for part in reversed(children(term)))
        else:
            count = len(children(term))
            parts = values[len(values) - count :]
            del values[len(values) - count :]
            values.append(_operated(term._name, parts, event) if kind is Operation else _contained(kind, parts))
    return values[0]


def _contained(kind: Any, parts: list[Any]) -> Any:
    if any(part is _UNKNOWN or part is _EVENT for part in parts):
        return _UNKNOWN
    try:
        return dict(zip(parts[::2], parts[1::2], strict=True)) if kind is dict else kind(parts)
    except TypeError:  # a part that cannot be a key
        return _UNKNOWN


def _operated(name: str, parts: list[Any], event: Mapping[str, Any]) -> Any:
    if parts[0] is _EVENT:
        return event.get(parts[1], _UNKNOWN) if name == "getattr" and type(parts[1]) is str else _UNKNOWN
    if name in ("and", "or"):
        decisive = name == "or"
        truths = [_truth(part) for part in parts]
        if decisive in truths:
            return decisive
        return _UNKNOWN if None in truths else not decisive
    if name not in ALLOWED or name == "getattr" or any(not _is_plain(part) for part in parts):
        return _UNKNOWN
    if name == "invert":  # ~ of a condition; of a number it would be another number
        return not parts[0]
    try:
        return TABLE[name](*parts)
    except (TypeError, ValueError, LookupError):
        return _UNKNOWN


def _is_plain(value: Any) -> bool:
    return type(value) in SCALARS or type(value) in _PLAIN


def _truth(value: Any) -> bool | None:
    return bool(value) if _is_plain(value) else None
