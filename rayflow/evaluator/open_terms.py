"""Terms that still contain expressions.

In: a term. Out: whether the term is a value, and which expressions it contains. Never: reduces one.
"""

from __future__ import annotations

from rayflow.lang.terms.expressions import Expression, Term
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.native import SCALARS


def is_value(term: Term) -> bool:
    """Whether a term contains no expression."""
    cls = type(term)
    if cls in SCALARS:
        return True
    if isinstance(term, Expression):
        return False
    return not any(isinstance(leaf, Expression) for leaf in iter_leaves(term))


def expressions_of(container: Term) -> tuple[list[Expression], dict[int, int] | None]:
    """The expressions in a container, in order; and by id the place of each, or None if each item is an expression."""
    if type(container) in (list, tuple) and all(isinstance(item, Expression) for item in container):
        return list(container), None
    found: list[Expression] = []
    places: dict[int, int] = {}
    for leaf in iter_leaves(container):
        if isinstance(leaf, Expression) and id(leaf) not in places:
            places[id(leaf)] = len(found)
            found.append(leaf)
    return found, places
