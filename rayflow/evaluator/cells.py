"""Cells: places where a term is being reduced.

In: a term with expressions in it. Out: `Cell`, which counts what is missing and then gives the term with values in
place of its expressions. Never: decides what is reduced.

A cell knows who waits for it as data, (cell or job, slot) pairs, so that "what does this wait for" can always be
answered. Nothing here recurses: the evaluator's worklist moves from cell to cell.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rayflow.lang.codec import SCALARS
from rayflow.lang.expressions import Expression, Term
from rayflow.values.failures import Failure, Outcome
from rayflow.values.nested import iter_leaves, map_leaves

if TYPE_CHECKING:
    from rayflow.evaluator.jobs import Job

ARGUMENTS_SLOT = -1
"""Slot of a job that its reduced arguments fill."""
RESULT_SLOT = -2
"""Slot of a job that its reduced term fills."""
AWAITED_SLOT = -4
"""Slot of a job that waits for the expressions that its body awaits."""


class Kind(Enum):
    """What becomes of a cell's values once all are there."""

    CONTAINER = 0
    ARGUMENTS = 1
    OPERATION = 2
    FORM = 3
    AWAITED = 4
    THREAD = 5
    """Nobody takes them: they come from a call that was begun for its own sake."""


class Cell:
    """Terms under way to values.

    scope: the job whose term this stands in. path: its place in that job, for the ids of jobs below.
    values: what is known so far; missing: how many are not. sources: the jobs that the values came from.
    settled: whether it has given its outcome. number: set while a look-up or an operation is in flight.
    """

    __slots__ = (
        "expression", "key", "kind", "missing", "number", "outcome", "path", "places", "scope", "settled", "sources",
        "values", "waiters",
    )  # fmt: skip

    def __init__(self, kind: Kind, expression: Term, scope: Job, path: bytes, size: int) -> None:
        self.kind = kind
        self.expression = expression
        self.scope = scope
        self.path = path
        self.values: list[Outcome] = [None] * size
        self.sources: list[tuple[Job, ...]] = [()] * size
        self.missing = 0
        self.places: dict[int, int] | None = None
        self.waiters: list[tuple[Cell | Job, int]] = []
        self.settled = False
        self.outcome: Outcome = None
        self.number = 0
        self.key: bytes | None = None

    def first_failure(self) -> Failure | None:
        """The failure of the first slot that has one: by position, not by time, so that it is always the same."""
        for value in self.values:
            if type(value) is Failure:
                return value
        return None

    def all_sources(self) -> tuple[Job, ...]:
        """The jobs that any of the values came from, each once, in order."""
        filled = [each for each in self.sources if each]
        if len(filled) == 1:
            return filled[0]
        return tuple(dict.fromkeys(job for each in filled for job in each))

    def rebuilt(self) -> Term:
        """The container with values in place of its expressions."""
        container = self.expression
        if self.places is None:
            return tuple(self.values) if type(container) is tuple else list(self.values)
        places, values = self.places, self.values
        return map_leaves(container, lambda leaf: values[places[id(leaf)]] if isinstance(leaf, Expression) else leaf)


def is_value(term: Term) -> bool:
    """Whether nothing in the term is left to reduce."""
    kind = type(term)
    if kind in SCALARS:
        return True
    if isinstance(term, Expression):
        return False
    return not any(isinstance(leaf, Expression) for leaf in iter_leaves(term))


def expressions_of(container: Term) -> tuple[list[Expression], dict[int, int] | None]:
    """The expressions in a container, in order, and the place of each by id (None: one for each item of a flat one)."""
    if type(container) in (list, tuple) and all(isinstance(item, Expression) for item in container):
        return list(container), None
    found: list[Expression] = []
    places: dict[int, int] = {}
    for leaf in iter_leaves(container):
        if isinstance(leaf, Expression) and id(leaf) not in places:
            places[id(leaf)] = len(found)
            found.append(leaf)
    return found, places
