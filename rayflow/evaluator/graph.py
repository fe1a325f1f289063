"""The graph that an evaluation builds: executions, their jobs, and the cells in which terms are reduced.

In: submissions, calls and terms. Out: `Execution`, `Job`, `Cell`: the data that changes. Never: decides which term is
reduced, or when a job moves; a job only refuses a move that the table does not allow.

The three classes are in one file because they refer to each other: a job belongs to an execution, and a cell to a job.
Each cell and each job keeps its waiters as data, as pairs of a cell or job and a slot. So one can always see what waits
for what. Nothing here recurses: the worklist moves from cell to cell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from rayflow.errors import WrongMove
from rayflow.evaluator.awaiting import Awaits
from rayflow.evaluator.call_options import CallOptions
from rayflow.evaluator.inheritance import Inherited
from rayflow.evaluator.job_states import ARGUMENTS, DONE, FAILED, MOVES, JobState
from rayflow.evaluator.messages import Cost, NestedEnd, Submitted
from rayflow.evaluator.recorded_once import FirstTimes
from rayflow.evaluator.tally import Tally
from rayflow.evaluator.task_book import TaskBook
from rayflow.evaluator.witnessing import Seen
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import Expression, TaskCall, Term
from rayflow.records import ReductionRow, Row
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.failures import Failure, Outcome
from rayflow.values.native import SCALARS

# --- cells ------------------------------------------------------------------------------------------------------------

ARGUMENTS_SLOT = -1
"""The slot of a job for its reduced arguments."""
RESULT_SLOT = -2
"""The slot of a job for the outcome of its term."""
BECOME_SLOT = -3
"""The slot of a form or an operation for the outcome of the term that it became."""
AWAITED_SLOT = -4
"""The slot of a job for the outcomes of the expressions that its body awaits."""


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


class Cell:
    """A place where terms are being reduced.

    role: the purpose of the values. expression: the container, operation or form that the values belong to. For
    ARGUMENTS it holds the names of the arguments and of the options; for AWAITED it holds the keys of the expressions.
    scope: the job whose term contains the cell. path: its place in that job; the ids of jobs below are made from it.
    values: the outcomes so far. missing: the number of outcomes that are still to come. sources: for each value, the
    jobs that it came from. places: for a container, the position of each expression's value, by the expression's id.
    waiters: the cells and jobs that wait for the outcome, each with the slot that the outcome fills.
    settled: whether the cell has given its outcome. number, key: set while a look-up or an operation is in flight.
    """

    __slots__ = (
        "expression", "key", "missing", "number", "outcome", "path", "places", "role", "scope", "settled", "sources",
        "values", "waiters",
    )  # fmt: skip

    def __init__(self, role: CellRole, expression: Term, scope: Job, path: bytes, size: int) -> None:
        self.role = role
        self.expression = expression
        self.scope = scope
        self.path = path
        self.values: list[Outcome] = [None] * size
        self.sources: list[tuple[Job, ...]] = [()] * size
        self.missing = size
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
        """The jobs that the values came from, in order. Each job is there once."""
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


# --- jobs -------------------------------------------------------------------------------------------------------------

_STEPS = {state: bytes((state.value,)) for state in JobState}

_TRAILS: dict[bytes, bytes] = {}
"""The trails of jobs, each once. Many jobs share few different trails."""

_SHARED_TRAIL_STATES = 32
"""The length up to which trails are shared. A job with very many attempts makes a new trail with each attempt."""

_NOTHING: Any = ()
"""Replaces lists in closed jobs. All of them share this object."""


class UnrecordedReturn(NamedTuple):
    """What a body returned, if nothing below its job is recorded. Perhaps the job itself is not recorded either.

    An equal job that is recorded takes the term from here. reduction: the term. rows: the worker's rows about values.
    """

    reduction: ReductionRow
    rows: tuple[Row, ...]


class Work:
    """The data that only an open job needs. A closed job has `NO_WORK` in its place: most jobs of an execution are
    closed, and stay in memory for equal calls to come.

    ordinal: its place among the jobs of its execution. call: the call itself, until its arguments are bound.
    wanted: whether anything still waits for it. (The state is a fact; this is an intention.)
    listed: whether it is recorded as open.
    bound: its arguments by name. args_hash: their hash. sources: for each argument, the jobs that its parts came from.
    ready_at: when its arguments were values. sent_at: when its last attempt was sent. waited_on: what held it between
    the two (see `JobRow`).
    missed: the recorded reason why no recorded result answered it (see `rayflow.misses`).
    never_ran: whether it failed because an argument or an option of it failed, so that its task was not even called.
    attempt: how often it was sent. raised: how many attempts raised. losses: how many attempts lost their worker.
    causes: the shortened errors of its failed attempts: of the first attempts and of the last one.
    cost: the cost of its attempts that returned.
    awaits: the expressions that its body has awaited; None if there are none.
    below: the end of the nested execution that its body was, if it was one.
    children: the jobs of the calls in its term. memo: for each shared expression of its term, its cell or job.
    followers: jobs that share the outcome.
    """

    __slots__ = (
        "args_hash", "attempt", "awaits", "below", "bound", "call", "causes", "children", "cost", "followers",
        "listed", "losses", "memo", "missed", "never_ran", "ordinal", "raised", "ready_at", "sent_at", "sources",
        "waited_on", "wanted",
    )  # fmt: skip

    def __init__(self, call: TaskCall | None, ordinal: int) -> None:
        self.ordinal = ordinal
        self.call = call
        self.wanted = True
        self.listed = False
        self.bound: dict[str, Term] = {}
        self.args_hash: bytes | None = None
        self.sources: dict[str, tuple[Job, ...]] | None = None
        self.ready_at: int | None = None
        self.sent_at: int | None = None
        self.waited_on: str | None = None
        self.missed: str | None = None
        self.never_ran = False
        self.attempt = 0
        self.raised = 0
        self.losses = 0
        self.causes: tuple[str, ...] = ()
        self.cost: Cost | None = None
        self.awaits: Awaits | None = None
        self.below: NestedEnd | None = None
        self.children: list[Job] = []
        self.memo: dict[int, tuple[Expression, Cell | Job]] | None = None
        self.followers: list[Job] | None = None

    def note_wait(self, cause: str) -> None:
        """Add a cause that holds the job although its arguments are values; each cause once."""
        if self.waited_on is None:
            self.waited_on = cause
        elif cause not in self.waited_on.split(", "):
            self.waited_on = f"{self.waited_on}, {cause}"


NO_WORK = Work(None, 0)
"""The work of every closed job. Nothing changes it."""
NO_WORK.children = _NOTHING
NO_WORK.wanted = False


class Job:
    """One task call in one execution. It changes its state only through `move`.

    number: the evaluator's own number, for messages, while the job is open; then 0. job_id: the id in the records; its
    children's paths begin with it. A closed job that nothing is below has none, and no value_hash of a scalar.
    name: the name that people see, mostly its task's name. options: merged from all levels.
    work: what only an open job needs.
    outcome: value or Failure, once it is DONE or FAILED.
    waiters: the cells that wait for the outcome, each with its slot.
    how: computed, cached or shared. depth: how many calls of its execution are around it.
    trail: the states that it has been in, a byte each.
    hands_down: the context and options that the calls of its term receive. reads: the context paths that were read in
    its term and below.
    unrecorded: what its body returned, if the job, or anything below it, is not recorded.
    task_set: the hashes of its task and of the tasks below it. clean: whether nothing failed in it or below it.
    oldest: when the oldest record behind its value was computed; None if no record is older than the job.
    fleeting: whether a later execution has to ask again for a call below it (see `lookups.is_fleeting`).
    seen: the witnesses in its term and below (Files, Handles, the code of classes that results were computed with).
    """

    __slots__ = (
        "call_hash", "clean", "depth", "entry", "eval_hash", "execution", "fleeting", "hands_down", "how", "job_id",
        "name", "number", "oldest", "options", "outcome", "parent", "queued_at", "reads", "seen", "state", "task_set",
        "trail", "unrecorded", "value_hash", "waiters", "work",
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
        self.entry = entry
        self.name = entry.name
        self.queued_at = at
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.state: JobState = ARGUMENTS
        self.options: Mapping[str, Any] = {}
        self.hands_down: Inherited = parent.hands_down if parent is not None else execution.inherited
        self.reads: set[str] | None = None
        self.seen: Seen | None = None
        self.oldest: int | None = None
        self.eval_hash: bytes | None = None
        self.call_hash: bytes | None = None
        self.value_hash: bytes | None = None
        self.task_set: frozenset[bytes] | None = None
        self.clean = True
        self.fleeting = False
        self.how: str | None = None
        self.outcome: Outcome = None
        self.waiters: list[tuple[Cell | Job, int]] = []
        self.unrecorded: UnrecordedReturn | None = None
        self.trail = b"\0"
        self.work = Work(call, execution.tally.totals["jobs"])

    @property
    def label(self) -> str | None:
        """The name that people see, if it is not the name of its task; else None."""
        return None if self.name == self.entry.name else self.name

    def move(self, to: JobState) -> None:
        """Go to another state. Raises WrongMove, with the job's earlier states, if the table does not allow it."""
        if to not in MOVES[self.state]:
            raise WrongMove(f"{self.state.name} -> {to.name} is not a move. {self.describe()}")
        self.state = to
        trail = self.trail + _STEPS[to]
        self.trail = _TRAILS.setdefault(trail, trail) if len(trail) <= _SHARED_TRAIL_STATES else trail

    def note_reads(self, paths: Iterable[str]) -> None:
        """Add context paths that were read in its term, or in a job below it."""
        if self.reads is None:
            self.reads = set()
        self.reads.update(paths)

    def let_go(self) -> None:
        """Forget the data that only an open job needs."""
        work = self.work
        if self.state is DONE and not work.children and work.sources is None and work.below is None:
            self.job_id = b""  # nothing is below it, not even in a default: no row and no failure names it
            if type(self.outcome) in SCALARS and self.parent is not None:
                self.value_hash = None  # an equal call makes it again in a microsecond
        self.work = NO_WORK
        self.waiters = _NOTHING
        self.number = 0

    @property
    def received(self) -> Inherited:
        """The context and options that the call above hands down."""
        return self.parent.hands_down if self.parent is not None else self.execution.inherited

    @property
    def is_recorded(self) -> bool:
        """Whether it leaves records; False below a call with the option prov=False."""
        return self.received.is_recorded

    @property
    def is_open(self) -> bool:
        """Whether it is neither done nor failed."""
        return self.state is not DONE and self.state is not FAILED

    def describe(self) -> str:
        """Which job this is, and the states that it has been in."""
        states = " > ".join(JobState(step).name for step in self.trail)
        return f"Job {self.job_id.hex()} ({self.name}), attempt {self.work.attempt}: {states}"


