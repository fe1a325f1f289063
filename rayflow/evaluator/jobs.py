"""The life of one task call: its states, the moves between them, and the one record that changes.

In: a call met in a term. Out: `Job`. Never: decides a move (evaluator.py does); it only refuses the wrong ones.

    ARGUMENTS --> LOOKUP --> HELD --> RUNNING --> RESULT --> DONE
        |            |        ^ ^ ^      |          |
        |            |        | | +retry-+          |          every open state --> FAILED
        |            |        | +-----awaits--------+
        +--> SHARED  +-hit----+-----------> RESULT -+
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from rayflow.errors import WrongMove

if TYPE_CHECKING:
    from rayflow.evaluator.awaiting import Awaits
    from rayflow.evaluator.cells import Cell
    from rayflow.evaluator.events import Cost
    from rayflow.evaluator.executions import Execution
    from rayflow.evaluator.inheritance import Inherited
    from rayflow.evaluator.subruns import Below
    from rayflow.evaluator.witnessing import Seen
    from rayflow.lang.entries import TaskEntry
    from rayflow.lang.expressions import Expression, TaskCall, Term
    from rayflow.values.failures import Outcome


class State(IntEnum):
    """Where a job is."""

    ARGUMENTS = 0
    """Its arguments are being reduced."""
    LOOKUP = 1
    """The store has been asked for a reduction."""
    HELD = 2
    """It has to run, and waits for capacity or for the next attempt."""
    RUNNING = 3
    """An attempt is on its way to, or on, a worker."""
    RESULT = 4
    """The task's term is known and is being reduced; or the expressions that its body awaits are."""
    SHARED = 5
    """An equal job of this execution does the work; this one follows it."""
    DONE = 6
    """It has a value."""
    FAILED = 7
    """It has an error, or was cancelled."""


ARGUMENTS, LOOKUP, HELD, RUNNING, RESULT, SHARED, DONE, FAILED = State
"""For what is done for each job many times: reading `State.DONE` takes longer than comparing it, in Python 3.11."""

