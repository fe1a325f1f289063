"""Conditions on events: `event.data["amount"] > 5`.

In: an expression over the placeholder `event`. Out: a term that any process can test on an event without user code.
Never: tests a condition (`rayflow.keeper.conditions` does); runs a user's function.

A condition holds nothing but the event's fields, items of plain data, comparisons, `&`, `|`, `~`, `not_` and values.
Other expressions in it are values that are not there yet: the run reduces them before its wait opens.
"""

from __future__ import annotations

from rayflow.errors import BadArguments
from rayflow.lang.terms.codec import children, with_children
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, Term
from rayflow.values.encoding.snapshots import as_now

FIELDS = ("id", "name", "key", "data", "time", "number")
"""The fields of an event that a condition can name."""

THIS_EVENT = "this_event"
"""The name of the form that stands for the event in a condition."""

_PART = "condition_part"

_COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def field_of_event(name: str) -> Operation:
    """The placeholder of a field of an event."""
    return Operation("getattr", (Form(THIS_EVENT, ()), name))


def condition_of(where: Term, place: str) -> Term:
    """The condition as it stands in a form: the quoted condition, and the list of the values that are still to come.

    place: what errors name. Raises BadArguments for anything that a condition cannot hold.
    """
    if where is None:
        return None
    parts: list[Term] = []
    checked = _checked(where, parts, place)
    return [Quoted(checked), parts]


def without_lazy_parts(where: Term, place: str) -> Term:
    """The condition of something that is not evaluated, such as the subscription of a flow. Raises BadArguments."""
    parts: list[Term] = []
    checked = _checked(where, parts, place)
    if any(isinstance(part, Expression) for part in parts):
        raise BadArguments(f"{place}: where= compares an event with plain values here, not with {parts[0]!r}.")
    return filled(checked, parts)


def _checked(term: Term, parts: list[Term], place: str) -> Term:
    """The condition, with a numbered part for each value in it. Conditions are written by hand: recursion is enough."""
    if not _has_event(term):
        parts.append(as_now(term))
        return Form(_PART, (len(parts) - 1,))
    if type(term) is Operation:
        name, args = term._name, term._args
        if name == "getattr" and type(args[0]) is Form and args[0]._name == THIS_EVENT:
            if args[1] in FIELDS:
                return term
            raise BadArguments(f"{place}: an event has no field {args[1]!r}. It has {', '.join(FIELDS)}.")
        if name in _COMPARISONS or name in ("getitem", "and", "or", "invert", "not", "truth"):
            return Operation(name, tuple([_checked(arg, parts, place) for arg in args]))
    raise BadArguments(
        f"{place}: where= cannot hold {term!r}. It takes the event's fields, items of its data, comparisons, & | ~ and "
        'values: event.data["amount"] > 5. Decide anything else in the run, after the wait.'
    )


def _has_event(term: Term) -> bool:
    waiting, seen = [term], set()
    while waiting:
        each = waiting.pop()
        if type(each) is Form and each._name == THIS_EVENT:
            return True
        if id(each) not in seen and (isinstance(each, Expression) or type(each) in (list, tuple, dict)):
            seen.add(id(each))
            waiting.extend(children(each))
    return False


def filled(condition: Term, parts: list[Term]) -> Term:
    """The condition with these values in place of its parts."""
    if type(condition) is Form and condition._name == _PART:
        return parts[condition._args[0]]
    if type(condition) is Operation and condition._name != "getattr":
        return with_children(condition, tuple([filled(part, parts) for part in condition._args]))
    return condition
