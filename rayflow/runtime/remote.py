"""The functions that Ray runs on a worker.

In: a packed bundle of calls, or an operation, and the large values that they need. Out: replies, and the large values
that they made. Never: calls back to the scheduler, gets an object of Ray's inside a call.
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

from rayflow.errors import NotFound, StoreUnavailable
from rayflow.evaluator.events import Cost
from rayflow.evaluator.subruns import Below
from rayflow.lang.codec import loads
from rayflow.lang.entries import TaskEntry
from rayflow.records import Row
from rayflow.runtime.calls import Call, Reply, Surroundings
from rayflow.runtime.finding import HOST
from rayflow.runtime.printing import many_bodies
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.surrounds import Known, Travelling
from rayflow.runtime.workers import Worker
from rayflow.store.base import Store
from rayflow.store.store import open_store
from rayflow.values.failures import Failure, failure_from_exception
from rayflow.values.refs import Encoded

MARK = "\x1erayflow\x1f"
"""Before a line that a task has printed, so that the driver can tell whose it is: after it come channel, task, stream
and text, with SEPARATOR between them."""

SEPARATOR = "\x1f"

NAME = "rayflow:"
"""Before the task's name in the name of a Ray task."""

LONGEST_BUNDLE_SECONDS = 1.0
"""A bundle that has taken so long gives back the calls that it has not started."""

WORKERS_KEPT = 4
"""How many projects' surroundings a worker process keeps."""

LARGEST_SHARE = 0.5
"""Values that together take more than this share of a node's object store are left to the store: to make room for them,
Ray would write them to disk once more."""


_Fields: TypeAlias = tuple[
    int,
    int,
    bytes | None,
    Failure | None,
    tuple[int, float, float, int | None],
    tuple[TaskEntry, ...],
    tuple[Row, ...],
    bool,
    Below | None,
]


class Reports(NamedTuple):
    """What comes back from a bundle. A named tuple, because it is pickled for each: a dataclass with slots takes ten
    times as long.

    replies: the fields of a Reply for each call that was run, its cost without node and pid: tuples, because a bundle
    has many and they are pickled. not_started: numbers of jobs whose turn did not come. kept: digest and size of the
    large values in the second slot. lines: how many lines the calls have printed.
    """

    replies: list[_Fields]
    not_started: list[int]
    kept: list[tuple[bytes, int]]
    node: str
    pid: int
    lines: int = 0

    def each(self) -> list[Reply]:
        """The replies."""
        node, pid = self.node, self.pid
        return [
            Reply(job, attempt, term, failure, Cost(*cost, node, pid), entries, rows, is_paused, below)
            for job, attempt, term, failure, cost, entries, rows, is_paused, below in self.replies
        ]


def _fields(reply: Reply) -> _Fields:
    job, attempt, term, failure, cost, entries, rows, is_paused, below = reply
    return job, attempt, term, failure, cost[:4], entries, rows, is_paused, below


Slot = list[tuple[bytes, str, bytes, list[pickle.PickleBuffer]]]
"""Large values as they lie in the object store: digest, format, header, buffers that are read in place."""


# --- what this process has --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Hand:
    """A worker, and what it has fetched and printed.

    directory: where its bodies run. chapters: keys of those that it has learnt.
    """

    worker: Worker
    directory: str
    chapters: set[str] = field(default_factory=set)
    lines: int = 0


_hands: OrderedDict[str, _Hand] = OrderedDict()


class _Lacking(Exception):
    """This process does not know the surroundings, and no references came with them."""


LACKING = b""
"""The answer of a worker that has to be told its surroundings first."""


