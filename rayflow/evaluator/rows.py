"""The rows that jobs leave in the records.

In: a job that opens or closes, an attempt that failed, a term that a body returned. Out: rows. Never: writes them,
reads a clock, changes a job.

Some functions take note in the execution that a task, a value or a set of tasks is recorded (`FirstTimes`), so that it
is recorded once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rayflow.evaluator.commands import Record
from rayflow.evaluator.explanations import call_text
from rayflow.evaluator.forms import Tag
from rayflow.evaluator.graph import Execution, Job
from rayflow.evaluator.hashes import hash_of
from rayflow.evaluator.job_states import DONE, FAILED, RESULT
from rayflow.lang.options.option_values import AUTO, parse_bytes
from rayflow.lang.options.options import OPTIONS
from rayflow.lang.options.tags import tag_pairs
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps, with_conditions
from rayflow.lang.terms.expressions import TaskRef, Term, render
from rayflow.record_columns import Columns, Same
from rayflow.records import (
    CHECKED_VALUE,
    SHALLOW_VALUE,
    SINGLE,
    TERM_FORMAT,
    ArgumentRow,
    AttemptRow,
    CallChildRow,
    CallRow,
    DefinitionRow,
    FileRow,
    HandleRow,
    JobRow,
    LogRow,
    ReductionRow,
    Row,
    TagRow,
    TaskRow,
    TaskSetRow,
    ValuePartRow,
    ValueRow,
)
from rayflow.values.digests import to_hex
from rayflow.values.display.masking import masked, masked_parts
from rayflow.values.encoding import previews
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.encoding.whole_numbers import is_long, json_text
from rayflow.values.failures import Failure
from rayflow.values.failures import render as render_failure
from rayflow.values.native import SCALARS
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_DEFINITION, OF_FILE, OF_TASK, Witness

MOST_LETTERS = 4_000
"""The record of a job has this much of a longer message; `traceback` has all of it."""

FILE_KINDS = "rayflow.values.files."
"""The beginnings of the types of files and directories, also of the user's own file classes."""


RESOURCES = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "label_selector", "gang", "strategy")
"""The options that ask something of the node on which a call runs."""

MANY = 64
"""A job that has at least this many rows for one table gives them as columns."""

INLINE_TERM_BYTES = 16384
"""Packed terms up to this many bytes are kept in the table of values."""


def job_row(job: Job, finished_at: int | None) -> JobRow:
    """The row of a job: an opening one while it is open, else its closing one."""
    work = job.work
    cost = work.cost
    failure = job.outcome if job.state is FAILED and isinstance(job.outcome, Failure) else None
    return JobRow(
        job_id=job.job_id,
        execution_id=job.execution.execution_id,
        parent_job_id=job.parent.job_id if job.parent else _above(job.execution),
        task_name=job.entry.name,
        task_hash=job.entry.hash or None,
        eval_hash=job.eval_hash,
        call_hash=job.call_hash,
        how=job.how,
        status=status_of(job),
        attempts=work.attempt,
        queued_at=job.queued_at,
        started_at=cost.started_at if cost else None,
        finished_at=finished_at,
        wall_seconds=cost.wall_seconds if cost else None,
        cpu_seconds=cost.cpu_seconds if cost else None,
        peak_memory_bytes=cost.peak_memory_bytes if cost else None,
        node=cost.node if cost else None,
        pid=cost.pid if cost else None,
        error=failure.summary[:MOST_LETTERS] if failure else None,
        traceback=_frames_text(failure) if failure else None,
        story=job.describe() if failure else None,
        call=None if job.state is DONE else call_text(job),
        ordinal=work.ordinal,
        packed_arguments=_packed_arguments(job) if failure else None,
        args_hash=work.args_hash if failure else None,
        missed=work.missed,
        label=job.label,
        ready_at=work.ready_at,
        sent_at=work.sent_at,
        waited_on=work.waited_on,
        stage_in_seconds=cost.stage_in_seconds if cost else None,
        stage_out_seconds=cost.stage_out_seconds if cost else None,
        requested=_requested(job) if work.ready_at is not None else None,
        environment=cost.environment if cost else None,
    )


def _requested(job: Job) -> str | None:
    cost = job.work.cost
    if cost is not None and cost.requested is not None:
        return cost.requested or None
    return requested_text(job.options)


