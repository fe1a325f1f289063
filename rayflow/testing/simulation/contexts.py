"""Random programs that use what calls hand down: changes of the context, terms that read it, gaps in the records.

In: a program, one source of chance. Out: the program with some of its numbers read from the context and some of its
calls made under another one, or with tasks below which nothing is recorded. Never: changes which tasks there are.

It changes programs that are there already, so that a seed without contexts stays the program that it was.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from rayflow.testing.simulation.programs import Program, Template

PATHS = ("a", "b.c", "b.d", "e")

CHANGES: tuple[dict[str, Any], ...] = ({"a": 1}, {"a": 2}, {"b": {"c": 1}}, {"b": {"d": 3}, "a": 0}, {"b": 5}, {"e": 2})


def in_contexts(program: Program, random: Random) -> Program:
    """The program, with contexts."""
    definitions = {
        name: replace(
            each,
            body=_changed(each.body, random),
            defaults={parameter: _changed(value, random) for parameter, value in each.defaults.items()},
        )
        for name, each in program.definitions.items()
    }
    context = random.choice(({}, {"a": 1}, {"b": {"c": 1, "d": 2}, "e": 1}))
    return replace(program, definitions=definitions, root=_changed(program.root, random), context=context)


def in_gaps(program: Program, random: Random) -> Program:
    """The program, with gaps in its records: nothing below the calls of some tasks is recorded."""
    definitions = {
        name: replace(each, options={**each.options, "prov": False}) if random.random() < 0.25 else each
        for name, each in program.definitions.items()
    }
    return replace(program, definitions=definitions)


def _changed(template: Template, random: Random) -> Template:
    """Templates are made a few levels deep, so plain recursion does."""

    def change(part: Any) -> Any:
        return _changed(part, random) if _is_template(part) else part

    match template:
        case ("value", int()) if random.random() < 0.3:
            return ("context", random.choice(PATHS), template)
        case ("value", *_):
            return template
        case ("call", name, positional, named, options):
            arguments = tuple(map(change, positional)), tuple((key, change(inner)) for key, inner in named)
            if random.random() < 0.4:
                options = {**(options or {}), "context": random.choice(CHANGES)}
            return ("call", name, *arguments, options)
        case ("dict", items):
            return ("dict", tuple((key, change(inner)) for key, inner in items))
    return tuple(
        tuple(map(change, part)) if type(part) is tuple and not _is_template(part) else change(part)
        for part in template
    )


def _is_template(part: Any) -> bool:
    return type(part) is tuple and bool(part) and type(part[0]) is str and part[0] in _KINDS


_KINDS = frozenset(
    {"value", "argument", "one less", "branch", "call", "operation", "apply", "list", "tuple", "dict", "form", "task",
     "shared", "raise", "context", "await"}
)  # fmt: skip
