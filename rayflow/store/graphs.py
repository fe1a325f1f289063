"""An execution as a graph of boxes: who called whom, and whose results went where.

In: the id of an execution. Out: a `CallGraph`. Never: text, colours.

All calls of one task that were made from one box are one box, and a call of a task below itself goes into the box that
it came from. So the graph is as large as the workflow's code is, however many calls an execution made.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rayflow.errors import NotFound
from rayflow.store import views
from rayflow.store.answers import Box, CallGraph, Flow, Record
from rayflow.store.asking import Asker


def call_graph(asker: Asker, execution: Record) -> CallGraph:
    """The graph of an execution. Raises NotFound when no job of it was recorded."""
    key = {"execution": execution["execution_id"]}
    rows = asker.answer(views.text_of("box_jobs"), key).fetchall()
    if not rows:
        raise NotFound(f"No job of execution {execution['execution_id']} was recorded.")
    gathered = _Gathering()
    gathered.add_all(rows)
    flows: Counter[tuple[int, int]] = Counter()
    for source, target in asker.answer(views.text_of("box_flows"), key).fetchall():
        for end in gathered.boxes_of[target]:
            for start in gathered.boxes_of[source]:
                if start != end:
                    flows[start, end] += 1
    _name_single(asker, gathered.boxes)
    boxes = tuple(each.finished() for each in gathered.boxes)
    return CallGraph(execution, boxes, tuple(Flow(*ends, count) for ends, count in flows.items()))


class _Growing:
    """A box while jobs are put into it."""

    __slots__ = ("call", "call_hash", "counts", "ended", "number", "parent", "queued", "seconds", "task_name")

    def __init__(self, number: int, parent: _Growing | None, task_name: str) -> None:
        self.number = number
        self.parent = parent
        self.task_name = task_name
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.queued: float | None = None
        self.ended: float | None = None
        self.call: str | None = None
        self.call_hash: bytes | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        _, _, _, call_hash, status, how, seconds, queued, finished, call = row
        self.counts["jobs"] += 1
        self.counts[how if status == "done" and how else status] += 1
        self.seconds += seconds or 0.0
        self.queued = queued if self.queued is None else min(queued, self.queued)
        if finished is not None:
            self.ended = finished if self.ended is None else max(finished, self.ended)
        self.call, self.call_hash = call, call_hash

    def finished(self) -> Box:
        took = None if self.ended is None or self.queued is None else self.ended - self.queued
        is_single = self.counts["jobs"] == 1
        return Box(
            self.number,
            None if self.parent is None else self.parent.number,
            self.task_name,
            self.call if is_single else None,
            dict(self.counts),
            self.seconds,
            took,
        )


class _Gathering:
    """Puts jobs into boxes, parents before children."""

    def __init__(self) -> None:
        self.boxes: list[_Growing] = []
        self.boxes_of: dict[bytes, set[int]] = {}
        self._known: dict[tuple[int | None, str], _Growing] = {}

    def add_all(self, rows: list[tuple[Any, ...]]) -> None:
        jobs = {row[0] for row in rows}
        below: dict[bytes | None, list[tuple[Any, ...]]] = {}
        for row in rows:
            # A job whose parent's row is not there, or not yet, stands for itself.
            below.setdefault(row[1] if row[1] in jobs else None, []).append(row)
        waiting: list[tuple[_Growing | None, bytes | None]] = [(None, None)]
        for parent, job_id in waiting:
            for row in below.get(job_id, ()):
                box = self._box(parent, row[2])
                box.add(row)
                if row[3] is not None:
                    self.boxes_of.setdefault(row[3], set()).add(box.number)
                if row[0] in below:
                    waiting.append((box, row[0]))

    def _box(self, parent: _Growing | None, task_name: str) -> _Growing:
        key = (None if parent is None else parent.number, task_name)
        box = self._known.get(key)
        if box is None:
            above = parent
            while above is not None and above.task_name != task_name:
                above = above.parent
            box = above
            if box is None:
                box = _Growing(len(self.boxes), parent, task_name)
                self.boxes.append(box)
            self._known[key] = box
        return box


def _name_single(asker: Asker, boxes: list[_Growing]) -> None:
    """Let boxes of one call say what was called with what."""
    single = [box for box in boxes if box.counts["jobs"] == 1 and box.call is None and box.call_hash]
    arguments = asker.arguments([box.call_hash.hex() for box in single if box.call_hash])
    for box in single:
        named = arguments.get(box.call_hash.hex() if box.call_hash else "", ())
        inside = ", ".join(f"{each.name}={each.preview or '?'}" for each in named)
        box.call = f"{box.task_name}({inside})"
