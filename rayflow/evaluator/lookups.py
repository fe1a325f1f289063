"""Chooses the recorded reduction that may answer a call.

In: a job, and the candidates that the store has for its key. Out: a valid candidate, or why none is valid. Never: asks
the store, changes a job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rayflow import misses
from rayflow.evaluator import witnessing
from rayflow.evaluator.graph import Execution, Job, Vector
from rayflow.evaluator.inheritance import Inherited
from rayflow.evaluator.messages import Candidate
from rayflow.evaluator.paths import result_path
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.options.options import scope_of
from rayflow.lang.terms.codec import Head, read
from rayflow.lang.terms.expressions import Term
from rayflow.misses import Miss
from rayflow.records import CHECKED_VALUE, SHALLOW_VALUE, SINGLE
from rayflow.values.digests import digest, digests
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, OF_FILE, Witness

_CLOCKS_DIFFER_US = 60_000_000
"""The largest difference between clocks. If a result is from further in the future, its age is not known."""

_ASKING = frozenset({"cache", "cache_scope", "cache_for"})
"""The options that say whether and how long an answer is valid; most calls have none of them."""


class Choice(NamedTuple):
    """The choice among the candidates for a call.

    candidate: the candidate that answers the call; None if none is valid. term: its term. unknown: names or hashes of
    tasks that a newer candidate needs, and that are not known. So that candidate is not valid.
    """

    candidate: Candidate | None = None
    term: Term = None
    unknown: Collection[str | bytes] = ()


_NO_CHOICE = Choice()


def key_of(job: Job) -> bytes | None:
    """The key under which to ask the store for this job, or None when no record may answer it.

    If the options of a job forbid the cache, the store is asked only after a crash, and only records of the job's own
    execution may answer: the records of its eval_hash if equal calls share, else those of its place in the call tree.
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
    """The key under which a job's reduction is recorded."""
    assert job.eval_hash is not None
    if scope_of(job.options) == "NONE":
        return digest("uncached", job.eval_hash, job.job_id)
    return job.eval_hash


def remember_keys(vector: Vector, eval_hashes: Sequence[bytes], job_ids: Sequence[bytes]) -> Sequence[bytes]:
    """`remember_key` for members of a vector with these hashes and ids."""
    if scope_of(vector.options) == "NONE":
        return digests("uncached", eval_hashes, job_ids)
    return eval_hashes


def context_read(job: Job) -> dict[str, bytes]:
    """The context paths that a done job and the jobs below it have read, with the identities of the values there."""
    return {path: job.hands_down.hash_at(path) for path in sorted(job.reads or ())}


def is_shallow(job: Job | Vector) -> bool:
    """Whether the job's final value is valid even if the files below have changed."""
    return job.options.get("check_valid") == "shallow"


def tells_value(job: Job) -> bool:
    """Whether the call node of a job that has reduced its term may answer later shallow calls with the final value.

    A node says nothing about failures, context, calls that are made anew, and what else the value depends on. So all
    of that must be missing below. A job without calls below, or one whose value is recorded, needs no node for that.
    """
    if not job.work.children or not job.clean or job.reads or job.eval_hash is None or job.how == "shared":
        return False
    if is_fleeting(job) or is_kept_whole(job):
        return False
    return job.seen is None or witnessing.has_only_files(job.seen)


def is_kept_whole(job: Job) -> bool:
    """Whether the final value of a done job is recorded. Then later executions need not look up the calls below.

    If the options ask for it, the value is recorded beside the body's term. If the term does not contain the calls that
    the body made, the value is recorded instead of the term: the body awaited them, or was a nested execution. Unless
    the options ask for it, a final value must not hide a call that has to be made again. In that case the body runs
    again, and the cache answers the other calls below.
    """
    is_asked_for = is_shallow(job) and scope_of(job.options) != "NONE"
    if is_asked_for or job.fleeting:
        return is_asked_for
    has_own = job.work.awaits is not None or job.work.below is not None
    return has_own or (job.options.get("prov") is False and scope_of(job.options) != "NONE")


def is_fleeting(job: Job | Vector) -> bool:
    """Whether later executions have to make this call, or one below it, although nothing has changed.

    It is true for a call whose options forbid an answer from the cache, or allow it only for some time. It is also true
    for the calls above, up to a call with `check_valid="shallow"`: the calls below that do not matter for its value.
    """
    options = job.options
    if not _ASKING.isdisjoint(options) and (scope_of(options) != "BACKEND" or options.get("cache_for") is not None):
        return True
    return job.fleeting and not is_shallow(job)


def missed_unasked(job: Job | Vector) -> str:
    """The recorded reason why the store is not asked for this job."""
    return misses.RUN_MISS if scope_of(job.options) == "BACKEND" else scope_reason(job.options)


def scope_reason(options: Mapping[str, Any]) -> str:
    """The recorded reason why options keep a call from the cache."""
    name = "cache_scope" if options.get("cache_scope", "BACKEND") != "BACKEND" else "cache"
    return misses.option_miss(name, options[name])


