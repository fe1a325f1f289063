"""The states of a job, and the moves between them.

In: nothing. Out: `JobState`, the table of allowed moves, and `Left`. Never: moves a job.

    ARGUMENTS --> LOOKUP --> HELD --> RUNNING --> RESULT --> DONE
        |            |        ^ ^ ^      |          |
        |            |        | | +retry-+          |          every open state --> FAILED
        |            |        | +-----awaits--------+
        +--> SHARED  +-hit----+-----------> RESULT -+
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class JobState(IntEnum):
    """The state of a job."""

    ARGUMENTS = 0
    """Its arguments are being reduced."""
    LOOKUP = 1
    """The store has been asked for a recorded reduction."""
    HELD = 2
    """It has to run, and waits for capacity or for the next attempt."""
    RUNNING = 3
    """An attempt is on its way to a worker, or runs there."""
    RESULT = 4
    """The body's term, or the expressions that the body awaits, are being reduced."""
    SHARED = 5
    """An equal job of this execution does the work; this one follows it."""
    DONE = 6
    """It has a value."""
    FAILED = 7
    """It has a failure, or was cancelled."""


ARGUMENTS, LOOKUP, HELD, RUNNING, RESULT, SHARED, DONE, FAILED = JobState
"""Names for code that runs many times for each job: in Python 3.11, reading `JobState.DONE` takes longer than comparing
it."""

MOVES: Mapping[JobState, frozenset[JobState]] = {
    ARGUMENTS: frozenset({LOOKUP, HELD, SHARED, RESULT, DONE, FAILED}),
    LOOKUP: frozenset({RESULT, HELD, FAILED}),
    HELD: frozenset({RUNNING, RESULT, FAILED}),
    RUNNING: frozenset({RESULT, HELD, FAILED}),
    RESULT: frozenset({DONE, FAILED, HELD}),
    SHARED: frozenset({LOOKUP, RESULT, DONE, FAILED}),
    DONE: frozenset(),
    FAILED: frozenset(),
}
"""Every allowed move.

ARGUMENTS goes to HELD when no record may answer. It goes to RESULT when the root is a bare expression, so that there is
nothing to run, or when the term of an equal job is to be reduced here, too. It goes to DONE when an equal job has
already ended.

LOOKUP, HELD and RUNNING also go to RESULT when the job is to end and a clean-up below it is not done.

RESULT goes back to HELD when the expressions that a body awaits have outcomes, and the body has to run again.

SHARED is left when the body of the equal job has returned, but under another context. This job then goes to LOOKUP, to
find that term in the store and reduce it here, too; or to RESULT with the term itself, where it is not recorded."""

IN_FLIGHT = frozenset({LOOKUP, HELD, RUNNING})
"""States that an answer, a timer or a limit will end."""


class Left:
    """What keeps a job open whose outcome is known.

    count: how many forms and bodies below it still have to come to their clean-ups, although nothing needs them.
    ending: how the job is to be closed after that (see `closing.close`); None while it is not to be closed.
    """

    __slots__ = ("count", "ending")

    def __init__(self) -> None:
        self.count = 0
        self.ending: tuple[JobState, bool, bool] | None = None
