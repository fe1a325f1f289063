"""Runs attempts as Ray tasks: the scheduler actor's hands.

In: attempts and operations. Out: events. Never: decides whether something is tried again (but for a bundle that died:
its calls go again one by one, so that only the culprit counts an attempt).

Completions come through callbacks on the small outcome slot of each Ray task. The second slot, with large values, is
never touched here: its bytes stay on the node that made them.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray import exceptions

from rayflow.errors import Bug
from rayflow.evaluator import commands, events
from rayflow.lang.codec import blobs_of, dumps
from rayflow.runtime import remote
from rayflow.runtime.bundles import Bundle, Bundler
from rayflow.runtime.inline import call_of, event_of
from rayflow.runtime.lowering import Shape, missing_from, shape_of
from rayflow.runtime.objects import KEPT_SHARE, Objects
from rayflow.runtime.outbox import now

if TYPE_CHECKING:
    from rayflow.runtime.loop import Loop

GRACE_SECONDS = 3.0
"""How long a cancelled task may take to end by itself before its worker is killed."""

WAITING_SECONDS = 10.0
"""A Ray task in flight for so long is checked: is there a node that could ever run it?"""

CHECK_SECONDS = 2.0
"""How often tasks in flight are looked at."""


class RayCarrier:
    """Bundles in flight on a Ray cluster.

    surroundings: key and object reference of what workers have to know, by execution; set by the scheduler.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.surroundings: dict[str, tuple[str, Any]] = {}
        self.waiting: tuple[str, ...] = ()
        resources = ray.cluster_resources()
        self._bundler = Bundler(resources.get("CPU", 1.0))
        self._objects = Objects(resources.get("object_store_memory", 1e9) * KEPT_SHARE)
        self._functions: dict[tuple[str, Shape], Any] = {}
        self._run_bundle = ray.remote(num_returns=2)(remote.run_bundle)
        self._run_operation = ray.remote(num_returns=2)(remote.run_operation)
        self._completed: deque[tuple[int, Any]] = deque()
        self._operations: dict[int, tuple[commands.RunOperation, tuple[Any, Any], int]] = {}
        self._refs: dict[int, tuple[Any, Any]] = {}
        self._inputs: dict[int, list[Any]] = {}
        self._checked = 0.0
        self._operation_number = 0
        self._shapes_after_loss: dict[int, Shape] = {}

    # --- what the outbox asks ---------------------------------------------------------------------------------------

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        add = self._bundler.add
        for attempt in attempts:
            if attempt.losses:
                add(attempt, alone=True, shape=self._shapes_after_loss.pop(attempt.job, None))
            else:
                add(attempt)
        self._send()

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        for operation in operations:
            self._send_operation(operation, 1)

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        stopped = {(each.job, each.attempt) for each in attempts}
        for attempt in self._bundler.drop(stopped):
            self._lost(attempt, "stopped before it started")
        for bundle in self._bundler.in_flight.values():
            if all((each.job, each.attempt) in stopped for each in bundle.attempts):
                bundle.stopping_since = time.monotonic()
                ray.cancel(self._refs[bundle.number][0], force=False)

    def busy(self) -> bool:
        return bool(self._bundler.in_flight or self._operations or len(self._bundler))

    def work(self, seconds: float) -> bool:
        """Take in what has come back, send what is ready."""
        any_news = bool(self._completed)
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

    def _send_bundle(self, bundle: Bundle) -> None:
        # A bundle's calls may belong to several executions only when they share surroundings.
        key, surroundings = self.surroundings[bundle.attempts[0].execution_id]
        strangers = [each for each in bundle.attempts if self.surroundings[each.execution_id][0] != key]
        if strangers:
            bundle.attempts = [each for each in bundle.attempts if self.surroundings[each.execution_id][0] == key]
            for each in strangers:
                self._bundler.add(each)
        calls = []
        blobs: list[bytes] = []
        for attempt in bundle.attempts:
            call = call_of(attempt)
            if isinstance(call.arguments, bytes):
                blobs.extend(blobs_of(call.arguments))
            calls.append(
                (call.job, call.attempt, call.job_id, call.task, call.task_hash, call.arguments, call.timeout)
            )
        inputs = self._objects.refs_for(blobs) if blobs else []
        function = self._function("bundle", bundle.shape, bundle.attempts[0].entry.name)
        refs = function.remote(key, [surroundings], pickle.dumps(calls, protocol=5), *inputs)
        self._refs[bundle.number] = refs
        self._inputs[bundle.number] = inputs
        self._watch(refs[0], bundle.number)

    def _send_operation(self, operation: commands.RunOperation, attempt: int) -> None:
        self._operation_number += 1
        key, surroundings = self.surroundings[operation.execution_id]
        inputs = self._objects.refs_for(blobs_of(dumps(operation.args)))
        function = self._function("operation", shape_of({}), operation.name)
        packed = pickle.dumps((operation.name, operation.args), protocol=5)
        refs = function.remote(key, [surroundings], packed, *inputs)
        self._operations[self._operation_number] = (operation, refs, attempt)
        self._watch(refs[0], -self._operation_number)

    def _function(self, kind: str, shape: Shape, task: str) -> Any:
        """Ray's remote function for a shape; making the options anew for each call would double its cost."""
        known = self._functions.get((kind, shape))
        if known is None:
            function = self._run_bundle if kind == "bundle" else self._run_operation
            known = self._functions[kind, shape] = function.options(name=f"rayflow:{task}", **shape.ray_options())
        return known

    def _watch(self, ref: Any, number: int) -> None:
        completed, wake = self._completed, self._loop.wake

        def done(answer: Any) -> None:
            completed.append((number, answer))
            wake()

        # Private, and the only way to hear of a completion without a thread per call or a scan over all references;
        # `ref.future().add_done_callback(done)` does the same for twice the price.
        ref._on_completed(done)

    # --- what came back -----------------------------------------------------------------------------------------------

    def _bundle_ended(self, number: int, answer: Any) -> None:
        bundle = self._bundler.ended(number)
        refs = self._refs.pop(number, None)
        inputs = self._inputs.pop(number, [])
        if bundle is None or refs is None:
            return
        if isinstance(answer, BaseException):
            self._bundle_died(bundle, answer, inputs)
            return
        reports: remote.Reports = pickle.loads(answer)
        if reports.kept:
            self._objects.keep(reports.kept, refs[1])
            for attempt in bundle.attempts:
                self._bundler.never_bundle(attempt.entry.name)
        by_job = {attempt.job: attempt for attempt in bundle.attempts}
        for reply in reports.each():
            attempt = by_job[reply.job]
            self._bundler.measured(attempt.entry.name, reply.cost.wall_seconds)
            self._loop.post(event_of(reply))
        for job in reports.not_started:
            self._bundler.add(by_job[job])

    def _bundle_died(self, bundle: Bundle, error: BaseException, inputs: list[Any]) -> None:
        for ref in inputs:
            if isinstance(error, exceptions.ObjectLostError):
                self._objects.forget(ref)
        if bundle.stopping_since is not None:
            for attempt in bundle.attempts:
                self._lost(attempt, "stopped")
        elif isinstance(error, exceptions.ObjectLostError):
            # Not the call's fault: its input is read from the store instead.
            for attempt in bundle.attempts:
                self._bundler.add(attempt)
        elif len(bundle.attempts) > 1:
            for attempt in bundle.attempts:
                self._bundler.add(attempt, alone=True)
        else:
            (attempt,) = bundle.attempts
            reason, fatal = reason_of(error)
            if isinstance(error, exceptions.OutOfMemoryError):
                self._give_a_node(attempt)
            self._lost(attempt, reason, fatal)

    def _give_a_node(self, attempt: commands.RunTask) -> None:
        """A call that ran out of memory has a node to itself the next time."""
        most = max((node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"]), default=1.0)
        self._shapes_after_loss[attempt.job] = replace(shape_of(attempt.options), num_cpus=most)

    def _lost(self, attempt: commands.RunTask, reason: str, fatal: bool = False) -> None:
        self._loop.post(events.WorkerLost(now(), attempt.job, attempt.attempt, reason, fatal=fatal))

    def _operation_ended(self, number: int, answer: Any) -> None:
        operation, refs, attempt = self._operations.pop(number)
        if isinstance(answer, BaseException):
            if attempt < 3:
                self._send_operation(operation, attempt + 1)
                return
            raise Bug(f"The operation {operation.name} lost its worker three times: {reason_of(answer)[0]}")
        (term, failure), kept = pickle.loads(answer)
        if kept:
            self._objects.keep(kept, refs[1])
        self._loop.post(events.Operated(now(), operation.asker, term, failure))

    # --- looking after what is in flight ------------------------------------------------------------------------------

    def _check(self, moment: float) -> None:
        old: dict[Shape, list[str]] = {}
        for bundle in self._bundler.in_flight.values():
            if bundle.stopping_since is not None and not bundle.forced and moment - bundle.stopping_since > GRACE_SECONDS:
                bundle.forced = True
                ray.cancel(self._refs[bundle.number][0], force=True)
            elif moment - bundle.sent_at > WAITING_SECONDS:
                old.setdefault(bundle.shape, []).extend(attempt.entry.name for attempt in bundle.attempts)
        if not old:
            self.waiting = ()
            return
        nodes = ray.nodes()
        sentences = []
        for shape, names in old.items():
            why = missing_from(shape, nodes)
            if why is not None:
                more = f" and {len(names) - 1} more calls" if len(names) > 1 else ""
                sentences.append(f"{names[0]}{more} cannot start: it {why}.")
        self.waiting = tuple(sentences)


def reason_of(error: BaseException) -> tuple[str, bool]:
    """What became of the worker, for people, and whether trying again is useless."""
    text = str(error).strip().splitlines()
    first = text[0][:300] if text else ""
    if isinstance(error, exceptions.OutOfMemoryError):
        return "killed because its node ran out of memory", False
    if isinstance(error, exceptions.NodeDiedError):
        return "its node left the cluster", False
    if isinstance(error, exceptions.WorkerCrashedError):
        return "its process died (killed, crashed in C code, or ended itself)", False
    if isinstance(error, exceptions.TaskCancelledError):
        return "cancelled from outside", False
    if isinstance(error, exceptions.RuntimeEnvSetupError):
        return f"its runtime environment cannot be set up: {first}", True
    if isinstance(error, exceptions.TaskUnschedulableError):
        return f"no node can run it: {first}", True
    if isinstance(error, exceptions.RayTaskError):
        # The remote function catches what user code raises: this is rayflow failing on the worker, or not being there.
        return f"rayflow failed on the worker: {text[-1][:500] if text else type(error).__name__}", False
    return f"{type(error).__name__}: {first}", False
