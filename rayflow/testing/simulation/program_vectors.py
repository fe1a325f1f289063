"""Many calls of one task that stand together, in random programs.

In: a program, one random generator. Out: the program, in which some bodies and the root also make such calls. Never:
adds or removes a task, evaluates anything.

Most of the calls are plain, and some of them are equal. Among them stand calls with options, calls whose arguments are
calls, and expressions of other kinds.

This module changes a finished program, so a seed without vectors keeps its program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from rayflow.testing.simulation.programs import HELPERS, Maker, Program, SimulatedTask, Template

LEAVES = 0.4
"""The share of the bodies that only give a number."""

SHARE = 0.6
"""The share of the others that make such calls."""

_FIRST_NUMBER = 1_000
"""The shared expressions that are made here have higher numbers than those that are there."""


def in_vectors(program: Program, random: Random) -> Program:
    """The program, in which the root and some bodies make many calls of one task that stand together."""
    definitions: dict[str, SimulatedTask] = {}
    for name, definition in program.definitions.items():
        body = definition.body
        if name not in HELPERS and body[0] not in ("raise", "branch", "awaits"):
            if random.random() < LEAVES:
                body = _leaf(definition, random)
            elif random.random() < SHARE:
                body = _with_many(body, Maker(random, dict(definitions), name), definitions)
        definitions[name] = replace(definition, body=body)
    root = _with_many(program.root, Maker(random, definitions, None), definitions)
    return replace(program, definitions=definitions, root=root)


def _with_many(template: Template, maker: Maker, known: Mapping[str, SimulatedTask]) -> Template:
    """The template, and beside it many calls; of these one value is used, or all of them are."""
    random = maker.random
    maker.numbers = _FIRST_NUMBER
    # Mostly of tasks that give numbers: other calls leave their vectors, and seldom anything is left there.
    callable_ones = [each for name, each in known.items() if name not in HELPERS and _is_plain(each)]
    if not callable_ones:
        return template
    leaves = [each for each in callable_ones if each.body[0] in ("one less", "value", "argument") and not each.flaky]
    if leaves and random.random() < 0.8:
        callable_ones = leaves
    tasks = random.sample(callable_ones, k=min(len(callable_ones), random.choice((1, 1, 2))))
    calls = [_call(random.choice(tasks), maker) for _ in range(random.randint(3, 10))]
    if random.random() < 0.2:
        maker.numbers += 1
        shared: Template = ("shared", maker.numbers, calls[0])
        calls[0] = calls[-1] = shared
    many: Template = (random.choice(("list", "list", "tuple")), tuple(calls))
    if random.random() < 0.2:
        many = ("dict", tuple((f"k{number}", each) for number, each in enumerate(calls)))
        return ("operation", "getitem", (("list", (template, many)), ("value", 0)))
    chosen: Template = ("operation", "getitem", (many, ("value", random.randrange(len(calls)))))
    return ("operation", "getitem", (("list", (template, chosen)), ("value", 0)))


def _leaf(definition: SimulatedTask, random: Random) -> Template:
    """A body that makes no call."""
    numbers = [name for name, sort in definition.parameters if sort == "number"]
    return ("one less", random.choice(numbers), 3) if numbers else ("value", random.randint(0, 3))


def _is_plain(definition: SimulatedTask) -> bool:
    return all(sort == "number" for _, sort in definition.parameters) and definition.body[0] != "released"


def _call(definition: SimulatedTask, maker: Maker) -> Template:
    """A call with numbers as arguments, and now and then with something else about it."""
    random = maker.random
    if random.random() < 0.08:
        return maker.term("number", 1)
    positional: list[Template] = []
    named: list[tuple[str, Template]] = []
    by_name = random.random() < 0.2
    for parameter, _ in definition.parameters:
        if parameter in definition.defaults and random.random() < 0.5:
            continue
        value: Template = ("value", random.choice((*range(12), 2.5, True)))
        if random.random() < 0.05:
            value = maker.term("number", 1)
        if parameter in definition.keyword_only or named or by_name:
            named.append((parameter, value))
        else:
            positional.append(value)
    options = random.choice(({"priority": 3}, {"tags": {"k": "v"}})) if random.random() < 0.1 else None
    return ("call", definition.name, tuple(positional), tuple(named), options)