def _hand_for(known: Known, refs: list[Any] | None) -> _Hand:
    """This process's worker for a project and its tasks; fetches what is new."""
    key, chapters = known
    hand = _hands.get(key)
    if not refs and (hand is None or not hand.chapters.issuperset(chapters)):
        raise _Lacking
    if hand is None:
        assert refs
        hand = _hands[key] = _made(pickle.loads(_got(refs[0])))
        while len(_hands) > WORKERS_KEPT:
            _hands.popitem(last=False)
    else:
        _hands.move_to_end(key)
    for chapter, ref in zip(chapters, refs[1:] if refs else (), strict=False):
        if chapter not in hand.chapters:
            hand.worker.learn(pickle.loads(_got(ref)))
            hand.chapters.add(chapter)
    with contextlib.suppress(OSError):  # removed by now: then the user's code is told so by what it opens there
        os.chdir(hand.directory)  # each time: this process may have run another project's bodies since
    return hand


def _got(ref: Any) -> bytes:
    import ray

    packed: bytes = ray.get(ref)
    return packed


def _made(around: Surroundings) -> _Hand:
    directory = _directory_of(around)
    store = open_here(around.store_url)

    def printed(task: str, stream: str, text: str) -> None:
        beneath = sys.__stdout__
        if beneath is None:
            return
        lines = text.splitlines()
        hand.lines += len(lines)
        before = f"{MARK}{around.channel}{SEPARATOR}{task}{SEPARATOR}{stream}{SEPARATOR}"
        beneath.write("".join([f"{before}{line}\n" for line in lines]))
        beneath.flush()

    # Nobody watches a project without a channel: what its tasks print is in the records.
    shown = printed if around.channel else None
    hand = _Hand(Worker(around, store, printed=shown, timed=_begins, evaluate=evaluate), directory)
    gc.freeze()
    return hand


def open_here(url: str) -> Store:
    """The store that the driver has opened. Raises StoreUnavailable where this machine does not have it."""
    try:
        return open_store(url, create=False)
    except NotFound:
        raise StoreUnavailable(
            f"The store {url} is not on {HOST}, a machine of the cluster. A cluster of several machines needs a store "
            "that all of them reach: a shared folder, or a URL such as s3://bucket/folder."
        ) from None


@functools.cache
def _first_directory() -> str:
    """Where this process stood before it ran anything."""
    return os.getcwd()


def _directory_of(around: Surroundings) -> str:
    """Where bodies run: in the project's directory, to which the paths of Files are relative. Ray's copy of a project
    is the current directory from the first; where there is none and the project is not on this machine, it stays."""
    first = _first_directory()
    if "working_dir_files" in first.split(os.sep):
        _mark_project(first)
    elif around.project_dir and os.path.isdir(around.project_dir) and os.access(around.project_dir, os.X_OK):
        return around.project_dir
    return first


def _mark_project(copy: str) -> None:
    """Where Ray has unpacked the project, what marks its directory may be missing: the names of tasks depend on it."""
    from rayflow.lang.modules import MARKS

    if not any(os.path.exists(os.path.join(copy, mark)) for mark in MARKS):
        with open(os.path.join(copy, "rayflow.toml"), "a"):
            pass


# --- calls that have a timeout ----------------------------------------------------------------------------------------


