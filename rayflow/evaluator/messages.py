"""Everything that goes into the evaluator.

In: nothing. Out: the message classes, and the plain data that they carry. Never: logic.

A message says that something happened, and when: `at` is in microseconds since the epoch, from the shell's clock. It
answers a command, or comes unasked (`Submitted`, `CancelRequested`). An answer may come late, twice, or for an attempt
that nothing waits for any more; the evaluator then drops it.

Messages are named tuples because there are several for each job: making a frozen dataclass takes four times as long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.timers import Timer
from rayflow.lang.task_table import TaskEntry
from rayflow.records import PlaceRow, Row
from rayflow.run_settings import RunSettings
from rayflow.values.failures import Failure
from rayflow.values.witnesses import Witness


@dataclass(frozen=True, slots=True)
class NestedStart:
    """The settings that a nested execution takes over from the execution around it.

    execution_id, options, cache, profiles: as in `Submitted`, of the execution around.
    job_id: the call whose body the nested execution is; the parent of its root.
    path: the path of that call's term. The ids of the nested jobs are made from it.
    trail: the calls from the outermost root to that call, as text.
    life: how often this nested execution was begun before, also by an earlier life of the execution around.
    context, exports, is_recorded: the settings that the nested root receives.
    limits: capacities by name.
    depth: the number of nested executions around this one, plus one.
    held: the amount of each limit that the calls around it hold.
    place: file and line of the task that made the call.
    """

    execution_id: str
    job_id: bytes
    path: bytes
    trail: tuple[str, ...]
    options: Mapping[str, Any]
    cache: bool
    life: int
    context: Mapping[str, Any]
    exports: Mapping[str, Any] | None
    is_recorded: bool
    profiles: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, float]
    depth: int = 1
    held: Mapping[str, float] = field(default_factory=dict)
    place: str | None = None


@dataclass(frozen=True, slots=True)
class NestedEnd:
    """The report of a nested execution that has ended, for the execution around it.

    task_set: hashes of all its tasks. reads: the context paths that it read. is_clean: whether nothing failed.
    counts, by_task: its jobs, as in `Finish`. witnesses: the packed witnesses of its calls.
    oldest: when the oldest record that it used was computed; None if no record is older than it.
    is_fleeting: whether a later execution has to make one of its calls again, although nothing has changed.
    is_torn: whether a part of it was lost. warnings: texts for the user.
    """

    task_set: frozenset[bytes] = frozenset()
    reads: frozenset[str] = frozenset()
    is_clean: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    witnesses: bytes = b""
    oldest: int | None = None
    is_fleeting: bool = False
    is_torn: bool = False
    warnings: tuple[str, ...] = ()


class Submitted(NamedTuple):
    """Evaluate this root term.

    root: packed term. table: the tasks that the driver knows. settings: their context holds symbolic values, which the
    root's calls receive; without cache, BACKEND means CSE for every call. life: how often this execution was taken up
    again after a crash. under: the settings of a nested execution, if it is one. project_dir: the base of
    relative paths.

    is_run: whether a service keeps it. pins: when it is taken up again, all its rows of the table `places`, in any
    order, each with its outcome (one that is a blob is read). resolved: the packed outcomes of its waits that are
    resolved, by place. generation: how often a failed one was retried; a greater one than before clears the failures
    that reached the root. gone: by place, a text that names the file, for each pinned value with a File that is not as
    recorded any more. cancelled_by: for one that was cancelled in an earlier life and had not ended, who or what did
    that, as in `CancelRequested`: then nothing but its clean-ups goes on.
    """

    at: int
    execution_id: str
    root: bytes
    table: Mapping[str, TaskEntry]
    settings: RunSettings = RunSettings()
    life: int = 0
    under: NestedStart | None = None
    project_dir: str = ""
    is_run: bool = False
    pins: Sequence[PlaceRow] | None = None
    resolved: Mapping[bytes, bytes] = MappingProxyType({})
    generation: int = 0
    gone: Mapping[bytes, str] = MappingProxyType({})
    cancelled_by: str | None = None


class Candidate(NamedTuple):
    """A recorded reduction that may answer a look-up.

    kind: as in `ReductionRow`. term: the packed term.
    at: when it was computed; for a final value, when the oldest record behind it was computed.
    verdict: whether the outside things behind the value (Files, Handles) are as recorded.
    task_set: for a final value, the task hashes that must all be current. call_hash: for a final value, its call node.
    context: for a final value, the context paths read below it, with the identity of each value. broken: the witnesses
    that are not valid any more. They are the reason for a verdict of False. A file is there with its current state,
    without the path.
    """

    kind: str
    term: bytes
    execution_id: str
    at: int
    verdict: bool = True
    task_set: frozenset[bytes] | None = None
    call_hash: bytes | None = None
    wall_seconds: float | None = None
    context: Mapping[str, bytes] | None = None
    broken: tuple[tuple[Witness, tuple[Any, ...] | None], ...] = ()


class LookedUp(NamedTuple):
    """The reductions that the store has for a key, newest first. Answers `LookUp`.

    If the look-up wants a value, the final values that call nodes tell are among them, as shallow reductions.
    """

    at: int
    asker: int
    candidates: tuple[Candidate, ...]


class LookedUpVector(NamedTuple):
    """The reductions that the store has for the keys of a `LookUpVector`.

    first: as in the command. found: by position, the candidates of each key that has some, newest first. later: the
    positions whose answers need longer; a `LookedUp` with the job's number brings each of them.
    """

    at: int
    first: int
    found: Mapping[int, tuple[Candidate, ...]]
    later: Collection[int] = ()


class Cost(NamedTuple):
    """The cost of an attempt, measured on its worker.

    started_at: microseconds since the epoch. wall_seconds, cpu_seconds: of the body. stage_in_seconds,
    stage_out_seconds: the part of the wall time in which packed arguments and files were read, and in which the result
    and files were stored; None where that took next to no time. environment: the key of what it ran in. requested: what
    the shell has asked of a node for it, as in `JobRow` but empty for the default; None where the options say it.
    """

    started_at: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None = None
    node: str | None = None
    pid: int | None = None
    stage_in_seconds: float | None = None
    stage_out_seconds: float | None = None
    environment: bytes | None = None
    requested: str | None = None


class Returned(NamedTuple):
    """A task's body returned this packed term. Answers `RunTask`.

    entries: tasks named in the term that the table lacked. rows: provenance made on the worker (values, logs, files).
    below: the report of a nested execution, if the body was one; the term is then a value.
    """

    at: int
    job: int
    attempt: int
    term: bytes
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()
    below: NestedEnd | None = None


class ReturnedVector(NamedTuple):
    """The bodies of these jobs each returned a scalar, and left nothing else to record. Answers a `RunVector` in part.

    jobs: their numbers, all of one RunVector, in its order. terms: the packed scalars. started_at, wall_seconds,
    cpu_seconds, peaks: for each job, as in `Cost`. node, pid, environment: of the worker.
    """

    at: int
    jobs: Sequence[int]
    terms: Sequence[bytes]
    started_at: Sequence[int]
    wall_seconds: Sequence[float]
    cpu_seconds: Sequence[float]
    peaks: Sequence[int | None]
    node: str | None = None
    pid: int | None = None
    environment: bytes | None = None


class Paused(NamedTuple):
    """A task's body has left its worker and awaits expressions. Answers `RunTask`.

    term: a packed pair: the keys of what it already knew and had not asked for again, when it left too early or has
    strayed, else nothing; and the expressions by key. entries: tasks named in them that the table lacked. rows: as in
    `Returned`.
    """

    at: int
    job: int
    attempt: int
    term: bytes
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()


class Raised(NamedTuple):
    """A task's body raised, or its result could not be kept. Answers `RunTask`.

    A timeout on the worker is a TaskTimeout that was raised. rows: as in `Returned`. below: the report of a
    nested execution about its jobs so far, if the body was one.
    """

    at: int
    job: int
    attempt: int
    failure: Failure
    cost: Cost | None = None
    rows: tuple[Row, ...] = ()
    below: NestedEnd | None = None


class WorkerGone(NamedTuple):
    """The worker died before it answered: it crashed, was killed, ran out of memory, or its node left. Answers
    `RunTask`.

    reason: for people. node, pid: where known. fatal: trying again cannot help (no such environment, no such node).
    """

    at: int
    job: int
    attempt: int
    reason: str
    node: str | None = None
    pid: int | None = None
    fatal: bool = False


class Operated(NamedTuple):
    """An operation gave this packed term, or failed. Answers `RunOperation`.

    entries: tasks named in the term that the table lacked. rows: as in `Returned`.
    """

    at: int
    asker: int
    term: bytes | None = None
    failure: Failure | None = None
    rows: tuple[Row, ...] = ()
    entries: tuple[TaskEntry, ...] = ()


class TimerFired(NamedTuple):
    """A timer has run out. Answers `SetTimer`. timer: as it was set."""

    at: int
    timer: Timer


class Resolved(NamedTuple):
    """A wait has this packed outcome (see `rayflow.lang.terms.outcomes`). Answers `OpenWait`; it may also come unasked
    for a wait that an execution has not come to again, and then it is kept."""

    at: int
    execution_id: str
    place: bytes
    outcome: bytes


class Forget(NamedTuple):
    """Drop an execution that is parked. It does not end; the shell may submit it again, with its pins."""

    at: int
    execution_id: str


class CancelRequested(NamedTuple):
    """This execution has to end. by: the cause, such as a person or a signal; empty if it is not known."""

    at: int
    execution_id: str
    by: str = ""


Message: TypeAlias = (
    Submitted
    | LookedUp
    | LookedUpVector
    | Returned
    | ReturnedVector
    | Paused
    | Raised
    | WorkerGone
    | Operated
    | TimerFired
    | Resolved
    | Forget
    | CancelRequested
)
