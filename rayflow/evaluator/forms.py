"""Rules of the special forms.

A rule is a pure function of a form's unreduced arguments and the outcomes seen so far. It answers what it needs reduced
next, what the form becomes, or how it fails; it is asked again when what it needed has settled. What touches the job
that a form stands in is an answer, too. The evaluator itself is never handed out, so a form can be tested as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadForm
from rayflow.evaluator.cells import expressions_of, is_value
from rayflow.lang.expressions import Expression, Operation, TaskCall, Term, render
from rayflow.lang.operations import operate
from rayflow.lang.rules import BECOME, FAIL, FAILED, VALUE, Become, Fail, Need
from rayflow.values.failures import Failure, Outcome, failure_from_exception
from rayflow.values.nested import map_leaves


@dataclass(frozen=True, slots=True)
class Begin:
    """Make this call although nobody waits for it; the form is `term` at once."""

    call: TaskCall
    term: Term


@dataclass(frozen=True, slots=True)
class Tag:
    """The form is this value; tags are recorded for the value, the job it stands in, and the execution."""

    value: Term
    tags: Mapping[str, Any]
    job_tags: Mapping[str, Any]
    execution_tags: Mapping[str, Any]


Step: TypeAlias = Need | Become | Fail | Begin | Tag
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


def told_after(form: str, failure: Failure, seen: Sequence[Outcome]) -> Failure:
    """A failure of what a form became, with the error that this was to recover from, if there was one."""
    if form not in ("catch", "catch_all"):
        return failure
    caught = next((each for each in seen if isinstance(each, Failure)), None)
    if caught is None or caught.digest == failure.digest:  # one that was only raised again is told once
        return failure
    return replace(failure, notes=(*failure.notes, f"raised while handling {caught.summary}"))


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


def fork_thread(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """the call that joins the thread: to join it is to share that call"""
    (call,) = args
    return Begin(call, call._args[0])


def apply_tags(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """value, its tags, the job's, the execution's"""
    if not seen:
        return Need(args)
    for outcome in seen:
        if isinstance(outcome, Failure):
            return Fail(outcome)
    tags: list[Any] = list(seen[1:])
    for each in tags:
        if not isinstance(each, dict) or not all(isinstance(key, str) for key in each):
            return Fail(failure_from_exception(BadArguments(f"Tags are a dict with names as keys, not {each!r}.")))
    return Tag(seen[0], *tags)


MOST_STEPS = 1_000
"""A rule of the user's that is still asking after so many answers is taken for one that never ends. (It is called anew
with all answers each time, so that what it costs grows with their square.)"""


def own(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """the user's rule, its quoted arguments. Seen are by turns an answer of the rule and outcomes of what it needed."""
    function, arguments = args
    outcomes: list[Outcome] = []
    place = answers = 0
    while place < len(seen):
        answer: Any = seen[place]
        place += 1
        answers += 1
        if isinstance(answer, Failure):
            return Fail(answer)
        if answer[0] == BECOME:
            return Become(answer[1]._term)
        if answer[0] == FAIL:
            return Fail(outcomes[answer[1]])
        _, count, needed = answer
        if place == len(seen):
            return Need(tuple(needed._term))
        outcomes.extend(seen[place : place + count])
        place += count
    if answers == MOST_STEPS:
        message = f"A rule was asked {MOST_STEPS} times and has not come to an end: {render(function)}"
        return Fail(failure_from_exception(BadForm(message)))
    return Need((Operation("step", (function, arguments, [_as_data(outcome) for outcome in outcomes])),))


def _as_data(outcome: Outcome) -> Term:
    return (FAILED, outcome.pickled, outcome.summary) if isinstance(outcome, Failure) else (VALUE, outcome)


RULES: Mapping[str, Rule] = {
    "cond": cond, "catch": catch, "catch_all": catch_all, "seq": seq, "map_": map_, "starmap": starmap,
    "fork_thread": fork_thread, "apply_tags": apply_tags, "own": own,
}  # fmt: skip
"""Every form by name."""


def error_term(failure: Failure) -> Term:
    """The term that gives a caught error as an exception object: its class may be the user's, so a worker makes it."""
    return Operation("restore", (failure.pickled, failure.summary))
