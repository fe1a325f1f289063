"""Paths: the places of parts in a whole. The ids of jobs are made from them.

In: the path of the whole, the name of a step, a position. Out: 16 bytes, the same whenever the execution is taken up
again. Never: depends on the order of answers.
"""

from __future__ import annotations

from rayflow.evaluator.graph import Job
from rayflow.lang.options.options import scope_of
from rayflow.values.digests import short_digest


def child_path(path: bytes, step: str, position: int) -> bytes:
    """The path of a part: 16 bytes over the path of the whole, the name of the step and the position."""
    return short_digest(step, path, position.to_bytes(4, "little"))


def result_path(job: Job) -> bytes:
    """The path of a job's term, from which the ids of the jobs below are made.

    The order of answers decides which of several equal jobs does the work. But the ids below must not depend on it: a
    resumed execution has to find the same jobs. So if equal jobs share a term, its path is made from their common data.
    """
    if job.standing is not None and job.standing.path is not None:
        return job.standing.path
    path = _shared_path(job)
    if job.execution.ledger is not None and path in job.execution.ledger.term_paths:
        return child_path(job.job_id, "result", 0)  # an equal call has it, perhaps in an earlier life
    return path


def _shared_path(job: Job) -> bytes:
    """The path of a job's term for all equal calls, if there may be any."""
    if job.eval_hash is None or job.entry.is_effect or scope_of(job.options) == "NONE":
        return child_path(job.job_id, "result", 0)
    execution = job.execution
    if job.hands_down is execution.inherited or job.hands_down.has_context_of(execution.inherited):
        return short_digest("result", execution.seed, job.eval_hash)
    return short_digest("result", execution.seed, job.eval_hash, job.hands_down.digest)


def awaited_path(job: Job, key: bytes) -> bytes:
    """Where an expression that the job's body awaits begins: the same in whichever round it is asked for."""
    return short_digest("awaited", result_path(job), key)
