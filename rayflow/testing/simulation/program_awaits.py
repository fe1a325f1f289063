"""Bodies that await, in random programs: the terms that they await, and how they go on.

In: a program, one random generator. Out: the program, in which some bodies await now; a generator that runs such a
body. Never: adds or removes a task, evaluates anything.

A body that awaits is ("awaits", steps, result, stumble). A step awaits some terms at once. Their values are arguments
of the steps after it, and of the result. A flaky task raises before the step number `stumble`.

This module changes a finished program, so a seed without awaits keeps its program.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from random import Random
from typing import Any, TypeAlias

from rayflow.lang.terms.expressions import Term
from rayflow.testing.simulation.program_forms import BROKEN, CAUGHT
from rayflow.testing.simulation.programs import HELPERS, Maker, Program, SimulatedTask, Template, instantiate
from rayflow.values.digests import digest

Body: TypeAlias = Generator[dict[bytes, Term], Mapping[bytes, Any], Term]
"""A generator that yields terms by key, receives their outcomes, and returns the result of the body."""


class AwaitedFailed(Exception):
    """Raised by a body that has not caught the failure of an awaited expression. outcome: this failure, unchanged."""

    def __init__(self, outcome: Any) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


def does_await(definition: SimulatedTask) -> bool:
    """Whether the task's body awaits."""
    return bool(definition.body[0] == "awaits")


def entered(
    program: Program, name: str, arguments: Mapping[str, Term], failed: type, stumble: Callable[[], None]
) -> Body:
    """The body of a task from its start.

    failed: the class of the outcomes that are failures. stumble: called where a flaky task raises, to raise.
    Raises SimulatedError, and AwaitedFailed.
    """
    _, steps, result, stumbles_at = program.definitions[name].body
    known = dict(arguments)
    for number, (_, names, terms, otherwise, catches, asks_if) in enumerate(steps):
        if number == stumbles_at:
            stumble()
        if asks_if is not None and not known[asks_if] > 0:
            known.update(zip(names, otherwise, strict=True))
            continue
        keys = [digest("await", bytes((number, position))) for position in range(len(names))]
        asked = [instantiate(term, known, program) for term in terms]
        outcomes = yield dict(zip(keys, asked, strict=True))
        for key, each, instead in zip(keys, names, otherwise, strict=True):
            outcome = outcomes[key]
            if isinstance(outcome, failed):
                if not set(catches) & set(outcome.classes):  # type: ignore[attr-defined]  # every failure has them
                    raise AwaitedFailed(outcome)
                outcome = instead
            known[each] = outcome
    if stumbles_at >= len(steps):
        stumble()
    return instantiate(result, known, program)


def in_awaits(program: Program, random: Random) -> Program:
    """The program, with the bodies of some of its tasks awaiting."""
    definitions: dict[str, SimulatedTask] = {}
    for name, each in program.definitions.items():
        awaits = name not in HELPERS and random.random() < 0.6
        definitions[name] = replace(each, body=_awaiting(each, definitions, random)) if awaits else each
    return replace(program, definitions=definitions)


def _awaiting(definition: SimulatedTask, known: Mapping[str, SimulatedTask], random: Random) -> Template:
    maker = Maker(random, known, definition.name)
    maker.parameters = list(definition.parameters)
    steps = []
    for number in range(random.randint(1, 3)):
        numbers = [name for name, sort in maker.parameters if sort == "number"]
        asks_if = random.choice(numbers) if numbers and random.random() < 0.25 else None
        asked = [_asked(maker, definition) for _ in range(random.choice((1, 1, 2, 3)))]
        names = tuple(f"a{number}_{position}" for position in range(len(asked)))
        otherwise = tuple([7] if sort == "list" else 7 for sort, _ in asked)
        catches = random.choice(CAUGHT) if random.random() < 0.5 else ()
        steps.append(("await", names, tuple(term for _, term in asked), otherwise, catches, asks_if))
        maker.parameters += [(name, sort) for name, (sort, _) in zip(names, asked, strict=True)]
    result = maker.failing() if random.random() < 0.05 else maker.term("number", random.randint(0, 2))
    return ("awaits", tuple(steps), result, random.randint(0, len(steps)))


def _asked(maker: Maker, definition: SimulatedTask) -> tuple[str, Template]:
    """A term that a body may await, and its sort: a call, a call of itself, another term, a list, a term that fails."""
    random = maker.random
    numbers = [name for name, sort in definition.parameters if sort == "number"]
    roll = random.random()
    if numbers and roll < 0.15:
        counter = random.choice(numbers)
        given = tuple(
            (name, ("one less", name, 3) if name == counter else ("argument", name))
            for name, _ in definition.parameters
        )
        return "number", ("branch", counter, ("call", definition.name, (), given, None), ("value", 1))
    if roll < 0.6:
        return "number", maker.call(2)
    if roll < 0.7:
        return "list", maker.term("list", 2)  # as by gather
    if roll < 0.75:
        return "number", random.choice(BROKEN)
    return "number", maker.term("number", 2)