def requested_text(options: Mapping[str, Any]) -> str | None:
    """The resources that a job with these options asks of a node, as JSON; None for the default."""
    if not options:
        return None
    asked = {name: options[name] for name in RESOURCES if name in options and options[name] != OPTIONS[name].default}
    if not asked:
        return None
    if "memory" in asked and asked["memory"] != AUTO:
        asked["memory"] = parse_bytes(asked["memory"])
    return json_text(masked_parts(asked), default=render)


def status_of(job: Job) -> str:
    """open, done, cancelled, not_run (an argument or an option of it has failed) or failed."""
    if job.state is not FAILED:
        return "done" if job.state is DONE else "open"
    if isinstance(job.outcome, Failure) and job.outcome.is_cancelled:
        return "cancelled"
    return "not_run" if job.work.never_ran else "failed"


def left_row(row: JobRow, at: int) -> JobRow:
    """The closing row for a job that is recorded as open although its execution has ended."""
    error = "the scheduler or worker that it was open in was lost, and nothing needed it any more"
    return row._replace(status="cancelled", finished_at=at, error=error)


def _packed_arguments(job: Job) -> bytes | None:
    """The arguments of a failed job, to run it again; None when they are large, or were never reduced."""
    if job.eval_hash is None:
        return None
    packed = dumps(job.work.bound)
    return packed if len(packed) <= INLINE_TERM_BYTES else None


def _above(execution: Execution) -> bytes | None:
    return execution.under.job_id if execution.under is not None else None


def _frames_text(failure: Failure) -> str | None:
    """The error with frames and notes; None where type and message are all."""
    is_more = failure.frames or failure.related or failure.notes or len(failure.summary) > MOST_LETTERS
    return render_failure(replace(failure, trail=())) if is_more else None


def closing_record(
    job: Job, finished_at: int, is_left_to_follower: bool = False, *, tells_value: bool = False
) -> Record:
    """Every row that a job leaves when it is done or has failed.

    is_left_to_follower: it followed a job that left no call node for it. tells_value: its call node is to have the
    final value.
    """
    rows: list[Row] = []
    columns: tuple[Columns, ...] = ()
    execution = job.execution
    # A follower shares its twin's call node. (A job answered by what its own execution recorded before a crash has no
    # twin, so it writes the node: perhaps nothing else has.)
    reduced_itself = RESULT in job.trail
    if job.state is DONE and (reduced_itself or is_left_to_follower) and job.work.args_hash is not None:
        rows, columns = call_rows(job, execution, finished_at if tells_value else None)
    elif job.state is FAILED and job.work.attempt and job.entry.hash and execution.first_times.of_task(job.entry.hash):
        # It leaves no call node; its task is recorded all the same, to show what has failed and where it is defined.
        rows.extend(task_rows(job.entry, job.queued_at))
    rows.append(job_row(job, finished_at))
    tags = job.options.get("tags")
    if tags:
        rows.extend(
            _tag_row("job", job.job_id.hex(), key, _tag_text(value), finished_at) for key, value in tag_pairs(tags)
        )
    return Record(tuple(rows), columns)


def _tag_row(entity: str, entity_id: str, key: Any, text: str, at: int) -> TagRow:
    return TagRow(entity=entity, entity_id=entity_id, key=masked(str(key)), value=text, at=at, removed=False)


def _tag_text(value: Any) -> str:
    return json_text(masked_parts(value), default=str)


def applied_tags(tag: Tag, job: Job, at: int) -> tuple[Row, ...]:
    """The rows of tags that were applied to a value, to the job that it stands in, and to the execution."""
    targets = (
        ("value", hash_of(tag.value).hex(), tag.tags),
        ("job", job.job_id.hex(), tag.job_tags),
        ("execution", job.execution.execution_id, tag.execution_tags),
    )
    return tuple(
        _tag_row(entity, entity_id, key, json_text(masked_parts(value), default=render), at)
        for entity, entity_id, tags in targets
        for key, value in tag_pairs(tags)
    )


