"""Runs calls one after the other, with one enclosure around the bodies of all plain ones.

In: calls, or vectors of calls, as plain data. Out: replies; for the members of a vector that returned a scalar, and
left nothing else, columns. Never: runs a body in the enclosure of another one that has left something there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from rayflow.evaluator.messages import Cost
from rayflow.lang import tasks
from rayflow.lang.packing.pack import is_long
from rayflow.lang.parameters.argument_checks import check_arguments
from rayflow.lang.registry import task_source
from rayflow.lang.terms.codec import dumps
from rayflow.runtime.protocol.attempts import Call, Reply, VectorCall, VectorReply
from rayflow.runtime.worker.enclosure import Enclosure
from rayflow.runtime.worker.environment import own_environment
from rayflow.runtime.worker.task_lookup import HOST
from rayflow.runtime.worker.waiting_bodies import WaitingBodies
from rayflow.runtime.worker.worker import Attempt, Ran, Worker
from rayflow.values.display import masking
from rayflow.values.native import SCALARS
from rayflow.values.refs import Encoded


class BodySeries:
    """A context manager: calls of one worker that run one after the other in this thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._enclosure: Enclosure | None = None

    def __enter__(self) -> BodySeries:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Leave the enclosure, before anything but a call runs in this thread."""
        enclosure, self._enclosure = self._enclosure, None
        if enclosure is not None:
            enclosure.leave()
            enclosure.meter.end()

    def run(
        self, call: Call, fetched: Mapping[bytes, Encoded] | None = None, bodies: WaitingBodies | None = None
    ) -> Reply:
        """Run one call, as `Worker.run` does."""
        arguments = call.arguments
        is_plain = type(arguments) is dict and call.timeout is None and call.known is None and call.under is None
        task = self._task(call.task, call.task_hash) if is_plain else None
        if task is None:
            self.leave()
            return self._worker.run(call, fetched, bodies)
        assert type(arguments) is dict
        enclosure = self._entered()
        enclosure.output.begin(call.label or call.task, None if call.label else arguments, call)
        ran = self._ran(task, arguments)
        term = self._plain_term(ran)
        if term is None:
            return self._special(call, bodies, ran)
        measured = enclosure.meter.lap()
        cost = Cost(*measured, HOST, os.getpid(), environment=own_environment().environment)
        return Reply(call.job, call.attempt, term, None, cost)

    def run_vector(
        self,
        vector: VectorCall,
        until: float,
        columns: VectorReply,
        replied: Callable[[Reply], None],
        bodies: WaitingBodies | None = None,
    ) -> None:
        """Run the members of a vector, in order. After the first, none begins after this moment (time.perf_counter).

        columns: gets those that returned a scalar and left nothing else. replied: takes the reply of each other one.
        Each that has run has reached one of the two, also when KeyboardInterrupt ends this.
        """
        names = vector.names
        for position, values in enumerate(vector.arguments):
            if position and time.perf_counter() >= until:
                return
            task = self._task(vector.task, vector.task_hash)
            if task is None:
                replied(self.run(vector.call(position), bodies=bodies))
                continue
            arguments = dict(zip(names, values, strict=True))
            enclosure = self._entered()
            enclosure.output.begin(vector.task, arguments, (vector, position))
            ran = self._ran(task, arguments)
            term = self._plain_term(ran)
            if term is None:
                replied(self._special(vector.call(position), bodies, ran))
                continue
            columns.add(vector.jobs[position], term, *enclosure.meter.lap())

    def _task(self, name: str, task_hash: bytes) -> tasks.Task[..., Any] | None:
        """The task, where its calls may share an enclosure: it was found before, and its body is all that runs."""
        worker = self._worker
        task = worker.found(name, task_hash) if task_source() is worker else None
        return None if task is None or task.script else task

    def _entered(self) -> Enclosure:
        """The enclosure for the next body."""
        enclosure = self._enclosure
        if enclosure is None:
            worker = self._worker
            enclosure = self._enclosure = Enclosure(worker.printed, worker.written, take_items=worker.take_items)
            enclosure.enter()
        return enclosure

    def _ran(self, task: tasks.Task[..., Any], arguments: dict[str, Any]) -> Ran:
        try:
            if task.checks:
                check_arguments(task.checks, arguments, task.name)
            args, kwargs = task.parameters.spread(arguments)
            return Ran(task.func(*args, **kwargs))
        except BaseException as error:  # the attempt makes a failure of it, or lets it pass
            return Ran(error=error)

    def _plain_term(self, ran: Ran) -> bytes | None:
        """The packed result of a body that returned a scalar and left nothing else; None for any other one."""
        result = ran.result
        if ran.error is not None or type(result) not in SCALARS or is_long(result):
            return None
        assert self._enclosure is not None
        if not self._enclosure.is_as_before():
            return None
        term = dumps(result)
        return None if masking.are_known() and masking.secrets_in(term) else term

    def _special(self, call: Call, bodies: WaitingBodies | None, ran: Ran) -> Reply:
        """The reply of a call whose body has left more than a scalar. Its enclosure ends with it."""
        enclosure, self._enclosure = self._enclosure, None
        return Attempt(self._worker, call, {}, bodies, enclosure, ran).run()
