"""The body of a subrun: an evaluation of its own, in the worker that was given the call.

In: a call that holds an expression, and what the evaluation takes over from the one around it. Out: the reply: the
value and what was below, or the failure. What happened is in the store by then. Never: sends anything to other workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from rayflow.errors import TaskTimeout
from rayflow.evaluator import commands, events
from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.codec import dumps, loads
from rayflow.runtime.body import deadline
from rayflow.runtime.calls import Call, Reply
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.loop import Loop, collecting_rarely
from rayflow.runtime.outbox import now
from rayflow.runtime.workers import Worker, cost_since
from rayflow.values.failures import Failure, failure_from_exception

LoopMaker: TypeAlias = Callable[[Worker, Under, Callable[[str], None]], Loop]
"""Makes what turns an evaluation below a call. The last argument takes its warnings."""


def loop_below(worker: Worker, under: Under, warned: Callable[[str], None]) -> Loop:
    """What turns an evaluation below a call."""
    return Loop(worker.store, lambda loop: InlineCarrier(loop, worker), limits=under.limits, warned=warned)


def evaluate(worker: Worker, call: Call, loop_of: LoopMaker = loop_below) -> Reply:
    """Reduce the expression of a call in this process, call by call."""
    assert call.under is not None
    assert isinstance(call.arguments, bytes)
    started_at, wall, cpu = time.time_ns() // 1000, time.perf_counter(), time.thread_time()
    known = worker.table.keys() | ()
    term: bytes | None = None
    failure: Failure | None = None
    # What an evaluation that is ended has begun stays open, and nothing of it is counted.
    below = Below(is_clean=False, is_torn=True)
    warnings: list[str] = []
    timed = worker.timed
    try:
        (thunk,) = loads(call.arguments).values()
        with deadline(call, timed):
            if timed is not None:
                worker.timed = _untold
            loop = loop_of(worker, call.under, warnings.append)
            finish = _finished(loop, worker, dumps(thunk._term), call.under, call.timeout)
        assert finish.below is not None
        below = finish.below
        if isinstance(finish.outcome, Failure):
            failure = finish.outcome
        else:
            term = dumps(finish.outcome)
    except Exception as error:  # the store is gone, or the time is over: this call's failure, and no other's
        failure = failure_from_exception(error, project_dir=worker.surroundings.project_dir)
    finally:
        worker.timed = timed
    entries = tuple([entry for name, entry in worker.table.items() if name not in known])
    cost = cost_since(started_at, wall, cpu)
    told = tuple(dict.fromkeys(warnings))
    return Reply(call.job, call.attempt, term, failure, cost, entries, below=replace(below, warnings=told))


def _untold(call: Call) -> None:
    """A call below is not noted as one that began: it is this call whose end tells of the process."""


def _finished(loop: Loop, worker: Worker, root: bytes, under: Under, timeout: float | None) -> commands.Finish:
    end = None if timeout is None else time.monotonic() + timeout

    def between() -> None:
        # What the deadline raises in a body is that call's failure, and the others would go on.
        if end is not None and time.monotonic() > end:
            raise TaskTimeout(f"a subrun ran longer than its timeout of {timeout:g} s")

    loop.post(
        events.Submitted(
            now(), under.execution_id, root, worker.table, under.options, under.cache, under.life, under.context,
            under.profiles, under, project_dir=worker.surroundings.project_dir or "",
        )
    )  # fmt: skip
    try:
        with collecting_rarely():
            return loop.run(under.execution_id, between)
    finally:
        loop.carrier.forget(under.execution_id)
        # Also of an evaluation that is ended: whoever begins it again finds what it had done.
        worker.store.commit()
