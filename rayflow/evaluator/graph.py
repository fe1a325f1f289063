"""The graph that an evaluation builds: executions, their jobs, and the cells in which terms are reduced.

In: submissions, calls and terms. Out: `Execution`, `Job`, `Vector`, `Cell`: the data that changes. Never: decides which
term is reduced, or when a job moves; a job only refuses a move that the table does not allow.

The four classes are in one file because they refer to each other: a job belongs to an execution, and a cell to a job.
Each cell and each job keeps its waiters as data, as pairs of a cell or job and a slot. So one can always see what waits
for what. Nothing here recurses: the worklist moves from cell to cell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rayflow.errors import WrongMove
from rayflow.evaluator.awaiting import Awaits
from rayflow.evaluator.call_options import CallOptions
from rayflow.evaluator.cell_roles import CellRole, Race
from rayflow.evaluator.inheritance import Inherited
from rayflow.evaluator.job_states import ARGUMENTS, DONE, FAILED, MOVES, JobState, Left
from rayflow.evaluator.ledger import Ledger, Standing
from rayflow.evaluator.messages import Cost, NestedEnd, Submitted
from rayflow.evaluator.recorded_once import FirstTimes
from rayflow.evaluator.tally import Tally
from rayflow.evaluator.task_book import TaskBook
from rayflow.evaluator.witnessed_changes import Advance, Writer
from rayflow.evaluator.witnessing import Seen
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import Expression, TaskCall, Term
from rayflow.records import ReductionRow, Row
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.failures import Failure, Outcome
from rayflow.values.native import SCALARS

# --- cells ------------------------------------------------------------------------------------------------------------


class Cell:
    """A place where terms are being reduced.

    role: the purpose of the values. expression: the container, operation or form that the values belong to. For
    ARGUMENTS it holds the names of the arguments and of the options; for AWAITED it holds the keys of the expressions.
    scope: the job whose term contains the cell. path: its place in that job; the ids of jobs below are made from it.
    values: the outcomes so far. missing: the number of outcomes that are still to come. sources: for each value, the
    jobs and vectors that it came from. places: for a container, the position of each expression's value, by the
    expression's id.
    waiters: the cells and jobs that wait for the outcome, each with the slot that the outcome fills.
    settled: whether the cell has given its outcome. number, key: set while a look-up or an operation is in flight. (Of
    a form with a clean-up, key is its place.)
    race: of a form that decides between its terms.
    """

    __slots__ = (
        "expression", "key", "missing", "number", "outcome", "path", "places", "race", "role", "scope", "settled",
        "sources", "values", "waiters",
    )  # fmt: skip

    def __init__(self, role: CellRole, expression: Term, scope: Job, path: bytes, size: int) -> None:
        self.role = role
        self.expression = expression
        self.scope = scope
        self.path = path
        self.values: list[Outcome] = [None] * size
        self.sources: list[tuple[Job | Vector, ...]] = [()] * size
        self.missing = size
        self.places: dict[int, int] | None = None
        self.waiters: list[tuple[Cell | Job, int]] = []
        self.settled = False
        self.outcome: Outcome = None
        self.number = 0
        self.key: bytes | None = None
        self.race: Race | None = None

    def first_failure(self) -> Failure | None:
        """The failure of the first slot that has one: by position, not by time, so that it is always the same."""
        for value in self.values:
            if type(value) is Failure:
                return value
        return None

    def all_sources(self) -> tuple[Job | Vector, ...]:
        """The jobs and vectors that the values came from, in order. Each one is there once."""
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
    bound: its arguments by name. args_hash: their hash. sources: for each argument, the jobs and vectors that its parts
    came from.
    ready_at: when its arguments were values. sent_at: when its last attempt was sent. waited_on: what held it between
    the two (see `JobRow`).
    missed: the recorded reason why no recorded result answered it (see `rayflow.misses`).
    never_ran: whether it failed because an argument or an option of it failed, so that its task was not even called.
    attempt: how often it was sent. raised: how many attempts raised. losses: how many attempts lost their worker.
    causes: the shortened errors of its failed attempts: of the first attempts and of the last one.
    cost: the cost of its attempts that returned. packed: the term that its body returned, as it came.
    awaits: the expressions that its body has awaited; None if there are none.
    below: the end of the nested execution that its body was, if it was one.
    children: the jobs and vectors of the calls in its term. memo: for each shared expression of its term, its cell or
    job.
    followers: jobs that share the outcome. left: what keeps it open although its outcome is known; None for most.
    """

    __slots__ = (
        "args_hash", "attempt", "awaits", "below", "bound", "call", "causes", "children", "cost", "followers", "left",
        "listed", "losses", "memo", "missed", "never_ran", "ordinal", "packed", "raised", "ready_at", "sent_at",
        "sources", "waited_on", "wanted",
    )  # fmt: skip

    def __init__(self, call: TaskCall | None, ordinal: int) -> None:
        self.ordinal = ordinal
        self.call = call
        self.wanted = True
        self.listed = False
        self.bound: dict[str, Term] = {}
        self.args_hash: bytes | None = None
        self.sources: dict[str, tuple[Job | Vector, ...]] | None = None
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
        self.packed: bytes | None = None
        self.awaits: Awaits | None = None
        self.below: NestedEnd | None = None
        self.children: list[Job | Vector] = []
        self.memo: dict[int, tuple[Expression, Cell | Job]] | None = None
        self.followers: list[Job] | None = None
        self.left: Left | None = None

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
    standing: its place, and what is recorded there; None for most calls.
    """

    __slots__ = (
        "call_hash", "clean", "depth", "entry", "eval_hash", "execution", "fleeting", "hands_down", "how", "job_id",
        "name", "number", "oldest", "options", "outcome", "parent", "queued_at", "reads", "seen", "standing", "state",
        "task_set", "trail", "unrecorded", "value_hash", "waiters", "work",
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
        self.standing: Standing | None = None
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
        if self.execution.ledger is not None:
            # A caller that becomes pinned later pins what has ended below it.
            if work.args_hash is not None:
                if self.standing is None:
                    self.standing = Standing()
                self.standing.args_hash = work.args_hash
        elif self.state is DONE and not work.children and work.sources is None and work.below is None:
            self.job_id = b""  # nothing is below it, not even in a default: no row and no failure names it
            if type(self.outcome) in SCALARS and self.parent is not None:
                self.value_hash = None  # an equal call makes it again in a microsecond
        self.work = NO_WORK
        self.waiters = _NOTHING
        self.number = 0

    @property
    def call_hashes(self) -> tuple[bytes, ...]:
        """Its call hash, if it has one."""
        return () if self.call_hash is None else (self.call_hash,)

    @property
    def received(self) -> Inherited:
        """The context and options that the call above hands down."""
        return self.parent.hands_down if self.parent is not None else self.execution.inherited

    @property
    def is_recorded(self) -> bool:
        """Whether it leaves records; False below a call with the option prov=False."""
        return self.received.is_recorded

    @property
    def is_cleaning_up(self) -> bool:
        """Whether its body is entered again only so that it comes to its clean-up."""
        return self.standing is not None and self.standing.cleans

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known, though it may still be open for a clean-up below it."""
        return not self.is_open or (self.work.left is not None and self.work.left.ending is not None)

    @property
    def is_open(self) -> bool:
        """Whether it is neither done nor failed."""
        return self.state is not DONE and self.state is not FAILED

    def describe(self) -> str:
        """Which job this is, and the states that it has been in."""
        states = " > ".join(JobState(step).name for step in self.trail)
        return f"Job {self.job_id.hex()} ({self.name}), attempt {self.work.attempt}: {states}"


