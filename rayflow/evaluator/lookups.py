"""Which recorded reduction may answer a call.

In: a job and what the store found for its key. Out: a candidate that holds now, or why none does. Never: asks the
store.
"""

from __future__ import annotations

from typing import NamedTuple

from rayflow.evaluator.events import Candidate
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.jobs import Job
from rayflow.lang.codec import Head, read
from rayflow.lang.expressions import Term
from rayflow.lang.options import parse_seconds, scope_of
from rayflow.values.digests import digest

_ASKING = frozenset({"cache", "cache_scope", "cache_for"})
"""The options that say how long an answer counts; most calls have none of them."""


class Hit(NamedTuple):
    """A reduction that holds."""

    candidate: Candidate
    term: Term


def key_of(job: Job) -> bytes | None:
    """The key under which to ask the store for this job, or None when no record may answer it.

    A job whose options keep it from being cached is asked for only after a crash, and then only among what its own
    execution has recorded: by its eval_hash when equal calls share, by its place in the call tree when not.
    """
    execution = job.execution
    assert job.eval_hash is not None
    scope = scope_of(job.options)
    if scope == "NONE":
        return remember_key(job) if execution.life else None
    if scope == "BACKEND" and execution.cache:
        return job.eval_hash
    return job.eval_hash if execution.life else None


def remember_key(job: Job) -> bytes:
    """The key under which a job's reduction is kept."""
    assert job.eval_hash is not None
    if scope_of(job.options) == "NONE":
        return digest("uncached", job.eval_hash, job.job_id)
    return job.eval_hash


def context_read(job: Job) -> dict[str, bytes]:
    """The context paths that were read in and below a job that is done, with the identities of what was there."""
    return {path: job.hands_down.hash_at(path) for path in sorted(job.reads or ())}


def is_shallow(job: Job) -> bool:
    """Whether the job's final value may answer for it whatever became of the files below."""
    return job.options.get("check_valid") == "shallow"


def is_kept_whole(job: Job) -> bool:
    """Whether the final value of a job that is done is kept, so that nothing below it need be asked for again.

    Beside the term that its body returned, where that is wanted; in place of it, where the calls that the body has
    awaited, or evaluated, are no part of that. Unless its options say so, it is not to hide calls that have to be made
    anew: then the body runs again, and the others below are answered from the cache.
    """
    is_asked_for = is_shallow(job) and scope_of(job.options) != "NONE"
    if is_asked_for or job.fleeting:
        return is_asked_for
    has_own = job.awaits is not None or job.below is not None
    return has_own or (job.options.get("prov") is False and scope_of(job.options) != "NONE")


def is_fleeting(job: Job) -> bool:
    """Whether later executions ask for this call, or for one below it, although nothing has changed.

    So does one that may not be answered from the cache, or not for long. Above a call whose options take its final
    value whatever is below, nobody asks for what is there.
    """
    options = job.options
    if not _ASKING.isdisjoint(options) and (scope_of(options) != "BACKEND" or options.get("cache_for") is not None):
        return True
    return job.fleeting and not is_shallow(job)


def choose(job: Job, candidates: tuple[Candidate, ...], at: int) -> Hit | None:
    """The newest candidate that holds for this job, or None."""
    execution = job.execution
    own_only = scope_of(job.options) != "BACKEND" or not execution.cache
    shallow = is_shallow(job)
    cache_for = job.options.get("cache_for")
    youngest = None if cache_for is None else at - int(parse_seconds(cache_for) * 1_000_000)
    for candidate in candidates:
        if own_only and candidate.execution_id != execution.execution_id:
            continue
        if youngest is not None and candidate.at < youngest:
            continue
        if not candidate.verdict:
            continue
        if candidate.kind != "single":
            # Of a body that awaited, evaluated by itself, or recorded nothing below, there is nothing else: its calls
            # are no part of the term. So all that they have relied on stands beside the value.
            counts = shallow or candidate.kind == "awaited"
            if not counts or candidate.task_set is None:
                continue
            if not execution.is_current(candidate.task_set):
                execution.lacking.update(dict.fromkeys(candidate.task_set, job.entry.name))
                continue
            if candidate.context is not None and not job.hands_down.agrees(candidate.context):
                continue
        try:
            head, term = read(candidate.term)
        except ValueError:
            continue  # what can no longer be read is a miss
        if holds(head, execution):
            return Hit(candidate, term)
        execution.lacking.update((name, job.entry.name) for name, _, _ in head.calls if name not in execution.table)
    return None


def holds(head: Head, execution: Execution) -> bool:
    """Whether the tasks that a term calls still exist and take such calls, and those that it holds are unchanged."""
    for name, count, keywords in head.calls:
        entry = execution.table.get(name)
        if entry is None or not entry.parameters.accepts(count, keywords):
            return False
    for name, task_hash in head.tasks:
        entry = execution.table.get(name)
        if entry is None or (task_hash and entry.hash != task_hash):  # without one, it is to be called by its name
            return False
    return True
