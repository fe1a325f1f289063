"""What a cell's values are for, and the slots of jobs and forms that an outcome may go to.

In: nothing. Out: `CellRole`, `Race`, the slots. Never: logic.
"""

from __future__ import annotations

from enum import Enum

from rayflow.evaluator.ledger import Standing

ARGUMENTS_SLOT = -1
"""The slot of a job for its reduced arguments."""
RESULT_SLOT = -2
"""The slot of a job for the outcome of its term."""
BECOME_SLOT = -3
"""The slot of a form or an operation for the outcome of the term that it became."""
AWAITED_SLOT = -4
"""The slot of a job for the outcomes of the expressions that its body awaits."""

CHANGED_SLOT = -5
"""The slot of an effect for what a person says about it (see changed_effects.py)."""


class CellRole(Enum):
    """The purpose of a cell's values. The cell uses them when all of them are there."""

    CONTAINER = 0
    """The values replace the expressions in a container."""
    ARGUMENTS = 1
    """The values are the lazy arguments and options of a job."""
    OPERATION = 2
    """The values are the arguments of an operation."""
    FORM = 3
    """The values are the outcomes that a form's rule has asked for so far."""
    AWAITED = 4
    """The values are the outcomes that a body awaits."""
    THREAD = 5
    """The value is not used: the call runs for its own sake. Only its end matters."""
    QUESTION = 6
    """The value is what a person says about a job."""
    LOST = 7
    """The values are not used: the terms have lost in an earlier life. Only their clean-ups matter."""


class Race:
    """A race between the terms of a form.

    place, above: of the form, and of its caller. winner: the position of the term that counts; None until that is
    decided.
    """

    __slots__ = ("above", "place", "winner")

    def __init__(self, place: bytes, above: Standing) -> None:
        self.place = place
        self.above = above
        self.winner: int | None = None
