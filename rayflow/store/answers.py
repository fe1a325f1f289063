"""What the questions to a store's history give back: plain data.

In: nothing. Out: frozen classes. Never: SQL.

A `Record` is one row as a dictionary: hashes as lower-case hex, times as aware datetimes in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column that can be asked by SQL."""

    table: str
    column: str
    type: str
    documentation: str


@dataclass(frozen=True, slots=True)
class Entity:
    """What an id means. kind: execution, job, call, value, task or file."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call. sources: (call_hash, task name) of the calls that it, or a part of it, came from."""

    name: str
    value_hash: str
    type: str | None
    preview: str | None
    sources: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job of a tree. depth: 0 for the root. result: preview of its value, None unless it is done."""

    depth: int
    job: Record
    arguments: tuple[Argument, ...]
    result: str | None


@dataclass(frozen=True, slots=True)
class GroupLine:
    """Sums over all children of one job with one task name, of which only `shown` have lines of their own."""

    depth: int
    task_name: str
    shown: int
    sums: Record


@dataclass(frozen=True, slots=True)
class JobTree:
    """An execution and its jobs, each before its children."""

    execution: Record
    lines: tuple[JobLine | GroupLine, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """All calls of one task that were made from one box of a graph.

    call: which call it is, when it is only one. counts: jobs, and how many of them were computed, cached, shared,
    failed, open or cancelled. body_seconds: time in bodies, all calls together. seconds: from the first call to the
    last end.
    """

    number: int
    parent: int | None
    task_name: str
    call: str | None
    counts: dict[str, int]
    body_seconds: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Results of one box's calls were arguments of another's, so many times. source, target: numbers of boxes."""

    source: int
    target: int
    calls: int


@dataclass(frozen=True, slots=True)
class CallGraph:
    """An execution as boxes, each before those that it called, and what flowed between them."""

    execution: Record
    boxes: tuple[Box, ...]
    flows: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class JobDetail:
    """One job whole. children: counts by task name and by how they were answered."""

    job: Record
    execution: Record | None
    parent: Record | None
    arguments: tuple[Argument, ...]
    result: Record | None
    children: tuple[Record, ...]
    attempts: tuple[Record, ...]
    logs: tuple[Record, ...]
    tags: tuple[Record, ...]
    task: Record | None


@dataclass(frozen=True, slots=True)
class CallDetail:
    """One call: its arguments, its result, the calls that it made, and the jobs that left or used it."""

    call: Record
    arguments: tuple[Argument, ...]
    result: Record | None
    children: tuple[Record, ...]
    jobs: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class ValueDetail:
    """One value: the file that it is, what is inside it and what it is inside of, who made it and who took it."""

    value: Record | None
    file: Record | None
    parts: tuple[Record, ...]
    wholes: tuple[Record, ...]
    made_by: tuple[Record, ...]
    taken_by: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LineageStep:
    """A call on the way to a value. distance: 0 for the call that made it. inputs: files among its arguments too."""

    distance: int
    call_hash: str
    task_name: str
    value_hash: str
    arguments: tuple[Argument, ...]
    input_files: tuple[Record, ...]
    output_files: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class ArgumentChange:
    """An argument that differs between two calls; None on a side where there is no such argument."""

    name: str
    old: Argument | None
    new: Argument | None


@dataclass(frozen=True, slots=True)
class Why:
    """A job beside the nearest earlier evaluation of the same task, and what differs.

    earlier: None when there is none. arguments_known: whether this job left a call, without which its arguments are not
    recorded. reduction: for a cached job, the recorded reduction that answered it. forgotten_at: when the earlier
    reduction was told to count no more. context_changes: paths of the context that this job has read, and that led to
    something else before. definitions, earlier_definitions: the code of both versions of the task.
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
