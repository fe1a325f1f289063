"""Runs attempts as Ray tasks, for the scheduler actor.

In: attempts and operations. Out: messages that answer them. Never: decides whether something is tried again. There are
three exceptions: the calls of a bundle that died are sent again one by one, so that only the culprit counts an attempt;
a call whose input was lost is sent again, and reads it from the store; and what ran on a node that was drained or
preempted is sent again.

Completions come through callbacks on the small outcome slot of each Ray task. The second slot, with large values, is
never touched here: its bytes stay on the node where the task ran.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray import exceptions

from rayflow.errors import BadOption, RayflowError, TaskFailed, WorkerLost
from rayflow.evaluator import commands, messages
from rayflow.evaluator.graph import BLOCK_BITS
from rayflow.lang.options.runtime_environments import without_values
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import blobs_of, dumps
from rayflow.runtime.carrier import LoopHandle
from rayflow.runtime.on_ray import remote, whereabouts
from rayflow.runtime.on_ray.actor.auto_calls import AutoCalls, Recorded
from rayflow.runtime.on_ray.actor.bundles import Bundle, Bundler
from rayflow.runtime.on_ray.actor.environments import Environments, environment_of
from rayflow.runtime.on_ray.actor.held_gangs import HeldGangs
from rayflow.runtime.on_ray.actor.nodes import Nodes
from rayflow.runtime.on_ray.actor.remote_functions import RemoteFunctions
from rayflow.runtime.on_ray.actor.room_claims import RoomClaims
from rayflow.runtime.on_ray.actor.running_counts import RunningCounts
from rayflow.runtime.on_ray.actor.running_notes import RunningNotes
from rayflow.runtime.on_ray.actor.sent_tasks import SentOperation, SentTask
from rayflow.runtime.on_ray.actor.witness_checks import WitnessChecks
from rayflow.runtime.on_ray.auto_sizes import MOST_CALLS, Most, Used
from rayflow.runtime.on_ray.item_notes import NotedItems
from rayflow.runtime.on_ray.lowering import Shape, shape_of, whole_node
from rayflow.runtime.on_ray.object_refs import KEPT_SHARE, ObjectRefs, watch
from rayflow.runtime.on_ray.ray_errors import is_cancelled, is_lost_input, lost_node, lost_node_id, reason_of, timed_out
from rayflow.runtime.on_ray.shipped_context import ShippedContext
from rayflow.runtime.protocol.attempts import (
    OperationReply,
    VectorReply,
    WorkerContext,
    call_of,
    message_of,
    operated,
    vector_call_of,
)
from rayflow.runtime.protocol.stream_items import TakeItems, WrittenItems
from rayflow.runtime.worker.body import TIMEOUT_GRACE_SECONDS
from rayflow.runtime.worker.environment import Descriptions
from rayflow.store.history.history import History
from rayflow.store.live.live_state import RunningCall
from rayflow.values.digests import to_hex
from rayflow.values.failures import Failure, failure_from_exception, own_failure
from rayflow.values.witnesses import Witness

GRACE_SECONDS = 3.0
"""How long a cancelled task may take to end by itself before its worker is killed."""

CHECK_SECONDS = 0.5
"""How often tasks in flight are looked at."""

MANY_IN_FLIGHT = 40
"""While so many Ray tasks are in flight, workers do not wait for this process, and answers may gather here."""

GATHERING_SECONDS = 0.01
"""How long answers gather, to be taken in together for less."""

OPERATION_TRIES = 4
"""How often an operation is sent. When all its workers are lost, it fails."""


class RayCarrier:
    """Runs the bundles of calls on a Ray cluster.

    waiting: sentences for people about calls that cannot start. lines: how many lines calls have printed, by channel.
    history: opens the records, to read what calls used. warned: takes an execution's id and a text for its driver.
    """

    runs_in_loop = False

    def __init__(self, loop: LoopHandle, history: Callable[[], History], warned: Callable[[str, str], None]) -> None:
        self._loop = loop
        self.waiting: tuple[str, ...] = ()
        self.lines: dict[str, int] = {}
        resources = ray.cluster_resources()
        self._claims = RoomClaims(lambda shape: self._bundler.name_of(shape))
        self._bundler = Bundler(resources.get("CPU", 1.0), holds_back=self._claims.holds_back, shares=self._shares)
        self._objects = ObjectRefs(resources.get("object_store_memory", 1e9) * KEPT_SHARE)
        self._contexts: dict[str, ShippedContext] = {}
        """Of the open executions. Several may have one object."""
        self._latest: ShippedContext | None = None
        """The context that was shipped last. An execution with the same surroundings shares it."""
        self._functions = RemoteFunctions()
        self._completed: deque[tuple[int, Any]] = deque()
        self._returned: dict[tuple[int, str, int, bytes | None], VectorReply] = {}
        """Answers of members of vectors that are not posted yet: by vector and worker process."""
        self._sent: dict[int, SentTask] = {}
        self._operations: dict[int, SentOperation] = {}
        self._checks = WitnessChecks(loop.wake)
        self._gangs = HeldGangs()
        self._history = history
        self._autos = AutoCalls(self._recorded, warned, loop.wake)
        self._operation_number = 0
        self._checked = 0.0
        own = ray.get_runtime_context().get_node_id()
        self._nodes = Nodes(own, ray.nodes, whereabouts.node_of, loop.wake, drained=whereabouts.draining_nodes)
        self._environments = Environments(whereabouts.node_of, self._nodes.answering)
        self._running = RunningCounts(time.monotonic)
        self._notes = RunningNotes(self._bundler.name, self._claims.trade)
        self._items = NotedItems(self._bundler.name, self._bundles_in_flight)
        self._descriptions = Descriptions()
        self.bundle_sizes: list[int] | None = None
        """How many calls each bundle had that was sent, where somebody wants to know; the reader empties it."""
        self._shapes_after_loss: dict[int, tuple[str, Shape]] = {}

    # --- executions ---------------------------------------------------------------------------------------------------

    def take_up(self, execution_id: str, context: WorkerContext) -> None:
        """Begin an execution, with this context for its calls."""
        if self._latest is None or self._latest.surroundings is not context:
            self._latest = ShippedContext(context, ray.put)
        self._contexts[execution_id] = self._latest

    def _shares(self, one: str, other: str) -> bool:
        """Whether two open executions have one context."""
        context = self._contexts.get(one)
        return context is not None and context is self._contexts.get(other)

    def _context_of(self, bundle: Bundle) -> ShippedContext | None:
        """The context of a bundle: of any of its executions that is open."""
        return next((found for each in bundle.executions if (found := self._contexts.get(each)) is not None), None)

    def _learn(self, execution_id: str, entries: Sequence[TaskEntry]) -> None:
        """A worker has met these tasks in an execution. They are of this execution alone."""
        context = self._contexts.get(execution_id)
        if context is not None and context.lacks(entries):
            self._contexts[execution_id] = context = context.for_one()
            context.learn(entries)

    def forget(self, execution_id: str) -> None:
        """End the work that is left of an execution that has ended."""
        self._contexts.pop(execution_id, None)
        self._bundler.forget(execution_id)
        self._autos.forget(execution_id)
        for bundle in self._bundler.in_flight.values():
            if execution_id in bundle.executions and bundle.stopping_since is None:
                self._stop_for(bundle, [execution_id])
        for number, operating in list(self._operations.items()):
            if operating.operation.execution_id == execution_id:
                del self._operations[number]
                ray.cancel(operating.sent.refs[0], force=False)
        self._shapes_after_loss = {job: one for job, one in self._shapes_after_loss.items() if one[0] != execution_id}
        self._descriptions.forget(execution_id)
        if not self._contexts:
            self._environments.abandon()

    def running(self) -> Mapping[str, Mapping[str, int]]:
        """How many calls are running on a worker, not only sent, by execution and name."""
        bundles = self._bundler.in_flight.values()
        if bundles or len(self._bundler):
            self._notes.look(bundles)
        found: dict[str, dict[str, int]] = {}
        for (execution, name), count in self._running.look(bundles, self._notes.names, self._bundler.cpus).items():
            found.setdefault(execution, {})[name] = count
        return found

    def running_calls(self) -> Mapping[str, Sequence[RunningCall]]:
        notes = self._notes.of_first
        found: dict[str, list[RunningCall]] = {}
        for bundle in list(self._bundler.in_flight.values()) if notes else ():
            note = notes.get(bundle.name)
            if note is None:
                continue
            first = bundle.first
            job_id = first.job_ids[0] if isinstance(first, commands.RunVector) else first.job_id
            call = RunningCall(to_hex(job_id), first.shown_name, note.host, note.since, note.pid, len(bundle))
            found.setdefault(first.execution_id, []).append(call)
        return found

    def lines_of(self, execution_id: str) -> int:
        """How many lines were printed so far in an execution's channel."""
        context = self._contexts.get(execution_id)
        return self.lines.get(context.channel, 0) if context else 0

    def _bundles_in_flight(self) -> tuple[dict[str, TakeItems], float | None]:
        """What takes the items of each bundle in flight, by its name, and when the first one was sent. Any thread may
        ask."""
        bundles = list(self._bundler.in_flight.values())
        sent = [self._sent.get(bundle.number) for bundle in bundles[:1]]
        since = sent[0].at if sent and sent[0] is not None else None
        return {bundle.name: partial(self._take_items, bundle) for bundle in bundles}, since

    def abandon(self) -> None:
        """End everything that runs, at once: no answer is wanted any more."""
        for sent in (*self._sent.values(), *(each.sent for each in self._operations.values())):
            ray.cancel(sent.refs[0], force=True)
        self._sent.clear()
        self._operations.clear()
        self._gangs.release_all()
        self._checks.abandon()
        self._nodes.stop()
        self._environments.abandon()
        self._claims.abandon()
        self._items.stop()

    # --- what the outbox asks -----------------------------------------------------------------------------------------

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        add = self._bundler.add
        for attempt in self._autos.ready(attempts):
            try:
                if attempt.losses:
                    _, shape = self._shapes_after_loss.pop(attempt.job, (None, None))
                    add(attempt, alone=True, shape=shape)
                else:
                    add(attempt)
            except RayflowError as error:
                self._failed(attempt.job, attempt.attempt, failure_from_exception(error))
        self._send()

    def _recorded(self, task: str) -> Recorded:
        """What calls of a task used, and the most that a node has. Takes a while."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most = Most(*(max(node.get(name, 0.0) for node in nodes) for name in ("CPU", "memory")))
        history = self._history()
        try:
            return [Used(*used) for used in history.calls_used(task, MOST_CALLS)], most
        finally:
            history.close()

    def run_vectors(self, vectors: Sequence[commands.RunVector]) -> None:
        for vector in vectors:
            try:
                self._bundler.add(vector)
            except RayflowError as error:
                failure = failure_from_exception(error)
                for job in vector.jobs:
                    self._failed(job, 1, failure)
        self._send()

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        for operation in operations:
            self._send_operation(operation, 1)

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        self._checks.send(self._contexts, witnesses, then)

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        stopped = {(each.job, each.attempt) for each in attempts}
        for number in (*self._bundler.drop(stopped), *self._autos.drop(stopped)):
            self._lost(*number, "stopped before it started")
        for bundle in self._bundler.in_flight.values():
            if bundle.stopping_since is not None:
                continue
            if all(number in stopped for number in bundle.numbers()):
                self._cancel(bundle)
            elif len(bundle.executions) > 1:
                wanting = {each for number, each in bundle.execution_of() if number not in stopped}
                self._stop_for(bundle, bundle.executions - wanting)

    def _stop_for(self, bundle: Bundle, execution_ids: Collection[str]) -> None:
        """These executions do not want their attempts in a bundle. Others may: then it is stopped only if it does not
        come back soon, and their attempts go again."""
        if not bundle.without(execution_ids, time.monotonic()):
            self._cancel(bundle)

    def _cancel(self, bundle: Bundle) -> None:
        bundle.stopping_since = time.monotonic()
        ray.cancel(self._sent[bundle.number].refs[0], force=False)

    def busy(self) -> bool:
        waiting = len(self._bundler) or len(self._checks) or len(self._autos)
        return bool(self._bundler.in_flight or self._operations or waiting)

    def work(self, seconds: float) -> bool:
        """Take in the answers that have come, and send the bundles that are ready."""
        if seconds and self._completed and len(self._bundler.in_flight) >= MANY_IN_FLIGHT:
            time.sleep(min(seconds, GATHERING_SECONDS))
        any_news = self._checks.work() or bool(self._completed)
        while self._completed:
            number, answer = self._completed.popleft()
            if number < 0:
                self._operation_ended(-number, answer)
            else:
                self._bundle_ended(number, answer)
        self._post_returned()
        if waiting := self._autos.take_waiting():
            self.run(waiting)
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

    def _send_bundle(self, bundle: Bundle, with_context: bool = False) -> None:
        """Send a bundle. with_context: with the references of its context, so that any worker can run it."""
        if bundle.first.entry.is_effect:
            self._loop.before_effect()
        try:
            self._sent[bundle.number] = sent = self._sent_bundle(bundle, with_context)
        except Exception as error:
            self._ended(bundle.number)
            for number in bundle.numbers():
                # Ray checks options only now: resources that are not numbers, an environment without meaning.
                if isinstance(error, (ValueError, TypeError, BadOption)):
                    why = without_values(str(error), environment_of(bundle.shape))
                    message = f"Ray refuses the options {bundle.shape.describe()}: {why}"
                    self._failed(*number, failure_from_exception(BadOption(message)))
                else:
                    self._lost(*number, f"it could not be sent: {type(error).__name__}: {error}")
            return
        if self.bundle_sizes is not None:
            self.bundle_sizes.append(len(bundle))
        watch(sent.refs[0], bundle.number, self._completed, self._loop.wake)
        self._items.look()

    def _sent_bundle(self, bundle: Bundle, with_context: bool) -> SentTask:
        whole = [call_of(attempt, attempt.known) for attempt in bundle.calls]
        calls = [tuple(call) for call in whole]  # of many calls, plain tuples are pickled faster
        vectors = [tuple(vector_call_of(vector)) for vector in bundle.vectors]
        blobs = [blob for call in whole for blob in call.blobs()]
        inputs = self._objects.refs_for(blobs) if blobs else []
        context = self._context_of(bundle)
        assert context is not None, "what is left of an execution that has ended is not sent"
        small = self._bundler.is_small(bundle)
        kind = "small bundle" if small else "bundle"
        place = self._gangs.place(bundle)
        bundle.avoided = self._nodes.avoided() if place is None else ()
        function = self._functions.of(kind, bundle.shape, bundle.first.entry.name, bundle.avoided, place)
        travelling = context.travelling() if with_context else context.travelling_light(self._bundler.cpus)
        # A gang is held before its body begins: it would give up more than others can use.
        taken = tuple(bundle.shape.resource_names()) if bundle.shape.gang is None else ()
        what = small, bundle.name, calls, vectors, (time.time(), taken)
        made = function.remote(*remote.arguments_of(travelling, what, inputs))
        return SentTask((made, None) if small else made, inputs)

    def _send_operation(self, operation: commands.RunOperation, tries: int) -> None:
        self._operation_number += 1
        # Packed, not pickled: among them may be expressions as data.
        packed = dumps(operation.args)
        inputs = self._objects.refs_for(blobs_of(packed))
        function = self._functions.of("operation", shape_of({}), operation.name, self._nodes.avoided())
        travelling = self._contexts[operation.execution_id].travelling()
        refs = function.remote(*remote.arguments_of(travelling, (operation.name, packed), inputs))
        self._operations[self._operation_number] = SentOperation(operation, SentTask(refs, inputs), tries)
        watch(refs[0], -self._operation_number, self._completed, self._loop.wake)

    # --- what came back -----------------------------------------------------------------------------------------------

    def _bundle_ended(self, number: int, answer: Any) -> None:
        if isinstance(answer, bytes) and answer == remote.LACKS_CONTEXT and number in self._bundler.in_flight:
            self._send_with_context(self._bundler.in_flight[number])
            return
        bundle, sent = self._ended(number)
        if bundle is None or sent is None:
            return
        if isinstance(answer, bytes) and answer == remote.GIVES_WAY:
            for ready in bundle.left():
                self._again(bundle, ready, alone=bundle.alone)
            return
        self._claims.note_served(bundle.shape, time.monotonic())
        if isinstance(answer, BaseException):
            self._bundle_died(bundle, answer, sent)
            return
        self._environments.note_answer(bundle.shape)
        bundle_reply = remote.bundle_reply_in(answer)
        context = self._context_of(bundle)
        if context is not None and bundle_reply.lines:
            self.lines[context.channel] = self.lines.get(context.channel, 0) + bundle_reply.lines
        if bundle_reply.kept and sent.refs[1] is not None:
            self._objects.keep(bundle_reply.kept, sent.refs[1])
        for name in bundle.tasks():
            self._bundler.note_size(name, large=bool(bundle_reply.kept))
        if bundle_reply.notes:
            self._take_last_items(bundle)
        for written in bundle_reply.items:
            self._take_items(bundle, written)
        self._take_replies(bundle, bundle_reply)
        left = frozenset(bundle_reply.not_started)
        for ready in bundle.left(left) if left else ():
            self._again(bundle, ready)

    def _ended(self, number: int) -> tuple[Bundle | None, SentTask | None]:
        """A bundle has ended, whatever its end: it is in flight no more, and holds nothing."""
        self._gangs.release(number)
        return self._bundler.ended(number), self._sent.pop(number, None)

    def _take_replies(self, bundle: Bundle, bundle_reply: remote.BundleReply) -> None:
        """Post the messages for what the calls of a bundle gave, and note how long they took."""
        self._descriptions.learn(bundle_reply.described)
        for execution_id in bundle.executions & self._contexts.keys():  # of one that has ended nothing is recorded
            for row in self._descriptions.new(execution_id, bundle_reply.environment, None):
                self._loop.record(row)
        for vector, columns in zip(bundle.vectors, bundle_reply.vectors, strict=True):
            if columns.jobs:
                self._bundler.note_seconds(vector.entry.name, sum(columns.wall_seconds) / len(columns.jobs))
                self._gather(columns, (bundle_reply.node, bundle_reply.pid, bundle_reply.environment))
        task_of = bundle.task_of() if bundle_reply.replies else {}
        execution_of = {job: each for (job, _), each in bundle.execution_of()} if bundle_reply.replies else {}
        for reply in bundle_reply.each():
            self._bundler.note_seconds(task_of[reply.job], reply.cost.wall_seconds)
            if reply.entries:
                self._learn(execution_of[reply.job], reply.entries)
            cost = self._autos.note(task_of[reply.job], reply.job, reply.cost)
            sized = reply if cost is reply.cost else reply._replace(cost=cost)
            self._loop.post(message_of(sized, self._loop.clock.now()))

    def _gather(self, columns: VectorReply, of_worker: tuple[str, int, bytes | None]) -> None:
        """Note what members of a vector returned: small answers of one worker become one message. of_worker: its node,
        process and environment."""
        key = (columns.jobs[0] >> BLOCK_BITS, *of_worker)
        gathered = self._returned.get(key)
        if gathered is None:
            self._returned[key] = columns
        else:
            gathered.extend(columns)

    def _post_returned(self) -> None:
        if self._returned:
            at = self._loop.clock.now()
            for (_, node, pid, environment), columns in self._returned.items():
                self._loop.post(columns.message(at, node, pid, environment))
            self._returned.clear()

    def _send_with_context(self, bundle: Bundle) -> None:
        """Send a bundle again, with references to its whole context, because a worker lacks the context."""
        if self._context_of(bundle) is not None and bundle.stopping_since is None:
            self._send_bundle(bundle, with_context=True)
        else:
            self._ended(bundle.number)
            for ready in bundle.left():
                self._again(bundle, ready)

    def _again(self, bundle: Bundle, ready: commands.RunTask | commands.RunVector, alone: bool = False) -> None:
        """Put what has not begun, as far as is known, back among the ready ones."""
        if bundle.goes_on(ready.execution_id) and ready.execution_id in self._contexts:
            self._bundler.add(ready, alone=alone, shape=bundle.shape)
        elif isinstance(ready, commands.RunVector):
            for job in ready.jobs:
                self._lost(job, 1, "stopped before it started")
        else:
            self._lost(ready.job, ready.attempt, "stopped before it started")

    def _bundle_died(self, bundle: Bundle, error: BaseException, sent: SentTask) -> None:
        whereabouts.forget(bundle.name)
        self._take_last_items(bundle)
        if isinstance(error, exceptions.NodeDiedError):
            self._nodes.note_loss(lost_node(error), len(bundle))
        # A call with a timeout is alone in its bundle. Its note is removed after any end of the bundle.
        timed = bundle.calls and bundle.calls[0].options.get("timeout") is not None
        began = remote.began_at(bundle.calls[0].job_id, bundle.calls[0].attempt) if timed else None
        if bundle.stopping_since is not None:
            for attempt in bundle.attempts:
                if bundle.goes_on(attempt.execution_id):
                    self._again(bundle, attempt)
                else:
                    self._lost(attempt.job, attempt.attempt, "stopped")
        elif is_lost_input(error):
            # Not the call's fault. Its next attempt reads these inputs from the store.
            for ref in sent.inputs:
                self._objects.forget(ref)
            for ready in bundle.left():
                self._again(bundle, ready)
        elif self._nodes.was_drained(lost_node_id(error)):
            for ready in bundle.left():
                self._again(bundle, ready)
        elif len(bundle) > 1:
            for attempt in bundle.attempts:
                self._again(bundle, attempt, alone=True)
        else:
            self._call_died(bundle, error, began)

    def _take_last_items(self, bundle: Bundle) -> None:
        """Take in what the bodies of a bundle have written to streams that has not answered."""
        self._items.finish(bundle.name, partial(self._take_items, bundle))

    def _take_items(self, bundle: Bundle, written: WrittenItems) -> None:
        """Take in what a body of a bundle has written, unless its execution has ended. Any thread may call it."""
        execution_id = written.execution_id or bundle.execution_of_job(written.job_id)
        if execution_id in self._contexts:
            self._loop.take_items(execution_id, written)

    def _call_died(self, bundle: Bundle, error: BaseException, began: float | None) -> None:
        (attempt,) = bundle.attempts
        timeout: float = attempt.options.get("timeout") or 0.0
        crashed = isinstance(error, exceptions.WorkerCrashedError)
        if crashed and began is not None and time.time() - began >= timeout + TIMEOUT_GRACE_SECONDS - 1:
            self._failed(attempt.job, attempt.attempt, timed_out(attempt.entry.name, timeout))
            return
        if is_cancelled(error):
            # Not by us. Ray reports a KeyboardInterrupt that the body raises as a cancellation.
            message = f"{attempt.entry.name} raised KeyboardInterrupt (or its Ray task was cancelled from outside)"
            self._failed(attempt.job, attempt.attempt, failure_from_exception(TaskFailed(message)))
            return
        is_full = isinstance(error, exceptions.OutOfMemoryError)
        if is_full and not self._autos.note_out_of_memory(attempt, bundle.shape.memory):
            self._shapes_after_loss[attempt.job] = attempt.execution_id, whole_node(bundle.shape, ray.nodes())
        self._lost(attempt.job, attempt.attempt, *reason_of(error))

    def _lost(self, job: int, attempt: int, reason: str, fatal: bool = False) -> None:
        self._loop.post(messages.WorkerGone(self._loop.clock.now(), job, attempt, reason, fatal=fatal))

    def _failed(self, job: int, attempt: int, failure: Failure) -> None:
        self._loop.post(messages.Raised(self._loop.clock.now(), job, attempt, failure))

    def _operation_ended(self, number: int, answer: Any) -> None:
        operating = self._operations.pop(number, None)
        if operating is None:
            return
        operation = operating.operation
        if not isinstance(answer, BaseException):
            reply, kept = remote.operated_in(answer)
            if kept:
                self._objects.keep(kept, operating.sent.refs[1])
            if reply.entries:
                self._learn(operation.execution_id, reply.entries)
            self._loop.post(operated(operation.asker, reply, self._loop.clock.now()))
            return
        if is_lost_input(answer):
            for ref in operating.sent.inputs:
                self._objects.forget(ref)
        reason, fatal = reason_of(answer)
        if fatal or operating.tries >= OPERATION_TRIES or operation.execution_id not in self._contexts:
            message = f"the worker of the operation {operation.name!r} was lost {operating.tries} times, last: {reason}"
            failure = own_failure(WorkerLost, message)
            self._loop.post(operated(operation.asker, OperationReply(None, failure), self._loop.clock.now()))
        else:
            self._send_operation(operation, operating.tries + 1)

    # --- looking after what is in flight ------------------------------------------------------------------------------

    def _check(self, moment: float) -> None:
        bundles = list(self._bundler.in_flight.values())
        for bundle in bundles:
            if bundle.stopping_since is None and moment - (bundle.unwanted_since or moment) > GRACE_SECONDS:
                self._cancel(bundle)
            if not bundle.forced and moment - (bundle.stopping_since or moment) > GRACE_SECONDS:
                bundle.forced = True
                ray.cancel(self._sent[bundle.number].refs[0], force=True)
        self._nodes.look_after(bundles, at_all=bool(self.waiting or len(self._bundler)), moment=moment)
        self._bundler.cpus = max(1.0, self._nodes.cpus() or self._bundler.cpus)
        self._look_at_waiting(bundles, moment)
        late = self._nodes.given_up_before(moment)
        for given_up in self._nodes.given_up(bundles, moment):
            self._give_up(*given_up)
        for bundle in self._nodes.waiting_apart(bundles):
            self._give_up(bundle, None)
        for number, operating in list(self._operations.items()):
            if operating.sent.at < late:
                ray.cancel(operating.sent.refs[0], force=True)
                self._operation_ended(number, exceptions.NodeDiedError("a node does not answer"))
        self._checks.send_again(late)

    def _look_at_waiting(self, bundles: Sequence[Bundle], moment: float) -> None:
        """Note which calls wait and for what; end those that wait in vain."""
        startable = self._nodes.startable(bundles, moment)
        sentences, in_vain = self._environments.look_at(startable, moment)
        there = {shape: waiting for shape, waiting in startable.items() if self._environments.is_there(shape)}
        self._claims.look(bundles, self._notes.names, there, moment)
        self.waiting = (*self._nodes.sentences(bundles, moment), *sentences, *self._claims.sentences())
        for bundle, reason in in_vain:
            for number in bundle.numbers():
                self._lost(*number, reason, fatal=True)
            self._cancel(bundle)

    def _give_up(self, bundle: Bundle, reason: str | None) -> None:
        """Send the calls again, since the bundle's node does not answer, or because no node runs it and another one
        could. A later answer is ignored."""
        _, sent = self._ended(bundle.number)
        assert sent is not None, "a bundle in flight was sent"
        whereabouts.forget(bundle.name)
        self._take_last_items(bundle)
        ray.cancel(sent.refs[0], force=True)
        for ref in sent.inputs:
            self._objects.forget(ref)  # they may lie on that node; the store has them, too
        if reason is None:
            for ready in bundle.left():
                self._again(bundle, ready)
        elif len(bundle) == 1:
            self._lost(*next(bundle.numbers()), reason)
        else:
            for attempt in bundle.attempts:
                self._again(bundle, attempt, alone=True)
