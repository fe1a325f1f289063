"""A dry run: what would run, why, and how long it took last time.

In: a request and a store. Out: `DryRun`. Never: runs a task, imports Ray, writes to the store.

The evaluator is the same as ever; what has to run is taken by a carrier that runs nothing. When there is no more news,
the calls that are open are those that would run and those that wait for them. They are recorded, in a layer of memory
over the store, and the store is asked why, as of any job. What lies beyond is told from the calls that their like made
before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rayflow.evaluator import commands, provenance
from rayflow.evaluator.cells import is_value
from rayflow.evaluator.evaluator import ROOT
from rayflow.evaluator.jobs import Job, State
from rayflow.evaluator.stories import call_text
from rayflow.lang.expressions import Operation, render
from rayflow.lang.options import scope_of
from rayflow.runtime.inline import LookingCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.predictions import Predictor, Recorded, in_order
from rayflow.runtime.requests import Request
from rayflow.runtime.workers import Worker
from rayflow.store import views, whys
from rayflow.store.answers import Argument, Why
from rayflow.store.base import Store
from rayflow.store.history import History
from rayflow.values.digests import digest, to_hex
from rayflow.values.failures import Failure

if TYPE_CHECKING:
    from rayflow.runtime.calls import Surroundings

MOST_EXPLAINED = 60
"""Of so many calls the reason is told, the others are counted with their like."""

OPERATION = "<operation>"
"""Stands for the task's name of operations on values that only a worker may look into."""

OF_THE_USERS = "it is an operation that needs a class or function of yours, or a large value"

MOST_ALIKE = 3
"""Of more calls of one task by one job, so many are shown."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call, and what becomes of it.

    verdict: runs; waits (for the results of calls that run, before it can be known); cached; perhaps (it runs if
    something that it needs turns out otherwise). reason: why. is_predicted: whether the call itself is only expected,
    because a call like its parent made it before. depth: below the call that it is predicted of, from 1; 0 when it is
    no prediction. alike: how many calls this one stands for, itself included: others of its task that are not listed.
    earlier_job_id: the nearest earlier evaluation that it was compared with. seconds: what its body took last time.
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


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do.

    calls: those that would run or wait, in the order in which they are met, each followed by what is predicted below.
    by_task: for each task how many calls would run, wait, and are cached (shared ones count as their twin does).
    seconds: what the bodies that would run took last time, all together, as far as that is known. failures: what is
    wrong already, such as an argument that does not fit. is_cut: whether there is more than was looked at.
    """

    calls: tuple[PlannedCall, ...]
    by_task: Mapping[str, Mapping[str, int]]
    seconds: float | None
    failures: tuple[str, ...] = ()
    is_cut: bool = False

    @property
    def would_run(self) -> int:
        """How many of the calls that can be reached would run; what waits is not known yet."""
        return sum(row["runs"] for row in self.by_task.values())

    @property
    def is_cached(self) -> bool:
        """Whether nothing would run."""
        return not self.failures and not any(row["runs"] or row["waits"] for row in self.by_task.values())


class _Idle(LookingCarrier):
    """Takes attempts and operations of the user's, and runs none. left: the operations."""

    def __init__(self, loop: Loop, worker: Worker) -> None:
        super().__init__(loop, worker)
        self.left: list[commands.RunOperation] = []

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        """They stay open, and are told of when nothing else is left to do."""

    def leave(self, command: commands.RunOperation) -> None:
        self.left.append(command)


def dry_run(store: Store, request: Request, surroundings: Surroundings) -> DryRun:
    """What a request would do. store: a layer over the real one; it is written to."""
    worker = Worker(surroundings, store)
    loop = Loop(store, lambda loop: _Idle(loop, worker))
    loop.post(request.submitted())
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
    jobs = [job for job in execution.open.values() if job.entry is not ROOT]
    for job in jobs:
        counts[job.entry.name][_verdict_of(job)] += 1
    failures = tuple(f"{job.entry.name}: {failure.summary}" for job, failure in execution.failures)
    idle = loop.carrier
    assert isinstance(idle, _Idle)
    operations = tuple(
        PlannedCall(OPERATION, render(Operation(command.name, command.args), 80), "runs", OF_THE_USERS)
        for command in idle.left[:MOST_EXPLAINED]
    )
    if idle.left:
        counts[OPERATION] = {"runs": len(idle.left), "waits": 0, "cached": 0}
    open_jobs = [job for job in jobs if job.state in (State.RUNNING, State.HELD, State.ARGUMENTS)]
    shown = _shown(open_jobs)
    store.commit()
    _record(store, [job for job, _ in shown])
    history = store.history()
    try:
        told = _told(history, store, request, open_jobs, shown, counts, failures)
        return replace(told, calls=(*operations, *told.calls))
    finally:
        history.close()


def _verdict_of(job: Job) -> str:
    if job.state in (State.RUNNING, State.HELD):
        return "runs"
    if job.state is State.ARGUMENTS:
        return "waits"
    return "cached"