# --- executions -------------------------------------------------------------------------------------------------------

CROWDED = 1_000_000
"""The number of open calls at which a warning comes. Another one comes each time this number has doubled."""


class Writer(NamedTuple):
    """The call that gave a file, and the state of the file at that time.

    call: the call as text. The text is made at once, because the arguments are forgotten later.
    """

    eval_hash: bytes | None
    call: str
    state: tuple[Any, ...]


class Advance(NamedTuple):
    """The call that changed a state of a handle, and the new state. call: the call as text."""

    eval_hash: bytes | None
    call: str
    state: bytes


class Execution:
    """One evaluation of one root expression.

    Its submission: execution_id, cache, life, fail_fast, project_dir, under: as in `Submitted`. tasks: the tasks that
    it knows. call_options: merges the options of calls. inherited: the context and options that the root receives.
    seed: the bytes from which the ids of its jobs are made.

    Its jobs: root. open: the jobs that are neither done nor failed, by number. shared: by eval_hash, the job that does
    the work for all equal jobs; for each further context of such a call, the job that reduces its term there.
    beside_root: for a nested execution, the calls in the root's own arguments. They are not part of the root's value,
    but the value depends on them. threads: how many open calls run for their own sake; the execution ends after them.
    tally: counts of jobs. failures: jobs that failed by themselves, a thousand at most.

    Its work: demands: the terms to reduce, each with its job, its place in the job, and the target and slot for the
    outcome. operations: by key, the cells that wait for an operation that has begun; the first cell asks for all.
    looking: how many look-ups are in flight. in_flight: how many look-ups, attempts, operations and timers may still
    bring news. If there are none and the root is open, jobs wait for each other.

    Its end: wanted: whether anything still waits for it. cancelled_by: who or what cancelled it. fatal: the failure
    that stopped it, if it stops at the first failure. is_torn: whether a part of it was lost. Then the records may have
    open jobs that are not known here.

    Its earlier reports: warnings: the texts, each once. is_deep: whether a warning about deep recursion has come.
    crowded_at: the number of open calls at which the next warning comes. first_times: what is recorded already.
    writers: by path, the call that gave the file. advances: by state, the call that changed the handle.
    """

    def __init__(self, submitted: Submitted) -> None:
        under, settings = submitted.under, submitted.settings
        self.execution_id = submitted.execution_id
        self.tasks = TaskBook(submitted.table)
        self.call_options = CallOptions(settings.options, settings.profiles)
        self.cache = settings.cache
        self.life = submitted.life
        self.fail_fast = settings.fail_fast
        self.project_dir = submitted.project_dir
        self.under = under
        self.inherited = Inherited(settings.context)
        if under is not None:
            self.inherited = Inherited(settings.context, under.exports, under.is_recorded)
        self.seed = submitted.execution_id.encode() + (under.path if under is not None else b"")

        self.root: Job | None = None
        self.open: dict[int, Job] = {}
        self.shared: dict[bytes, Job] = {}
        self.beside_root: list[Job] | None = None if under is None else []
        self.threads = 0
        self.tally = Tally()
        self.failures: list[tuple[Job, Failure]] = []

        self.demands: deque[tuple[Term, Job, bytes, Cell | Job, int]] = deque()
        self.operations: dict[bytes, list[Cell]] = {}
        self.looking = 0
        self.in_flight = 0

        self.wanted = True
        self.cancelled_by = ""
        self.fatal: Failure | None = None
        self.is_torn = submitted.life > 0

        self.warnings: set[str] = set()
        self.is_deep = False
        self.crowded_at = CROWDED
        self.first_times = FirstTimes()
        self.writers: dict[str, Writer] = {}
        self.advances: dict[bytes, Advance] = {}
        self._task_sets: dict[frozenset[bytes] | bytes, frozenset[bytes]] = {}

    def task_set_of(self, job: Job) -> frozenset[bytes]:
        """The hashes of the tasks of a job and of the jobs below it. Equal sets are one object."""
        task_hash = job.entry.hash
        work = job.work
        if not work.children and work.below is None:
            alone = self._task_sets.get(task_hash)
            if alone is None:
                members = frozenset((task_hash,))
                alone = self._task_sets[task_hash] = self._task_sets.setdefault(members, members)
            return alone
        below = {id(child.task_set): child.task_set for child in work.children if child.task_set}
        if work.below is not None:
            below[id(work.below)] = work.below.task_set
        members = frozenset((task_hash,)).union(*below.values())
        return self._task_sets.setdefault(members, members)
