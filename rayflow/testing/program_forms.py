"""Forms in random programs: templates that come to a number by way of every form there is.

In: who makes the templates of a program. Out: templates. Never: a term; programs.py makes those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol, TypeAlias

from rayflow.lang.rules import Become, Fail, Failed, Need

Template: TypeAlias = tuple[Any, ...]

JOIN = "lab.join"
"""The task that joins a thread."""


RECOVERS = ("lab.recover", "lab.mend")
"""Tasks that are always there, to recover with."""

CAUGHT = (
    ("builtins.ValueError",),
    ("builtins.LookupError", "builtins.RuntimeError"),
    ("builtins.ZeroDivisionError",),
    ("builtins.Exception",),
)
"""What catches catch."""


class Making(Protocol):
    """Makes the templates of a program."""

    random: Random
    known: Mapping[str, Any]
    in_default: bool
    numbers: int

    def term(self, sort: str, depth: int) -> Template:
        """A template of this sort."""

    def call(self, depth: int) -> Template:
        """A call that gives a number."""


def by_catch(maker: Making, depth: int) -> Template:
    """A number, or what recovers from the lack of it."""
    handlers = _handlers(maker)
    if not handlers:
        return maker.term("number", 0)
    inner = maker.term("number", depth - 1) if maker.random.random() < 0.7 else maker.call(depth)
    return ("form", "catch", (inner, *handlers))


def _handlers(maker: Making) -> list[Template]:
    """Class names and what recovers, by turns."""
    if not set(RECOVERS) <= set(maker.known):
        return []
    handlers: list[Template] = []
    for names in maker.random.sample(CAUGHT, k=maker.random.randint(1, 2)):
        handlers += [("value", names), ("task", maker.random.choice(RECOVERS))]
    return handlers


def number_by_form(maker: Making, depth: int) -> Template:
    """A template that comes to a number by way of some form."""
    makers: list[Callable[[Making, int], Template]] = [_catch_all, _map, _map, _starmap, _flatten, _zip, _all, _tagged]
    if not maker.in_default:
        # What is quoted is read again where it is released: an expression must not stand in and outside of it.
        makers += [_forced, _own, _own]
        if JOIN in maker.known:
            makers += [_thread, _thread]
    return maker.random.choice(makers)(maker, depth)


def _first(template: Template) -> Template:
    return ("operation", "getitem", (template, ("value", 0)))


def _numbers(maker: Making, depth: int, most: int = 3) -> tuple[Template, ...]:
    return tuple(maker.term("number", depth - 1) for _ in range(maker.random.randint(1, most)))


BROKEN: tuple[Template, ...] = (
    ("operation", "floordiv", (("value", 1), ("value", 0))),
    ("operation", "getitem", (("dict", ()), ("value", "lacking"))),
)
"""What fails, each in its way."""


def _catch_all(maker: Making, depth: int) -> Template:
    parts = [*_numbers(maker, depth, 2), maker.call(depth - 1)]
    parts += [each for each in BROKEN if maker.random.random() < 0.3]
    maker.random.shuffle(parts)
    handlers = _handlers(maker) if maker.random.random() < 0.8 else []
    # What recovers gives a number, and else there is a list, to which no number can be added.
    number: Template = ("operation", "add", (("form", "catch_all", (("list", tuple(parts)), *handlers)), ("value", 0)))
    rest = _handlers(maker)
    return ("form", "catch", (number, ("value", ("builtins.TypeError",)), rest[1])) if rest else _first(("list", (
        ("value", 1), number)))  # fmt: skip


def _map(maker: Making, depth: int) -> Template:
    values = maker.term("list", depth) if maker.random.random() < 0.7 else ("list", _numbers(maker, depth))
    return _first(("form", "map_", (maker.term("task", depth), values)))


def _starmap(maker: Making, depth: int) -> Template:
    items: list[Template] = [(maker.random.choice(("tuple", "list")), (each,)) for each in _numbers(maker, depth)]
    if maker.random.random() < 0.3:
        items.append(("operation", "identity", (("tuple", (("value", 1),)),)))
    return _first(("form", "starmap", (maker.term("task", depth), ("list", tuple(items)))))


def _flatten(maker: Making, depth: int) -> Template:
    lists = (maker.term("list", depth - 1), ("list", _numbers(maker, depth)))
    return _first(("operation", "flatten", (("list", lists),)))


def _zip(maker: Making, depth: int) -> Template:
    return _first(_first(("operation", "zip_", (maker.term("list", depth - 1), ("list", _numbers(maker, depth))))))


def _all(maker: Making, depth: int) -> Template:
    name = maker.random.choice(("all_", "any_"))
    return ("operation", "add", (("operation", name, (("list", _numbers(maker, depth)),)), ("value", 1)))


def _tagged(maker: Making, depth: int) -> Template:
    tags: Template = ("dict", (("size", maker.term("number", depth - 1)),))
    return ("form", "apply_tags", (maker.term("number", depth - 1), tags, ("dict", ()), ("dict", ())))


def _quoted(maker: Making, template: Callable[[], Template]) -> Template:
    before, maker.in_default = maker.in_default, True
    made: Template = ("quote", template())
    maker.in_default = before
    return made


def _forced(maker: Making, depth: int) -> Template:
    thunks = [_quoted(maker, lambda: maker.term("number", depth - 1)) for _ in range(2)]
    question: Template = ("operation", "truth", (maker.term("number", depth - 1),))
    return ("operation", "force", (("form", "cond", (question, *thunks)),))


def _own(maker: Making, depth: int) -> Template:
    args = [_quoted(maker, lambda: maker.call(depth - 1)) for _ in range(maker.random.randint(1, 3))]
    rule = maker.random.choice(sorted(OWN_RULES))
    return ("form", "own", (("value", rule), ("tuple", tuple(args))))


def _thread(maker: Making, depth: int) -> Template:
    maker.numbers += 1
    quoted: Template = ("shared", maker.numbers, _quoted(maker, lambda: maker.call(depth - 1)))
    forked: Template = ("fork", quoted)
    roll = maker.random.random()
    if roll < 0.3:
        # By name: a position might be taken for a number that is read from the context.
        parts: Template = ("dict", (("begun", forked), ("number", maker.term("number", depth - 1))))
        return ("operation", "getitem", (parts, ("value", "number")))
    if roll < 0.6:
        forked = ("form", "cond", (("operation", "truth", (maker.term("number", depth - 1),)), forked, quoted))
    return ("call", JOIN, (forked,), (), None)


# --- rules of a user's own --------------------------------------------------------------------------------------------


def first_good(args: tuple[Any, ...], seen: tuple[Any, ...]) -> Need | Become | Fail:
    """The first that does not fail, asked one after the other; else the first failure."""
    if seen and not isinstance(seen[-1], Failed):
        return Become(seen[-1])
    return Fail(seen[0]) if len(seen) == len(args) else Need([args[len(seen)]])


def last_good(args: tuple[Any, ...], seen: tuple[Any, ...]) -> Need | Become | Fail:
    """The last that does not fail, all asked at once; else the last failure."""
    if not seen:
        return Need(args)
    good = [each for each in seen if not isinstance(each, Failed)]
    return Become(good[-1]) if good else Fail(seen[-1])


OWN_RULES = {"first_good": first_good, "last_good": last_good}
"""Rules by name: a name stands for the rule where user code would be."""