def _shown(jobs: list[Job]) -> list[tuple[Job, int]]:
    """The jobs that are listed, and how many each stands for, itself included."""
    groups: dict[tuple[int, str, str], list[Job]] = {}
    for job in jobs:
        parent = job.parent.number if job.parent else 0
        groups.setdefault((parent, job.entry.name, _verdict_of(job)), []).append(job)
    found: list[tuple[Job, int]] = []
    for group in groups.values():
        shown = group[:MOST_ALIKE]
        found.extend((job, 1 if job is not shown[-1] else len(group) - len(shown) + 1) for job in shown)
    found.sort(key=lambda pair: pair[0].ordinal)
    return found[:MOST_EXPLAINED]


def _record(store: Store, jobs: list[Job]) -> None:
    """Record jobs as if they had been done, so that the store can be asked why."""
    for job in jobs:
        row = provenance.job_row(job, None)
        if job.eval_hash is not None:
            job.call_hash = digest("dry", job.job_id)
            job.value_hash = digest("dry", b"")
            job.task_set = frozenset((job.entry.hash,))
            store.append(provenance.call_rows(job, job.execution))
            row = row._replace(call_hash=job.call_hash)
        elif job.entry.hash:
            store.append(provenance.task_rows(job.entry, job.queued_at))
        store.append([row])
    store.commit()


def _told(
    history: History,
    store: Store,
    request: Request,
    open_jobs: list[Job],
    shown: list[tuple[Job, int]],
    counts: Mapping[str, Mapping[str, int]],
    failures: tuple[str, ...],
) -> DryRun:
    reasons = {job: history.why(to_hex(job.job_id)) for job, _ in shown}
    execution = open_jobs[0].execution if open_jobs else None
    starts: dict[str, set[str]] = {}
    for why in reasons.values():
        if why.earlier is not None and why.earlier["call_hash"]:
            changed = {change.old.value_hash for change in why.changes if change.old is not None}
            starts.setdefault(why.earlier["call_hash"], set()).update(changed)
    table = execution.table if execution is not None else {}

    def is_kept(questions: list[tuple[bytes, bytes]]) -> list[bool]:
        uncached = {entry.hash for entry in table.values() if scope_of(entry.options) != "BACKEND"}
        found = store.look_up(questions)
        return [
            request.cache and task_hash not in uncached and bool(rows)
            for (_, task_hash), rows in zip(questions, found, strict=True)
        ]

    predictor = Predictor(history, table, is_kept)
    below = predictor.follow(starts)
    runs = [job.entry.name for job in open_jobs if _verdict_of(job) == "runs"]
    costs = _costs(history, set(runs))
    calls: list[PlannedCall] = []
    told: set[str] = set()
    seen: set[str] = set()
    for job, alike in shown:
        why = reasons[job]
        earlier = why.earlier
        seconds = _seconds(history, why)
        calls.append(
            PlannedCall(
                job.entry.name,
                call_text(job),
                _verdict_of(job),
                whys.reason_of(why) if _verdict_of(job) == "runs" else _waits_for(job),
                alike=alike,
                earlier_job_id=earlier["job_id"] if earlier else None,
                seconds=seconds if seconds is not None else costs.get(job.entry.name),
            )
        )
        start = earlier["call_hash"] if earlier else None
        if start in below and start not in told:
            told.add(start)
            calls.extend(_predicted(*entry) for entry in in_order(below[start], seen, MOST_ALIKE))
    known = [costs[name] for name in runs if name in costs]
    return DryRun(
        tuple(calls),
        counts,
        sum(known) if known else None,
        failures,
        predictor.is_cut or len(shown) == MOST_EXPLAINED,
    )


def _costs(history: History, names: set[str]) -> dict[str, float]:
    rows = history.records(views.text_of("task_costs"), {"tasks": sorted(names)})
    return {row["task_name"]: row["wall_seconds"] for row in rows}


def _seconds(history: History, why: Why) -> float | None:
    """What the body of the nearest earlier evaluation took; of a cached one, when it ran."""
    if why.earlier is None:
        return None
    if why.earlier["how"] == "computed":
        return float(why.earlier["wall_seconds"]) if why.earlier["wall_seconds"] is not None else None
    call_hash = why.earlier["call_hash"]
    if call_hash is None:
        return None
    row = history.one(views.text_of("call_costs"), {"calls": [bytes.fromhex(call_hash)]})
    return row["wall_seconds"] if row else None


def _waits_for(job: Job) -> str:
    names = [name for name, value in job.bound.items() if not is_value(value)]
    if not names:
        return "its options are not known yet"
    which = " and ".join(names) if len(names) < 3 else f"{len(names)} arguments"
    return f"its {which} come{'s' * (len(names) == 1)} from calls that run"


def _predicted(depth: int, call: Recorded, alike: int) -> PlannedCall:
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


def _text(task_name: str, arguments: Sequence[Argument]) -> str:
    inside = ", ".join(f"{each.name}={each.preview or '?'}" for each in arguments)
    text = f"{task_name}({inside})"
    return text if len(text) <= 120 else f"{text[:117]}..."