# --- vectors ----------------------------------------------------------------------------------------------------------

LEFT = 255
"""The state of a member of a vector that goes on as a job of its own."""

BLOCK_BITS = 12

MOST_MEMBERS = 1 << BLOCK_BITS
"""The most members of a vector. The number of the first one is a multiple of this, so a number names its vector."""

_NO_ITEMS: Any = ()
"""Replaces, in a closed vector, the columns that only open members need."""


class Vector:
    """Many calls of one task with plain arguments, from one container, as columns: one value for each member.

    All members have the same task, options, context and job around. A member is LOOKUP, RUNNING or DONE, or it has LEFT
    the vector. Each is the first attempt of its call, and none has failed. See `rayflow.evaluator.vectors`.

    first: the number of the first member; the others follow. cell: the container that waits for the values. path: the
    path of the container. positions: the place of each member in the container. ordinals: as in `Job`.
    names: the parameters. arguments: for each member, the values of these. states: a byte for each member.
    open: how many members are LOOKUP or RUNNING. is_asking: whether the store's answer is to come. listed: how many
    members, from the first on, were looked at for opening rows.
    job_ids, args_hashes, eval_hashes, value_hashes, call_hash_of, hows, outcomes: as in `Job`. ages: as `oldest` in
    `Job`; None if no member was answered from a record.
    missed, entry, execution, parent, options, hands_down, queued_at, sent_at: as in `Job`, the same for all members.
    """

    __slots__ = (
        "_places", "ages", "args_hashes", "arguments", "call_hash_of", "cell", "entry", "eval_hashes", "execution",
        "first", "hands_down", "hows", "is_asking", "job_ids", "listed", "missed", "names", "open", "options",
        "ordinals", "outcomes", "parent", "path", "positions", "queued_at", "sent_at", "states", "task_set",
        "value_hashes",
    )  # fmt: skip

    clean = True
    fleeting = False
    reads: set[str] | None = None
    seen: Seen | None = None
    """Jobs have these attributes, too. A member with another value for one of them leaves the vector."""

    def __init__(
        self,
        parent: Job,
        entry: TaskEntry,
        options: Mapping[str, Any],
        hands_down: Inherited,
        cell: Cell,
        path: bytes,
        at: int,
    ) -> None:
        self.execution = parent.execution
        self.parent = parent
        self.entry = entry
        self.options = options
        self.hands_down = hands_down
        self.cell = cell
        self.path = path
        self.queued_at = at
        self.first = 0
        self.names: tuple[str, ...] = ()
        self.missed: str | None = None
        self.positions: Sequence[int] = []
        self.ordinals: Sequence[int] = []
        self.arguments: list[tuple[Any, ...]] = []
        self.job_ids: list[bytes] = []
        self.args_hashes: list[bytes] = []
        self.eval_hashes: list[bytes] = []
        self.value_hashes: list[bytes | None] = []
        self.call_hash_of: list[bytes | None] = []
        self.outcomes: list[Outcome] = []
        self.hows: list[str | None] = []
        self.ages: list[int | None] | None = None
        self.sent_at: int | None = None
        self.states = bytearray()
        self.open = 0
        self.is_asking = False
        self.listed = 0
        self.task_set = self.execution.task_set_of_task(entry.hash)
        self._places: dict[bytes, int] | None = None

    @property
    def name(self) -> str:
        """The name that people see: its task's."""
        return self.entry.name

    @property
    def is_recorded(self) -> bool:
        """Whether its members leave records."""
        return self.parent.hands_down.is_recorded

    @property
    def call_hashes(self) -> list[bytes]:
        """The call hashes of the members that are done. (Those that have left are children of their own.)"""
        return [each for each in self.call_hash_of if each is not None]

    @property
    def oldest(self) -> int | None:
        """When the oldest record behind one of its values was computed."""
        return min((age for age in self.ages if age is not None), default=None) if self.ages else None

    def append(
        self,
        position: int,
        ordinal: int,
        arguments: tuple[Any, ...],
        job_id: bytes,
        args_hash: bytes,
        eval_hash: bytes,
        state: JobState,
    ) -> None:
        """Add a member."""
        self._places = None
        assert isinstance(self.positions, list)
        assert isinstance(self.ordinals, list)
        self.positions.append(position)
        self.ordinals.append(ordinal)
        self.arguments.append(arguments)
        self.job_ids.append(job_id)
        self.args_hashes.append(args_hash)
        self.eval_hashes.append(eval_hash)
        for column in (self.value_hashes, self.call_hash_of, self.hows, self.outcomes):
            column.append(None)
        self.states.append(state)
        self.open += 1

    def place_of(self, eval_hash: bytes) -> int:
        """The member with this key."""
        if self._places is None:
            self._places = {each: place for place, each in enumerate(self.eval_hashes)}
        return self._places[eval_hash]

    def in_state(self, state: int) -> list[int]:
        """The members in a state."""
        states = self.states
        if states.count(state) == len(states):
            return list(range(len(states)))
        return [place for place, each in enumerate(states) if each == state]

    @property
    def is_asked(self) -> bool:
        """Whether the store is asked for its members."""
        return self.missed is None or bool(self.execution.life)

    def let_go(self) -> None:
        """Forget the data that only open members need."""
        self.arguments = self.job_ids = _NO_ITEMS
        if self.execution.ledger is None:
            self.args_hashes = _NO_ITEMS


