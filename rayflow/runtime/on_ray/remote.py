"""The functions that Ray runs on a worker.

In: a packed bundle of calls, or an operation, and the large values that they need. Out: replies, and the large values
that the calls have made. Never: calls the scheduler, fetches an object of Ray's while a body runs.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import ray

from rayflow.errors import NotFound, StoreUnavailable
from rayflow.evaluator.messages import Cost, NestedEnd
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads
from rayflow.records import EnvironmentRow, Row
from rayflow.runtime.on_ray import claims, cluster_notes
from rayflow.runtime.on_ray.item_notes import PUMP, pumping
from rayflow.runtime.on_ray.shipped_context import ContextKey, TravellingContext
from rayflow.runtime.on_ray.whereabouts import running
from rayflow.runtime.output.printing import many_bodies
from rayflow.runtime.output.sieve import SIEVE
from rayflow.runtime.protocol.attempts import (
    Call,
    OperationReply,
    Reply,
    VectorCall,
    VectorReply,
    WorkerContext,
)
from rayflow.runtime.protocol.execution_row import is_in_job_copy
from rayflow.runtime.protocol.reports import WARNING
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.body_series import BodySeries
from rayflow.runtime.worker.environment import own_environment, tell_environment
from rayflow.runtime.worker.nested_runs import serving
from rayflow.runtime.worker.process_policy import RAY_WORKER
from rayflow.runtime.worker.task_lookup import HOST
from rayflow.runtime.worker.worker import Worker
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.display import masking
from rayflow.values.display.python_warnings import write_warnings
from rayflow.values.failures import Failure, failure_from_exception
from rayflow.values.process import waits
from rayflow.values.refs import Encoded

MARK = "\x1erayflow\x1f"
"""Stands before a line that a task has printed. After it come channel, task, stream and text, with SEPARATOR between
them, so that the driver can show the line with its task."""

SEPARATOR = "\x1f"

NAME = "rayflow:"
"""Stands before the task's name in the name of a Ray task."""

LONGEST_BUNDLE_SECONDS = 1.0
"""After so long a bundle returns the calls that it has not started."""

TIMES_DESCRIBED = 3
"""How many answers to one context have the whole row of the environment: one may be lost."""

WORKERS_KEPT = 4
"""The number of contexts for which a worker process keeps a worker."""

LARGEST_SHARE = 0.5
"""Values that together take more than this share of a node's object store stay in rayflow's store alone: to make room
for them, Ray would write them to disk once more."""

NO_STAGES = (None, None)
"""The end of a cost whose arguments were read, and whose result was stored, in next to no time."""

_Measured: TypeAlias = tuple[int, float, float, int | None]

_Fields: TypeAlias = tuple[
    int,
    int,
    bytes | None,
    Failure | None,
    _Measured | tuple[*_Measured, float | None, float | None],
    tuple[TaskEntry, ...],
    tuple[Row, ...],
    bool,
    NestedEnd | None,
]


class BundleReply(NamedTuple):
    """The answer of a bundle. A named tuple, since a dataclass with slots takes ten times as long to pickle.

    replies: the fields of a Reply for each call that was run, its cost without node and pid, and without its stages
    where it has none; tuples, since a bundle has many of them to pickle. vectors: for each vector of the bundle, those
    members that left nothing but a scalar; all others are among the replies. not_started: the numbers of the jobs whose
    turn did not come. kept: digest and size of the large values in the second slot. lines: how many lines the calls
    have printed. masks: the secrets that became known here. environment: the key of what this process is; described:
    the whole row, in the first answers to a context. items: what the calls have written to streams and is not on its
    way. notes: how many notes with such items were on their way.
    """

    replies: list[_Fields]
    vectors: list[VectorReply]
    not_started: list[int]
    kept: list[tuple[bytes, int]]
    node: str
    pid: int
    lines: int = 0
    masks: tuple[masking.Mask, ...] = ()
    environment: bytes | None = None
    described: EnvironmentRow | None = None
    items: tuple[WrittenItems, ...] = ()
    notes: int = 0

    def each(self) -> list[Reply]:
        """The replies, whole."""
        node, pid, environment = self.node, self.pid, self.environment
        return [
            Reply(
                job, attempt, term, failure, Cost(*cost[:4], node, pid, *(cost[4:] or NO_STAGES), environment), entries,
                rows, is_paused, below,
            )
            for job, attempt, term, failure, cost, entries, rows, is_paused, below in self.replies
        ]  # fmt: skip


def _fields(reply: Reply) -> _Fields:
    job, attempt, term, failure, cost, entries, rows, is_paused, below = reply
    stages = cost[6:8]
    sent = cost[:4] if stages == NO_STAGES else (*cost[:4], *stages)
    return job, attempt, term, failure, sent, entries, rows, is_paused, below


