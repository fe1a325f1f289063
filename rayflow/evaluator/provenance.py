"""What is recorded: rows made from jobs.

In: a job that closes. Out: rows. Never: writes them, reads a clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.evaluator.executions import Execution
from rayflow.evaluator.forms import Tag
from rayflow.evaluator.jobs import DONE, FAILED, RESULT, Job
from rayflow.evaluator.stories import call_text
from rayflow.lang.codec import CONTAINERS, SCALARS, dumps, with_conditions
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskRef, Term, render
from rayflow.lang.job_info import JobInfo
from rayflow.records import (
    ArgumentRow,
    AttemptRow,
    CallChildRow,
    CallRow,
    DefinitionRow,
    FileRow,
    JobRow,
    ReductionRow,
    Row,
    TagRow,
    TaskRow,
    TaskSetRow,
    ValuePartRow,
    ValueRow,
)
from rayflow.values.digests import digest, to_hex
from rayflow.values.failures import Failure
from rayflow.values.identity import identity
from rayflow.values.nested import iter_leaves, parts_of
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_DEFINITION, OF_FILE, OF_TASK, Witness

TERM_FORMAT = "term"
"""Format tag of a value kept as a packed symbolic term."""

FILE_KINDS = "rayflow.values.files."
"""How the kinds of files and directories begin, also of the user's own classes of files."""

INLINE_TERM_BYTES = 16384
"""Packed terms up to this size are kept in the values table. In bytes."""


def hash_of(term: Term) -> bytes:
    """The value_hash of a symbolic value."""
    found = identity(term)
    return found[1:] if found[:1] == b"\xff" else digest("scalar", found)


def args_hash_of(job: Job) -> bytes:
    """The hash of the bound arguments: names and identities, in the order of the signature."""
    parts: list[bytes] = []
    ignored = job.entry.options.get("config_args") or ()
    for name, value in job.bound.items():
        if name in ignored:
            continue
        parts.append(name.encode())
        parts.append(identity(value))
    return digest("args", *parts)


def with_job_info(job: Job) -> dict[str, Term]:
    """The arguments of a job, with its JobInfo for the parameters that take it and were not given one."""
    assert job.eval_hash is not None
    info = JobInfo(
        job.execution.execution_id,
        to_hex(job.job_id),
        to_hex(job.eval_hash),
        job.attempt,
        job.entry.name,
        {name: value for name, value in job.options.items() if _is_plain(value)},
    )
    container = parts_of(info)
    assert container is not None
    tree = TaggedTree(container.kind, container.header, tuple(container.parts))
    return {**job.bound, **{name: tree for name in job.entry.job_info if name not in job.bound}}


def _is_plain(value: Any) -> bool:
    """Whether it is a scalar, or built-in containers of scalars."""
    waiting = [value]
    for each in waiting:
        if type(each) in CONTAINERS:
            waiting.extend((*each.keys(), *each.values()) if type(each) is dict else each)
        elif type(each) not in SCALARS:
            return False
    return True


def eval_hash_of(job: Job) -> bytes:
    """The cache key: task and arguments."""
    assert job.args_hash is not None
    return digest("eval", job.entry.hash, job.args_hash)


def call_hash_of(job: Job) -> bytes:
    """The Merkle hash of a call that is done: task, arguments, result, and the calls below it."""
    assert job.args_hash is not None
    assert job.value_hash is not None
    children = sorted(child.call_hash for child in job.children if child.call_hash is not None)
    return digest("call", job.entry.hash, job.args_hash, job.value_hash, *children)


def job_row(job: Job, finished_at: int | None) -> JobRow:
    """The row of a job: an opening one while it is open, else its closing one."""
    cost = job.cost
    failure = job.outcome if job.state is FAILED and isinstance(job.outcome, Failure) else None
    status = "open"
    if job.state is DONE:
        status = "done"
    elif job.state is FAILED:
        status = "cancelled" if failure is not None and failure.is_cancelled else "failed"
    return JobRow(
        job.job_id,
        job.execution.execution_id,
        job.parent.job_id if job.parent else _above(job.execution),
        job.entry.name,
        job.entry.hash or None,
        job.eval_hash,
        job.call_hash,
        job.how,
        status,
        job.attempt,
        job.queued_at,
        cost.started_at if cost else None,
        finished_at,
        cost.wall_seconds if cost else None,
        cost.cpu_seconds if cost else None,
        cost.peak_memory_bytes if cost else None,
        cost.node if cost else None,
        cost.pid if cost else None,
        failure.summary[:4000] if failure else None,
        _frames_text(failure) if failure else None,
        job.describe() if failure else None,
        None if job.state is DONE else call_text(job),
        job.ordinal,
        _packed_arguments(job) if failure else None,
    )


