"""Two carriers that work in this process. One runs everything here; the other one runs no code of the user.

In: attempts and operations. Out: the messages that answer them; the second one also lists the work that needs a worker.
Never: imports Ray.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from rayflow.evaluator import commands, messages
from rayflow.lang.terms.expressions import Expression, TaskRef, Term
from rayflow.runtime.carrier import LoopHandle
from rayflow.runtime.output.printing import many_bodies
from rayflow.runtime.protocol.attempts import Reply, VectorReply, call_of, message_of, operated, vector_call_of
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.runtime.worker.body_series import BodySeries
from rayflow.runtime.worker.environment import Descriptions, own_environment
from rayflow.runtime.worker.nested_runs import working
from rayflow.runtime.worker.task_lookup import HOST
from rayflow.runtime.worker.waiting_bodies import WaitingBodies
from rayflow.runtime.worker.worker import Worker
from rayflow.store.live.live_state import RunningCall
from rayflow.values.digests import to_hex
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.failures import Failure
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_DEFINITION, Witness

Answer: TypeAlias = Reply | messages.Message
"""The answer to one command: a reply that may still turn into a failure, or a message that is final."""


class InlineCarrier:
    """Runs attempts one after the other, in the thread that turns the loop: for `inline`, debuggers and tests."""

    waiting: tuple[str, ...] = ()
    runs_in_loop = True

    def __init__(self, loop: LoopHandle, worker: Worker) -> None:
        self._loop = loop
        self._worker = worker
        self._bodies = WaitingBodies()
        self._waiting: deque[commands.RunTask | commands.RunVector | commands.RunOperation] = deque()
        self._stopped: set[tuple[int, int]] = set()
        self._descriptions = Descriptions()
        self._begun: tuple[commands.RunTask | commands.RunVector, int] | None = None
        """The attempt whose body runs, and the time at which it began."""
        if not worker.is_nested:
            worker.take_items = self._take_items

    @property
    def body(self) -> object | None:
        """A token of the body that runs, so that a KeyboardInterrupt ends it and nothing else; None between bodies. Any
        thread may ask."""
        return self._begun

    def _take_items(self, written: WrittenItems) -> None:
        begun = self._begun
        if begun is not None:  # else a thread writes whose body has ended
            self._loop.take_items(begun[0].execution_id, written)

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        self._waiting.extend(attempts)

    def run_vectors(self, vectors: Sequence[commands.RunVector]) -> None:
        self._waiting.extend(vectors)

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        self._waiting.extend(operations)

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        then(self._worker.check(witnesses))

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        self._stopped.update((each.job, each.attempt) for each in attempts)

    def running(self) -> Mapping[str, Mapping[str, int]]:
        """The next attempt: the question comes between two bodies, when nothing runs."""
        for each in self._waiting:
            if not isinstance(each, commands.RunOperation):
                return {each.execution_id: {each.shown_name: 1}}
        return {}

    def running_calls(self) -> Mapping[str, Sequence[RunningCall]]:
        begun = self._begun
        if begun is None:
            return {}
        attempt, at = begun
        job_id, calls = (
            (attempt.job_ids[0], len(attempt.jobs)) if isinstance(attempt, commands.RunVector) else (attempt.job_id, 1)
        )
        call = RunningCall(to_hex(job_id), attempt.shown_name, HOST, at, os.getpid(), calls)
        return {attempt.execution_id: (call,)}

    def busy(self) -> bool:
        return bool(self._waiting)

    def forget(self, execution_id: str) -> None:
        self._bodies.end()
        self._descriptions.forget(execution_id)

    def work(self, seconds: float) -> bool:
        """Run what waits, for about this many seconds."""
        if not self._waiting:
            return False
        end = time.perf_counter() + seconds
        answers: list[tuple[Answer, int]] = []
        try:
            with many_bodies(), working(), BodySeries(self._worker) as series:
                while self._waiting and time.perf_counter() < end:
                    command = self._waiting.popleft()
                    if not isinstance(command, commands.RunOperation):
                        here = own_environment()
                        for row in self._descriptions.new(command.execution_id, here.environment, here):
                            self._loop.record(row)
                    if isinstance(command, commands.RunVector):
                        self._run_vector(command, series, end, answers)
                        continue
                    answer = self._answer(command, series)
                    answers.append((answer, self._loop.clock.now()))
        finally:
            # The files of these calls have to be on the disk before their results count.
            unsynced = self._worker.sync()
            for answer, at in answers:
                self._loop.post(self._message(answer, at, unsynced))
        self._worker.kept.clear()
        return True

    def _run_vector(
        self, vector: commands.RunVector, series: BodySeries, end: float, answers: list[tuple[Answer, int]]
    ) -> None:
        """Run members of a vector until this moment (time.perf_counter). The rest go on waiting."""
        if vector.options.get("timeout") is not None or any((job, 1) in self._stopped for job in vector.jobs):
            self._waiting.extendleft(reversed(list(vector.attempts())))
            return
        columns, before = VectorReply.empty(), len(answers)

        def replied(reply: Reply) -> None:
            self._worker.learn(reply.entries)
            answers.append((reply, self._loop.clock.now()))

        try:
            self._begun = vector, self._loop.clock.now()
            series.run_vector(vector_call_of(vector), end, columns, replied, bodies=self._bodies)
            self._begun = None
        finally:
            self._begun = None
            count = len(columns.jobs) + len(answers) - before
            if count < len(vector.jobs):
                self._waiting.appendleft(vector.part(count))
            if columns.jobs:
                at = self._loop.clock.now()
                answers.append((columns.message(at, HOST, os.getpid(), own_environment().environment), at))

    def _answer(self, command: commands.RunTask | commands.RunOperation, series: BodySeries) -> Answer:
        """Carry out one command."""
        if isinstance(command, commands.RunOperation):
            series.leave()
            return _applied(self._loop, self._worker, command)
        if (command.job, command.attempt) in self._stopped:
            self._stopped.discard((command.job, command.attempt))
            at = self._loop.clock.now()
            return messages.WorkerGone(at, command.job, command.attempt, "stopped before it started")
        if command.entry.is_effect:
            self._loop.before_effect()
        try:
            known = self._bodies.news(command.job_id, command.attempt, command.known)
            self._begun = command, self._loop.clock.now()
            reply = series.run(call_of(command, known), bodies=self._bodies)
            self._begun = None
        except BaseException as error:
            self._begun = None
            if isinstance(error, KeyboardInterrupt):
                # The attempt still owes an answer: it gets one when the evaluator stops it.
                self._waiting.appendleft(command)
            raise
        # Without this each further call would send the same tasks once more.
        self._worker.learn(reply.entries)
        return reply

    def _message(self, answer: Answer, at: int, unsynced: Mapping[int, Failure]) -> messages.Message:
        """The message for an answer. at: when its body ended. unsynced: by job, the failures of calls whose files are
        not on the disk."""
        if isinstance(answer, Reply):
            return message_of(answer.failed(unsynced.get(answer.job)), at)
        return answer


class LookingCarrier:
    """The fast path's carrier: it answers light operations, and puts everything else aside.

    It runs no task, no operation that needs the user's code, and no operation that reads a large value: all of these
    would run again on a worker. attempts, operations: the ones that were put aside, in order.
    """

    waiting: tuple[str, ...] = ()
    runs_in_loop = False

    def __init__(self, loop: LoopHandle, worker: Worker) -> None:
        self._loop = loop
        self._worker = worker
        self.attempts: list[commands.RunTask | commands.RunVector] = []
        self.operations: list[commands.RunOperation] = []

    @property
    def needs_worker(self) -> bool:
        """Whether something was put aside, so that the cache alone cannot answer."""
        return bool(self.attempts or self.operations)

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        self.attempts.extend(attempts)

    def run_vectors(self, vectors: Sequence[commands.RunVector]) -> None:
        self.attempts.extend(vectors)

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        for command in operations:
            if is_light(command.args):
                self._loop.post(_applied(self._loop, self._worker, command))
            else:
                self.operations.append(command)

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        then(self._worker.check(witnesses))

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        """Nothing runs."""

    def forget(self, execution_id: str) -> None:
        """Nothing runs."""

    def running(self) -> Mapping[str, Mapping[str, int]]:
        return {}

    def running_calls(self) -> Mapping[str, Sequence[RunningCall]]:
        return {}

    def busy(self) -> bool:
        return False

    def work(self, seconds: float) -> bool:
        return False


def is_light(args: tuple[Term, ...]) -> bool:
    """Whether an operation on these arguments needs neither a large value's bytes nor the user's code."""
    for leaf in iter_leaves(args, is_leaf=lambda part: isinstance(part, TaggedTree)):
        if isinstance(leaf, ValueRef):
            if leaf.inline is None or any(kind == OF_DEFINITION for kind, _ in leaf.witnesses):
                return False
        elif isinstance(leaf, TaggedTree | TaskRef | Expression):
            return False
    return True


def _applied(loop: LoopHandle, worker: Worker, command: commands.RunOperation) -> messages.Operated:
    """Apply an operation in this process: the message that answers it."""
    reply = worker.operate(command.name, command.args)
    worker.learn(reply.entries)
    return operated(command.asker, reply, loop.clock.now())
