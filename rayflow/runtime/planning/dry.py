"""A dry run: which calls would run, why, and how long they took last time.

In: a request and a store. Out: `DryRun`. Never: runs a task, imports Ray, writes to the store.

The usual evaluator evaluates the request, with a carrier that puts aside everything that has to run. When no message is
left, the open calls are those that would run and those that wait for them. They are recorded in a layer of memory over
the store, and the history explains them as it explains any job. The calls that these would make are predicted from the
calls that similar ones made before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from rayflow.evaluator import rows
from rayflow.evaluator.evaluator import ROOT
from rayflow.evaluator.explanations import call_text
from rayflow.evaluator.graph import Job
from rayflow.evaluator.job_states import JobState
from rayflow.evaluator.open_terms import is_value
from rayflow.lang.operations import is_shown
from rayflow.lang.terms.expressions import Operation, render
from rayflow.runtime.clock import Clock
from rayflow.runtime.inline import LookingCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.planning.input_files import inputs_of
from rayflow.runtime.planning.judging import Judge
from rayflow.runtime.planning.predictions import PredictedCall, Predictor, in_order
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.worker.worker import Worker
from rayflow.store.history.answer_types import RecordedArgument, Why
from rayflow.store.history.history import History
from rayflow.store.history.why import reasons
from rayflow.store.store import Store
from rayflow.values.digests import digest, to_hex
from rayflow.values.failures import Failure

MOST_EXPLAINED = 60
"""At most so many calls are listed with a reason; the others are only counted."""

OPERATION = "<operation>"
"""Replaces the task's name for operations on values that only a worker may read."""

OF_THE_USERS = "it is an operation that needs a class or function of yours, or a large value"

