"""`JobInfo`: what a body may know about its own job.

In: the job's ids and options, from the evaluator. Out: `JobInfo`. Never: a part of the cache key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class JobInfo:
    """The job that a body runs for. Use it as the default of a parameter, which rayflow fills in:

        @task
        def f(x, job: JobInfo = JobInfo()):
            print(job.job_id, job.attempt)

    execution_id, job_id, eval_hash: as `rayflow log` shows them. attempt: from 1. task_name: the full name. options:
    the merged options of the call that are plain data. idempotency_key: for an effect, a text that is the same in every
    attempt and after every crash, and that no other effect has; empty for other tasks. Give it to a service that does
    nothing twice under one key.

    The parameter is not part of the cache key, also when a call gives an argument for it.
    """

    execution_id: str = ""
    job_id: str = ""
    eval_hash: str = ""
    attempt: int = 0
    task_name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