# --- executions -------------------------------------------------------------------------------------------------------

CROWDED = 1_000_000
"""The number of open calls at which a warning comes. Another one comes each time this number has doubled."""


class Execution:
    """One evaluation of one root expression.

    Its submission: execution_id, cache, life, fail_fast, project_dir, under: as in `Submitted`. tasks: the tasks that
    it knows. call_options: merges the options of calls. inherited: the context and options that the root receives.
    seed: the bytes from which the ids of its jobs are made.

    Its jobs: root. open: the jobs that are neither done nor failed, by number. vectors: those with open members, by the
    number of the first one. shared: by eval_hash, the job that does the work for all equal jobs, or its vector; for
    each further context of such a call, the job that reduces its term there.
    beside_root: for a nested execution, the calls in the root's own arguments. They are not part of the root's value,
    but the value depends on them. threads: how many open calls run for their own sake; the execution ends after them.
    tally: counts of jobs. failures: jobs that failed by themselves, a thousand at most.

    Its work: demands: the terms to reduce, each with its job, its place in the job, and the target and slot for the
    outcome. operations: by key, the cells that wait for an operation that has begun; the first cell asks for all.
    looking: how many look-ups of jobs are in flight. running: how many attempts are. in_flight: how many look-ups,
    attempts, operations and timers may still bring news. If there are none and the root is open, jobs wait for each
    other. binding: of how many jobs the arguments are being reduced. retrying: how many wait for their next attempt.

    Its places: ledger: None until something needs a place. is_run: whether a service keeps it. lacking: by number, the
    calls of a run that wait for the code of their tasks. waits: the open waits,
    by place. target: the cell or job and the slot for the term in hand. is_parked: whether only waits can bring news.

    Its end: wanted: whether anything still waits for it. cleanups: the cells of clean-ups that have begun, by id; when
    nothing waits for it, these still go on. left: what nothing needs and still has to come to its clean-up, by id.
    is_restricted: whether it is stopped, or something in it has lost. may_begin: whether the term in hand may begin
    anything.
    cancelled_by: who or what cancelled it. fatal: the failure that stopped it, if it stops at the first failure.
    is_torn: whether a part of it was lost: the records may have open jobs that neither it nor a service knows.

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
        self.vectors: dict[int, Vector] = {}
        self.shared: dict[bytes, Job | Vector] = {}
        self.beside_root: list[Job | Vector] | None = None if under is None else []
        self.threads = 0
        self.tally = Tally()
        self.failures: list[tuple[Job, Failure]] = []

        self.demands: deque[tuple[Term, Job, bytes, Cell | Job, int]] = deque()
        self.operations: dict[bytes, list[Cell]] = {}
        self.looking = 0
        self.running = 0
        self.in_flight = 0
        self.binding = 0
        self.retrying = 0

        self.is_run = submitted.is_run
        self.ledger: Ledger | None = None
        if submitted.is_run or submitted.pins or any(entry.is_effect for entry in submitted.table.values()):
            self.ledger = Ledger(submitted.pins or (), submitted.resolved, submitted.gone)
        self.lacking: dict[int, Job] = {}
        self.waits: dict[bytes, Cell] = {}
        self.target: tuple[Cell | Job, int] | None = None
        self.is_parked = False

        self.wanted = submitted.cancelled_by is None
        self.cleanups: dict[int, Cell] = {}
        self.left: dict[int, Cell | Job] = {}
        self.is_restricted = not self.wanted
        self.may_begin = self.wanted
        self.cancelled_by = submitted.cancelled_by or ""
        self.fatal: Failure | None = None
        self.is_torn = submitted.life > 0 and not submitted.is_run

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
            return self.task_set_of_task(task_hash)
        below = {id(child.task_set): child.task_set for child in work.children if child.task_set}
        if work.below is not None:
            below[id(work.below)] = work.below.task_set
        members = frozenset((task_hash,)).union(*below.values())
        return self._task_sets.setdefault(members, members)

    def task_set_of_task(self, task_hash: bytes) -> frozenset[bytes]:
        """The set of a task alone. Equal sets are one object."""
        alone = self._task_sets.get(task_hash)
        if alone is None:
            members = frozenset((task_hash,))
            alone = self._task_sets[task_hash] = self._task_sets.setdefault(members, members)
        return alone
