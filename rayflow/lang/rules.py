"""Forms of a user's own: a rule that decides which of its arguments get reduced, and when.

In: a rule. Out: what makes such forms; and, where user code lives, the rule's next answer as plain data. Never: reduces
anything itself.

A rule is a pure function `rule(args, seen)`. `args` are the form's arguments, expressions as they are, unreduced.
`seen` are the outcomes so far of what the rule has asked for: values, and `Failed` for what went wrong. It answers
`Need(terms)`, `Become(term)` or `Fail(error)`, and is asked again when what it needed has settled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadForm
from rayflow.lang.expressions import Expression, Form, Quoted, Term
from rayflow.values.failures import restore
from rayflow.values.nested import copy_containers, map_leaves, parts_of


@dataclass(frozen=True, slots=True)
class Need:
    """Reduce these terms, in any order; their outcomes are appended, in the order of the terms, to what was seen."""

    terms: Iterable[Term]


@dataclass(frozen=True, slots=True)
class Become:
    """The form is this term, which is reduced in its place."""

    term: Term


@dataclass(frozen=True, slots=True)
class Fail:
    """The form fails with this error: an exception, or a `Failed` that the rule has seen."""

    error: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of a term that has failed. error: the exception."""

    error: BaseException


Rule: TypeAlias = Callable[[tuple[Any, ...], tuple[Any, ...]], Need | Become | Fail]


def form(rule: Rule) -> Callable[..., Any]:
    """Make a form of a rule: calling what `@form` gives is an expression that is reduced as the rule says.

    The rule runs where tasks run, and what it answers is kept: it has to give the same answer for the same arguments.
    """
    if not callable(rule):
        raise BadArguments(f"@form takes a rule, a function of (args, seen), not {rule!r}.")

    @functools.wraps(rule)
    def make(*args: Term) -> Any:
        quoted = [Quoted(arg) if isinstance(arg, Expression) else _quoted(arg) for arg in args]
        return Form("own", (rule, tuple(quoted)))

    return make


def _quoted(arg: Term) -> Term:
    """A container as it is now, with each expression in it as data."""
    if parts_of(arg) is None:
        return arg
    return map_leaves(copy_containers(arg), lambda leaf: Quoted(leaf) if isinstance(leaf, Expression) else leaf)


def _released(arg: Term) -> Term:
    return map_leaves(arg, lambda leaf: leaf._term if type(leaf) is Quoted else leaf)


# --- one step ---------------------------------------------------------------------------------------------------------

NEED, BECOME, FAIL = "need", "become", "fail"
VALUE, FAILED = "value", "failed"


def step(rule: Rule, args: tuple[Any, ...], outcomes: Sequence[tuple[Any, ...]]) -> list[Any]:
    """A rule's next answer as data, terms quoted.

    outcomes: (VALUE, value) or (FAILED, pickled exception, summary) each. Raises BadForm for a rule that breaks its
    contract, and the error of a rule that fails with one of its own.
    """
    seen = tuple([each[1] if each[0] == VALUE else Failed(restore(each[1], each[2])) for each in outcomes])
    name = getattr(rule, "__qualname__", repr(rule))
    try:
        answer = rule(tuple([_released(arg) for arg in args]), seen)
    except Exception as error:
        raise BadForm(f"The rule {name} raised {type(error).__name__}: {error}") from error
    if isinstance(answer, Become):
        return [BECOME, Quoted(answer.term)]
    if isinstance(answer, Need):
        if isinstance(answer.terms, Expression | str) or not isinstance(answer.terms, Iterable):
            raise BadForm(f"The rule {name} needs {answer.terms!r}: Need takes a tuple or list of terms.")
        terms = list(answer.terms)
        if not terms:
            raise BadForm(f"The rule {name} needs nothing, and would be asked the same for ever: Need takes terms.")
        return [NEED, len(terms), Quoted(terms)]
    if isinstance(answer, Fail):
        return [FAIL, _place_of(answer.error, seen, name)]
    raise BadForm(f"The rule {name} answered {answer!r}: a rule answers Need(terms), Become(term) or Fail(error).")


def _place_of(error: Any, seen: tuple[Any, ...], name: str) -> int:
    """Which of the failures that the rule has seen it fails with. An error of its own is raised."""
    for place, outcome in enumerate(seen):
        if isinstance(outcome, Failed) and (error is outcome or error is outcome.error):
            return place
    if isinstance(error, Failed):
        raise error.error
    if isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException)):
        raise error
    raise BadForm(f"The rule {name} fails with {error!r}: Fail takes an exception.")
