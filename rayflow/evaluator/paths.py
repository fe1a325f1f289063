"""Paths: where a part stands in the whole, from which the ids of jobs are made.

In: the path of the whole, the kind of a step, a position. Out: 16 bytes, the same whenever the execution is taken up
again. Never: depends on the order of answers.
"""

from __future__ import annotations

from rayflow.evaluator.jobs import Job
from rayflow.lang.options import scope_of
from rayflow.values.digests import short_digest


def below(path: bytes, step: str, position: int) -> bytes:
    """The path of a part: 16 bytes over the path of the whole, the kind of step and the position."""
    return short_digest(step, path, position.to_bytes(4, "little"))


def result_path(job: Job) -> bytes:
    """Where the term of a job begins, for the ids of the jobs below.

    Which of several equal jobs does the work depends on the order of answers, the ids below it must not: a crashed
    execution that is taken up again has to meet the same jobs. So the path of a term that equal jobs share starts from
    what they have in common.
    """
    if job.eval_hash is None or scope_of(job.options) == "NONE":
        return below(job.job_id, "result", 0)
    execution = job.execution
    if job.hands_down is execution.inherited or job.hands_down.has_context_of(execution.inherited):
        return short_digest("result", execution.seed, job.eval_hash)
    return short_digest("result", execution.seed, job.eval_hash, job.hands_down.digest)


def awaited_path(job: Job, key: bytes) -> bytes:
    """Where an expression that the job's body awaits begins: the same in whichever round it is asked for."""
    return short_digest("awaited", result_path(job), key)
