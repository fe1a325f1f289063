"""The same commands carried out in this process: for `--inline`, debuggers, tests, and the cached fast path.

In: attempts. Out: their answers. Never: imports Ray.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rayflow.evaluator import commands, events
from rayflow.lang.expressions import Expression, TaskRef, Term
from rayflow.runtime.calls import Call, Reply, pack_arguments, pack_known
from rayflow.runtime.outbox import now
from rayflow.runtime.printing import many_bodies
from rayflow.runtime.suspended import Bodies
from rayflow.runtime.workers import Worker
from rayflow.values.failures import Outcome
from rayflow.values.nested import iter_leaves
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_DEFINITION, Witness

if TYPE_CHECKING:
    from rayflow.runtime.loop import Loop


class NeedsWorker(Exception):
    """The fast path has met a call that is not in the cache."""


def call_of(command: commands.RunTask, known: Mapping[bytes, Outcome] | None) -> Call:
    """A RunTask as it travels to a worker. known: what it is told of what its body has awaited."""
    return Call(
        command.job,
        command.attempt,
        command.job_id,
        command.entry.name,
        command.entry.hash,
        pack_arguments(command.arguments),
        command.options.get("timeout"),
        pack_known(known),
        command.under,
    )


def event_of(reply: Reply) -> events.Event:
    """A worker's reply as the event that answers the attempt."""
    if reply.failure is not None:
        return events.Raised(
            now(), reply.job, reply.attempt, reply.failure, reply.cost, reply.rows, reply.below
        )
    assert reply.term is not None
    if reply.is_paused:
        return events.Paused(now(), reply.job, reply.attempt, reply.term, reply.cost, reply.entries, reply.rows)
    return events.Returned(
        now(), reply.job, reply.attempt, reply.term, reply.cost, reply.entries, reply.rows, reply.below
    )


class InlineCarrier:
    """Runs attempts one after the other, in the thread that turns the loop."""

    def __init__(self, loop: Loop, worker: Worker) -> None:
        self._loop = loop
        self._worker = worker
        self._bodies = Bodies()
        self._waiting: deque[commands.RunTask | commands.RunOperation] = deque()
        self._stopped: set[tuple[int, int]] = set()

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        self._waiting.extend(attempts)

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        self._waiting.extend(operations)

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        then(self._worker.check(witnesses))

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        self._stopped.update((each.job, each.attempt) for each in attempts)

    def busy(self) -> bool:
        return bool(self._waiting)

    def forget(self, execution_id: str) -> None:
        """An execution has ended: end what is left of it."""
        self._bodies.end()

    def work(self, seconds: float) -> bool:
        """Run what waits, for about so long."""
        if not self._waiting:
            return False
        end = time.monotonic() + seconds
        with many_bodies():
            while self._waiting and time.monotonic() < end:
                self._loop.post(self._answer(self._waiting.popleft()))
        self._worker.kept.clear()
        return True

    def _answer(self, command: commands.RunTask | commands.RunOperation) -> events.Event:
        """Carry out one command: the event that answers it."""
        if isinstance(command, commands.RunOperation):
            return operated(self._worker, command)
        if (command.job, command.attempt) in self._stopped:
            self._stopped.discard((command.job, command.attempt))
            return events.WorkerLost(now(), command.job, command.attempt, "stopped before it started")
        try:
            known = self._bodies.news(command.job_id, command.attempt, command.known)
            reply = self._worker.run(call_of(command, known), bodies=self._bodies)
        except KeyboardInterrupt:
            # The attempt still owes an answer: it is given when the evaluator stops it.
            self._waiting.appendleft(command)
            raise
        # Else each further call would send the same tasks once more.
        self._worker.learn(reply.entries)
        return event_of(reply)


class LookingCarrier:
    """The fast path: nothing of the user's runs here: no task, and no operation but on small values of known classes.

    What ran here would run again on a worker as soon as anything else has to; and large values are not read here.
    """

    def __init__(self, loop: Loop, worker: Worker) -> None:
        self._loop = loop
        self._worker = worker

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        raise NeedsWorker

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        for command in operations:
            if is_light(command.args):
                self._loop.post(operated(self._worker, command))
            else:
                self.leave(command)

    def leave(self, command: commands.RunOperation) -> None:
        """An operation that is not for this process."""
        raise NeedsWorker

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        then(self._worker.check(witnesses))

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        """Nothing runs."""

    def forget(self, execution_id: str) -> None:
        """Nothing is left."""

    def busy(self) -> bool:
        return False

    def work(self, seconds: float) -> bool:
        return False


def is_light(args: tuple[Term, ...]) -> bool:
    """Whether an operation on these needs no bytes of a large value and none of the user's code."""
    for leaf in iter_leaves(args, is_leaf=lambda part: isinstance(part, TaggedTree)):
        if isinstance(leaf, ValueRef):
            if leaf.inline is None or any(kind == OF_DEFINITION for kind, _ in leaf.witnesses):
                return False
        elif isinstance(leaf, TaggedTree | TaskRef | Expression):
            return False
    return True


def operated(worker: Worker, command: commands.RunOperation) -> events.Operated:
    """Apply an operation in this process."""
    term, failure, entries = worker.operate(command.name, command.args)
    worker.learn(entries)
    return events.Operated(now(), command.asker, term, failure, entries=entries)