MOVES: Mapping[State, frozenset[State]] = {
    State.ARGUMENTS: frozenset({State.LOOKUP, State.HELD, State.SHARED, State.RESULT, State.DONE, State.FAILED}),
    State.LOOKUP: frozenset({State.RESULT, State.HELD, State.FAILED}),
    State.HELD: frozenset({State.RUNNING, State.FAILED}),
    State.RUNNING: frozenset({State.RESULT, State.HELD, State.FAILED}),
    State.RESULT: frozenset({State.DONE, State.FAILED, State.HELD}),
    State.SHARED: frozenset({State.LOOKUP, State.DONE, State.FAILED}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
}
"""Every allowed move. ARGUMENTS goes straight to HELD when no cache may answer, to RESULT when the root is a bare
expression (there is nothing to run), and to DONE when an equal job has already ended. RESULT goes back to HELD when the
expressions that a body awaits have settled, and it is to be entered again. SHARED goes to LOOKUP under another context
than the equal job's: when that one's body has returned, its term is looked up and reduced here, too."""

_STEPS = {state: bytes((state.value,)) for state in State}

_TRAILS: dict[bytes, bytes] = {}
"""Trails that were walked, so that jobs with the same one share it: there are few, and many jobs."""

_SHARED_TRAIL_STATES = 32
"""Longer trails, of jobs that are tried again very often, are as many as there are attempts, and are not kept here."""

_NOTHING: Any = ()
"""What a closed job has of everything that only an open one needs: one object for all, and no list to append to."""

_NO_ARGUMENTS: dict[str, Term] = {}


class Job:
    """One task call in one execution. Changes state only through `move`.

    number: the evaluator's own number, for events; job_id: the id in the records, also the start of its children's
    paths. wanted: whether anybody still waits for it (intent), beside `state` (fact).
    bound, sources: its arguments by name, and for each the jobs that its parts came from.
    outcome: value or Failure, once DONE or FAILED.
    waiters: cells (and slots in them) to be filled with the outcome. followers: jobs that share it.
    awaits: what its body has awaited; None for a body that has awaited nothing. below: what its body has evaluated.
    trail: the states it has been in, a byte each.
    hands_down: what the calls of its term receive. reads: the context paths that were read in and below its term.
    oldest: when the oldest record that it was made from was computed; None for nothing older than the job.
    fleeting: whether a later execution has to ask anew for a call below it (see `lookups.is_fleeting`).
    seen: the witnesses in and below its term (Files, Handles, the code of classes that results were computed with).
    """

    __slots__ = (
        "args_hash", "attempt", "awaits", "below", "bound", "call", "call_hash", "children", "clean", "cost", "entry",
        "eval_hash", "execution", "fleeting", "followers", "hands_down", "how", "job_id", "listed", "losses", "memo",
        "number", "oldest", "options", "ordinal", "outcome", "parent", "queued_at", "raised", "reads", "seen",
        "sources", "state", "task_set", "trail", "value_hash", "waiters", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        job_id: bytes,
        execution: Execution,
        parent: Job | None,
        call: TaskCall | None,
        entry: TaskEntry,
        at: int,
    ) -> None:
        self.number = number
        self.job_id = job_id
        self.execution = execution
        self.parent = parent
        self.call = call
        self.entry = entry
        self.queued_at = at
        self.ordinal = execution.counts["jobs"]
        self.state = State.ARGUMENTS
        self.wanted = True
        self.listed = False
        self.options: Mapping[str, Any] = {}
        self.hands_down: Inherited = parent.hands_down if parent is not None else execution.inherited
        self.reads: set[str] | None = None
        self.seen: Seen | None = None
        self.oldest: int | None = None
        self.bound: dict[str, Term] = {}
        self.sources: dict[str, tuple[Job, ...]] | None = None
        self.args_hash: bytes | None = None
        self.eval_hash: bytes | None = None
        self.call_hash: bytes | None = None
        self.value_hash: bytes | None = None
        self.task_set: frozenset[bytes] | None = None
        self.clean = True
        self.fleeting = False
        self.attempt = 0
        self.raised = 0
        self.losses = 0
        self.how: str | None = None
        self.cost: Cost | None = None
        self.outcome: Outcome = None
        self.children: list[Job] = []
        self.waiters: list[tuple[Cell | Job, int]] = []
        self.followers: list[Job] | None = None
        self.memo: dict[int, tuple[Expression, Cell | Job]] | None = None
        self.awaits: Awaits | None = None
        self.below: Below | None = None
        self.trail = b"\0"

    def move(self, to: State) -> None:
        """Go to another state. Raises WrongMove, with the job's story, when the table does not allow it."""
        if to not in MOVES[self.state]:
            raise WrongMove(f"{self.state.name} -> {to.name} is no move. {self.describe()}")
        self.state = to
        trail = self.trail + _STEPS[to]
        self.trail = _TRAILS.setdefault(trail, trail) if len(trail) <= _SHARED_TRAIL_STATES else trail

    def note_reads(self, paths: Iterable[str]) -> None:
        """Context paths that were read in or below its term, besides those that are known."""
        if self.reads is None:
            self.reads = set()
        self.reads.update(paths)

    def let_go(self) -> None:
        """Forget what only an open job needs."""
        self.children = self.waiters = _NOTHING
        self.bound = _NO_ARGUMENTS
        self.memo = self.call = self.sources = self.cost = self.args_hash = self.followers = self.awaits = None
        self.below = None

    @property
    def received(self) -> Inherited:
        """What the call above hands down."""
        return self.parent.hands_down if self.parent is not None else self.execution.inherited

    @property
    def is_recorded(self) -> bool:
        """Whether what it leaves behind is kept; false below a call with the option prov=False."""
        return self.received.is_recorded

    @property
    def is_open(self) -> bool:
        """Whether it is neither done nor failed."""
        return self.state is not DONE and self.state is not FAILED

    def describe(self) -> str:
        """Which job this is and where it has been."""
        states = " > ".join(State(step).name for step in self.trail)
        return f"Job {self.job_id.hex()} ({self.entry.name}), attempt {self.attempt}: {states}"
