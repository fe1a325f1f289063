"""Patterns for the commands that a playbook expects; the text of a thing on one line.

In: patterns and things. Out: whether they fit. Never: plays a conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import EXPRESSIONS, TaskRef
from rayflow.values.failures import Failure
from rayflow.values.refs import TaggedTree, ValueRef


class Placeholder:
    """A value that a conversation learns. It fits anything the first time, and only the same value later.

    Reading `.value` before it is learnt raises LookupError.
    """

    __slots__ = ("_learnt", "_value", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._learnt = False
        self._value: Any = None

    @property
    def value(self) -> Any:
        """The value that was learnt."""
        if not self._learnt:
            raise LookupError(f"the placeholder {self.name!r} has not been learnt yet: expect a command with it first")
        return self._value

    def fits(self, value: Any) -> bool:
        """Learn the value, or compare it with the learnt value."""
        if self._learnt:
            return same(self._value, value)
        self._learnt, self._value = True, value
        return True

    def forget(self) -> None:
        """Forget the value that was learnt."""
        self._learnt, self._value = False, None

    def __repr__(self) -> str:
        return f"<{self.name}={self._value!r}>" if self._learnt else f"<{self.name}>"


class Like:
    """A pattern: an object of this class whose named fields fit; other fields do not count.

    A mapping fits when each of its keys fits (wrap it in `Exactly` when there may be no others). A function that gives
    a bool decides by itself. A type fits its instances.
    """

    __slots__ = ("cls", "fields", "title")

    def __init__(self, cls: type, /, title: str = "", **fields: Any) -> None:
        self.cls = cls
        self.fields = fields
        self.title = title

    def __repr__(self) -> str:
        inside = ", ".join(f"{name.replace('__', '.')}={show(value)}" for name, value in self.fields.items())
        return f"{self.title or self.cls.__name__}({inside})"


class Exactly:
    """A pattern: a mapping with these keys and no others."""

    __slots__ = ("items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self.items = items

    def __repr__(self) -> str:
        return f"exactly {dict(self.items)!r}"


class Containing:
    """A pattern: a sequence in which each of these patterns finds an item of its own."""

    __slots__ = ("patterns",)

    def __init__(self, *patterns: Any) -> None:
        self.patterns = patterns

    def __repr__(self) -> str:
        return f"[..., {', '.join(map(repr, self.patterns))}, ...]"


class Unordered:
    """A pattern: these commands, in any order."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: tuple[Any, ...]) -> None:
        self.patterns = patterns


class Together:
    """Several messages, sent in one tick."""

    __slots__ = ("messages",)

    def __init__(self, messages: tuple[Any, ...]) -> None:
        self.messages = messages


def unordered(*patterns: Any) -> Unordered:
    """Expect these commands, in any order."""
    return Unordered(patterns)


def together(*messages: Any) -> Together:
    """Send these messages in one tick."""
    return Together(messages)


def same(one: Any, other: Any) -> bool:
    """Whether two symbolic terms, or two plain objects, are the same. (Expressions compare lazily, 1 == True.)"""
    if one is other:
        return True
    classes = (*EXPRESSIONS, TaskRef, TaggedTree, list, tuple, dict, set, frozenset, bool, int, float)
    if isinstance(one, classes) and not _is_named(one):
        return type(one) is type(other) and dumps(one) == dumps(other)
    return type(one) is type(other) and bool(one == other)


def _is_named(thing: Any) -> bool:
    return isinstance(thing, tuple) and hasattr(thing, "_fields")


