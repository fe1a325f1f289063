"""Rules of the special forms.

A rule is a pure function of a form's unreduced arguments and the outcomes seen so far. It answers what it needs reduced
next, what the form becomes, or how it fails; it is asked again when what it needed has settled. The evaluator itself is
never handed out, so a form can be tested as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rayflow.evaluator.cells import expressions_of, is_value
from rayflow.lang.expressions import Expression, Operation, Term
from rayflow.lang.operations import operate
from rayflow.values.failures import Failure, Outcome, failure_from_exception
from rayflow.values.nested import map_leaves


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
    found = _recover_of(outcome, args)
    return Fail(outcome) if found is None else Become(Operation("call", (*found, (error_term(outcome),), {})))


def seq(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """One after the other; an error stops it."""
    if seen and isinstance(seen[-1], Failure):
        return Fail(seen[-1])
    if len(seen) < len(args):
        return Need((args[len(seen)],))
    return Become(list(seen))


def catch_all(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """structure, class names, recover, class names, recover, ..."""
    structure = args[0]
    found, _ = expressions_of(structure)
    if not seen:
        return Need(tuple(found)) if found else Become(structure)
    failures = [each for each in seen if isinstance(each, Failure)]
    recovers: list[tuple[Term]] = []
    for failure in failures:
        recover = _recover_of(failure, args)
        if recover is None:
            return Fail(failure)
        recovers.append(recover)
    known = {id(expression): outcome for expression, outcome in zip(found, seen, strict=True)}
    try:
        settled = map_leaves(
            structure, lambda leaf: _in_place(known[id(leaf)]) if isinstance(leaf, Expression) else leaf, always=True
        )
    except TypeError as error:  # a value that cannot be a key or a member
        return Fail(failure_from_exception(error))
    return Become(Operation("call", (*recovers[0], (settled,), {})) if recovers else settled)


def _recover_of(failure: Failure, args: tuple[Term, ...]) -> tuple[Term] | None:
    """What recovers from a failure, as the handlers after the first argument say it."""
    for names, recover in zip(args[1::2], args[2::2], strict=True):
        if any(name in failure.classes for name in names):
            return (recover,)
    return None


def _in_place(outcome: Outcome) -> Term:
    return error_term(outcome) if isinstance(outcome, Failure) else outcome


def map_(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """function, values"""
    return _over_items("map_", args, seen)


def starmap(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """function, values"""
    return _over_items("starmap", args, seen)


def _over_items(name: str, args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    function, values = args
    if not seen:
        # Of a list that holds expressions each item belongs to its own call, which waits for no other.
        return Need((function,) if _is_open(name, values) else (function, values))
    for outcome in seen:
        if isinstance(outcome, Failure):
            return Fail(outcome)
    return Become(Operation(name, tuple(seen)) if len(seen) > 1 else operate(name, (seen[0], values)))


def _is_open(name: str, values: Term) -> bool:
    if type(values) not in (list, tuple) or is_value(values):
        return False
    return name == "map_" or all(type(value) in (list, tuple, dict) for value in values)


RULES: Mapping[str, Rule] = {
    "cond": cond, "catch": catch, "catch_all": catch_all, "seq": seq, "map_": map_, "starmap": starmap
}  # fmt: skip
"""Every form by name."""


def error_term(failure: Failure) -> Term:
    """The term that gives a caught error as an exception object: its class may be the user's, so a worker makes it."""
    return Operation("restore", (failure.pickled, failure.summary))
