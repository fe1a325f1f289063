"""One evaluation of one root expression.

In: what was submitted. Out: `Execution`: its tasks, what its jobs share, what is still open. Never: moves a job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from rayflow.evaluator.cells import Cell
from rayflow.evaluator.inheritance import Inherited
from rayflow.evaluator.jobs import HELD, LOOKUP, RUNNING, Job
from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.codec import loads
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Term
from rayflow.lang.options import merge, profile_called
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

IN_FLIGHT = frozenset({LOOKUP, HELD, RUNNING})
"""States that something outside, or a timer, or a limit will end."""


class Writer(NamedTuple):
    """The call that gave a file, and how the file was then. Its text is made at once: later its arguments are gone."""

    eval_hash: bytes | None
    call: str
    state: tuple[Any, ...]


class Execution:
    """The state of one execution.

    shared: the job that does the work for each eval_hash, and for each other context that it is met under, the one that
    reduces its term there. inherited: what the root receives. open: jobs by number that are neither done nor failed.
    beside_root: of a part of another execution the calls in the root's own arguments, which are no part of what it is,
    but of what the whole relies on.
    operations: the cells that wait for each operation that is under way, the first one asking for all. demands: terms
    to be reduced, each with its job, its place there, and the slot of what it fills. looking: how many look-ups are in
    flight. in_flight: how many look-ups, attempts, operations and timers may still bring news; when it is 0 and the
    root is not settled, jobs wait for each other. under: what it takes over, where it is a part of another one. seed:
    where the ids of its jobs begin. threads: how many calls are open that were begun for their own sake: it ends after
    them. is_torn: whether a part of it was lost, so that jobs may be recorded as open that nobody here knows of. told:
    the warnings that were given, each once. fatal: the failure that stopped it, where it stops at the first one.
    lacking: names or hashes of tasks that recorded results call and that are not known, each with the task whose result
    it was.
    """

    def __init__(
        self,
        execution_id: str,
        table: Mapping[str, TaskEntry],
        options: Mapping[str, Any],
        cache: bool,
        life: int,
        at: int,
        context: Mapping[str, Term],
        profiles: Mapping[str, Mapping[str, Any]],
        under: Under | None,
        fail_fast: bool = False,
        project_dir: str = "",
    ) -> None:
        self.execution_id = execution_id
        self.table: dict[str, TaskEntry] = dict(table)
        self.options = dict(options)
        self.cache = cache
        self.life = life
        self.at = at
        self.wanted = True
        self.is_torn = life > 0
        self.told: set[str] = set()
        self.fail_fast = fail_fast
        self.project_dir = project_dir
        self.fatal: Failure | None = None
        self.root: Job | None = None
        self.beside_root: list[Job] | None = None if under is None else []
        self.shared: dict[bytes, Job] = {}
        self.open: dict[int, Job] = {}
        self.operations: dict[bytes, list[Cell]] = {}
        self.demands: deque[tuple[Term, Job, bytes, Cell | Job, int]] = deque()
        self.in_flight = 0
        self.looking = 0
        self.threads = 0
        self.failures: list[tuple[Job, Failure]] = []
        self.counts = {"jobs": 0, "computed": 0, "cached": 0, "shared": 0, "failed": 0, "cancelled": 0}
        self.progress: dict[str, dict[str, int]] = {}
        self.inherited = Inherited(context, under.exports, under.is_recorded) if under else Inherited(context)
        self.profiles = profiles
        self.under = under
        self.seed = execution_id.encode() + (under.path if under else b"")
        self._defaults: dict[str, dict[str, Term]] = {}
        self._current: frozenset[bytes] | None = None
        self._members: dict[frozenset[bytes], frozenset[bytes]] = {}
        self._task_sets: dict[frozenset[bytes], bytes] = {}
        self._described: set[bytes] = set()
        self._values: set[bytes] = set()
        self.writers: dict[str, Writer] = {}
        self.lacking: dict[str | bytes, str] = {}

    def options_of(
        self, entry: TaskEntry, call_options: Mapping[str, Any] | None, received: Inherited
    ) -> tuple[Mapping[str, Any], Inherited]:
        """The options of a call, all levels merged: profile, definition, exports, call, run; and what it hands down.

        Raises BadOption for a profile that does not exist.
        """
        if call_options:
            return self.completed(merge(entry.options, received.exports, call_options, self.options), received)
        known = received.known.get(entry.name)
        if known is None:
            known = self.completed(merge(entry.options, received.exports, self.options), received)
            received.known[entry.name] = known
        return known

    def completed(self, options: Mapping[str, Any], received: Inherited) -> tuple[Mapping[str, Any], Inherited]:
        """Merged options over those of their profile, and what a call with them hands down."""
        profile = options.get("profile")
        if type(profile) is str:
            options = merge(profile_called(profile, self.profiles), options)
        return options, received.handed_down(options)

    def defaults_of(self, entry: TaskEntry) -> dict[str, Term]:
        """Default values of a task's parameters by name."""
        known = self._defaults.get(entry.name)
        if known is None:
            known = self._defaults[entry.name] = loads(entry.defaults) if entry.defaults else {}
        return known

    def learn(self, entries: tuple[TaskEntry, ...]) -> list[str]:
        """Add tasks that a worker met and the table lacked; what to tell of calls that ran because it did."""
        told: dict[tuple[str, str], str] = {}
        for entry in entries:
            if entry.name not in self.table:
                self.table[entry.name] = entry
                self._current = None
                caller = self.lacking.pop(entry.name, None) or self.lacking.pop(entry.hash, None)
                if caller is not None and entry.module is not None:
                    told.setdefault((caller, entry.module), entry.name)
        return [
            f"{caller} runs in every run: it calls {name}, and no module imports {module} before a run starts. Import "
            "it at the top of a module, or by an import statement in the body."
            for (caller, module), name in told.items()
        ]

    def is_current(self, task_set: frozenset[bytes]) -> bool:
        """Whether all these tasks have the code that this execution knows."""
        if self._current is None:
            self._current = frozenset(entry.hash for entry in self.table.values())
        return task_set <= self._current

    def task_set_of(self, job: Job) -> frozenset[bytes]:
        """The tasks below a job, itself included; equal sets are one object."""
        below = {id(child.task_set): child.task_set for child in job.children if child.task_set}
        if job.below is not None:
            below[id(job.below)] = job.below.task_set
        members = frozenset((job.entry.hash,)).union(*below.values())
        return self._members.setdefault(members, members)

    def task_set_digest(self, members: frozenset[bytes]) -> tuple[bytes, bool]:
        """The digest of a set of tasks, and whether this is the first time that it is asked for."""
        known = self._task_sets.get(members)
        if known is not None:
            return known, False
        made = self._task_sets[members] = digest("task_set", *sorted(members))
        return made, True

    def first_use(self, task_hash: bytes) -> bool:
        """Whether a task is met for the first time, so that its source has to be recorded."""
        if task_hash in self._described:
            return False
        self._described.add(task_hash)
        return True

    def first_value(self, value_hash: bytes) -> bool:
        """Whether a value is met for the first time (as far as is remembered), so that it has to be recorded."""
        if value_hash in self._values:
            return False
        if len(self._values) >= 100_000:
            self._values.clear()
        self._values.add(value_hash)
        return True

    def count_below(self, below: Below) -> None:
        """Count the jobs of an evaluation inside a call."""
        self.is_torn |= below.is_torn
        for key, number in below.counts.items():
            self.counts[key] += number
        for name, row in below.by_task.items():
            known = self.progress.setdefault(name, dict.fromkeys(row, 0))
            for key, number in row.items():
                known[key] += number

    def count(self, job: Job, key: str, by: int = 1) -> None:
        """Count a job under its task's name, for progress."""
        row = self.progress.get(job.entry.name)
        if row is None:
            row = self.progress[job.entry.name] = {
                "open": 0, "running": 0, "computed": 0, "cached": 0, "shared": 0, "failed": 0, "cancelled": 0
            }  # fmt: skip
        row[key] += by
