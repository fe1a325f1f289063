"""Forms in random programs: templates that give a number by way of each of the forms.

In: the maker of a program's templates. Out: templates. Never: a term; programs.py makes those.
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
"""The recovery tasks. Every program has them."""

CAUGHT = (
    ("builtins.ValueError",),
    ("builtins.LookupError", "builtins.RuntimeError"),
    ("builtins.ZeroDivisionError",),
    ("builtins.Exception",),
)
"""The classes of errors that a `catch` may name."""


class TermMaker(Protocol):
    """Makes the templates of a program."""

    random: Random
    known: Mapping[str, Any]
    in_default: bool
    numbers: int

    def term(self, sort: str, depth: int) -> Template:
        """A template of this sort."""

    def call(self, depth: int) -> Template:
        """A call that gives a number."""


def by_catch(maker: TermMaker, depth: int) -> Template:
    """A template that gives a number, or recovers from a failure."""
    handlers = _handlers(maker)
    if not handlers:
        return maker.term("number", 0)
    inner = maker.term("number", depth - 1) if maker.random.random() < 0.7 else maker.call(depth)
    return ("form", "catch", (inner, *handlers))


def _handlers(maker: TermMaker) -> list[Template]:
    """The handlers of a catch: by turns class names and the task that recovers."""
    if not set(RECOVERS) <= set(maker.known):
        return []
    handlers: list[Template] = []
    for names in maker.random.sample(CAUGHT, k=maker.random.randint(1, 2)):
        handlers += [("value", names), ("task", maker.random.choice(RECOVERS))]
    return handlers


def number_by_form(maker: TermMaker, depth: int) -> Template:
    """A template of a form whose value is a number."""
    makers: list[Callable[[TermMaker, int], Template]]
    makers = [_catch_all, _map, _map, _starmap, _flatten, _zip, _all, _tagged]
    if not maker.in_default:
        # A quoted expression is read again when it is released. It must not share an expression with other terms.
        makers += [_forced, _own, _own]
        if JOIN in maker.known:
            makers += [_thread, _thread]
    return maker.random.choice(makers)(maker, depth)


def _first(template: Template) -> Template:
    return ("operation", "getitem", (template, ("value", 0)))


def _numbers(maker: TermMaker, depth: int, most: int = 3) -> tuple[Template, ...]:
    return tuple(maker.term("number", depth - 1) for _ in range(maker.random.randint(1, most)))


BROKEN: tuple[Template, ...] = (
    ("operation", "floordiv", (("value", 1), ("value", 0))),
    ("operation", "getitem", (("dict", ()), ("value", "lacking"))),
)
"""Terms that fail, each with another error."""


def _catch_all(maker: TermMaker, depth: int) -> Template:
    parts = [*_numbers(maker, depth, 2), maker.call(depth - 1)]
    parts += [each for each in BROKEN if maker.random.random() < 0.3]
    maker.random.shuffle(parts)
    handlers = _handlers(maker) if maker.random.random() < 0.8 else []
    # A recovery gives a number. Without one the value is a list, to which no number can be added.
    number: Template = ("operation", "add", (("form", "catch_all", (("list", tuple(parts)), *handlers)), ("value", 0)))
    rest = _handlers(maker)
    return ("form", "catch", (number, ("value", ("builtins.TypeError",)), rest[1])) if rest else _first(("list", (
        ("value", 1), number)))  # fmt: skip


def _map(maker: TermMaker, depth: int) -> Template:
    values = maker.term("list", depth) if maker.random.random() < 0.7 else ("list", _numbers(maker, depth))
    return _first(("form", "map_", (maker.term("task", depth), values)))


def _starmap(maker: TermMaker, depth: int) -> Template:
    items: list[Template] = [(maker.random.choice(("tuple", "list")), (each,)) for each in _numbers(maker, depth)]
    if maker.random.random() < 0.3:
        items.append(("operation", "identity", (("tuple", (("value", 1),)),)))
    return _first(("form", "starmap", (maker.term("task", depth), ("list", tuple(items)))))


def _flatten(maker: TermMaker, depth: int) -> Template:
    lists = (maker.term("list", depth - 1), ("list", _numbers(maker, depth)))
    return _first(("operation", "flatten", (("list", lists),)))


def _zip(maker: TermMaker, depth: int) -> Template:
    return _first(_first(("operation", "zip_", (maker.term("list", depth - 1), ("list", _numbers(maker, depth))))))


def _all(maker: TermMaker, depth: int) -> Template:
    name = maker.random.choice(("all_", "any_"))
    return ("operation", "add", (("operation", name, (("list", _numbers(maker, depth)),)), ("value", 1)))


def _tagged(maker: TermMaker, depth: int) -> Template:
    tags: Template = ("dict", (("size", maker.term("number", depth - 1)),))
    return ("form", "apply_tags", (maker.term("number", depth - 1), tags, ("dict", ()), ("dict", ())))


def _quoted(maker: TermMaker, template: Callable[[], Template]) -> Template:
    before, maker.in_default = maker.in_default, True
    made: Template = ("quote", template())
    maker.in_default = before
    return made


def _forced(maker: TermMaker, depth: int) -> Template:
    thunks = [_quoted(maker, lambda: maker.term("number", depth - 1)) for _ in range(2)]
    question: Template = ("operation", "truth", (maker.term("number", depth - 1),))
    return ("operation", "force", (("form", "cond", (question, *thunks)),))


def _own(maker: TermMaker, depth: int) -> Template:
    args = [_quoted(maker, lambda: maker.call(depth - 1)) for _ in range(maker.random.randint(1, 3))]
    rule = maker.random.choice(sorted(OWN_RULES))
    return ("form", "own", (("value", rule), ("tuple", tuple(args))))


def _thread(maker: TermMaker, depth: int) -> Template:
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
    """Becomes the first term that does not fail, asking one after the other; else fails as the first did."""
    if seen and not isinstance(seen[-1], Failed):
        return Become(seen[-1])
    return Fail(seen[0]) if len(seen) == len(args) else Need([args[len(seen)]])


def last_good(args: tuple[Any, ...], seen: tuple[Any, ...]) -> Need | Become | Fail:
    """Becomes the last term that does not fail, asking all at once; else fails as the last did."""
    if not seen:
        return Need(args)
    good = [each for each in seen if not isinstance(each, Failed)]
    return Become(good[-1]) if good else Fail(seen[-1])


OWN_RULES = {"first_good": first_good, "last_good": last_good}
"""The rules by name. In a program, a name takes the place of a rule in user code."""