Slot = list[tuple[bytes, str, bytes, list[pickle.PickleBuffer]]]
"""Large values as the object store holds them: digest, format, header, and buffers that are read in place."""


# --- the workers of this process --------------------------------------------------------------------------------------


class _LinePrinter:
    """Prints the lines of bodies, marked, to this process's stdout, which Ray carries to the driver.

    count: how many lines it has printed.
    """

    def __init__(self, context: WorkerContext) -> None:
        self.count = 0
        self._channel = context.channel
        self._shows_prints = context.shows_prints

    def print(self, task: str, stream: str, text: str) -> None:
        """Print a text of a task. Without a channel no driver shows it: it is in the records alone."""
        beneath = sys.__stdout__
        if not self._channel or beneath is None or (stream != WARNING and not self._shows_prints):
            return
        lines = text.splitlines()
        self.count += len(lines)
        before = f"{MARK}{self._channel}{SEPARATOR}{task}{SEPARATOR}{stream}{SEPARATOR}"
        beneath.write("".join([f"{before}{line}\n" for line in lines]))
        beneath.flush()

    def report_wait(self, text: str) -> None:
        """Print that this process waits long for something."""
        self.print("rayflow", "stderr", f"{text} (a worker on {HOST})")

    def write_warning(self, text: str, file: str) -> str:
        """Print a warning of Python's from outside of a body: from a check of recorded values, say."""
        self.print("rayflow", WARNING, f"{text}\n")
        return ""


@dataclass(slots=True)
class _ProjectWorker:
    """The worker for one context, and its state in this process.

    directory: where its bodies run. chapters: the keys of the chapters of the context that it has fetched. described:
    how many answers have had the whole row of the environment.
    """

    worker: Worker
    directory: str
    printer: _LinePrinter
    chapters: set[str] = field(default_factory=set)
    described: int = 0

    def environment(self) -> tuple[bytes, EnvironmentRow | None]:
        """The key of this process's environment, and at first the whole row."""
        row = own_environment()
        self.described += 1
        return row.environment, row if self.described <= TIMES_DESCRIBED else None


_workers: OrderedDict[str, _ProjectWorker] = OrderedDict()

LACKS_CONTEXT = b""
"""The answer to a bundle that came without references, from a process that lacks a part of its context."""

GIVES_WAY = b"-"
"""The answer to a bundle of which no call was begun, since other calls have a claim on what it takes."""

_claims_here = claims.ClaimsHere()


def _project_worker(known: ContextKey, refs: list[Any] | None) -> _ProjectWorker | None:
    """This process's worker for a context. Fetches the parts that it lacks; None when no references came for that."""
    key, chapters = known
    found = _workers.get(key)
    if not refs and (found is None or not found.chapters.issuperset(chapters)):
        return None
    if found is None:
        assert refs
        found = _workers[key] = _new_worker(pickle.loads(_get_object(refs[0])))
        while len(_workers) > WORKERS_KEPT:
            _workers.popitem(last=False)
    else:
        _workers.move_to_end(key)
        waits.listen_alone(found.printer.report_wait)
    for chapter, ref in zip(chapters, refs[1:] if refs else (), strict=False):
        if chapter not in found.chapters:
            found.worker.learn(pickle.loads(_get_object(ref)))
            found.chapters.add(chapter)
    _go_to(found.directory)  # each time: this process may have run another project's bodies since
    return found


def _go_to(directory: str) -> None:
    with contextlib.suppress(OSError):  # the present directory was removed
        if os.getcwd() == directory:
            return
    with contextlib.suppress(OSError):  # it was removed: the user's code gets the error when it opens a file there
        os.chdir(directory)


def _get_object(ref: Any) -> bytes:
    packed: bytes = ray.get(ref)
    return packed


def _new_worker(context: WorkerContext) -> _ProjectWorker:
    directory = _directory_of(context)
    printer = _LinePrinter(context)
    SIEVE.stays = True
    _tell_environment()
    waits.listen_alone(printer.report_wait)
    write_warnings(printer.write_warning)
    worker = Worker(
        context,
        open_here(context.store_url),
        policy=RAY_WORKER,
        printed=printer.print if context.channel else None,
        began=_begins,
        evaluate=evaluate,
    )
    worker.take_items = PUMP.take
    gc.freeze()
    return _ProjectWorker(worker, directory, printer)


