"""Rules of the special forms.

A rule is a pure function of a form's unreduced arguments and the outcomes seen so far. It answers what it needs reduced
next, what the form becomes, or how it fails; it is asked again when what it needed has settled. The evaluator itself is
never handed out, so a form can be tested as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rayflow.lang.expressions import Operation, Term
from rayflow.values.failures import Failure, Outcome


@dataclass(frozen=True, slots=True)
class Need:
    """Reduce these terms, in any order; their outcomes are appended to what the rule has seen."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Become:
    """The form is this term."""

    term: Term


@dataclass(frozen=True, slots=True)
class Fail:
    """The form fails."""

    failure: Failure


Step: TypeAlias = Need | Become | Fail
Rule: TypeAlias = Callable[[tuple[Term, ...], Sequence[Outcome]], Step]


def cond(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """condition, arm, condition, arm, ..., otherwise."""
    if seen:
        last = seen[-1]
        if isinstance(last, Failure):
            return Fail(last)
        if last:
            return Become(args[2 * len(seen) - 1])
    position = 2 * len(seen)
    return Need((args[position],)) if position < len(args) - 1 else Become(args[-1])


def catch(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """expression, class names, recover, class names, recover, ..."""
    if not seen:
        return Need((args[0],))
    outcome = seen[0]
    if not isinstance(outcome, Failure):
        return Become(outcome)
    for names, recover in zip(args[1::2], args[2::2], strict=True):
        if any(name in outcome.classes for name in names):
            return Become(Operation("call", (recover, (error_term(outcome),), {})))
    return Fail(outcome)


def seq(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """One after the other; an error stops it."""
    if seen and isinstance(seen[-1], Failure):
        return Fail(seen[-1])
    if len(seen) < len(args):
        return Need((args[len(seen)],))
    return Become(list(seen))


RULES: Mapping[str, Rule] = {"cond": cond, "catch": catch, "seq": seq}
"""Every form by name."""


def error_term(failure: Failure) -> Term:
    """The term that gives a caught error as an exception object: its class may be the user's, so a worker makes it."""
    return Operation("restore", (failure.pickled, failure.summary))
