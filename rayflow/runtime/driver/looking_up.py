"""The fast path: an execution of which the cache may answer everything.

In: a request, and where its rows are collected. Out: its end. Never: runs a body, waits, or writes to the store.
"""

from __future__ import annotations

from rayflow.evaluator import commands
from rayflow.runtime.clock import Clock
from rayflow.runtime.draft import Draft
from rayflow.runtime.inline import LookingCarrier
from rayflow.runtime.keeping.held_executions import HeldExecutions
from rayflow.runtime.keeping.waits_aside import WaitsAside
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop, collecting_rarely
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.worker.worker import Worker


def looked_up(
    request: Request, worker: Worker, held: HeldExecutions, draft: Draft, listener: LoopListener, clock: Clock
) -> commands.Finish | None:
    """Evaluate with a carrier that runs nothing. The end of the execution; None when a call has to run, or a wait to
    be resolved.

    held: takes the lease of an execution that has effects. Raises LeaseHeld if another process evaluates it.
    """
    waits = WaitsAside(held)
    loop = Loop(
        worker.store,
        lambda loop: LookingCarrier(loop, worker),
        sink=draft,
        listener=listener,
        clock=clock,
        beside=waits,
    )
    request.begin(clock.now())
    loop.submit(request.submitted(clock.now()))
    with collecting_rarely():
        while (finish := loop.finished(request.execution_id)) is None:
            if loop.carrier.needs_worker or waits.has_met_wait:
                return None
            loop.turn()
    return finish
