"""An execution as a graph of boxes: which box called which, and which took the results of which.

In: an execution. Out: a `CallGraph`. Never: text, colours.

All calls of one task, with one label, that were made from one box are one box. A task that calls itself goes into its
own box again. So the graph is as large as the code of the workflow, however many calls there were.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

from rayflow.errors import NotFound
from rayflow.lang.operations import is_shown
from rayflow.store.history import views
from rayflow.store.history.answer_types import Box, CallGraph, Flow, Record
from rayflow.store.history.database import RecordDatabase


def call_graph(database: RecordDatabase, execution: Record) -> CallGraph:
    """The graph of an execution. Raises NotFound when no job of it was recorded."""
    key = {"execution": execution["execution_id"]}
    rows = database.answer(views.text_of("box_jobs"), key).fetchall()
    if not rows:
        raise NotFound(f"No job of execution {execution['execution_id']} was recorded.")
    gathered = _Gathering()
    gathered.add_all(rows)
    flows: Counter[tuple[int, int]] = Counter()
    for source, target in database.answer(views.text_of("box_flows"), key).fetchall():
        for end in gathered.boxes_of[target]:
            for start in gathered.boxes_of[source]:
                if start != end:
                    flows[start, end] += 1
    _name_single(database, gathered.boxes)
    boxes = tuple(each.finished() for each in gathered.boxes)
    return CallGraph(execution, boxes, tuple(Flow(*ends, count) for ends, count in flows.items()))


_Name: TypeAlias = tuple[str, str | None]
"""A task's full name, and the label of its calls."""


class _Growing:
    """A box that jobs are still added to."""

    __slots__ = ("call", "call_hash", "counts", "ended", "name", "number", "parent", "queued", "seconds")

    def __init__(self, number: int, parent: _Growing | None, name: _Name) -> None:
        self.number = number
        self.parent = parent
        self.name = name
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.queued: float | None = None
        self.ended: float | None = None
        self.call: str | None = None
        self.call_hash: bytes | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        _, _, _, call_hash, status, how, seconds, queued, finished, call, _ = row
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
            number=self.number,
            parent=None if self.parent is None else self.parent.number,
            task_name=self.name[0],
            call=self.call if is_single else None,
            counts=dict(self.counts),
            body_seconds=self.seconds,
            seconds=took,
            label=self.name[1],
        )


class _Gathering:
    """Adds jobs to boxes, parents before children."""

    def __init__(self) -> None:
        self.boxes: list[_Growing] = []
        self.boxes_of: dict[bytes, set[int]] = {}
        self._known: dict[tuple[int | None, _Name], _Growing] = {}

    def add_all(self, rows: list[tuple[Any, ...]]) -> None:
        jobs = {row[0] for row in rows}
        below: dict[bytes | None, list[tuple[Any, ...]]] = {}
        for row in rows:
            # A job whose parent has no row, or none yet, counts as a root.
            below.setdefault(row[1] if row[1] in jobs else None, []).append(row)
        waiting: list[tuple[_Growing | None, bytes | None]] = [(None, None)]
        for parent, job_id in waiting:
            for row in below.get(job_id, ()):
                box = self._box(parent, (row[2], row[-1]))
                box.add(row)
                if row[3] is not None:
                    self.boxes_of.setdefault(row[3], set()).add(box.number)
                if row[0] in below:
                    waiting.append((box, row[0]))

    def _box(self, parent: _Growing | None, name: _Name) -> _Growing:
        key = (None if parent is None else parent.number, name)
        box = self._known.get(key)
        if box is None:
            above = parent
            while above is not None and above.name != name:
                above = above.parent
            box = above
            if box is None:
                box = _Growing(len(self.boxes), parent, name)
                self.boxes.append(box)
            self._known[key] = box
        return box


def _name_single(database: RecordDatabase, boxes: list[_Growing]) -> None:
    """Give each box of a single call the text of that call: the task, and its arguments."""
    single = [box for box in boxes if box.counts["jobs"] == 1 and box.call is None and box.call_hash]
    arguments = database.arguments_of([box.call_hash.hex() for box in single if box.call_hash], with_sources=False)
    for box in single:
        named = arguments.get(box.call_hash.hex() if box.call_hash else "", ())
        task, label = box.name
        shown = [(each.name, each.preview or "?") for each in named]
        inside = ", ".join(f"{name}={text}" for name, text in shown if is_shown(task, name, text))
        box.call = f"{label or task}({inside})"
