"""The special forms: the rule of each, and its properties that the rest of the evaluator needs.

In: a form's unreduced arguments, and the outcomes that its rule has asked for so far. Out: the rule's next answer.
Never: changes anything; a rule is a pure function and sees no job.

A rule answers with the terms that it needs next, with the term that the form becomes, or with a failure. It is asked
again when the needed terms have outcomes. Other answers concern the job around the form (`ReadContext`, `Begin`,
`Tag`). A new form is a rule and a line in `FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadForm, BadOption
from rayflow.evaluator.call_options import CONTEXT
from rayflow.evaluator.open_terms import expressions_of, is_value
from rayflow.lang.events.conditions import filled
from rayflow.lang.operations import operate
from rayflow.lang.options.tags import Tags, tag_pairs
from rayflow.lang.rules import BECOME, FAIL, FAILED, VALUE, Become, Fail, Need
from rayflow.lang.terms.codec import content_digest
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, Term, render
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.failures import Failure, Outcome, failure_from_exception, raised_while_handling


@dataclass(frozen=True, slots=True)
class ReadContext:
    """A rule's answer: the form becomes the value at this path of the context, else the default."""

    path: str
    default: Term


@dataclass(frozen=True, slots=True)
class Begin:
    """Make this call although nothing waits for it; the form is `term` at once."""

    call: TaskCall
    term: Term


@dataclass(frozen=True, slots=True)
class Tag:
    """A rule's answer: the value of the form. The tags are recorded for the value, the form's job and the execution."""

    value: Term
    tags: Tags
    job_tags: Tags
    execution_tags: Tags


@dataclass(frozen=True, slots=True)
class Open:
    """A rule's answer: the form becomes what a wait of this kind resolves to. given: what the wait is made with."""

    kind: str
    given: Mapping[str, Term]


@dataclass(frozen=True, slots=True)
class Compete:
    """A rule's answer: these terms race; the form is what the race decides (`races.take`)."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A rule's answer: the form becomes the term that `made` gives for what is recorded once: the time in microseconds
    ("now"), or a text that no other place has ("uuid")."""

    kind: str


Step: TypeAlias = Need | Become | Fail | ReadContext | Begin | Tag | Open | Note | Compete
Rule: TypeAlias = Callable[[tuple[Term, ...], Sequence[Outcome]], Step]


