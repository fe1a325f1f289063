"""Code identities for people: the tree of what a task reaches, and what has changed between two of them.

In: `CodeIdentity`, or rows of definitions as the store keeps them. Out: text, and one `Change` for each definition that
was added, removed or changed. Never: looks at live code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rayflow.lang.code.code_graph import CodeIdentity, Definition

_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Change:
    """One definition that differs between two versions of a task's code.

    name, kind: of the definition.
    what: 'added', 'removed' or 'changed'.
    path: names from the task's function to this definition, both included.
    place: where it is (or was), or None.
    text: a unified diff of the sources; empty when no source was kept.
    """

    name: str
    kind: str
    what: str
    path: tuple[str, ...]
    place: str | None
    text: str


def describe(identity: CodeIdentity) -> str:
    """The tree of definitions with their places, each under the one that reaches it, and the unknown look-ups."""
    below: dict[str | None, list[Definition]] = {}
    for definition in identity.definitions:
        below.setdefault(definition.reached_from, []).append(definition)
    lines = [f"code identity {identity.digest.hex()}"]
    stack = [(definition, 0) for definition in reversed(below.get(None, []))]
    while stack:
        definition, depth = stack.pop()
        line = f"{_INDENT * depth}{definition.kind} {definition.name}"
        if definition.kind == "constant" and definition.source:
            line += f" = {definition.source}"
        elif definition.kind == "distribution":
            line = f"distribution {definition.source}"
        elif definition.kind == "task":
            line += " (by name only: its calls are its own)"
        line += f"  {definition.digest.hex()[:8]}"
        if definition.place:
            line += f"  {definition.place}"
        lines.append(line)
        stack.extend((child, depth + 1) for child in reversed(below.get(definition.name, [])))
    if identity.unresolved:
        lines.append("could not be followed, so changes there are not seen:")
        lines.extend(f"{_INDENT}{text}" for text in identity.unresolved)
    if identity.missing:
        lines.append("not there now; it counts once it is:")
        lines.extend(f"{_INDENT}{text}" for text in identity.missing)
    return "\n".join(lines)


def diff(old: Iterable[Any], new: Iterable[Any]) -> list[Change]:
    """The differences between two lists of definitions, matched by name: changed ones first, then added, then removed.

    Takes `Definition`s, the store's rows of definitions, or plain tuples
    (name, kind, digest, reached_from, place, source).
    """
    before = {definition.name: definition for definition in map(_definition, old)}
    after = {definition.name: definition for definition in map(_definition, new)}
    changes: list[Change] = []
    for name, definition in after.items():
        earlier = before.get(name)
        if earlier is not None and (earlier.digest, earlier.kind) != (definition.digest, definition.kind):
            changes.append(_change("changed", definition, after, earlier.source, definition.source))
    changes.extend(
        _change("added", definition, after, None, definition.source)
        for name, definition in after.items()
        if name not in before
    )
    changes.extend(
        _change("removed", definition, before, definition.source, None)
        for name, definition in before.items()
        if name not in after
    )
    return changes


def _definition(row: Any) -> Definition:
    if isinstance(row, Definition):
        return row
    if hasattr(row, "definition_hash"):
        return Definition(row.name, row.kind, bytes(row.definition_hash), row.reached_from, row.place, row.source)
    if hasattr(row, "digest"):
        return Definition(row.name, row.kind, row.digest, row.reached_from, row.place, row.source)
    name, kind, digest, reached_from, place, source = row
    return Definition(name, kind, bytes(digest), reached_from, place, source)


def _change(
    what: str, definition: Definition, known: dict[str, Definition], before: str | None, after: str | None
) -> Change:
    path = [definition.name]
    at = definition
    while at.reached_from is not None and at.reached_from not in path:
        path.append(at.reached_from)
        if at.reached_from not in known:
            break
        at = known[at.reached_from]
    return Change(
        definition.name,
        definition.kind,
        what,
        tuple(reversed(path)),
        definition.place,
        _unified(definition.name, before, after),
    )


def _unified(name: str, before: str | None, after: str | None) -> str:
    lines: Sequence[str] = tuple(
        difflib.unified_diff(
            (before or "").splitlines(),
            (after or "").splitlines(),
            f"{name} (before)" if before is not None else "/dev/null",
            f"{name} (after)" if after is not None else "/dev/null",
            lineterm="",
        )
    )
    return "\n".join(lines)
