"""What a walk over a task's code gives.

In: nothing. Out: plain frozen data. Never: walks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

IsTask = Callable[[object], str | None]
"""From an object to its full name when it is a task, else None."""


Reading: TypeAlias = tuple[Mapping[str, Any], str, Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that a task's code reaches.

    name: full name, module and qualified name; a captured or default value is `function[name]`.
    kind: 'task', 'function', 'class' or 'constant'.
    digest: of this definition alone, 20 bytes.
    reached_from: name of the definition that names it; None for the function itself.
    place: 'path/to/file.py:12', relative to the project; None when there is no file.
    source: source text, or the repr of a constant, shortened.
    """

    name: str
    kind: str
    digest: bytes
    reached_from: str | None
    place: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class CodeIdentity:
    """What a function is, as code.

    digest: over the function itself and everything it reaches.
    definitions: all that was reached; the first is the function itself.
    unresolved: look-ups that could not be followed, as text for people.
    readings: what names were bound to: where each was looked up, the name, the object.
    """

    digest: bytes
    definitions: tuple[Definition, ...]
    unresolved: tuple[str, ...]
    readings: tuple[Reading, ...] = field(default=(), compare=False, repr=False)

    def holds(self) -> bool:
        """Whether all names mean the objects that they meant. That one of these has changed inside is not seen."""
        return all(space.get(name) is value for space, name, value in self.readings)