def call_rows(
    job: Job, execution: Execution, value_at: int | None = None
) -> tuple[list[Row], tuple[Columns, ...]]:
    """The call node of a job, with its arguments and children, and the values and tasks that it names.

    The rows about very many calls below it, or behind an argument, are columns. value_at: the time of the final value
    that the node is to have; None if it is to have none.
    """
    work = job.work
    assert job.call_hash is not None
    assert job.value_hash is not None
    assert work.args_hash is not None
    assert job.task_set is not None
    rows: list[Row] = []
    columns: list[Columns] = []
    task_set, is_new = execution.first_times.of_task_set(job.task_set)
    if is_new:
        rows.extend(TaskSetRow(task_set, member) for member in sorted(job.task_set))
    if execution.first_times.of_task(job.entry.hash):
        rows.extend(task_rows(job.entry, job.queued_at))
    if execution.first_times.of_value(job.value_hash):
        rows.extend(value_rows(job.outcome, job.value_hash, execution))
    for name, value in work.bound.items():
        value_hash = hash_of(value)
        if execution.first_times.of_value(value_hash):
            rows.extend(value_rows(value, value_hash, execution))
        sources = work.sources.get(name) if work.sources else None
        recorded = [source for source in sources if source.is_recorded] if sources else ()
        origins = sorted({each for source in recorded for each in source.call_hashes})
        if len(origins) >= MANY:
            given = Same(job.call_hash), Same(name), Same(value_hash), origins
            columns.append(Columns(ArgumentRow, len(origins), given))
        elif origins:
            rows.extend(ArgumentRow(job.call_hash, name, value_hash, origin) for origin in origins)
        else:
            rows.append(ArgumentRow(job.call_hash, name, value_hash, None))
    rows.append(
        CallRow(
            call_hash=job.call_hash,
            task_hash=job.entry.hash,
            task_name=job.entry.name,
            args_hash=work.args_hash,
            eval_hash=job.eval_hash or b"",
            value_hash=job.value_hash,
            task_set=task_set,
            term=None if value_at is None else dumps(job.outcome),
            at=value_at,
            since=None if value_at is None else _oldest(job, value_at),
        )
    )
    if work.children:
        # Without the unrecorded ones: those below a job that hides them, or in the default of such a call.
        below = sorted(each for child in work.children if child.is_recorded for each in child.call_hashes)
        if len(below) >= MANY:
            columns.append(Columns(CallChildRow, len(below), (Same(job.call_hash), range(len(below)), below)))
        else:
            rows.extend(CallChildRow(job.call_hash, position, child) for position, child in enumerate(below))
    return rows, tuple(columns)


def value_rows(term: Term, value_hash: bytes, execution: Execution) -> list[Row]:
    """The row of a symbolic value, and the rows of the files, handles and large values in a container."""
    rows: list[Row] = [value_row(term, value_hash)]
    if type(term) is ValueRef:
        if term.witnesses:
            rows.extend(file_rows(term))
        return rows
    if type(term) in SCALARS:
        return rows
    parts = [ref for ref in iter_leaves(term) if type(ref) is ValueRef and _is_part(ref)]
    for position, ref in enumerate(parts):
        if execution.first_times.of_value(ref.digest):
            rows.append(value_row(ref, ref.digest))
            rows.extend(file_rows(ref))
        rows.append(ValuePartRow(value_hash, position, ref.digest))
    return rows


def file_rows(ref: ValueRef) -> list[FileRow]:
    """The row of a value that is a file or directory; none for any other."""
    if not ref.kind.startswith(FILE_KINDS):
        return []
    state = next((state for kind, state in ref.witnesses if kind == OF_FILE), None)  # the rows of its files come later
    if state is None:
        return []
    how, path, size, version = state
    is_one = how in ("stat", "content")
    modified_at = version // 1000 if type(version) is int else None
    return [
        FileRow(
            value_hash=ref.digest,
            path=path,
            size_bytes=size if is_one else None,
            modified_at=modified_at,
            version=version if type(version) is str else None,
            known_by=how,
            members=None if is_one else size,
        )
    ]


def _is_part(ref: ValueRef) -> bool:
    return ref.inline is None or any(kind not in (OF_DEFINITION, OF_TASK) for kind, _ in ref.witnesses)


def value_row(term: Term, value_hash: bytes) -> ValueRow:
    """The row of a symbolic value. The outbox moves the bytes of a large one to a blob."""
    if type(term) is ValueRef:
        return ValueRow(
            value_hash=value_hash,
            type=term.kind,
            format=term.format,
            size_bytes=term.size,
            inline=term.inline,
            preview=term.preview,
        )
    packed = dumps(term)
    type_name, preview = shown_as(term)
    return ValueRow(
        value_hash=value_hash,
        type=type_name,
        format=TERM_FORMAT,
        size_bytes=len(packed),
        inline=packed,
        preview=preview,
    )


_SCALAR_NAMES = {each: each.__name__ for each in SCALARS}
"""The names of the types of scalars. (Python makes a new string each time that it is asked for one.)"""