def missed(job: Job, candidates: tuple[Candidate, ...], at: int) -> str | None:
    """The recorded reason why no candidate is valid for this job. It concerns the newest candidate that could be.

    It is None if there is no candidate.
    """
    if scope_of(job.options) != "BACKEND" or not job.execution.cache:
        return missed_unasked(job)
    for candidate in candidates:
        if candidate.kind != SHALLOW_VALUE or is_shallow(job):
            return misses.to_text(against(job.options, job.execution, job.hands_down, candidate, at))
    return None


def against(
    options: Mapping[str, Any], execution: Execution, received: Inherited, candidate: Candidate, at: int
) -> tuple[Miss, ...]:
    """The reasons why a recorded result is not valid for a call with these options; empty if it is valid."""
    if _is_too_old(options, candidate, at):
        return (Miss(misses.AGE, repr(options["cache_for"]), candidate.at),)
    if candidate.broken or not candidate.verdict:
        return tuple(_of_broken(witness, now) for witness, now in candidate.broken) or (Miss(misses.BYTES),)
    if candidate.task_set is not None and not execution.tasks.has_all(candidate.task_set):
        lacking = sorted(execution.tasks.lacking_of(candidate.task_set))
        return tuple(Miss(misses.BELOW, each.hex()) for each in lacking)
    if candidate.context is not None and not received.agrees(candidate.context):
        differing = [path for path, known in candidate.context.items() if received.hash_at(path) != known]
        return tuple(Miss(misses.CONTEXT, path) for path in sorted(differing))
    try:
        head, _ = read(candidate.term)
    except ValueError:
        return (Miss(misses.UNREADABLE),)
    return _of_head(head, execution)


def _of_broken(witness: Witness, now: tuple[Any, ...] | None) -> Miss:
    kind, payload = witness
    if kind == OF_FILE:
        how, path, size, version = payload
        return Miss(misses.FILE, path, (how, size, version), now)
    named = str(payload[0]).replace(":", ".") if kind in (OF_CODE, OF_DEFINITION) else ""
    return Miss(kind, named)


def _of_head(head: Head, execution: Execution) -> tuple[Miss, ...]:
    found: dict[Miss, None] = {}
    for name, count, keywords in head.calls:
        entry = execution.tasks.table.get(name)
        if entry is None:
            found[Miss(misses.TASK_GONE, name)] = None
        elif not entry.parameters.accepts(count, keywords):
            found[Miss(misses.TASK_SHAPE, name)] = None
    for name, task_hash in head.tasks:
        entry = execution.tasks.table.get(name)
        if entry is None:
            found[Miss(misses.TASK_GONE, name)] = None
        elif task_hash not in (b"", entry.hash):
            found[Miss(misses.TASK_CODE, name)] = None
    return tuple(found)


def _is_too_old(options: Mapping[str, Any], candidate: Candidate, at: int) -> bool:
    cache_for = options.get("cache_for")
    if cache_for is None:
        return False
    longest = int(parse_seconds(cache_for) * 1_000_000)
    return not -min(longest, _CLOCKS_DIFFER_US) <= at - candidate.at <= longest


def choose(job: Job, candidates: tuple[Candidate, ...], at: int) -> Choice:
    """The newest candidate that is valid for this job, or none."""
    if not candidates:
        return _NO_CHOICE
    execution = job.execution
    own_only = scope_of(job.options) != "BACKEND" or not execution.cache
    shallow = is_shallow(job)
    unknown: list[str | bytes] = []
    for candidate in candidates:
        if own_only and candidate.execution_id != execution.execution_id:
            continue
        if "cache_for" in job.options and _is_too_old(job.options, candidate, at):
            continue
        if not candidate.verdict:
            continue
        if candidate.kind != SINGLE:
            # Nothing else is recorded of a body that awaited, that was a nested execution, or that recorded nothing
            # below: its calls are no part of the term. So all that they have relied on stands beside the value.
            is_usable = shallow or candidate.kind == CHECKED_VALUE
            if not is_usable or candidate.task_set is None:
                continue
            if not execution.tasks.has_all(candidate.task_set):
                unknown.extend(candidate.task_set)
                continue
            if candidate.context is not None and not job.hands_down.agrees(candidate.context):
                continue
        try:
            head, term = read(candidate.term, result_path(job))
        except ValueError:
            continue  # a term that cannot be read any more is a miss
        if fits_tasks(head, execution):
            return Choice(candidate, term, unknown)
        unknown.extend(name for name, _, _ in head.calls if name not in execution.tasks.table)
    return Choice(unknown=unknown)


def fits_tasks(head: Head, execution: Execution) -> bool:
    """Whether the tasks that a term calls still exist and take such calls, and those that it holds are unchanged."""
    table = execution.tasks.table
    for name, count, keywords in head.calls:
        entry = table.get(name)
        if entry is None or not entry.parameters.accepts(count, keywords):
            return False
    for name, task_hash in head.tasks:
        entry = table.get(name)
        if entry is None or (task_hash and entry.hash != task_hash):  # without a hash, it is to be called by its name
            return False
    return True