def left_row(row: JobRow, at: int) -> JobRow:
    """The closing row of a job that is recorded as open although its execution has ended without it."""
    error = "the scheduler or worker that it was open in was lost, and nothing needed it any more"
    return row._replace(status="cancelled", finished_at=at, error=error)


def _packed_arguments(job: Job) -> bytes | None:
    """What a job that failed was called with, to run it again; None when it is large, or was never known."""
    if job.eval_hash is None:
        return None
    packed = dumps(job.bound)
    return packed if len(packed) <= INLINE_TERM_BYTES else None


def _above(execution: Execution) -> bytes | None:
    return execution.under.job_id if execution.under is not None else None


def _frames_text(failure: Failure) -> str | None:
    if not failure.frames:
        return None
    lines = [f'  File "{f.file}", line {f.line}, in {f.function}\n    {f.text}' for f in failure.frames]
    return "\n".join([*lines, failure.summary])


def closing_rows(job: Job, finished_at: int, is_left_to_follower: bool = False) -> list[Row]:
    """Every row that a job leaves when it is done or has failed.

    is_left_to_follower: it follows a job of which nothing is recorded.
    """
    rows: list[Row] = []
    execution = job.execution
    # A follower leaves its twin's call node. (A job answered by what its own execution recorded before a crash has no
    # twin: nobody else may have lived to write its node.)
    reduced_itself = RESULT in job.trail
    if job.state is DONE and (reduced_itself or is_left_to_follower) and job.args_hash is not None:
        rows.extend(call_rows(job, execution))
    elif job.state is FAILED and job.attempt and job.entry.hash and execution.first_use(job.entry.hash):
        # It leaves no call node; what has failed, and where it is defined, is asked for all the same.
        rows.extend(task_rows(job.entry, job.queued_at))
    rows.append(job_row(job, finished_at))
    tags = job.options.get("tags")
    if tags:
        rows.extend(
            TagRow("job", job.job_id.hex(), str(key), json.dumps(value, default=str), finished_at, False)
            for key, value in tags.items()
        )
    return rows


def applied_tags(tag: Tag, job: Job, at: int) -> tuple[Row, ...]:
    """The rows of tags that were applied to a value, to the job that it stands in, and to the execution."""
    whom = (
        ("value", hash_of(tag.value).hex(), tag.tags),
        ("job", job.job_id.hex(), tag.job_tags),
        ("execution", job.execution.execution_id, tag.execution_tags),
    )
    return tuple(
        TagRow(kind, name, key, json.dumps(value, default=render), at, False)
        for kind, name, tags in whom
        for key, value in tags.items()
    )


def call_rows(job: Job, execution: Execution) -> list[Row]:
    """The call node of a job, with all that it names."""
    assert job.call_hash is not None
    assert job.value_hash is not None
    assert job.args_hash is not None
    assert job.task_set is not None
    rows: list[Row] = []
    task_set, is_new = execution.task_set_digest(job.task_set)
    if is_new:
        rows.extend(TaskSetRow(task_set, member) for member in sorted(job.task_set))
    if execution.first_use(job.entry.hash):
        rows.extend(task_rows(job.entry, job.queued_at))
    if execution.first_value(job.value_hash):
        rows.extend(value_rows(job.outcome, job.value_hash, execution))
    for name, value in job.bound.items():
        value_hash = hash_of(value)
        if execution.first_value(value_hash):
            rows.extend(value_rows(value, value_hash, execution))
        sources = job.sources.get(name) if job.sources else None
        recorded = [source for source in sources if source.is_recorded] if sources else ()
        origins = sorted({source.call_hash for source in recorded if source.call_hash})
        if origins:
            rows.extend(ArgumentRow(job.call_hash, name, value_hash, origin) for origin in origins)
        else:
            rows.append(ArgumentRow(job.call_hash, name, value_hash, None))
    rows.append(
        CallRow(
            job.call_hash, job.entry.hash, job.entry.name, job.args_hash, job.eval_hash or b"", job.value_hash, task_set
        )
    )
    if job.children:
        # Not those below it where it hides them, nor those in the default of another call that does.
        below = sorted(child.call_hash for child in job.children if child.call_hash is not None and child.is_recorded)
        rows.extend(CallChildRow(job.call_hash, position, child) for position, child in enumerate(below))
    return rows


