"""What a body may know about the job that it is.

In: a job's ids, as the evaluator has them. Out: `JobInfo`. Never: counts for the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class JobInfo:
    """Which job a body is: as a parameter's default, `def f(x, job: JobInfo = JobInfo())`, it is filled in.

    execution_id, job_id, eval_hash: as `rayflow log` shows them. attempt: from 1. task_name: the full name. options:
    the merged options of the call that are plain data.
    The parameter does not count for the cache, also when it is given: a job that is not run is not asked who it is.
    """

    execution_id: str = ""
    job_id: str = ""
    eval_hash: str = ""
    attempt: int = 0
    task_name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
