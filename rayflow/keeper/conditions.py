"""Conditions on events: which of them a wait or a flow takes.

In: a packed condition, and an event. Out: whether it is so. Never: user code, or the bytes of a value that is not in
the event itself.

A condition is a term over the event, which stands in it as `Form("event", ())`. It may hold scalars, containers of
them, attributes of the event (id, name, key, data, time), items, comparisons, and, or, not, len and truth. What Python
would answer with an error has no answer: `and` and `or` look at the other side alone then, as in SQL, and a condition
without an answer is not fulfilled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rayflow.lang.operations import TABLE
from rayflow.lang.terms.codec import children, loads
from rayflow.lang.terms.expressions import Form, Operation, Term
from rayflow.records import EventRow
from rayflow.values.native import SCALARS

EVENT_FORM = "event"
"""The name of the form that stands for the event in a condition."""

ALLOWED = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "getitem", "getattr", "len", "truth", "identity"}
)
"""The operations that a condition may have."""


@lru_cache(maxsize=256)
def _unpacked(packed: bytes) -> Any:
    return loads(packed)


_ATTRIBUTES: dict[str, Callable[[EventRow], Any]] = {
    "id": lambda row: row.event_id,
    "name": lambda row: row.name,
    "key": lambda row: row.key,
    "data": lambda row: None if row.data is None else _unpacked(row.data),
    "time": lambda row: row.due_at or row.at,
}


class _Unknown:
    """No answer."""


_UNKNOWN = _Unknown()
_PLAIN = (list, tuple, dict, set, frozenset)


def is_fulfilled(condition: bytes | None, event: EventRow) -> bool:
    """Whether a condition holds of an event. None is a condition that holds of all."""
    return condition is None or _truth(_value(_unpacked(condition), event)) is True


def _value(condition: Term, event: EventRow) -> Any:
    """The value of a term over an event. Each expression comes up twice: its parts are done in between."""
    values: list[Any] = []
    stack: list[tuple[Term, bool]] = [(condition, False)]
    while stack:
        term, is_ready = stack.pop()
        kind = type(term)
        if kind is Form:
            values.append(event if term._name == EVENT_FORM else _UNKNOWN)
        elif kind is not Operation and kind not in _PLAIN:
            values.append(term if kind in SCALARS else _UNKNOWN)
        elif not is_ready:
            stack.append((term, True))
            stack.extend((part, False) for part in reversed(children(term)))
        else:
            count = len(children(term))
            parts = values[len(values) - count :]
            del values[len(values) - count :]
            values.append(_operated(term._name, parts) if kind is Operation else _contained(kind, parts))
    return values[0]


def _contained(kind: Any, parts: list[Any]) -> Any:
    if any(part is _UNKNOWN or type(part) is EventRow for part in parts):
        return _UNKNOWN
    try:
        return dict(zip(parts[::2], parts[1::2], strict=True)) if kind is dict else kind(parts)
    except TypeError:  # a part that cannot be a key
        return _UNKNOWN


def _operated(name: str, parts: list[Any]) -> Any:
    first = parts[0]
    if type(first) is EventRow:
        attribute = _ATTRIBUTES.get(parts[1]) if name == "getattr" and type(parts[1]) is str else None
        return attribute(first) if attribute else _UNKNOWN
    if name in ("and", "or"):
        decisive = name == "or"
        truths = [_truth(part) for part in parts]
        if decisive in truths:
            return decisive
        return _UNKNOWN if None in truths else not decisive
    if name not in ALLOWED or name == "getattr" or any(not _is_plain(part) for part in parts):
        return _UNKNOWN
    try:
        return TABLE[name](*parts)
    except (TypeError, ValueError, LookupError):
        return _UNKNOWN


def _is_plain(value: Any) -> bool:
    return type(value) in SCALARS or type(value) in _PLAIN


def _truth(value: Any) -> bool | None:
    return bool(value) if _is_plain(value) else None
