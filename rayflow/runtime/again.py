"""What was recorded, as an expression to be evaluated again with the code of today.

In: a store, the id of an execution or a job, the tasks as they are now. Out: a term, and the options and the context
that it was evaluated with. Never: evaluates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayflow.errors import BadArguments, BlobMissing, NoSuchTask, NotFound
from rayflow.evaluator.provenance import TERM_FORMAT
from rayflow.lang.codec import loads
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, Term
from rayflow.records import ExecutionRow
from rayflow.runtime.requests import options_again
from rayflow.store.answers import Record
from rayflow.store.base import Store
from rayflow.values.encoding import decode, decode_inline
from rayflow.values.refs import ValueRef

if TYPE_CHECKING:  # a run asks the cache, not the history, and DuckDB takes a tenth of a second to import
    from rayflow.store.history import History


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was evaluated once.

    lacking: names of options, and of values of the context, that are no plain data and so were not kept.
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
    encoded = store.get_blob(row.root_blob)
    return b"".join((encoded.header, *encoded.buffers))


def kept_settings(row: ExecutionRow) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The options and the context of an execution, and the names of those that were not kept."""
    options, lacking = options_again(row.options)
    context, lacking_context = options_again(row.context or "{}")
    return options, context, (*lacking, *(f"context {name}" for name in lacking_context))


def recorded(store: Store, text: str, table: Mapping[str, TaskEntry]) -> Recorded:
    """What an id stands for: the root of an execution, or the call of a job.

    text: as `History.resolve` takes it. Raises NotFound when there is no such thing, or its arguments were not kept;
    NoSuchTask and BadArguments when there is no such task today, or it does not take these arguments.
    """
    history = store.history()
    try:
        found = history.resolve(text, kinds=("execution", "job"))
        if found.kind == "execution":
            row = history.execution_row(found.id)
            return Recorded(loads(packed_root(store, row)), *kept_settings(row))
        job = history.job_row(found.id)
        term = _call(store, history, job, table)
        return Recorded(term, *kept_settings(history.execution_row(job["execution_id"])))
    finally:
        history.close()


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
        kept: dict[str, Term] = loads(job["packed_arguments"])
        return kept
    if job["call_hash"] is None:
        raise NotFound(f"The arguments of job {job['job_id']} were not recorded: it is {job['status']}.")
    arguments = history.arguments([job["call_hash"]]).get(job["call_hash"], ())
    return {each.name: _value(store, history, job, each.name, each.value_hash) for each in arguments}


def _value(store: Store, history: History, job: Record, name: str, value_hash: str) -> Term:
    row = history.one(
        "SELECT * FROM raw.values WHERE value_hash = $value LIMIT 1", {"value": bytes.fromhex(value_hash)}
    )
    if row is not None and row["format"] != TERM_FORMAT:
        digest = bytes.fromhex(value_hash)
        if row["inline"] is not None:
            return decode_inline(
                ValueRef(digest, row["type"], row["size_bytes"], row["format"], row["inline"], row["preview"])
            )
        try:
            return decode(store.get_blob(digest))
        except BlobMissing:
            row = None
    if row is None or row["inline"] is None:
        raise NotFound(f"The argument {name} of job {job['job_id']} is not kept any more, or is not kept as one value.")
    return loads(row["inline"])
