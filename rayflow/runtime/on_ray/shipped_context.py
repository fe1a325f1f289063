"""The context that workers need to run calls, kept in Ray's object store.

In: the context that a driver or a service has given, and tasks that workers have met later. Out: the part of it that
goes with each bundle, so that a worker process can fetch what it lacks. Never: runs anything.

A context is put into the object store once, also when many executions have it, as the runs of a service do. Tasks that
are learnt later come in *chapters*: each holds a few entries, and two chapters of a size become one, so that a bundle
names only a handful of them however many tasks an execution defines while it runs.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.values.digests import digest, to_hex

ContextKey: TypeAlias = tuple[str, tuple[str, ...]]
"""The key of the context, and the keys of the chapters, that a worker needs."""

TravellingContext: TypeAlias = tuple[ContextKey, list[Any] | None]
"""The key of the context that a bundle needs, and the object references of all its parts (in a list, so that Ray does
not resolve them); no references where the worker probably has all parts."""


@dataclass(slots=True)
class _Chapter:
    key: str
    ref: Any
    entries: tuple[TaskEntry, ...]


@dataclass(slots=True)
class ShippedContext:
    """The context of one execution, or of several that have learnt nothing of their own.

    put: puts bytes into the object store and gives the reference (ray.put). key, ref: of the context, if it is there.
    """

    surroundings: WorkerContext
    put: Callable[[bytes], Any]
    key: str = ""
    ref: Any = None
    _chapters: list[_Chapter] = field(default_factory=list)
    _learnt: dict[str, TaskEntry] = field(default_factory=dict)
    _new: list[TaskEntry] = field(default_factory=list)
    _travelling: TravellingContext | None = None
    _sent_count: int = 0

    def __post_init__(self) -> None:
        if self.ref is not None:
            return
        packed = pickle.dumps(self.surroundings, protocol=5)
        self.key = to_hex(digest("surroundings", packed))
        self.ref = self.put(packed)

    @property
    def channel(self) -> str:
        """The name that stands before every line that the tasks print."""
        return self.surroundings.channel

    def for_one(self) -> ShippedContext:
        """This context, if an execution has learnt tasks with it; else a copy for one that is about to."""
        return self if self._learnt else ShippedContext(self.surroundings, self.put, self.key, self.ref)

    def lacks(self, entries: Iterable[TaskEntry]) -> bool:
        """Whether one of these tasks is new."""
        return any(entry.name not in self.surroundings.table and entry.name not in self._learnt for entry in entries)

    def learn(self, entries: Iterable[TaskEntry]) -> None:
        """Add tasks that a worker has met and that the table lacks."""
        for entry in entries:
            if self.lacks((entry,)):
                self._learnt[entry.name] = entry
                self._new.append(entry)
                self._travelling = None
                self._sent_count = 0

    def travelling_light(self, workers: float) -> TravellingContext:
        """The context for a bundle; without references once so many bundles have carried them that nearly every worker
        has fetched the parts. References cost a call more than everything else that is sent."""
        travelling = self.travelling()
        self._sent_count += 1
        return travelling if self._sent_count <= 2 * workers else (travelling[0], None)

    def travelling(self) -> TravellingContext:
        """The context for a bundle, with references."""
        if self._travelling is None:
            if self._new:
                self._write(tuple(self._new))
                self._new.clear()
            chapters = self._chapters
            known = self.key, tuple([each.key for each in chapters])
            self._travelling = known, [self.ref, *(each.ref for each in chapters)]
        return self._travelling

    def _write(self, entries: tuple[TaskEntry, ...]) -> None:
        while self._chapters and len(self._chapters[-1].entries) <= len(entries):
            entries = (*self._chapters.pop().entries, *entries)
        self._chapters.append(_Chapter(os.urandom(8).hex(), self.put(pickle.dumps(entries, protocol=5)), entries))
