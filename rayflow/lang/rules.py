"""Forms that a user defines. The rule of a form decides which of its arguments are reduced, and when.

In: a rule. Out: a function that makes forms with this rule; on a worker, the rule's next answer as plain data. Never:
reduces anything.

A rule is a pure function `rule(args, seen)`. `args` are the form's arguments; expressions in them are not reduced.
`seen` are the outcomes so far of the terms that the rule has needed: values, and a `Failed` for each term that failed.
The rule answers `Need(terms)`, `Become(term)` or `Fail(error)`. After `Need`, it is asked again when these terms have
their outcomes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadForm
from rayflow.lang.terms.expressions import Expression, Form, Quoted, Term
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now
from rayflow.values.failures import restore


@dataclass(frozen=True, slots=True)
class Need:
    """A rule's answer: evaluate these terms, in any order, and ask again.

    Their outcomes are added to the end of `seen`, in the order of the terms.
    """

    terms: Iterable[Term]


@dataclass(frozen=True, slots=True)
class Become:
    """A rule's answer: the value of the form is the value of this term."""

    term: Term


@dataclass(frozen=True, slots=True)
class Fail:
    """A rule's answer: the form fails with this error, an exception or a `Failed` that the rule has seen."""

    error: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome that a rule sees for a term that has failed. error: the exception."""

    error: BaseException


Rule: TypeAlias = Callable[[tuple[Any, ...], tuple[Any, ...]], Need | Become | Fail]


@front_door
def form(rule: Rule) -> Callable[..., Any]:
    """Make a form from a rule. A call of the form is an expression that is evaluated as the rule says.

        @form
        def first_of(args, seen):
            if seen and not isinstance(seen[-1], Failed):
                return Become(seen[-1])
            if len(seen) == len(args):
                return Fail(seen[-1])
            return Need([args[len(seen)]])

        value = run(first_of(fetch("here"), fetch("there")))

    rule: a function of `args`, the form's arguments, unevaluated; and `seen`, the outcomes so far of the terms that it
    needed. It returns `Need`, `Become` or `Fail`. It runs on a worker, and its answers are cached: it has to give the
    same answer for the same arguments. Raises BadArguments for a rule that cannot be called. A rule that answers
    anything else fails its form with BadForm.
    """
    if not callable(rule):
        raise BadArguments(f"@form takes a rule, a function of (args, seen), not {preview(rule)}.")

    @functools.wraps(rule)
    def make(*args: Term) -> Any:
        quoted = [Quoted(arg) if isinstance(arg, Expression) else _quoted(arg) for arg in args]
        return Form("own", (rule, tuple(quoted)))

    return make


def _quoted(arg: Term) -> Term:
    """A copy of an argument as it is now. Each expression in it is quoted, so that it is data."""
    return map_leaves(as_now(arg), lambda leaf: Quoted(leaf) if isinstance(leaf, Expression) else leaf)


def _released(arg: Term) -> Term:
    return map_leaves(arg, lambda leaf: leaf._term if type(leaf) is Quoted else leaf)


# --- one step ---------------------------------------------------------------------------------------------------------

NEED, BECOME, FAIL = "need", "become", "fail"
VALUE, FAILED = "value", "failed"


def step(rule: Rule, args: tuple[Any, ...], outcomes: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The next answer of a rule as data. Its terms are quoted.

    outcomes: each is (VALUE, value) or (FAILED, pickled exception, summary). Raises BadForm if the rule breaks its
    contract. If the rule fails with an error of its own, `step` raises this error.
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
            raise BadForm(f"The rule {name} needs {preview(answer.terms)}: Need takes a tuple or list of terms.")
        terms = list(answer.terms)
        if not terms:
            raise BadForm(f"The rule {name} needs nothing, and would be asked the same for ever: Need takes terms.")
        return [NEED, len(terms), Quoted(terms)]
    if isinstance(answer, Fail):
        return [FAIL, _place_of(answer.error, seen, name)]
    raise BadForm(
        f"The rule {name} answered {preview(answer)}: a rule answers Need(terms), Become(term) or "
        "Fail(error)."
    )


def _place_of(error: Any, seen: tuple[Any, ...], name: str) -> int:
    """The position of the seen failure that the rule fails with. If the error is the rule's own, raises it."""
    for place, outcome in enumerate(seen):
        if isinstance(outcome, Failed) and (error is outcome or error is outcome.error):
            return place
    if isinstance(error, Failed):
        raise error.error
    if isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException)):
        raise error
    raise BadForm(f"The rule {name} fails with {preview(error)}: Fail takes an exception.")
