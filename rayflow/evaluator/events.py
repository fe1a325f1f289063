"""Everything that can come into the evaluator.

Each event is something that happened, carries its time (`at`, microseconds since the epoch, from the shell's clock),
and is either the answer to a command or comes unasked (`Submitted`, `Cancelled`). Answers may come late, twice, or
for attempts that nobody waits for any more: those are dropped.

Named tuples, because there are several for each job: making a frozen dataclass takes four times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.entries import TaskEntry
from rayflow.records import Row
from rayflow.values.failures import Failure

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Submitted(NamedTuple):
    """Evaluate this root term.

    root: packed term. table: the tasks that the driver knows. options: options of the run, merged over those of calls.
    cache: False lowers BACKEND to CSE for every call. life: how often this execution was taken up again after a crash.
    context: symbolic values that the root's calls receive, in dicts of dicts by name. profiles: options by name of the
    profile. under: for an evaluation inside a call, what it takes over. fail_fast: stop at the first failure that
    nobody can catch. project_dir: what relative paths are relative to.
    """

    at: int
    execution_id: str
    root: bytes
    table: Mapping[str, TaskEntry]
    options: Mapping[str, Any] = _NOTHING
    cache: bool = True
    life: int = 0
    context: Mapping[str, Any] = _NOTHING
    profiles: Mapping[str, Mapping[str, Any]] = _NOTHING
    under: Under | None = None
    fail_fast: bool = False
    project_dir: str = ""


class Candidate(NamedTuple):
    """A reduction found in the store.

    at: when it was computed; of a final value, when the oldest of what it was made from was.
    verdict: whether everything outside the evaluator's sight (Files, Handles) that the value depends on is as recorded.
    task_set, call_hash: for a full reduction, the task hashes that must all be current, and the call node that it left.
    context: for a full reduction, the context paths read below it and the identities of what was behind them.
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


class LookedUp(NamedTuple):
    """What the store has for a key, newest first."""

    at: int
    asker: int
    candidates: tuple[Candidate, ...]


class Cost(NamedTuple):
    """What an attempt took, measured on its worker. Times in seconds and microseconds since the epoch."""

    started_at: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None = None
    node: str | None = None
    pid: int | None = None


class Returned(NamedTuple):
    """A task's body returned this packed term.

    entries: tasks named in the term that the table lacked. rows: provenance made on the worker (values, logs, files).
    below: what the body has evaluated by itself; the term is a value then.
    """

    at: int
    job: int
    attempt: int
    term: bytes
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()
    below: Below | None = None


class Paused(NamedTuple):
    """A task's body has left its worker: it waits for expressions.

    term: packed pair: whether the body did not ask for all that it knows; and the expressions by key.
    entries: tasks named in them that the table lacked.
    """

    at: int
    job: int
    attempt: int
    term: bytes
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()


class Raised(NamedTuple):
    """A task's body raised, or its result could not be kept. (A timeout on the worker is TaskTimeout, raised.)

    below: what the body has evaluated by itself until then.
    """

    at: int
    job: int
    attempt: int
    failure: Failure
    cost: Cost | None = None
    rows: tuple[Row, ...] = ()
    below: Below | None = None


class WorkerLost(NamedTuple):
    """The worker died before it answered: crashed, killed, out of memory, or its node left.

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
    """An operation gave this packed term, or failed.

    entries: tasks named in the term that the table lacked.
    """

    at: int
    asker: int
    term: bytes | None = None
    failure: Failure | None = None
    rows: tuple[Row, ...] = ()
    entries: tuple[TaskEntry, ...] = ()


class TimerFired(NamedTuple):
    """A timer has run out."""

    at: int
    name: tuple[str, int]


class Cancelled(NamedTuple):
    """Somebody wants this execution to end."""

    at: int
    execution_id: str


Event: TypeAlias = Submitted | LookedUp | Returned | Paused | Raised | WorkerLost | Operated | TimerFired | Cancelled
