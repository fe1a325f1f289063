"""Turns recorded executions and calls into expressions, to evaluate them again with the current code.

In: a store, the id of an execution or a job, the tasks as they are now. Out: a term, and the options and context that
its evaluation had. Never: evaluates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayflow.errors import BadArguments, BlobMissing, NoSuchTask, NotFound
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.records import TERM_FORMAT, ExecutionRow
from rayflow.runtime.protocol.requests import options_again
from rayflow.store.history.answer_types import Record, ended
from rayflow.store.history.values.packed_terms import packed_term, whole_bytes
from rayflow.store.store import Store
from rayflow.values.encoding.encoding import decode, decode_inline
from rayflow.values.refs import ValueRef

if TYPE_CHECKING:  # a run asks the cache, not the history, and DuckDB takes a tenth of a second to import
    from rayflow.store.history.history import History


@dataclass(frozen=True, slots=True)
class RecordedExpression:
    """A recorded execution or call, as an expression.

    lacking: names of options and of context values that are not recorded, because they are not plain data.
    """

    term: Term
    options: Mapping[str, Any]
    context: Mapping[str, Any]
    lacking: tuple[str, ...]


def packed_root(store: Store, row: ExecutionRow) -> bytes:
    """The packed root term of an execution."""
    if row.root is not None:
        return row.root
    assert row.root_blob is not None
    return whole_bytes(store.get_blob(row.root_blob))


def recorded_settings(row: ExecutionRow) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The options and the context of an execution, and the names of those that are not recorded."""
    options, lacking = options_again(row.options)
    context, lacking_context = options_again(row.context or "{}")
    return options, context, (*lacking, *(f"context {name}" for name in lacking_context))


def recorded_expression(store: Store, text: str, table: Mapping[str, TaskEntry]) -> RecordedExpression:
    """The root of an execution, or the call of a job.

    text: an id, as `History.resolve` takes it. Raises NotFound when the id, or the arguments of its call, are not
    recorded; NoSuchTask and BadArguments when today's code lacks the task, or the task does not take these arguments.
    """
    history = store.history()
    try:
        found = history.resolve(text, kinds=("execution", "job"))
        if found.kind == "execution":
            row = history.execution_row(found.id)
            return RecordedExpression(loads(packed_root(store, row)), *recorded_settings(row))
        job = history.job_row(found.id)
        term = _call(store, history, job, table)
        return RecordedExpression(term, *recorded_settings(history.execution_row(job["execution_id"])))
    finally:
        history.close()


def with_arguments(term: Term, given: Mapping[str, Any], table: Mapping[str, TaskEntry]) -> TaskCall:
    """A recorded call with other arguments, by name. Raises BadArguments, and NoSuchTask when there is no such task."""
    if type(term) is not TaskCall:
        raise BadArguments("What was evaluated is no call of a task, so that there are no arguments to replace.")
    entry = table.get(term._task)
    if entry is None:
        raise NoSuchTask(f"There is no task {term._task} now.")
    unknown = [name for name in given if name not in entry.parameters.names]
    if unknown:
        raise BadArguments(f"{term._task} has no parameter {unknown[0]!r}: {', '.join(entry.parameters.names)}.")
    bound = entry.parameters.bind(term._args, term._kwargs, name=term._task, partial=True)
    args, kwargs = entry.parameters.spread({**bound, **given})
    return TaskCall(term._task, tuple(args), kwargs or None, term._options)


def _call(store: Store, history: History, job: Record, table: Mapping[str, TaskEntry]) -> TaskCall:
    name = job["task_name"]
    entry = table.get(name)
    if entry is None:
        raise NoSuchTask(f"Job {job['job_id']} was a call of {name}, and there is no such task now.")
    bound = _arguments(store, history, job)
    gone = [each for each in bound if each not in entry.parameters.names]
    if gone:
        raise BadArguments(f"{name} was called with {gone[0]!r}, and has no such parameter now.")
    args, kwargs = entry.parameters.spread(bound)
    return TaskCall(name, tuple(args), kwargs)


def _arguments(store: Store, history: History, job: Record) -> dict[str, Term]:
    if job["packed_arguments"] is not None:
        packed: dict[str, Term] = loads(job["packed_arguments"])
        return packed
    if job["call_hash"] is None:
        hint = " Rerun the call that failed, or the execution." if job["status"] == "not_run" else ""
        raise NotFound(f"The arguments of job {job['job_id']} were not recorded: {ended(job)}.{hint}")
    arguments = history.arguments_of([job["call_hash"]]).get(job["call_hash"], ())
    return {each.name: _value(store, history, job, each.name, each.value_hash) for each in arguments}


def _value(store: Store, history: History, job: Record, name: str, value_hash: str) -> Term:
    row = history.value_rows([value_hash]).get(value_hash)
    try:
        if row is not None and row["format"] != TERM_FORMAT:
            digest = bytes.fromhex(value_hash)
            if row["inline"] is not None:
                return decode_inline(
                    ValueRef(digest, row["type"], row["size_bytes"], row["format"], row["inline"], row["preview"])
                )
            return decode(store.get_blob(digest))
        packed = None if row is None else packed_term(row, store.get_blob)
    except BlobMissing:
        packed = None
    if packed is None:
        raise NotFound(f"The argument {name} of job {job['job_id']} is not kept any more, or is not kept as one value.")
    return loads(packed)


def next_generation(store: Store, execution_id: str) -> int:
    """The generation of a retry of an execution: greater than all that are recorded of it."""
    records = store.run_records()
    try:
        return 1 + max((row.generation or 0 for row in records.places_of([execution_id])[execution_id]), default=0)
    finally:
        records.close()