def _tell_environment() -> None:
    """Tell what Ray knows about this process: the image that it runs in, the accelerator of its node."""
    context = ray.get_runtime_context()
    given = context.runtime_env
    image = given.get("image_uri") or (given.get("container") or {}).get("image")
    # Ray says that a label is a list of texts, and gives a text.
    label: Any = context.get_node_labels().get(_ACCELERATOR_LABEL)
    tell_environment(image=image, accelerator=label if label is None or isinstance(label, str) else ", ".join(label))


_ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""The label by which Ray tells the accelerators of a node."""


def open_here(url: str) -> Store:
    """The store that the driver has opened. Raises StoreUnavailable where this machine does not have that store."""
    try:
        return open_store(url, create=False)
    except NotFound:
        raise StoreUnavailable(
            f"The store {url} is not on {HOST}, a machine of the cluster. A cluster of several machines needs a store "
            "that all of them reach: a shared folder, or a URL such as s3://bucket/folder."
        ) from None


@functools.cache
def _first_directory() -> str:
    """The directory of this process before it ran anything."""
    return os.getcwd()


def _directory_of(context: WorkerContext) -> str:
    """The directory in which bodies run: the project's directory, which is the base of the paths of Files.

    If Ray has copied the project, or if this machine has no project, it is the first directory of the process."""
    first = _first_directory()
    if is_in_job_copy(first):
        return first
    if context.project_dir and os.path.isdir(context.project_dir) and os.access(context.project_dir, os.X_OK):
        return context.project_dir
    return first


# --- calls that have a timeout ----------------------------------------------------------------------------------------


def _begins(call: Call) -> None:
    """Note when a call with a timeout began: its process may have to end, and then cannot report why."""
    cluster_notes.write(_began_key(call.job_id, call.attempt), str(time.time()))


def _ended(call: Call) -> None:
    cluster_notes.remove(_began_key(call.job_id, call.attempt))


def began_at(job_id: bytes, attempt: int) -> float | None:
    """The moment at which a call with a timeout began that has not returned, in seconds since the epoch; None if it has
    not begun. Removes the note."""
    key = _began_key(job_id, attempt)
    noted = cluster_notes.read(key)
    if noted is None:
        return None
    cluster_notes.remove(key)
    return float(noted)


def _began_key(job_id: bytes, attempt: int) -> str:
    return f"began:{job_id.hex()}:{attempt}"


# --- what Ray runs ----------------------------------------------------------------------------------------------------


def start_up() -> None:
    """Nothing: by the time that this is called, the process has imported this module, which takes most of a second. So
    the worker of the first calls is up when the scheduler is."""


def arguments_of(travelling: TravellingContext, what: Any, inputs: list[Any]) -> tuple[Any, ...]:
    """The arguments for one of the functions below: mostly a single bytes object, which Ray neither pickles nor
    unpickles. That saves a third of the cost of a call."""
    known, refs = travelling
    packed = pickle.dumps((known, masking.known(), what), protocol=5)
    return (packed, refs, *inputs) if refs or inputs else (packed,)


def bundle_reply_in(answer: bytes) -> BundleReply:
    """The answer of a bundle, in the scheduler, which from now on masks the secrets that the worker masks."""
    reply: BundleReply = pickle.loads(answer)
    masking.learn(reply.masks)
    return reply


def operated_in(answer: bytes) -> tuple[OperationReply, list[tuple[bytes, int]]]:
    """The answer of an operation, in the scheduler: its outcome; digest and size of its large values in the second
    slot."""
    outcome, kept, masks = pickle.loads(answer)
    masking.learn(masks)
    return outcome, kept


@serving()
def run_bundle(packed: bytes, refs: list[Any] | None = None, *slots: Slot) -> bytes | tuple[bytes, Slot]:
    """Run the calls of a bundle one after the other; or none of them, if it stood in a queue and has to give way.

    One that probably makes no large values answers without the second slot: if a call makes one, it goes to the store.
    Both kinds are one function, since Ray has a queue for each function and shape, and serves a queue that is never
    empty for ever.
    """
    known, masks, (is_small, name, calls, vectors, queued) = pickle.loads(packed)
    if _claims_here.must_give_way(name, *queued):
        return GIVES_WAY if is_small else (GIVES_WAY, [])
    masking.learn(masks)
    answer, slot = _bundle_run(known, masks, name, calls, vectors, refs, slots)
    return answer if is_small else (answer, slot)


def _bundle_run(
    known: ContextKey,
    masks: tuple[masking.Mask, ...],
    name: str,
    fields: list[Any],
    vector_fields: list[Any],
    refs: list[Any] | None,
    slots: tuple[Slot, ...],
) -> tuple[bytes, Slot]:
    calls = [Call(*each) for each in fields]
    vectors = [VectorCall(*each) for each in vector_fields]
    columns = [VectorReply.empty() for _ in vectors]
    try:
        project_worker = _project_worker(known, refs)
    except (StoreUnavailable, ImportError) as error:
        failure = failure_from_exception(error)
        cost = (time.time_ns() // 1000, 0.0, 0.0, None)
        numbers = [(call.job, call.attempt) for call in calls]
        numbers.extend((job, 1) for vector in vectors for job in vector.jobs)
        failed: list[_Fields] = [(*number, None, failure, cost, (), (), False, None) for number in numbers]
        return pickle.dumps(BundleReply(failed, columns, [], [], HOST, os.getpid()), protocol=5), []
    if project_worker is None:
        return LACKS_CONTEXT, []
    worker = project_worker.worker
    fetched = _fetched(slots)
    worker.kept.clear()
    lines_before = project_worker.printer.count
    replies: list[Reply] = []
    until = time.perf_counter() + LONGEST_BUNDLE_SECONDS
    with many_bodies(), running(name), pumping(name) as pumped, BodySeries(worker) as series:
        for position, call in enumerate(calls):
            if position and time.perf_counter() >= until:
                break
            replies.append(series.run(call, fetched))
            if call.timeout is not None:
                _ended(call)
        not_started = [call.job for call in calls[len(replies) :]]
        for position, (vector, of_vector) in enumerate(zip(vectors, columns, strict=True)):
            before = len(replies)
            if not (calls or position) or time.perf_counter() < until:
                series.run_vector(vector, until, of_vector, replies.append)
            not_started.extend(vector.jobs[len(of_vector.jobs) + len(replies) - before :])
    unsynced = worker.sync()
    done = [_fields(reply.failed(unsynced.get(reply.job))) for reply in replies]
    slot, kept = _slot(worker)
    lines = project_worker.printer.count - lines_before
    known_masks, environment = masking.known(masks), project_worker.environment()
    answer = BundleReply(
        done, columns, not_started, kept, HOST, os.getpid(), lines, known_masks, *environment, pumped.left, pumped.notes
    )
    return pickle.dumps(answer, protocol=5), slot


@serving()
def run_operation(packed: bytes, refs: list[Any] | None = None, *slots: Slot) -> tuple[bytes, Slot]:
    """Apply an operation, on the node that has its values."""
    known, masks, (name, args) = pickle.loads(packed)
    masking.learn(masks)
    try:
        project_worker = _project_worker(known, refs)
    except (StoreUnavailable, ImportError) as error:
        outcome = OperationReply(None, failure_from_exception(error))
        return pickle.dumps((outcome, [], ()), protocol=5), []
    assert project_worker is not None, "an operation comes with references"
    worker = project_worker.worker
    worker.kept.clear()
    outcome = worker.operate(name, loads(args), _fetched(slots))
    slot, kept = _slot(worker)
    return pickle.dumps((outcome, kept, masking.known(masks)), protocol=5), slot


@serving()
def run_check(packed: bytes, refs: list[Any] | None = None) -> bytes:
    """Check witnesses with the user's code: whether each is valid, in order. None is where they cannot be checked."""
    known, masks, witnesses = pickle.loads(packed)
    masking.learn(masks)
    try:
        project_worker = _project_worker(known, refs)
        assert project_worker is not None, "a check comes with references"
        verdicts = project_worker.worker.check(witnesses)
    except (StoreUnavailable, ImportError):
        verdicts = {}
    return pickle.dumps([verdicts.get(witness, False) for witness in witnesses], protocol=5)


def _fetched(slots: tuple[Slot, ...]) -> dict[bytes, Encoded]:
    return {
        digest: Encoded(format, header, tuple(buffers)) for slot in slots for digest, format, header, buffers in slot
    }


def _slot(worker: Worker) -> tuple[Slot, list[tuple[bytes, int]]]:
    """The large values that the calls have made, for the object store; none when they would take too much of it."""
    kept = [(digest, encoded.size) for digest, encoded in worker.kept.items()]
    if kept and sum(size for _, size in kept) > LARGEST_SHARE * _object_store_bytes():
        worker.kept.clear()
        return [], []
    slot = [
        (digest, encoded.format, encoded.header, [pickle.PickleBuffer(buffer) for buffer in encoded.buffers])
        for digest, encoded in worker.kept.items()
    ]
    worker.kept.clear()
    return slot, kept


_store_bytes: list[float] = []


def _object_store_bytes() -> float:
    """The size of this node's object store in bytes."""
    if not _store_bytes:
        own = ray.get_runtime_context().get_node_id()
        sizes = [node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["NodeID"] == own]
        _store_bytes.append(sizes[0] if sizes else 0.0)
    return _store_bytes[0]
