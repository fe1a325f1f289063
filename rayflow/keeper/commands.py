"""Everything that comes out of the keeper.

In: nothing. Out: the command classes. Never: logic.

The shell commits the rows of a turn (`Write`) before it carries out any other command of that turn. Commands may be
lost with the process: the keeper gives them again when it recovers. They may also come twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    PlaceRow,
    QueueRow,
    RequestRow,
    RunRow,
    ScheduleRow,
    WaitRow,
)


class Write(NamedTuple):
    """Commit these rows before anything else of this turn is done. If that fails, throw the keeper away."""

    rows: tuple[
        RunRow | WaitRow | EventRow | DeliveryRow | ScheduleRow | FiringRow | RequestRow | QueueRow | ChargeRow, ...
    ]


class KeepPlaces(NamedTuple):
    """What has happened at the places of a run before its first evaluation: record it in the commit of this turn, and
    let the evaluation begin with it. It comes for a fork, before its `Evaluate`."""

    rows: tuple[PlaceRow, ...]


class Evaluate(NamedTuple):
    """Begin the evaluation of a run, or take it up again with what is pinned and with `Keeper.resolved(run_id)`. Its
    end comes as `RunEnded`. Nothing changes if it is in memory with this life.

    life: greater each time that it may have been taken up again. generation: how often it was retried. stops: how often
    it was asked to end before now, without which it would go on (0, 1 or 2, as by `StopRun`), and by what.
    """

    run_id: str
    root: bytes
    life: int = 0
    generation: int = 0
    stops: int = 0
    by: str | None = None


class Resolve(NamedTuple):
    """A wait has this packed outcome. If the evaluation of the run is not in memory, it is taken up again first, as
    `Keeper.evaluation(run_id)` says. An outcome that the evaluation has already changes nothing."""

    run_id: str
    place: bytes
    outcome: bytes


class StopRun(NamedTuple):
    """The run is cancelled, or has taken too long: end what runs of it, let its clean-up run, then report `RunEnded`.
    If its evaluation is not in memory, it is taken up again instead, as `Keeper.evaluation(run_id)` says: that counts
    this stop already.

    by: cancel, timeout or parent. is_again: end the clean-up, too.
    """

    run_id: str
    by: str
    is_again: bool = False


class ForgetRun(NamedTuple):
    """The run has ended by itself (continue_as): drop its evaluation, and end what runs of it."""

    run_id: str


class BindEvent(NamedTuple):
    """Make the root term of the run of this flow that an event starts. Answered by `BoundArguments`."""

    event_id: str
    flow: str
    event: EventRow


class BindFiring(NamedTuple):
    """Make the root term of the run of a firing. Answered by `BoundFiring`.

    flow: full name of the task. arguments: as JSON by name; None for the defaults. previous: the moment of the schedule
    before this one; None for the first one.
    """

    schedule: str
    moment: int
    flow: str
    arguments: str | None = None
    previous: int | None = None


class RecallFirings(NamedTuple):
    """Read the firings of a schedule between two moments, when the rows of this turn are committed. Answered by
    `FiringsRecalled`."""

    schedule: str
    first: int
    last: int


class ComputeKeys(NamedTuple):
    """Find out what the flow of a run asks of admission, of its root term. Answered by `KeysComputed`."""

    run_id: str
    flow: str
    root: bytes


class Recall(NamedTuple):
    """Read the rows of a run that has ended, or never was. Answered by `Recalled`."""

    run_id: str


class SetAlarm(NamedTuple):
    """Send `TimeCame` at this time. It takes the place of the last alarm."""

    at: int


class RequestReply(NamedTuple):
    """The answer to a request. answer: plain data. error: the name of the error class and the message, or None. Of an
    error RateLimited, the answer is how many microseconds later there will be room."""

    request: str
    answer: Any = None
    error: tuple[str, str] | None = None


KeeperCommand: TypeAlias = (
    Write
    | KeepPlaces
    | Evaluate
    | Resolve
    | StopRun
    | ForgetRun
    | BindEvent
    | BindFiring
    | ComputeKeys
    | Recall
    | RecallFirings
    | SetAlarm
    | RequestReply
)
