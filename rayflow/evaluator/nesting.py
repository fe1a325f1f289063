"""Evaluations inside calls, as the one around sees them: what they take over, and what they tell when they end.

In: the call, or an evaluation that has ended. Out: `Under`, `Below`, what is said of limits. Never: starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.evaluator import lookups, stories, witnessing
from rayflow.evaluator.capacity import needs_of
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.inheritance import left_open
from rayflow.evaluator.jobs import Job
from rayflow.evaluator.paths import result_path
from rayflow.evaluator.subruns import Below, Under

MOST_DEEP = 100
"""So many subruns may stand in each other: each holds its worker while the next runs, and a part of Python's stack."""


def under_of(job: Job, limits: Mapping[str, float]) -> Under:
    """What an evaluation inside this job takes over. Sent again, it finds what the one before has recorded.

    limits: capacities.
    """
    execution = job.execution
    around = execution.under
    return Under(
        execution.execution_id,
        job.job_id,
        result_path(job),
        stories.trail_of(job),
        execution.options,
        execution.cache,
        execution.life + job.attempt,
        job.hands_down.context,
        job.hands_down.exports,
        job.hands_down.is_recorded,
        execution.profiles,
        limits,
        1 if around is None else around.depth + 1,
        {**(around.held if around is not None else {}), **needs_of(job.options)},
    )


def below_of(execution: Execution, root: Job) -> Below:
    """What an evaluation inside a call tells of itself when its root has ended."""
    # A root that is no task call stands for itself, and is in no table of tasks.
    itself = frozenset() if root.entry.name in execution.table else frozenset((root.entry.hash,))
    beside = execution.beside_root or []
    jobs = [root, *beside]
    reads = [path for each in jobs for path in left_open(each.reads or (), each.options)]
    seen = root.seen
    for each in beside:
        if each.seen is not None:
            seen = witnessing.joined(seen, each.seen)
    return Below(
        frozenset().union(*[each.task_set for each in jobs if each.task_set]) - itself,
        frozenset(left_open(reads, root.options)),
        all(each.clean for each in jobs),
        execution.counts,
        execution.progress,
        witnessing.packed(seen),
        min((each.oldest for each in jobs if each.oldest is not None), default=None),
        any(map(lookups.is_fleeting, jobs)),
        execution.is_torn,
    )


def limits_text(job: Job) -> str | None:
    """What is said of a job in a subrun that needs more of a limit than the subrun itself holds; else None."""
    around = job.execution.under
    if around is None:
        return None
    free = {name: amount for name, amount in needs_of(job.options).items() if amount > around.held.get(name, 0)}
    if not free:
        return None
    given = ", ".join(f"{name!r}: {free[name]:g}" for name in sorted(free))
    return (
        f"{job.entry.name} runs in a subrun, where its limit {', '.join(sorted(free))} is not held against what runs "
        "outside: the calls of a subrun run one after the other, and what they hold counts there alone. Give the "
        f"subrun the limit: subrun(expr, limits={{{given}}})."
    )