def value_rows(term: Term, value_hash: bytes, execution: Execution) -> list[Row]:
    """The row of a symbolic value, and those of the files, handles and large values in a container."""
    rows: list[Row] = [value_row(term, value_hash)]
    if type(term) is ValueRef:
        if term.witnesses:
            rows.extend(file_rows(term))
        return rows
    if type(term) in SCALARS:
        return rows
    parts = [ref for ref in iter_leaves(term) if type(ref) is ValueRef and _is_part(ref)]
    for position, ref in enumerate(parts):
        if execution.first_value(ref.digest):
            rows.append(value_row(ref, ref.digest))
            rows.extend(file_rows(ref))
        rows.append(ValuePartRow(value_hash, position, ref.digest))
    return rows


def file_rows(ref: ValueRef) -> list[FileRow]:
    """The row of a value that is a file or directory; none for any other."""
    if not ref.kind.startswith(FILE_KINDS):
        return []
    state = next((state for kind, state in ref.witnesses if kind == OF_FILE), None)  # those of files in it come later
    if state is None:
        return []
    how, path, size, version = state
    is_one = how in ("stat", "content")
    modified_at = version // 1000 if type(version) is int else None
    return [
        FileRow(ref.digest, path, size if is_one else None, modified_at, version if type(version) is str else None)
    ]


def _is_part(ref: ValueRef) -> bool:
    return ref.inline is None or any(kind not in (OF_DEFINITION, OF_TASK) for kind, _ in ref.witnesses)


def value_row(term: Term, value_hash: bytes) -> ValueRow:
    """The row of a symbolic value."""
    if type(term) is ValueRef:
        return ValueRow(value_hash, term.kind, term.format, term.size, term.inline, term.preview)
    packed = dumps(term)
    if type(term) in SCALARS:
        kind = type(term).__name__
        preview = repr(term) if type(term) not in (str, bytes) else repr(term[:200])
        return ValueRow(value_hash, kind, TERM_FORMAT, len(packed), packed, preview[:200])
    kind = "rayflow.Task" if isinstance(term, TaskRef) else type(term).__name__
    if type(term) is TaggedTree:
        kind = term.kind
    inline = packed if len(packed) <= INLINE_TERM_BYTES else None
    return ValueRow(value_hash, kind, TERM_FORMAT, len(packed), inline, render(term))


def task_rows(entry: TaskEntry, at: int) -> list[Row]:
    """A task's source and the definitions that its code reaches."""
    rows: list[Row] = [
        TaskRow(
            entry.hash,
            entry.name,
            entry.source,
            entry.place,
            entry.doc,
            entry.version,
            "\n".join(entry.unresolved) or None,
            at,
        )
    ]
    rows.extend(
        TagRow("task", to_hex(entry.hash), str(key), json.dumps(value, default=str), at, False)
        for key, value in (entry.tags or {}).items()
    )
    rows.extend(
        DefinitionRow(entry.hash, d.name, d.kind, d.digest, d.reached_from, d.place, d.source)
        for d in entry.definitions
    )
    return rows


def reduction_row(job: Job, key: bytes, term: bytes, at: int) -> ReductionRow:
    """What a body returned, for the cache."""
    wall = job.cost.wall_seconds if job.cost else None
    return ReductionRow(key, job.entry.hash, "single", term, None, None, None, job.execution.execution_id, wall, at)


def full_reduction_row(
    job: Job, key: bytes, context_read: Mapping[str, bytes], witnesses: Sequence[Witness], at: int
) -> ReductionRow:
    """The final value of a call, valid while the tasks below it are current and the context that was read is alike.

    witnesses: what was relied on below it, unless its options say that this does not count.
    """
    assert job.task_set is not None
    wall = job.cost.wall_seconds if job.cost else None
    began = job.cost.started_at if job.cost else job.queued_at
    return ReductionRow(
        key,
        job.entry.hash,
        "full" if job.options.get("check_valid") == "shallow" else "awaited",
        with_conditions(dumps(job.outcome), witnesses),
        None,
        b"".join(sorted(job.task_set)),
        job.call_hash,
        job.execution.execution_id,
        wall,
        at,
        _context_text(context_read),
        min(began, at) if job.oldest is None else min(began, at, job.oldest),
    )


def _context_text(context_read: Mapping[str, bytes]) -> str | None:
    """Context paths and identities as they are kept; None for none, which costs nothing."""
    return json.dumps({path: known.hex() for path, known in context_read.items()}) if context_read else None


def context_of(kept: str | None) -> dict[str, bytes] | None:
    """The context that a full reduction has read, as it was kept."""
    return None if kept is None else {path: bytes.fromhex(known) for path, known in json.loads(kept).items()}


def attempt_row(job: Job, ended: str, error: str | None, node: str | None, pid: int | None, at: int) -> AttemptRow:
    """An attempt that did not end well."""
    return AttemptRow(job.job_id, job.attempt, ended, error, node, pid, at)
