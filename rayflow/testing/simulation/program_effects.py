"""Effects, waits, races and clean-ups in random programs.

In: a program, one random generator. Out: the program, in which some tasks are effects, and some terms wait. Never:
evaluates anything.

What a race decides depends on time, so its value is not used: the term after it is. What is below a race may be done or
not; but a clean-up there is evaluated if it was entered. Nothing else depends on time: an event named e3 brings the
number 3.

This module changes a finished program, so a seed without effects keeps its program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from rayflow.testing.simulation.program_awaits import does_await
from rayflow.testing.simulation.programs import HELPERS, Program, SimulatedTask, Template

RING = "lab.ring"
"""An effect that gives its argument. Every program with effects has it."""

SPEND = "lab.spend"
"""A task that makes two equal effects and a sleep. Equal calls of it are callers that must not share."""

NO_OPTIONS = frozenset({"cache", "cache_scope", "check_valid", "prov"})
"""Options that neither an effect nor a caller of one may have."""

MOST_LOSSES = 1_000


def has_effects(program: Program) -> bool:
    """Whether a program was changed by `in_effects`."""
    return RING in program.definitions


def in_effects(program: Program, random: Random) -> Program:
    """The program, with effects, waits, races and clean-ups."""
    definitions: dict[str, SimulatedTask] = {}
    for name, each in program.definitions.items():
        options = {key: value for key, value in each.options.items() if key not in NO_OPTIONS}
        if name not in HELPERS and not does_await(each) and random.random() < 0.25:
            options.update(effect=True, max_worker_losses=MOST_LOSSES)
        definitions[name] = replace(each, body=_Rewriter(random).rewritten(each.body), options=options)
    of_effect = {"effect": True, "max_worker_losses": MOST_LOSSES}
    definitions[RING] = SimulatedTask(RING, (("x", "number"),), ("argument", "x"), options=of_effect)
    definitions[SPEND] = SimulatedTask(SPEND, (("x", "number"),), _spending(random))
    return replace(program, definitions=definitions, root=_Rewriter(random).rewritten(program.root))


def _spending(random: Random) -> Template:
    ring: Template = ("call", RING, (("argument", "x"),), (), None)
    both: Template = ("operation", "add", (ring, ring))
    return both if random.random() < 0.5 else _after(_sleep(random), both)


def _after(first: Template, then: Template) -> Template:
    """The value of a term that is evaluated after another one."""
    return ("operation", "getitem", (("form", "seq", (first, then)), ("value", 1)))


def _sleep(random: Random) -> Template:
    return ("form", "sleep", (("value", random.choice((0.0, 0.5, 0.5, 2.0))),))


def _event(random: Random) -> Template:
    nothing: Template = ("value", None)
    name: Template = ("value", f"e{random.randint(0, 2)}")
    return ("form", "event", (name, nothing, nothing, nothing, nothing, ("value", "run"), ("value", "shared")))


def _ring(random: Random) -> Template:
    name = RING if random.random() < 0.6 else SPEND
    return ("call", name, (("value", random.randint(1, 2)),), (), None)


def _race(random: Random, depth: int) -> Template:
    """A race between waits, effects, terms with clean-ups, and up to a depth other races. What wins is chance."""
    branches = [_branch(random, depth) for _ in range(2)]
    branches.append(_after(_sleep(random), _ring(random)))
    if random.random() < 0.7:
        return ("form", random.choice(("first", "any_of")), tuple(branches))
    return ("form", "within", (random.choice(branches), ("value", 0.5), ("value", 0)))


def _branch(random: Random, depth: int) -> Template:
    inner = random.choice((_sleep, _event, _ring))(random)
    chance = random.random()
    if chance < 0.35:
        return inner
    if chance < 0.75:
        return _cleaned(random, _after(inner, _branch(random, depth - 1)) if depth > 1 else inner)
    return _race(random, depth - 1) if depth > 1 else _after(inner, _ring(random))


def _cleaned(random: Random, template: Template) -> Template:
    cleanup = _ring(random)
    return ("form", "finally_", (template, cleanup if random.random() < 0.5 else _after(_sleep(random), cleanup)))


class _Rewriter:
    """Puts effects and waits around the calls of one body, and threads away: nothing waits for the end of a thread."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._shared: dict[int, Template] = {}

    def rewritten(self, template: Template) -> Template:
        """The template with changes in it. Templates are made a few levels deep, so plain recursion does."""
        made = self._inside(template)
        if template[0] != "call" or self._random.random() > 0.25:
            return made
        wrap = self._random.choice((self._waiting, self._waiting, self._racing, self._cleaning, self._spending))
        return wrap(made)

    def _inside(self, template: Template) -> Template:
        each: Callable[[Template], Template] = self.rewritten
        match template:
            case ("operation" | "form" as kind, name, inner):
                return (kind, name, tuple(map(each, inner)))
            case ("list" | "tuple" as kind, inner):
                return (kind, tuple(map(each, inner)))
            case ("dict", items):
                return ("dict", tuple((key, each(inner)) for key, inner in items))
            case ("call", name, positional, named, options):
                return ("call", name, tuple(map(each, positional)), tuple((k, each(v)) for k, v in named), options)
            case ("apply", function, inner):
                return ("apply", each(function), tuple(map(each, inner)))
            case ("branch", name, then, otherwise):
                return ("branch", name, each(then), each(otherwise))
            case ("shared", number, inner):
                if number not in self._shared:
                    self._shared[number] = each(inner)
                return ("shared", number, self._shared[number])
            case ("quote", inner):
                return ("quote", each(inner))
            case ("fork", thread):
                return each(thread)
            case ("context", path, otherwise):
                return ("context", path, each(otherwise))
            case ("awaits", steps, result, stumble):
                steps = tuple((*step[:2], tuple(map(each, step[2])), *step[3:]) for step in steps)
                return ("awaits", steps, each(result), stumble)
        return template

    def _waiting(self, template: Template) -> Template:
        wait = _sleep(self._random) if self._random.random() < 0.6 else _event(self._random)
        return _after(wait, template)

    def _racing(self, template: Template) -> Template:
        return _after(_race(self._random, 2), template)

    def _cleaning(self, template: Template) -> Template:
        return _cleaned(self._random, template)

    def _spending(self, template: Template) -> Template:
        both: Template = ("list", (_ring(self._random), _ring(self._random), template))
        return ("operation", "getitem", (both, ("value", 2)))
