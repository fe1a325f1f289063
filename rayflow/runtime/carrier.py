"""Runs attempts as Ray tasks: the scheduler actor's hands.

In: attempts and operations. Out: events. Never: decides whether something is tried again (but for a bundle that died:
its calls go again one by one, so that only the culprit counts an attempt; and for a lost input, which is read from the
store instead).

Completions come through callbacks on the small outcome slot of each Ray task. The second slot, with large values, is
never touched here: its bytes stay on the node that made them.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray
from ray import exceptions

from rayflow.errors import BadOption, RayflowError, TaskFailed
from rayflow.evaluator import commands, events
from rayflow.evaluator.attempts import own_failure
from rayflow.lang.codec import blobs_of, dumps
from rayflow.runtime import remote
from rayflow.runtime.body import TIMEOUT_GRACE_SECONDS
from rayflow.runtime.bundles import Bundle, Bundler
from rayflow.runtime.calls import Surroundings
from rayflow.runtime.checks import Checks
from rayflow.runtime.inline import call_of, event_of
from rayflow.runtime.losses import WORLD, is_cancelled, is_lost_input, reason_of, timed_out
from rayflow.runtime.lowering import Shape, missing_from, nodes_for, shape_of
from rayflow.runtime.objects import KEPT_SHARE, Objects, watch
from rayflow.runtime.outbox import now
from rayflow.runtime.surrounds import Around
from rayflow.values.failures import Failure, failure_from_exception
from rayflow.values.witnesses import Witness

if TYPE_CHECKING:
    from rayflow.runtime.loop import Loop

GRACE_SECONDS = 3.0
"""How long a cancelled task may take to end by itself before its worker is killed."""

WAITING_SECONDS = 10.0
"""A Ray task in flight for so long is checked: is there a node that could ever run it?"""

CHECK_SECONDS = 0.5
"""How often tasks in flight are looked at."""

NODES_SECONDS = 2.0
"""How often, at the most, the cluster is asked for its nodes."""

OPERATION_TRIES = 4
"""How often an operation is sent before its lost workers make it fail."""


@dataclass(slots=True)
class _Sent:
    """What was sent to Ray. refs: outcome, and large values where some are expected. inputs: objects that it reads."""

    refs: tuple[Any, Any]
    inputs: list[Any]


@dataclass(slots=True)
class _Operating:
    operation: commands.RunOperation
    sent: _Sent
    tries: int


class RayCarrier:
    """Bundles in flight on a Ray cluster.

    waiting: sentences about calls that no node can run. lines: how many lines calls have printed, by channel.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.waiting: tuple[str, ...] = ()
        self.lines: dict[str, int] = {}
        resources = ray.cluster_resources()
        self._bundler = Bundler(resources.get("CPU", 1.0))
        self._objects = Objects(resources.get("object_store_memory", 1e9) * KEPT_SHARE)
        self._around: dict[str, Around] = {}
        self._functions: dict[tuple[str, str, Shape], Any] = {}
        self._remotes: dict[str, Any] = {
            "bundle": ray.remote(num_returns=2)(remote.run_bundle),
            "small bundle": ray.remote(num_returns=1)(remote.run_small_bundle),
            "operation": ray.remote(num_returns=2)(remote.run_operation),
        }
        self._completed: deque[tuple[int, Any]] = deque()
        self._sent: dict[int, _Sent] = {}
        self._operations: dict[int, _Operating] = {}
        self._checks = Checks(loop.wake)
        self._operation_number = 0
        self._checked = 0.0
        self._asked_nodes = 0.0
        self._shapes_after_loss: dict[int, tuple[str, Shape]] = {}

    # --- executions ---------------------------------------------------------------------------------------------------

    def take_up(self, execution_id: str, surroundings: Surroundings) -> None:
        """An execution begins, with these surroundings for its calls."""
        self._around[execution_id] = Around(surroundings, ray.put)

    def forget(self, execution_id: str) -> None:
        """An execution has ended: end what is left of it."""
        self._bundler.forget(execution_id)
        for bundle in self._bundler.in_flight.values():
            if bundle.execution_id == execution_id and bundle.stopping_since is None:
                self._cancel(bundle)
        for number, operating in list(self._operations.items()):
            if operating.operation.execution_id == execution_id:
                del self._operations[number]
                ray.cancel(operating.sent.refs[0], force=False)
        for job, (owner, _) in list(self._shapes_after_loss.items()):
            if owner == execution_id:
                del self._shapes_after_loss[job]
        self._around.pop(execution_id, None)

    def lines_of(self, execution_id: str) -> int:
        """How many lines were printed so far in the channel of an execution."""
        around = self._around.get(execution_id)
        return self.lines.get(around.channel, 0) if around else 0

    def abandon(self) -> None:
        """Nobody wants anything any more: end all that runs, at once."""
        for sent in (*self._sent.values(), *(each.sent for each in self._operations.values())):
            ray.cancel(sent.refs[0], force=True)
        self._sent.clear()
        self._operations.clear()
        self._checks.abandon()

    # --- what the outbox asks -----------------------------------------------------------------------------------------

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        add = self._bundler.add
        for attempt in attempts:
            try:
                if attempt.losses:
                    _, shape = self._shapes_after_loss.pop(attempt.job, (None, None))
                    add(attempt, alone=True, shape=shape)
                else:
                    add(attempt)
            except RayflowError as error:
                self._failed(attempt, failure_from_exception(error))
        self._send()

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        for operation in operations:
            self._send_operation(operation, 1)

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        self._checks.send(self._around, witnesses, then)

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        stopped = {(each.job, each.attempt) for each in attempts}
        for attempt in self._bundler.drop(stopped):
            self._lost(attempt, "stopped before it started")
        for bundle in self._bundler.in_flight.values():
            if bundle.stopping_since is None and all((each.job, each.attempt) in stopped for each in bundle.attempts):
                self._cancel(bundle)

    def _cancel(self, bundle: Bundle) -> None:
        bundle.stopping_since = time.monotonic()
        ray.cancel(self._sent[bundle.number].refs[0], force=False)

    def busy(self) -> bool:
        return bool(self._bundler.in_flight or self._operations or len(self._bundler) or len(self._checks))

    def work(self, seconds: float) -> bool:
        """Take in what has come back, send what is ready."""
        any_news = self._checks.work() or bool(self._completed)
        while self._completed:
            number, answer = self._completed.popleft()
            if number < 0:
                self._operation_ended(-number, answer)
            else:
                self._bundle_ended(number, answer)
        self._send()
        moment = time.monotonic()
        if moment - self._checked > CHECK_SECONDS:
            self._checked = moment
            self._check(moment)
        return any_news

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        while (bundle := self._bundler.next()) is not None:
            self._send_bundle(bundle)

    def _send_bundle(self, bundle: Bundle, tell_all: bool = False) -> None:
        """Send a bundle. tell_all: with the references of its surroundings, whoever gets it."""
        try:
            self._sent[bundle.number] = sent = self._sent_bundle(bundle, tell_all)
        except Exception as error:
            self._bundler.ended(bundle.number)
            self._sent.pop(bundle.number, None)
            for attempt in bundle.attempts:
                # Ray looks at options only now: resources that are no numbers, an environment that makes no sense.
                if isinstance(error, (ValueError, TypeError, BadOption)):
                    message = f"Ray refuses the options {bundle.shape.describe()}: {error}"
                    self._failed(attempt, failure_from_exception(BadOption(message)))
                else:
                    self._lost(attempt, f"it could not be sent: {type(error).__name__}: {error}")
            return
        watch(sent.refs[0], bundle.number, self._completed, self._loop.wake)

    def _sent_bundle(self, bundle: Bundle, tell_all: bool) -> _Sent:
        calls = []
        blobs: list[bytes] = []
        for attempt in bundle.attempts:
            call = call_of(attempt, attempt.known)
            blobs.extend(call.blobs())
            calls.append(tuple(call))  # of many calls, plain tuples are pickled faster
        inputs = self._objects.refs_for(blobs) if blobs else []
        around = self._around[bundle.execution_id]
        small = self._bundler.is_small(bundle)
        function = self._function(
            "small bundle" if small else "bundle", bundle.shape, bundle.attempts[0].entry.name
        )
        travelling = around.travelling() if tell_all else around.travelling_light(self._bundler.cpus)
        made = function.remote(*remote.arguments_of(travelling, calls, inputs))
        return _Sent((made, None) if small else made, inputs)

    def _send_operation(self, operation: commands.RunOperation, tries: int) -> None:
        self._operation_number += 1
        # Packed, not pickled: among them may be expressions as data.
        packed = dumps(operation.args)
        inputs = self._objects.refs_for(blobs_of(packed))
        function = self._function("operation", shape_of({}), operation.name)
        travelling = self._around[operation.execution_id].travelling()
        refs = function.remote(*remote.arguments_of(travelling, (operation.name, packed), inputs))
        self._operations[self._operation_number] = _Operating(operation, _Sent(refs, inputs), tries)
        watch(refs[0], -self._operation_number, self._completed, self._loop.wake)

    def _function(self, kind: str, shape: Shape, task: str) -> Any:
        """Ray's remote function for a shape; making the options anew for each call would double its cost."""
        known = self._functions.get((kind, task, shape))
        if known is None:
            if len(self._functions) > 5_000:
                self._functions.clear()
            # The name stands beside what the task's own child processes print.
            named = self._remotes[kind].options(name=f"{remote.NAME}{task}", **shape.ray_options())
            known = self._functions[kind, task, shape] = named
        return known

    # --- what came back -----------------------------------------------------------------------------------------------

    def _bundle_ended(self, number: int, answer: Any) -> None:
        if isinstance(answer, bytes) and answer == remote.LACKING and number in self._bundler.in_flight:
            self._tell(self._bundler.in_flight[number])
            return
        bundle = self._bundler.ended(number)
        sent = self._sent.pop(number, None)
        if bundle is None or sent is None:
            return
        if isinstance(answer, BaseException):
            self._bundle_died(bundle, answer, sent)
            return
        reports: remote.Reports = pickle.loads(answer)
        around = self._around.get(bundle.execution_id)
        if around is not None and reports.lines:
            self.lines[around.channel] = self.lines.get(around.channel, 0) + reports.lines
        if reports.kept and sent.refs[1] is not None:
            self._objects.keep(reports.kept, sent.refs[1])
        for name in {attempt.entry.name for attempt in bundle.attempts}:
            self._bundler.made(name, large=bool(reports.kept))
        by_job = {attempt.job: attempt for attempt in bundle.attempts}
        for reply in reports.each():
            self._bundler.measured(by_job[reply.job].entry.name, reply.cost.wall_seconds)
            if reply.entries and around is not None:
                around.learn(reply.entries)
            self._loop.post(event_of(reply))
        for job in reports.not_started:
            self._again(bundle, by_job[job])

    def _tell(self, bundle: Bundle) -> None:
        """A worker does not know the surroundings: send the bundle once more, with all that it takes."""
        if bundle.execution_id in self._around and bundle.stopping_since is None:
            self._send_bundle(bundle, tell_all=True)
        else:
            self._bundler.ended(bundle.number)
            self._sent.pop(bundle.number, None)
            for attempt in bundle.attempts:
                self._lost(attempt, "stopped before it started")

    def _again(self, bundle: Bundle, attempt: commands.RunTask, alone: bool = False) -> None:
        """An attempt that never began, as far as anybody can tell, goes back to the others."""
        if bundle.stopping_since is not None or bundle.execution_id not in self._around:
            self._lost(attempt, "stopped before it started")
        else:
            self._bundler.add(attempt, alone=alone, shape=bundle.shape)

    def _bundle_died(self, bundle: Bundle, error: BaseException, sent: _Sent) -> None:
        first = bundle.attempts[0]
        # A call with a timeout travels alone. Its note is taken away, however it has died.
        timed = first.options.get("timeout") is not None
        began = remote.began_at(first.job_id, first.attempt) if timed else None
        if bundle.stopping_since is not None:
            for attempt in bundle.attempts:
                self._lost(attempt, "stopped")
        elif is_lost_input(error):
            # Not the call's fault: what it reads comes from the store instead.
            for ref in sent.inputs:
                self._objects.forget(ref)
            for attempt in bundle.attempts:
                self._again(bundle, attempt)
        elif len(bundle.attempts) > 1:
            for attempt in bundle.attempts:
                self._again(bundle, attempt, alone=True)
        else:
            self._call_died(bundle, error, began)

    def _call_died(self, bundle: Bundle, error: BaseException, began: float | None) -> None:
        (attempt,) = bundle.attempts
        timeout: float = attempt.options.get("timeout") or 0.0
        crashed = isinstance(error, exceptions.WorkerCrashedError)
        if crashed and began is not None and time.time() - began >= timeout + TIMEOUT_GRACE_SECONDS - 1:
            self._failed(attempt, timed_out(attempt.entry.name, timeout))
            return
        if is_cancelled(error):
            # Not by us. Ray takes a KeyboardInterrupt that the body raises for a cancellation.
            message = f"{attempt.entry.name} raised KeyboardInterrupt (or its Ray task was cancelled from outside)"
            self._failed(attempt, failure_from_exception(TaskFailed(message)))
            return
        if isinstance(error, exceptions.OutOfMemoryError):
            self._give_a_node(bundle.shape, attempt)
        self._lost(attempt, *reason_of(error))

    def _give_a_node(self, shape: Shape, attempt: commands.RunTask) -> None:
        """A call that ran out of memory has all processors of a node to itself the next time."""
        most = max((node["Resources"].get("CPU", 0.0) for node in nodes_for(shape, ray.nodes())), default=0.0)
        self._shapes_after_loss[attempt.job] = (
            attempt.execution_id, replace(shape, num_cpus=max(most, shape.num_cpus))
        )  # fmt: skip

    def _lost(self, attempt: commands.RunTask, reason: str, fatal: bool = False) -> None:
        self._loop.post(events.WorkerLost(now(), attempt.job, attempt.attempt, reason, fatal=fatal))

    def _failed(self, attempt: commands.RunTask, failure: Failure) -> None:
        self._loop.post(events.Raised(now(), attempt.job, attempt.attempt, failure))

    def _operation_ended(self, number: int, answer: Any) -> None:
        operating = self._operations.pop(number, None)
        if operating is None:
            return
        operation = operating.operation
        if not isinstance(answer, BaseException):
            (term, failure, entries), kept = pickle.loads(answer)
            if kept:
                self._objects.keep(kept, operating.sent.refs[1])
            around = self._around.get(operation.execution_id)
            if entries and around is not None:
                around.learn(entries)
            self._loop.post(events.Operated(now(), operation.asker, term, failure, entries=entries))
            return
        if is_lost_input(answer):
            for ref in operating.sent.inputs:
                self._objects.forget(ref)
        reason, fatal = reason_of(answer)
        if fatal or operating.tries >= OPERATION_TRIES or operation.execution_id not in self._around:
            message = f"the worker of the operation {operation.name!r} was lost {operating.tries} times, last: {reason}"
            failure = own_failure("rayflow.errors.WorkerLost", WORLD, message, fault="world")
            self._loop.post(events.Operated(now(), operation.asker, None, failure))
        else:
            self._send_operation(operation, operating.tries + 1)

    # --- looking after what is in flight ------------------------------------------------------------------------------

    def _check(self, moment: float) -> None:
        old: dict[Shape, list[str]] = {}
        for bundle in self._bundler.in_flight.values():
            if bundle.stopping_since is not None:
                if not bundle.forced and moment - bundle.stopping_since > GRACE_SECONDS:
                    bundle.forced = True
                    ray.cancel(self._sent[bundle.number].refs[0], force=True)
            elif moment - bundle.sent_at > WAITING_SECONDS:
                old.setdefault(bundle.shape, []).extend([attempt.entry.name for attempt in bundle.attempts])
        if moment - self._asked_nodes > NODES_SECONDS and (old or self.waiting or len(self._bundler)):
            self._asked_nodes = moment
            self._look_at_nodes(old)

    def _look_at_nodes(self, old: dict[Shape, list[str]]) -> None:
        """Take in how large the cluster is now, and say what it cannot run."""
        nodes = ray.nodes()
        self._bundler.cpus = max(1.0, sum(node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]))
        sentences = []
        for shape, names in old.items():
            why = missing_from(shape, nodes)
            if why is not None:
                more = f" and {len(names) - 1} more calls" if len(names) > 1 else ""
                sentences.append(f"{names[0]}{more} cannot start: it {why}.")
        self.waiting = tuple(sentences)