def _begins(call: Call) -> None:
    """Note when a call with a timeout began: its process may have to be ended, and could tell nobody why."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_note(call.job_id, call.attempt), str(time.time()).encode(), namespace=b"rayflow")


def _ended(call: Call) -> None:
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(_note(call.job_id, call.attempt), namespace=b"rayflow")


def began_at(job_id: bytes, attempt: int) -> float | None:
    """When a call that has a timeout and did not come back had begun, in seconds since the epoch; None if it had
    not."""
    # Experimental in Ray's words; there since its first versions. It is asked only after a crash.
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get

    note = _note(job_id, attempt)
    noted = _internal_kv_get(note, namespace=b"rayflow")
    if noted is None:
        return None
    _internal_kv_del(note, namespace=b"rayflow")
    return float(noted)


def _note(job_id: bytes, attempt: int) -> bytes:
    return b"began:" + job_id.hex().encode() + b":" + str(attempt).encode()


# --- what Ray runs ----------------------------------------------------------------------------------------------------


def arguments_of(travelling: Travelling, what: Any, inputs: list[Any]) -> tuple[Any, ...]:
    """The arguments for one of the functions below: mostly a single piece of bytes, the one kind that Ray neither
    pickles nor unpickles. That is a third of what a call costs."""
    known, refs = travelling
    packed = pickle.dumps((known, what), protocol=5)
    return (packed, refs, *inputs) if refs or inputs else (packed,)


def run_small_bundle(packed: bytes, refs: list[Any] | None = None, *slots: Slot) -> bytes:
    """Run the calls of a bundle that is thought to make no large values; one that it makes is read from the store."""
    return run_bundle(packed, refs, *slots)[0]


def run_bundle(packed: bytes, refs: list[Any] | None = None, *slots: Slot) -> tuple[bytes, Slot]:
    """Run the calls of a bundle one after the other."""
    known, fields = pickle.loads(packed)
    calls = [Call(*each) for each in fields]
    try:
        hand = _hand_for(known, refs)
    except _Lacking:
        return LACKING, []
    except (StoreUnavailable, ImportError) as error:
        failure = failure_from_exception(error)
        cost = (time.time_ns() // 1000, 0.0, 0.0, None)
        failed: list[_Fields] = [(call.job, call.attempt, None, failure, cost, (), (), False, None) for call in calls]
        return pickle.dumps(Reports(failed, [], [], HOST, os.getpid()), protocol=5), []
    worker = hand.worker
    fetched = _fetched(slots)
    worker.kept.clear()
    lines_before = hand.lines
    replies: list[_Fields] = []
    started = time.monotonic()
    with many_bodies():
        for position, call in enumerate(calls):
            if position and time.monotonic() - started > LONGEST_BUNDLE_SECONDS:
                break
            replies.append(_fields(worker.run(call, fetched)))
            if call.timeout is not None:
                _ended(call)
    not_started = [call.job for call in calls[len(replies) :]]
    slot, kept = _slot(worker)
    reports = Reports(replies, not_started, kept, HOST, os.getpid(), hand.lines - lines_before)
    return pickle.dumps(reports, protocol=5), slot


def run_operation(packed: bytes, refs: list[Any] | None = None, *slots: Slot) -> tuple[bytes, Slot]:
    """Apply an operation to values where they are."""
    known, (name, args) = pickle.loads(packed)
    outcome: tuple[bytes | None, Failure | None, tuple[TaskEntry, ...]]
    try:
        worker = _hand_for(known, refs).worker
    except (StoreUnavailable, ImportError) as error:
        outcome = None, failure_from_exception(error), ()
        return pickle.dumps((outcome, []), protocol=5), []
    worker.kept.clear()
    outcome = worker.operate(name, loads(args), _fetched(slots))
    slot, kept = _slot(worker)
    return pickle.dumps((outcome, kept), protocol=5), slot


def run_check(packed: bytes, refs: list[Any] | None = None) -> bytes:
    """Check witnesses with the user's code: an answer for each, in order; none holds where they cannot be checked."""
    known, witnesses = pickle.loads(packed)
    try:
        verdicts = _hand_for(known, refs).worker.check(witnesses)
    except (StoreUnavailable, ImportError):
        verdicts = {}
    return pickle.dumps([verdicts.get(witness, False) for witness in witnesses], protocol=5)


def _fetched(slots: tuple[Slot, ...]) -> dict[bytes, Encoded]:
    return {
        digest: Encoded(format, header, tuple(buffers)) for slot in slots for digest, format, header, buffers in slot
    }


def _slot(worker: Worker) -> tuple[Slot, list[tuple[bytes, int]]]:
    """The large values that the calls have made, for the object store; none when they would crowd it."""
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
    """How large this node's object store is."""
    if not _store_bytes:
        import ray

        own = ray.get_runtime_context().get_node_id()
        sizes = [node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["NodeID"] == own]
        _store_bytes.append(sizes[0] if sizes else 0.0)
    return _store_bytes[0]
