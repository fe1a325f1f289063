"""Everything that comes out of the keeper.

In: nothing. Out: the command classes. Never: logic.

The shell commits the rows of a turn (`Write`) before it carries out any other command of that turn.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from rayflow.records import DeliveryRow, EventRow, RunRow, WaitRow


class Write(NamedTuple):
    """Commit these rows before anything else of this turn is done."""

    rows: tuple[RunRow | WaitRow | EventRow | DeliveryRow, ...]


class Evaluate(NamedTuple):
    """Begin the evaluation of a run, or take it up again. Its end comes as `RunEnded`.

    life: how often it was begun before. generation: how often it was retried.
    """

    run_id: str
    root: bytes
    life: int = 0
    generation: int = 0


class Resolve(NamedTuple):
    """A wait has this packed outcome. If the evaluation of the run is not in memory, it is taken up again first."""

    run_id: str
    place: bytes
    outcome: bytes


class StopRun(NamedTuple):
    """The run is cancelled: end what runs of it, let its clean-up run, then report `RunEnded`."""

    run_id: str
    by: str
    is_again: bool = False


class BindEvent(NamedTuple):
    """Make the root term of the run that an event starts. Answered by `BoundArguments`."""

    event_id: str
    flow: str
    data: bytes | None


class SetAlarm(NamedTuple):
    """Send `TimeCame` at this time. It takes the place of the last alarm."""

    at: int


class Reply(NamedTuple):
    """The answer to a request. answer: plain data. error: the name of the error class and the message, or None."""

    request: str
    answer: Any = None
    error: tuple[str, str] | None = None


KeeperCommand: TypeAlias = Write | Evaluate | Resolve | StopRun | BindEvent | SetAlarm | Reply
