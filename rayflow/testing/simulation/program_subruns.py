"""Subruns in random programs: nested executions inside calls.

In: a program, one random generator. Out: the program, in which a subrun evaluates some of the terms. Never: changes the
result of a program.

This module changes a finished program, so a seed without subruns keeps its program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from rayflow.lang.operations import SUBRUN
from rayflow.testing.simulation.programs import Program, SimulatedTask, Template

OPTIONS: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"cache": False}, {"cache_scope": "NONE"}, {"check_valid": "shallow"}, {"retries": 1},
    {"limits": {"db": 1}},
)  # fmt: skip
"""The options that the task of a program's subruns may have."""


def in_subruns(program: Program, random: Random) -> Program:
    """The program, with subruns."""
    definitions = {
        name: replace(
            each,
            body=_changed(each.body, random, _shared_in(each.body)),
            defaults={parameter: _changed(value, random, Counter()) for parameter, value in each.defaults.items()},
        )
        for name, each in program.definitions.items()
    }
    options = {"bundle": False, **random.choice(OPTIONS)}
    definitions[SUBRUN] = SimulatedTask(SUBRUN, (("thunk", "thunk"),), ("released", "thunk"), options=options)
    return replace(program, definitions=definitions, root=_changed(program.root, random, _shared_in(program.root)))


def _changed(template: Template, random: Random, shared: Counter[int]) -> Template:
    """The template with some of its parts in subruns. Templates are made a few levels deep, so plain recursion does.

    shared: how often the whole template contains each shared expression. A quoted expression is read again when it is
    released. So it must not share an expression with the template around it.
    """

    def change(part: Any) -> Any:
        return _changed(part, random, shared) if _is_template(part) else part

    if template[0] == "form" and template[1] == "own":
        rule, (kind, thunks) = template[2]
        return ("form", "own", (rule, (kind, tuple([("quote", change(inner)) for _, inner in thunks]))))
    if template[0] == "form" and template[1] == "catch_all":
        # The oracle reads its first argument as the list that it is.
        (kind, parts), *handlers = template[2]
        return ("form", "catch_all", ((kind, tuple(map(change, parts))), *handlers))
    if template[0] == "dict":
        return ("dict", tuple([(key, change(inner)) for key, inner in template[1]]))
    if template[0] == "call":
        _, name, positional, named, options = template
        named = tuple([(key, change(inner)) for key, inner in named])
        made: Template = ("call", name, tuple(map(change, positional)), named, options)
    else:
        made = tuple(
            [
                tuple(map(change, part)) if type(part) is tuple and not _is_template(part) else change(part)
                for part in template
            ]
        )
    inside = _shared_in(made)
    if made[0] in _IN_SUBRUNS and random.random() < 0.2 and all(inside[each] == shared[each] for each in inside):
        return ("call", SUBRUN, (("quote", made),), (), None)
    return made


def _shared_in(template: Template) -> Counter[int]:
    """How often a template contains each shared expression."""
    return Counter(part[1] for part in _parts_of(template) if part[:1] == ("shared",))


def _parts_of(template: Template) -> Iterator[Template]:
    waiting: list[Any] = [template]
    while waiting:
        part = waiting.pop()
        if type(part) is tuple:
            yield part
            waiting.extend(part)


def _is_template(part: Any) -> bool:
    return type(part) is tuple and bool(part) and type(part[0]) is str and part[0] in _KINDS


_KINDS = frozenset(
    {"value", "argument", "one less", "branch", "call", "operation", "apply", "list", "tuple", "dict", "form", "task",
     "shared", "quote", "fork", "raise", "context", "await"}
)  # fmt: skip

_IN_SUBRUNS = frozenset({"call", "operation", "apply", "list", "form", "context"})
"""Kinds of templates that a subrun may be around."""
