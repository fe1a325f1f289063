"""Runs a nested execution: the body of a subrun, in the worker that got the call.

In: a call that holds an expression, and the settings of the execution around it. Out: the reply: a value or a failure,
and a summary of the jobs. The store has the records of the jobs by then. Never: sends anything to other workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from rayflow.errors import TaskTimeout
from rayflow.evaluator import commands, messages
from rayflow.evaluator.messages import NestedEnd, NestedStart
from rayflow.lang.terms.codec import dumps, loads
from rayflow.run_settings import RunSettings
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop, collecting_rarely
from rayflow.runtime.protocol.attempts import Call, Reply
from rayflow.runtime.worker.body import deadline
from rayflow.runtime.worker.costs import Meter
from rayflow.runtime.worker.worker import Worker
from rayflow.values.failures import Failure, failure_from_exception

LoopMaker: TypeAlias = Callable[[Worker, NestedStart, LoopListener], Loop[InlineCarrier]]
"""Makes the loop of a nested execution."""


def loop_below(worker: Worker, under: NestedStart, listener: LoopListener) -> Loop[InlineCarrier]:
    """The loop of a nested execution in this process."""
    return Loop(worker.store, lambda loop: InlineCarrier(loop, worker), limits=under.limits, listener=listener)


def evaluate(worker: Worker, call: Call, loop_of: LoopMaker = loop_below) -> Reply:
    """Evaluate the expression of a call in this process, one call at a time."""
    assert call.under is not None
    assert isinstance(call.arguments, bytes)
    meter = Meter()
    known = worker.table.keys() | ()
    term: bytes | None = None
    failure: Failure | None = None
    # For an execution that does not finish: its jobs may stay open, and none of them is counted.
    below = NestedEnd(is_clean=False, is_torn=True)
    warnings: list[str] = []
    try:
        (thunk,) = loads(call.arguments).values()
        with deadline(call, worker.policy, worker.began):
            listener = LoopListener(warned=lambda _, text: warnings.append(text))
            loop = loop_of(worker.for_nested_calls(call.under.execution_id), call.under, listener)
            finish = _finished(loop, worker, dumps(thunk._term), call.under, call.timeout)
        assert finish.below is not None
        below = finish.below
        if isinstance(finish.outcome, Failure):
            failure = finish.outcome
        else:
            term = dumps(finish.outcome)
    except Exception as error:  # the store is gone, or the time is over: only this call fails
        failure = failure_from_exception(error, project_dir=worker.surroundings.project_dir)
    finally:
        cost = meter.cost()
    entries = tuple([entry for name, entry in worker.table.items() if name not in known])
    below = replace(below, warnings=tuple(dict.fromkeys(warnings)))
    return Reply(call.job, call.attempt, term, failure, cost, entries, below=below)


def _finished(
    loop: Loop[InlineCarrier], worker: Worker, root: bytes, under: NestedStart, timeout: float | None
) -> commands.Finish:
    end = None if timeout is None else time.monotonic() + timeout

    def between() -> None:
        # The deadline raises in a body: then that call fails, and the others would go on.
        if end is not None and time.monotonic() > end:
            raise TaskTimeout(f"a subrun ran longer than its timeout of {timeout:g} s")

    settings = RunSettings(cache=under.cache, options=under.options, context=under.context, profiles=under.profiles)
    loop.post(
        messages.Submitted(
            at=loop.clock.now(),
            execution_id=under.execution_id,
            root=root,
            table=worker.table,
            settings=settings,
            life=under.life,
            under=under,
            project_dir=worker.surroundings.project_dir or "",
        )
    )
    try:
        with collecting_rarely():
            return loop.run(under.execution_id, between)
    finally:
        loop.carrier.forget(under.execution_id)
        # Also after an error: the next attempt finds the finished jobs in the store.
        worker.store.commit()
