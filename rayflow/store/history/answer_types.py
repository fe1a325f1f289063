"""The classes of the answers that a store's history gives: plain data.

In: rows. Out: frozen classes. Never: SQL.

A `Record` is one row as a dictionary: hashes as lower-case hex, times as aware datetimes in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from rayflow import errors
from rayflow.errors import Bug, RayflowError
from rayflow.misses import Miss
from rayflow.values.files.changes import FileChange, few

Record: TypeAlias = dict[str, Any]


def shown_name(job: Record) -> str:
    """The name that a job is shown under: its label, else its task's full name."""
    return str(job["label"] or job["task_name"])


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column that can be asked by SQL."""

    table: str
    column: str
    type: str
    documentation: str


@dataclass(frozen=True, slots=True)
class Entity:
    """The thing that an id names. kind: execution, job, call, value, task or file."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class RecordedArgument:
    """An argument of a call. sources: (call_hash, task name) of the calls that it, or a part of it, came from."""

    name: str
    value_hash: str
    type: str | None
    preview: str | None
    sources: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job of a tree. depth: 0 for the root. result: a preview of its value; None unless the job is done."""

    depth: int
    job: Record
    arguments: tuple[RecordedArgument, ...]
    result: str | None


@dataclass(frozen=True, slots=True)
class GroupLine:
    """The sums over all children of one job that have one task and label. Only `shown` of them have their own lines."""

    depth: int
    task_name: str
    shown: int
    sums: Record
    label: str | None = None


@dataclass(frozen=True, slots=True)
class JobTree:
    """An execution and its jobs, each before its children. left: how many more lines there are."""

    execution: Record
    lines: tuple[JobLine | GroupLine, ...]
    left: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """All calls of one task, with one label, that were made from one box of a graph.

    call: the call as text, when there is only one. counts: the number of jobs, and how many of them were computed,
    cached, shared, failed, not_run, open or cancelled. body_seconds: the time that all bodies took together. seconds:
    from the first call to the last end.
    """

    number: int
    parent: int | None
    task_name: str
    call: str | None
    counts: dict[str, int]
    body_seconds: float
    seconds: float | None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """An edge of a graph: `calls` results of the source box were arguments of the target box. Both are box numbers."""

    source: int
    target: int
    calls: int


@dataclass(frozen=True, slots=True)
class CallGraph:
    """An execution as boxes, each before those that it called, and what flowed between them."""

    execution: Record
    boxes: tuple[Box, ...]
    flows: tuple[Flow, ...]


class PathSpan(NamedTuple):
    """A time in which an execution waited for one phase of one job.

    job_id: empty for the execution itself. phase: arguments, held (with what held the job), look-up, worker (until a
    worker was free and had begun), stage in, body, stage out, or evaluator (until it was recorded, or its next call was
    met). Times are in microseconds since the epoch.
    """

    job_id: str
    name: str
    phase: str
    begin_us: int
    end_us: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_us - self.begin_us) / 1_000_000


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """What an execution waited for at each moment: spans that follow each other and fill its time."""

    execution: Record
    spans: tuple[PathSpan, ...]

    @property
    def seconds(self) -> float:
        """How long the execution took."""
        return sum([span.seconds for span in self.spans])

    def by_task(self) -> list[tuple[str, dict[str, float]]]:
        """The seconds that the path spent in each task, by phase; the task with the most seconds first. If all calls
        of a task took no time, the execution would be shorter by its seconds at most: then another path counts."""
        found: dict[str, dict[str, float]] = {}
        for span in self.spans:
            phases = found.setdefault(span.name, {})
            phases[span.phase] = phases.get(span.phase, 0.0) + span.seconds
        return sorted(found.items(), key=lambda item: -sum(item[1].values()))


@dataclass(frozen=True, slots=True)
class ArgumentChange:
    """An argument that differs between two calls. old, new: None where the call has no such argument.

    is_order_alone: whether only the order of keys in dicts differs. files: the changes of the files in it.
    """

    name: str
    old: RecordedArgument | None
    new: RecordedArgument | None
    is_order_alone: bool = False
    files: tuple[FileChange, ...] = ()

    def text(self) -> str:
        """The change in words."""
        if self.files:
            return f"{self.name}: {few(self.files)}"
        was = "was not there" if self.old is None else f"was {self.old.preview}"
        now = "is not there now" if self.new is None else f"is {self.new.preview}"
        return f"{self.name} {was} and {now}{': the order of the keys differs' if self.is_order_alone else ''}"


@dataclass(frozen=True, slots=True)
class CallDifference:
    """A call of one execution, its counterpart in another one, and how the two differ.

    job_id, other_job_id: None for a call below a job that the cache answered. kinds: what differs: code, arguments,
    options, environment, calls (below), status, result. code: the definitions that differ. arguments: those that
    differ; empty when there are too many calls to look at each. origins: the tasks that those come from, by the name of
    the argument: the calls that made them, or the caller. cause: empty if the difference begins here; else arguments,
    calls (below), or unknown, when it was not looked at. ends: whether it goes no further, because the result is the
    same. times: how often this pair of calls stands in the executions.
    """

    name: str
    job_id: str | None
    other_job_id: str | None
    kinds: tuple[str, ...]
    code: tuple[str, ...]
    arguments: tuple[ArgumentChange, ...]
    result: str | None
    other_result: str | None
    origins: tuple[tuple[str, str], ...]
    cause: str
    ends: bool
    times: int


@dataclass(frozen=True, slots=True)
class LoneCall:
    """A call that only one of two executions has. side: 0 for the first execution, 1 for the other one."""

    side: int
    name: str
    job_id: str | None


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """The calls of one task, or with one label, in two executions: how many each has, and how many of those the other
    one has, too."""

    name: str
    jobs: int
    other_jobs: int
    same: int
    other_same: int


@dataclass(frozen=True, slots=True)
class ExecutionDifference:
    """Two executions, aligned call by call.

    settings: (what, in the first, in the other) of the executions themselves, where they differ. calls: the pairs that
    differ, each after the pair of its callers. alone: the calls without a counterpart. tasks: the sums over all calls.
    left: how many jobs were too many to be aligned; the sums count them.
    """

    execution: Record
    other: Record
    settings: tuple[tuple[str, str | None, str | None], ...]
    calls: tuple[CallDifference, ...]
    alone: tuple[LoneCall, ...]
    tasks: tuple[TaskCounts, ...]
    left: int = 0

    @property
    def beginnings(self) -> tuple[CallDifference, ...]:
        """The calls at which a difference begins."""
        return tuple(call for call in self.calls if not call.cause)

    @property
    def ends(self) -> tuple[CallDifference, ...]:
        """The calls at which a difference goes no further: something of them differs, and the result is the same."""
        return tuple(call for call in self.calls if call.ends)


@dataclass(frozen=True, slots=True)
class JobDetail:
    """All about one job. children: their numbers, by task name and by how they were answered. environment: what its
    last attempt ran in, with the distributions as a dict; None where none ran, or where an earlier version recorded it.
    """

    job: Record
    execution: Record | None
    parent: Record | None
    arguments: tuple[RecordedArgument, ...]
    result: Record | None
    children: tuple[Record, ...]
    attempts: tuple[Record, ...]
    logs: tuple[Record, ...]
    tags: tuple[Record, ...]
    task: Record | None
    environment: Record | None = None


@dataclass(frozen=True, slots=True)
class CallDetail:
    """One call: its arguments, its result, the calls that it made, and the jobs that left or used it."""

    call: Record
    arguments: tuple[RecordedArgument, ...]
    result: Record | None
    children: tuple[Record, ...]
    jobs: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class ValueDetail:
    """One value: its file, its parts, the values that contain it, the calls that made it, the calls that took it."""

    value: Record | None
    file: Record | None
    parts: tuple[Record, ...]
    wholes: tuple[Record, ...]
    made_by: tuple[Record, ...]
    taken_by: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LineageStep:
    """A call that led to a value. distance: 0 for the call that made it. input_files: those in its arguments."""

    distance: int
    call_hash: str
    task_name: str
    value_hash: str
    arguments: tuple[RecordedArgument, ...]
    input_files: tuple[Record, ...]
    output_files: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """A job, the nearest earlier evaluation of the same task, and the differences.

    earlier: None when there is none. arguments_known: whether the arguments of both are recorded. reduction: for a
    cached job, the recorded reduction that answered it. forgotten_at: when the earlier reduction was forgotten.
    context_changes: paths of the context that the job has read and that had another value before. missed: why the
    recorded result did not answer the job, as the run found it. is_outdated: whether the earlier job was recorded
    under another identity of values, so that its results are not valid. versions: name, before and now of rayflow's
    and Python's version, where they differ. twin: for a shared job, the job that did the work. records_misses: whether
    the rayflow that recorded the job records `missed` at all. ran_below: for a cached job, the tasks among its calls
    that ran again. definitions, earlier_definitions: the code of the two versions of the task.
    """

    job: Record
    earlier: Record | None
    task_changed: bool
    arguments_changed: bool
    arguments_known: bool
    changes: tuple[ArgumentChange, ...]
    definitions: tuple[Record, ...]
    earlier_definitions: tuple[Record, ...]
    task: Record | None
    earlier_task: Record | None
    reduction: Record | None
    forgotten_at: Any
    context_changes: tuple[str, ...] = ()
    missed: tuple[Miss, ...] = ()
    is_outdated: bool = False
    versions: tuple[tuple[str, str, str], ...] = ()
    twin: Record | None = None
    records_misses: bool = True
    ran_below: tuple[str, ...] = ()


def own_error(row: Record) -> type[RayflowError | Bug] | None:
    """The class of the error that ended an execution or a job, where it is one of rayflow's own; else None."""
    module, _, name = str(row["error"] or "").partition(":")[0].rpartition(".")
    found = getattr(errors, name, None) if module == errors.__name__ else None
    return found if isinstance(found, type) and issubclass(found, RayflowError | Bug) else None


def ended(row: Record) -> str:
    """How an execution or a job without a result, or without recorded arguments, ended: "it failed: ..."."""
    words = {
        "open": "has not ended", "running": "has not ended", "failed": "failed", "cancelled": "was cancelled",
        "not_run": "never ran, because an argument had failed", "done": "is done",
    }  # fmt: skip
    status = f"it {words[row['status']]}"
    return f"{status}: {row['error']}" if row["error"] else status
