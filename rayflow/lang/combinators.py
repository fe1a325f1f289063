"""Forms as a user writes them: each is one line that makes a Form or an Operation.

In: terms. Out: expressions. Never: says what a form does (rayflow.evaluator.forms holds the rules).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.expressions import Expression, Form, Operation, Quoted, Term
from rayflow.lang.options import class_names


def cond(condition: Term, then: Term, *rest: Term) -> Any:
    """`cond(p, a, q, b, ..., otherwise)`: the term behind the first true condition, else the last one.

    Conditions are reduced in order, and only the chosen term is reduced at all. Without an `otherwise` it is None.
    """
    terms = (condition, then, *rest)
    if len(terms) % 2 == 0:
        terms = (*terms, None)
    # A value is asked here: in the evaluator one of an unknown class is a reference, and no reference is false.
    conditions = [Operation("truth", (term,)) if isinstance(term, Expression) else bool(term) for term in terms[:-1:2]]
    arms = terms[1:-1:2]
    pairs = [each for pair in zip(conditions, arms, strict=True) for each in pair]
    return Form("cond", (*pairs, terms[-1]))


def catch(expr: Term, *handlers: Any) -> Any:
    """`catch(expr, Error, recover, Other, recover2, ...)`: the value of `expr`, or of `recover(error)` where it failed.

    The first class (or tuple of classes) that the error belongs to wins. Errors from any depth are seen. A failure that
    was caught is tried again in every new execution.
    """
    if not handlers or len(handlers) % 2:
        raise BadArguments("catch(expr, Error, recover, ...): give pairs of an exception class and a task or function.")
    args: list[Term] = [expr]
    for classes, recover in zip(handlers[::2], handlers[1::2], strict=True):
        if not (callable(recover) or isinstance(recover, Expression)):
            raise BadArguments(f"catch(expr, Error, recover, ...): {recover!r} cannot be called with the error.")
        try:
            args += [class_names(classes), recover]
        except BadOption as error:
            raise BadArguments(f"catch(expr, Error, recover, ...): {error}") from None
    return Form("catch", tuple(args))


def seq(terms: Iterable[Term]) -> Any:
    """The list of the terms' values, reduced one after the other; an error stops it."""
    if isinstance(terms, Expression):
        raise BadArguments("seq needs a list whose length is known: seq([first(), second()]).")
    return Form("seq", tuple(terms))


def quote(term: Term) -> Any:
    """The term as data: it is passed on unreduced until `.eval()` releases it."""
    return Quoted(term)


def len_(term: Term) -> Any:
    """The lazy length of a lazy value."""
    return Operation("len", (term,)) if isinstance(term, Expression) else len(term)


def not_(term: Term) -> Any:
    """The lazy `not` of a lazy value."""
    return Operation("not", (term,)) if isinstance(term, Expression) else not term
