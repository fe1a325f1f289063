"""The start and the end of a nested execution, as data that it exchanges with the execution around it.

In: the call whose body is a nested execution, or a nested execution that has ended. Out: `NestedStart`, `NestedEnd`,
warnings about limits. Never: starts anything, changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.evaluator import explanations, lookups, witnessing
from rayflow.evaluator.capacity import needs_of
from rayflow.evaluator.graph import Execution, Job
from rayflow.evaluator.inheritance import left_open
from rayflow.evaluator.messages import NestedEnd, NestedStart
from rayflow.evaluator.paths import result_path

MOST_DEEP = 100
"""The most levels of nested executions. Each level holds its worker, and a part of Python's stack, while the next one
runs."""


def nested_start(job: Job, limits: Mapping[str, float]) -> NestedStart:
    """The settings for a nested execution in this job. If the job is sent again, the new nested execution finds the
    records of the earlier one.

    limits: capacities.
    """
    execution = job.execution
    around = execution.under
    return NestedStart(
        execution_id=execution.execution_id,
        job_id=job.job_id,
        path=result_path(job),
        trail=explanations.trail_of(job),
        options=execution.call_options.run,
        cache=execution.cache,
        life=execution.life + job.work.attempt,
        context=job.hands_down.context,
        exports=job.hands_down.exports,
        is_recorded=job.hands_down.is_recorded,
        profiles=execution.call_options.profiles,
        limits=limits,
        depth=1 if around is None else around.depth + 1,
        held={**(around.held if around is not None else {}), **needs_of(job.options)},
        place=explanations.users_place(job),
    )


def nested_end(execution: Execution, root: Job) -> NestedEnd:
    """The report of a nested execution whose root has ended."""
    # A root that is no task call has an entry that is in no table of tasks.
    itself = frozenset() if root.entry.name in execution.tasks.table else frozenset((root.entry.hash,))
    beside = execution.beside_root or []
    jobs = [root, *beside]
    reads = [path for each in jobs for path in left_open(each.reads or (), each.options)]
    seen = root.seen
    for each in beside:
        if each.seen is not None:
            seen = witnessing.joined(seen, each.seen)
    return NestedEnd(
        task_set=frozenset().union(*[each.task_set for each in jobs if each.task_set]) - itself,
        reads=frozenset(left_open(reads, root.options)),
        is_clean=all(each.clean for each in jobs),
        counts=execution.tally.totals,
        by_task=execution.tally.by_task,
        witnesses=witnessing.packed(seen),
        oldest=min((each.oldest for each in jobs if each.oldest is not None), default=None),
        is_fleeting=any(map(lookups.is_fleeting, jobs)),
        is_torn=execution.is_torn,
    )


def limits_text(job: Job) -> str | None:
    """The warning for a job in a subrun that needs more of a limit than the subrun itself holds; else None."""
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