def fits(pattern: Any, value: Any) -> bool:
    """Whether the value fits the pattern; placeholders learn. (See `Like` for what may be a pattern.)"""
    if isinstance(pattern, Placeholder):
        return pattern.fits(value)
    if isinstance(pattern, Like):
        return isinstance(value, pattern.cls) and all(
            fits(wanted, _read(value, name)) for name, wanted in pattern.fields.items()
        )
    if isinstance(pattern, Exactly):
        return isinstance(value, Mapping) and set(value) == set(pattern.items) and _all_keys_fit(pattern.items, value)
    if isinstance(pattern, Containing):
        return each_finds_its_own(pattern.patterns, list(value)) is not None
    if isinstance(pattern, type):
        return isinstance(value, pattern)
    if isinstance(pattern, Mapping):
        return isinstance(value, Mapping) and _all_keys_fit(pattern, value)
    if isinstance(pattern, tuple | list) and _has_patterns(pattern):
        return type(value) is type(pattern) and len(value) == len(pattern) and all(map(fits, pattern, value))
    if callable(pattern) and not isinstance(pattern, EXPRESSIONS):
        return bool(pattern(value))
    return same(pattern, value)


def _all_keys_fit(pattern: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return all(key in value and fits(wanted, value[key]) for key, wanted in pattern.items())


def _has_patterns(items: Iterable[Any]) -> bool:
    return any(
        isinstance(item, Placeholder | Like | Exactly | Containing) or (isinstance(item, tuple) and _has_patterns(item))
        for item in items
    )


def _read(value: Any, name: str) -> Any:
    for part in name.split("__"):
        value = getattr(value, part)
    return value


def _placeholders(pattern: Any) -> list[Placeholder]:
    if isinstance(pattern, Placeholder):
        return [pattern]
    inside: Iterable[Any] = ()
    if isinstance(pattern, Like):
        inside = pattern.fields.values()
    elif isinstance(pattern, Exactly):
        inside = pattern.items.values()
    elif isinstance(pattern, Containing | Unordered):
        inside = pattern.patterns
    elif isinstance(pattern, Mapping):
        inside = pattern.values()
    elif isinstance(pattern, tuple | list):
        inside = pattern
    return [found for item in inside for found in _placeholders(item)]


def fits_or_forgets(pattern: Any, value: Any) -> bool:
    """The same as `fits`, but placeholders learn nothing from an object that does not fit."""
    unlearnt = [each for each in _placeholders(pattern) if not each._learnt]
    if fits(pattern, value):
        return True
    for each in unlearnt:
        each.forget()
    return False


def each_finds_its_own(patterns: Iterable[Any], items: list[Any]) -> list[int] | None:
    """Which item each pattern found, in the order of the patterns; None when one found nothing."""
    taken: list[int] = []
    for pattern in patterns:
        for position, item in enumerate(items):
            if position not in taken and fits_or_forgets(pattern, item):
                taken.append(position)
                break
        else:
            return None
    return taken


def show(thing: Any, limit: int = 300) -> str:
    """A command, message or pattern on one line: terms unpacked, defaults and times left out."""
    named = _names_of(thing)
    if named is None or isinstance(thing, type | ValueRef | TaggedTree | Failure | TaskEntry):
        text = f"Failure({thing.summary})" if isinstance(thing, Failure) else ""
        text = text or (f"<entry {thing.name}>" if isinstance(thing, TaskEntry) else _short(thing))
        return text if len(text) <= limit else text[:limit] + "..."
    parts = []
    for name in named:
        value = getattr(thing, name)
        if name in ("at", "cost") or value is None or (type(value) in (tuple, dict) and not value):
            continue
        if name in ("term", "root") and isinstance(value, bytes):
            value = _unpacked(value)
        parts.append(f"{name}={show(value, 120)}")
    text = f"{type(thing).__name__}({', '.join(parts)})"
    return text if len(text) <= limit else text[:limit] + "..."


def _names_of(thing: Any) -> Sequence[str] | None:
    """The names of the fields of a dataclass or a named tuple."""
    if is_dataclass(thing):
        return [field.name for field in fields(thing)]
    return thing._fields if _is_named(thing) else None


def _unpacked(term: bytes) -> Any:
    try:
        return loads(term)
    except ValueError:  # a damaged term is shown as it is
        return term


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()[:8]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item, 60)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple) and not _is_named(value):
        return "(" + ", ".join(show(item, 80) for item in value) + ")"
    return repr(value)
