"""The one function that Ray runs on a worker.

In: a packed bundle of calls, or an operation, and the large values that they need. Out: replies, and the large values
that they made. Never: calls back to the scheduler, gets an object of Ray's inside a call.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from rayflow.evaluator.events import Cost
from rayflow.runtime.workers import HOST, Call, Reply, Surroundings, Worker
from rayflow.store.store import open_store
from rayflow.values.failures import Failure
from rayflow.values.refs import Encoded

MARK = "\x1erayflow\x1f"
"""Before a line that a task has printed, so that the driver can tell whose it is."""

LONGEST_BUNDLE_SECONDS = 1.0
"""A bundle that has taken so long gives back the calls that it has not started."""

WORKERS_KEPT = 4
"""How many projects' surroundings a worker process keeps."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What comes back from a bundle.

    replies: the fields of a Reply for each call that was run, its cost without node and pid: tuples, because a bundle has
    many and they are pickled. not_started: numbers of jobs whose turn did not come. kept: digest and size of the large
    values in the second slot.
    """

    replies: list[tuple[Any, ...]]
    not_started: list[int]
    kept: list[tuple[bytes, int]]
    node: str
    pid: int

    def each(self) -> list[Reply]:
        """The replies."""
        node, pid = self.node, self.pid
        return [
            Reply(job, attempt, term, failure, Cost(*cost, node, pid), entries, rows)
            for job, attempt, term, failure, cost, entries, rows in self.replies
        ]


def _fields(reply: Reply) -> tuple[Any, ...]:
    cost = reply.cost
    measured = (cost.started_at, cost.wall_seconds, cost.cpu_seconds, cost.peak_memory_bytes)
    return reply.job, reply.attempt, reply.term, reply.failure, measured, reply.entries, reply.rows


Slot = list[tuple[bytes, str, bytes, list[pickle.PickleBuffer]]]
"""Large values as they lie in the object store: digest, format, header, buffers that are read in place."""

_workers: OrderedDict[str, Worker] = OrderedDict()


def worker_for(key: str, surroundings: Any) -> Worker:
    """This process's worker for a project and its tasks.

    surroundings: a list with the object reference of the pickled Surroundings: fetched only when the key is new.
    """
    known = _workers.get(key)
    if known is not None:
        _workers.move_to_end(key)
        return known
    import ray

    packed: bytes = ray.get(surroundings[0])
    around: Surroundings = pickle.loads(packed)
    worker = Worker(around, open_store(around.store_url), printed=_printed, may_exit=True)
    _workers[key] = worker
    while len(_workers) > WORKERS_KEPT:
        _workers.popitem(last=False)
    return worker


def _printed(task: str, stream: str, text: str) -> None:
    beneath = sys.__stdout__
    if beneath is None:
        return
    for line in text.splitlines():
        beneath.write(f"{MARK}{task}\x1f{stream}\x1f{line}\n")
    beneath.flush()


def run_bundle(key: str, surroundings: Any, packed: bytes, *slots: Slot) -> tuple[bytes, Slot]:
    """Run the calls of a bundle one after the other."""
    worker = worker_for(key, surroundings)
    calls: list[Call] = [Call(*fields) for fields in pickle.loads(packed)]
    fetched = _fetched(slots)
    worker.kept.clear()
    replies: list[tuple[Any, ...]] = []
    started = time.monotonic()
    for position, call in enumerate(calls):
        if position and time.monotonic() - started > LONGEST_BUNDLE_SECONDS:
            break
        replies.append(_fields(worker.run(call, fetched)))
    not_started = [call.job for call in calls[len(replies) :]]
    kept = [(digest, encoded.size) for digest, encoded in worker.kept.items()]
    reports = Reports(replies, not_started, kept, HOST, os.getpid())
    return pickle.dumps(reports, protocol=5), _slot(worker)


def run_operation(key: str, surroundings: Any, packed: bytes, *slots: Slot) -> tuple[bytes, Slot]:
    """Apply an operation to values where they are."""
    worker = worker_for(key, surroundings)
    name, args = pickle.loads(packed)
    worker.kept.clear()
    outcome: tuple[bytes | None, Failure | None] = worker.operate(name, args, _fetched(slots))
    kept = [(digest, encoded.size) for digest, encoded in worker.kept.items()]
    return pickle.dumps((outcome, kept), protocol=5), _slot(worker)


def _fetched(slots: tuple[Slot, ...]) -> dict[bytes, Encoded]:
    return {
        digest: Encoded(format, header, tuple(buffers)) for slot in slots for digest, format, header, buffers in slot
    }


def _slot(worker: Worker) -> Slot:
    slot = [
        (digest, encoded.format, encoded.header, [pickle.PickleBuffer(buffer) for buffer in encoded.buffers])
        for digest, encoded in worker.kept.items()
    ]
    worker.kept.clear()
    return slot