def cond(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `cond`. args: condition, arm, condition, arm, ..., otherwise."""
    if seen:
        last = seen[-1]
        if isinstance(last, Failure):
            return Fail(last)
        if last:
            return Become(args[2 * len(seen) - 1])
    position = 2 * len(seen)
    return Need((args[position],)) if position < len(args) - 1 else Become(args[-1])


def catch(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `catch`. args: expression, class names, recover, class names, recover, ..."""
    if not seen:
        return Need((args[0],))
    outcome = seen[0]
    if not isinstance(outcome, Failure):
        return Become(outcome)
    found = _recover_of(outcome, args)
    return Fail(outcome) if found is None else Become(Operation("call", (*found, (error_term(outcome),), {})))


def seq(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `seq`: the terms are evaluated one after the other, until one fails. args: the terms."""
    if seen and isinstance(seen[-1], Failure):
        return Fail(seen[-1])
    if len(seen) < len(args):
        return Need((args[len(seen)],))
    return Become(list(seen))


def catch_all(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `catch_all`. args: structure, class names, recover, class names, recover, ..."""
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


def while_recovering(failure: Failure, seen: Sequence[Outcome]) -> Failure:
    """The failure of the term that a form became, with the failure that the form was recovering from, if any."""
    caught = next((each for each in seen if isinstance(each, Failure)), None)
    if caught is None or caught.digest == failure.digest:  # it was only raised again
        return failure
    return raised_while_handling(failure, caught)


def _recover_of(failure: Failure, args: tuple[Term, ...]) -> tuple[Term] | None:
    """The recovery function for a failure, from the handlers after the first argument; None if no handler fits."""
    for names, recover in zip(args[1::2], args[2::2], strict=True):
        if any(name in failure.classes for name in names):
            return (recover,)
    return None


def _in_place(outcome: Outcome) -> Term:
    return error_term(outcome) if isinstance(outcome, Failure) else outcome


def map_(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `map_`. args: function, values."""
    return _over_items("map_", args, seen)


def starmap(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `starmap`. args: function, values."""
    return _over_items("starmap", args, seen)


def _over_items(name: str, args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    function, values = args
    if not seen:
        # Each item of a list that holds expressions belongs to its own call, which waits for no other.
        return Need((function,) if _is_open(name, values) else (function, values))
    for outcome in seen:
        if isinstance(outcome, Failure):
            return Fail(outcome)
    return Become(Operation(name, tuple(seen)) if len(seen) > 1 else operate(name, (seen[0], values)))


def _is_open(name: str, values: Term) -> bool:
    if type(values) not in (list, tuple) or is_value(values):
        return False
    return name == "map_" or all(type(value) in (list, tuple, dict) for value in values)


def get_context(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `get_context`. args: path, default."""
    return ReadContext(*args)


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
        try:
            tag_pairs(each, "apply_tags")
        except BadOption as error:
            return Fail(failure_from_exception(BadArguments(str(error))))
    return Tag(seen[0], *tags)


# --- waits ------------------------------------------------------------------------------------------------------------

WAITS: Mapping[str, tuple[str, ...]] = {
    "sleep": ("seconds",),
    "sleep_until": ("at",),
    "event": ("name", "key", "timeout", "default", "where", "since", "take"),
    "ask": ("prompt", "form", "timeout"),
    "emit": ("name", "data", "key", "at", "id"),
    "child": ("expr", "id"),
    "spawn": ("expr", "id", "tie"),
    "join": ("run",),
    "continue_as": ("expr",),
}
"""The forms that wait for something from outside, and the names of their arguments."""

_OF_RUNS = frozenset({"child", "spawn", "continue_as"})
"""The waits whose first argument is the quoted expression of another run."""


def _wait(kind: str) -> Rule:
    """The rule of a wait: its arguments are reduced, then it opens."""
    names = WAITS[kind]

    def rule(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
        for outcome in seen:
            if isinstance(outcome, Failure):
                return Fail(outcome)
        if kind in _OF_RUNS:
            return _wait_for_run(kind, args, seen)
        if not seen and not all(map(is_value, args)):
            return Need(args)
        given = dict(zip(names, seen or args, strict=True))
        if given.get("where") is not None:
            condition, parts = given["where"]
            whole = filled(condition._term, parts)
            given["where"] = Quoted(whole, content_digest(whole))
        return Open(kind, given)

    return rule


def _wait_for_run(kind: str, args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The arguments of the call that another run makes are reduced in this one."""
    term, rest = args[0]._term, args[1:]
    inside: tuple[Term, ...] = ()
    if type(term) is TaskCall:
        inside = (*term._args, *(term._kwargs or {}).values())
    needed = (*inside, *rest)
    if not seen and not all(map(is_value, needed)):
        return Need(needed)
    known = tuple(seen) or needed
    if type(term) is TaskCall:
        values, count = known[: len(inside)], len(term._args)
        named = dict(zip(term._kwargs or (), values[count:], strict=True))
        term = TaskCall(term._task, values[:count], named or None, term._options, term._length)
    given = (Quoted(term, content_digest(term)), *known[len(inside) :])
    return Open(kind, dict(zip(WAITS[kind], given, strict=True)))


def compete(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `first` and `any_of`. args: the terms."""
    return Compete(args)


def within(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `within`. args: expression, seconds, default."""
    expression, seconds, _ = args
    return Compete((expression, Form("sleep", (seconds,))))


def finally_(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `finally_`. args: expression, clean-up."""
    if len(seen) < len(args):
        return Need((args[len(seen)],))
    outcome, cleaned = seen
    if isinstance(cleaned, Failure):
        return Fail(raised_while_handling(cleaned, outcome) if isinstance(outcome, Failure) else cleaned)
    return Fail(outcome) if isinstance(outcome, Failure) else Become(outcome)


def now(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `now`. It has no arguments."""
    return Note("now")


def uuid(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """The rule of `uuid`. It has no arguments."""
    return Note("uuid")


MOST_STEPS = 1_000
"""A user's rule that still asks after this many answers is taken for one that never ends. (Each time it is called with
all earlier answers, so its cost grows with their square.)"""


def own(args: tuple[Term, ...], seen: Sequence[Outcome]) -> Step:
    """the user's rule, its quoted arguments. `seen` holds by turns an answer of the rule and what it then needed."""
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
        message = f"{render(Form('own', args))} does not come to an end: its rule was asked {MOST_STEPS:,} times."
        return Fail(failure_from_exception(BadForm(message)))
    return Need((Operation("step", (function, arguments, [_as_data(outcome) for outcome in outcomes])),))


def _as_data(outcome: Outcome) -> Term:
    return (FAILED, outcome.pickled, outcome.summary) if isinstance(outcome, Failure) else (VALUE, outcome)


@dataclass(frozen=True, slots=True)
class FormDefinition:
    """A form.

    passes_on: whether it fails whenever a needed term fails. recovers: whether the term that it becomes may handle a
    failure that its rule has seen. A failure of that term then names the handled failure. cleans_up: whether its last
    term is evaluated at every end.
    """

    rule: Rule
    passes_on: bool = False
    recovers: bool = False
    cleans_up: bool = False


FORMS: Mapping[str, FormDefinition] = {
    "cond": FormDefinition(cond, passes_on=True),
    "catch": FormDefinition(catch, recovers=True),
    "catch_all": FormDefinition(catch_all, recovers=True),
    "seq": FormDefinition(seq, passes_on=True),
    "map_": FormDefinition(map_, passes_on=True),
    "starmap": FormDefinition(starmap, passes_on=True),
    CONTEXT: FormDefinition(get_context, passes_on=True),
    "fork_thread": FormDefinition(fork_thread),
    "apply_tags": FormDefinition(apply_tags, passes_on=True),
    "own": FormDefinition(own),
    **{kind: FormDefinition(_wait(kind), passes_on=True) for kind in WAITS},
    "first": FormDefinition(compete),
    "any_of": FormDefinition(compete),
    "within": FormDefinition(within),
    "finally_": FormDefinition(finally_, cleans_up=True),
    "now": FormDefinition(now),
    "uuid": FormDefinition(uuid),
}
"""Every form by name."""


def error_term(failure: Failure) -> Term:
    """The term that gives a caught failure as an exception. Its class may be the user's, so a worker makes it."""
    return Operation("restore", (failure.pickled, failure.summary))