MOST_ALIKE = 3
"""The most calls of one task by one job that are listed."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a dry run.

    verdict: runs; waits (its arguments come from calls that run, so nothing more can be known); cached; perhaps (it
    runs if a value that it needs changes). reason: why. is_predicted: whether the call itself is only expected, because
    a call like its parent made it before. depth: levels below the call that predicts it, from 1; 0 without a
    prediction. alike: how many calls this one represents, itself included. earlier_job_id: the earlier job that it was
    compared with. seconds: what its body took last time. label: the displayed name, where that is not the task's.
    """

    task_name: str
    call: str
    verdict: str
    reason: str
    is_predicted: bool = False
    depth: int = 0
    alike: int = 1
    earlier_job_id: str | None = None
    seconds: float | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of a dry run.

    calls: the calls that would run or wait, in the order of the run. The calls that are predicted below a call follow
    it. predicted: the number of predicted calls that run, perhaps run, and are cached. by_task: for each task,
    the number of calls that run, wait, and are cached (a shared call counts as cached). seconds: the time that all
    these bodies took last time, as far as it is known. failures: errors that are certain already, such as an
    argument that does not fit. is_cut: whether some calls were not looked at.
    """

    calls: tuple[PlannedCall, ...]
    by_task: Mapping[str, Mapping[str, int]]
    seconds: float | None
    failures: tuple[str, ...] = ()
    is_cut: bool = False
    predicted: Mapping[str, int] = field(default_factory=dict)

    @property
    def would_run(self) -> int:
        """How many calls would run, without those that wait and those that are predicted."""
        return sum(row["runs"] for row in self.by_task.values())

    @property
    def is_cached(self) -> bool:
        """Whether nothing would run."""
        return not self.failures and not any(row["runs"] or row["waits"] for row in self.by_task.values())


def dry_run(store: Store, request: Request, context: WorkerContext, clock: Clock) -> DryRun:
    """Find out what a request would do. store: a layer of memory over the real one; this writes to it."""
    worker = Worker(context, store)
    loop = Loop(store, lambda loop: LookingCarrier(loop, worker), clock=clock)
    loop.submit(request.submitted(clock.now()))
    loop.settle()
    finish = loop.finished(request.execution_id)
    progress = loop.evaluator.explain(request.execution_id) if finish is None else finish.by_task
    counts: dict[str, dict[str, int]] = {
        name: {"runs": 0, "waits": 0, "cached": row["cached"] + row["shared"]}
        for name, row in progress.items()
        if name != ROOT.name
    }
    if finish is not None:
        failures = tuple(f"{name}: {failure.summary}" for _, name, failure in finish.failures)
        if not failures and isinstance(finish.outcome, Failure):
            failures = (finish.outcome.summary,)
        return DryRun((), counts, None, failures)
    execution = loop.evaluator.executions[request.execution_id]
    jobs = [job for job in loop.evaluator.open_jobs(request.execution_id) if job.entry is not ROOT]
    for job in jobs:
        counts[job.name][_verdict_of(job)] += 1
    failures = tuple(f"{job.name}: {failure.summary}" for job, failure in execution.failures)
    left = loop.carrier.operations
    operations = tuple(
        PlannedCall(OPERATION, render(Operation(command.name, command.args), 80), "runs", OF_THE_USERS)
        for command in left[:MOST_EXPLAINED]
    )
    if left:
        counts[OPERATION] = {"runs": len(left), "waits": 0, "cached": 0}
    open_jobs = [job for job in jobs if job.state in (JobState.RUNNING, JobState.HELD, JobState.ARGUMENTS)]
    shown = _shown(open_jobs)
    store.append([request.row, *request.parts])
    _record(store, [job for job, _ in shown])
    history = store.history()
    try:
        judge = Judge(history, worker, loop, execution)
        plan = _plan(history, judge, open_jobs, shown, counts, failures)
        return replace(plan, calls=(*operations, *plan.calls))
    finally:
        history.close()


def _verdict_of(job: Job) -> str:
    if job.state in (JobState.RUNNING, JobState.HELD):
        return "runs"
    if job.state is JobState.ARGUMENTS:
        return "waits"
    return "cached"


def _shown(jobs: list[Job]) -> list[tuple[Job, int]]:
    """The jobs to list, each with the number of jobs that it stands for, itself included."""
    groups: dict[tuple[int, str, str], list[Job]] = {}
    for job in jobs:
        parent = job.parent.number if job.parent else 0
        groups.setdefault((parent, job.name, _verdict_of(job)), []).append(job)
    found: list[tuple[Job, int]] = []
    for group in groups.values():
        shown = group[:MOST_ALIKE]
        found.extend((job, 1 if job is not shown[-1] else len(group) - len(shown) + 1) for job in shown)
    found.sort(key=lambda pair: pair[0].work.ordinal)
    return found[:MOST_EXPLAINED]


def _record(store: Store, jobs: list[Job]) -> None:
    """Record jobs as if they were done, so that the history can explain them. The jobs stay as they are."""
    for job in jobs:
        row = rows.job_row(job, None)
        if job.eval_hash is not None:
            done = copy(job)
            done.call_hash = digest("dry", job.job_id)
            done.value_hash = digest("dry", b"")
            done.task_set = frozenset((job.entry.hash,))
            store.append(*rows.call_rows(done, job.execution))
            row = row._replace(call_hash=done.call_hash)
        elif job.entry.hash:
            store.append(rows.task_rows(job.entry, job.queued_at))
        store.append([row])
    store.commit()


def _plan(
    history: History,
    judge: Judge,
    open_jobs: list[Job],
    shown: list[tuple[Job, int]],
    counts: Mapping[str, Mapping[str, int]],
    failures: tuple[str, ...],
) -> DryRun:
    known = {job: history.why(to_hex(job.job_id)) for job, _ in shown}
    starts: dict[str, set[str]] = {}
    for why in known.values():
        start = _start_of(history, why)
        if start is not None:
            changed = {change.old.value_hash for change in why.changes if change.old is not None}
            starts.setdefault(start, set()).update(changed)
    predictor = Predictor(history, judge.table, judge.judge, lambda calls: inputs_of(history, calls))
    below = predictor.follow(starts)
    runs = [job.entry.name for job in open_jobs if _verdict_of(job) == "runs"]
    costs = history.task_costs(set(runs))
    calls: list[PlannedCall] = []
    listed: set[str] = set()
    seen: set[str] = set()
    for job, alike in shown:
        why = known[job]
        earlier = why.earlier
        seconds = _seconds(history, why)
        calls.append(
            PlannedCall(
                job.entry.name,
                call_text(job),
                _verdict_of(job),
                reasons.reason_of(why) if _verdict_of(job) == "runs" else _waits_for(job),
                alike=alike,
                earlier_job_id=earlier["job_id"] if earlier else None,
                seconds=seconds if seconds is not None else costs.get(job.entry.name),
                label=job.label,
            )
        )
        start = _start_of(history, why)
        if start in below and start not in listed:
            listed.add(start)
            calls.extend(_predicted(*entry) for entry in in_order(below[start], seen, MOST_ALIKE))
    predicted: Counter[str] = Counter()
    for call in calls:
        if call.is_predicted:
            predicted[call.verdict] += call.alike
    took = [costs[name] for name in runs if name in costs]
    return DryRun(
        tuple(calls),
        counts,
        sum(took) if took else None,
        failures,
        predictor.is_cut or len(shown) == MOST_EXPLAINED,
        dict(predicted),
    )


def _start_of(history: History, why: Why) -> str | None:
    """The recorded call that predicts a job's calls: that of the job which it was compared with, else the latest of its
    task."""
    if why.earlier is None:
        return None
    if why.earlier["call_hash"]:
        return str(why.earlier["call_hash"])
    return history.latest_call(why.job["task_name"], except_job=why.job["job_id"])


def _seconds(history: History, why: Why) -> float | None:
    """The time that the body of the earlier job took; for a cached job, the time of the run that computed it."""
    if why.earlier is None:
        return None
    if why.earlier["how"] == "computed":
        return float(why.earlier["wall_seconds"]) if why.earlier["wall_seconds"] is not None else None
    call_hash = why.earlier["call_hash"]
    if call_hash is None:
        return None
    costs = history.call_costs([call_hash])
    return costs[call_hash]["wall_seconds"] if call_hash in costs else None


def _waits_for(job: Job) -> str:
    names = [name for name, value in job.work.bound.items() if not is_value(value)]
    if not names:
        return "its options are not known yet"
    if len(names) == 1:
        return f"its argument {names[0]} comes from calls that run"
    which = f"its arguments {names[0]} and {names[1]}" if len(names) == 2 else f"{len(names)} of its arguments"
    return f"{which} come from calls that run"


def _predicted(depth: int, call: PredictedCall, alike: int) -> PlannedCall:
    return PlannedCall(
        call.task_name,
        _text(call.task_name, call.arguments),
        call.verdict,
        call.reason or "if it is called like this again",
        is_predicted=True,
        depth=depth,
        alike=alike,
        seconds=call.wall_seconds,
    )


def _text(task_name: str, arguments: Sequence[RecordedArgument]) -> str:
    pairs = [(each.name, each.preview or "?") for each in arguments]
    inside = ", ".join(f"{name}={text}" for name, text in pairs if is_shown(task_name, name, text))
    text = f"{task_name}({inside})"
    return text if len(text) <= 120 else f"{text[:117]}..."