def shown_as(term: Term) -> tuple[str, str]:
    """The type and the preview of a value that is kept as a term."""
    if type(term) in SCALARS:
        if type(term) in (str, bytes):
            preview = repr(masked_parts(term)[:200])
        else:
            preview = previews.preview(term) if type(term) is int and is_long(term) else repr(term)
        return _SCALAR_NAMES[type(term)], preview[:200]
    if type(term) is TaggedTree:
        return term.kind, render(term)
    return "rayflow.Task" if isinstance(term, TaskRef) else type(term).__name__, render(term)


def task_rows(entry: TaskEntry, at: int) -> list[Row]:
    """A task's source and the definitions that its code reaches."""
    rows: list[Row] = [
        TaskRow(
            task_hash=entry.hash,
            task_name=entry.name,
            source=entry.source,
            place=entry.place,
            doc=entry.doc,
            version=entry.version,
            unresolved="\n".join(entry.unresolved) or None,
            at=at,
        )
    ]
    rows.extend(
        _tag_row("task", to_hex(entry.hash), key, _tag_text(value), at) for key, value in tag_pairs(entry.tags)
    )
    rows.extend(
        DefinitionRow(
            task_hash=entry.hash,
            name=each.name,
            kind=each.kind,
            definition_hash=each.digest,
            reached_from=each.reached_from,
            place=each.place,
            source=each.source,
        )
        for each in entry.definitions
    )
    return rows


def reduction_row(job: Job, key: bytes, term: bytes, at: int) -> ReductionRow:
    """The reduction of a call by its body, for the cache."""
    return ReductionRow(
        eval_hash=key,
        task_hash=job.entry.hash,
        kind=SINGLE,
        term=term,
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id=job.execution.execution_id,
        wall_seconds=job.work.cost.wall_seconds if job.work.cost else None,
        at=at,
    )


def operation_row(key: bytes, task_hash: bytes, term: bytes, execution_id: str, at: int) -> ReductionRow:
    """The reduction of an operation, for the cache. task_hash: the mark of operations."""
    return ReductionRow(
        eval_hash=key,
        task_hash=task_hash,
        kind=SINGLE,
        term=term,
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id=execution_id,
        wall_seconds=None,
        at=at,
    )


def full_reduction_row(
    job: Job, key: bytes, context_read: Mapping[str, bytes], witnesses: Sequence[Witness], at: int
) -> ReductionRow:
    """The final value of a call, valid while the tasks below it and the context values that were read are the same.

    witnesses: the witnesses below it, unless its options say that these do not count.
    """
    assert job.task_set is not None
    return ReductionRow(
        eval_hash=key,
        task_hash=job.entry.hash,
        kind=SHALLOW_VALUE if job.options.get("check_valid") == "shallow" else CHECKED_VALUE,
        term=with_conditions(dumps(job.outcome), witnesses),
        term_blob=None,
        task_set=b"".join(sorted(job.task_set)),
        call_hash=job.call_hash,
        execution_id=job.execution.execution_id,
        wall_seconds=job.work.cost.wall_seconds if job.work.cost else None,
        at=at,
        context=_context_text(context_read),
        since=_oldest(job, at),
    )


def _oldest(job: Job, at: int) -> int:
    """When the oldest record behind the final value of a job was computed. at: when the value was."""
    began = job.work.cost.started_at if job.work.cost else job.queued_at
    return min(began, at) if job.oldest is None else min(began, at, job.oldest)


def _context_text(context_read: Mapping[str, bytes]) -> str | None:
    """Context paths and identities as they are recorded; None for no paths."""
    return json.dumps({path: known.hex() for path, known in context_read.items()}) if context_read else None


def context_of(text: str | None) -> dict[str, bytes] | None:
    """The context that a final value has read, from its recorded form."""
    return None if text is None else {path: bytes.fromhex(known) for path, known in json.loads(text).items()}


def of_values(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a body that are about values: without those that name its job, and the states of handles, which are
    recorded in any case."""
    return tuple([row for row in rows if type(row) is not LogRow and type(row) is not HandleRow]) if rows else ()


def attempt_row(
    job: Job,
    *,
    ended: str,
    error: str | None,
    node: str | None,
    pid: int | None,
    at: int,
    started_at: int | None = None,
    environment: bytes | None = None,
) -> AttemptRow:
    """An attempt that did not end well."""
    return AttemptRow(
        job_id=job.job_id,
        attempt=job.work.attempt,
        ended=ended,
        error=error,
        node=node,
        pid=pid,
        at=at,
        started_at=started_at,
        environment=environment,
    )
