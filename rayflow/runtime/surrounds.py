"""What the workers of an execution have to know, kept in Ray's object store.

In: the surroundings that a driver has sent, and tasks that workers met later. Out: what travels with each bundle, so
that a worker process can fetch what it lacks. Never: runs anything.

The driver's part is put once. Tasks learnt later come in *chapters*: each holds a few entries, and two of a size are
made one, so that a bundle names only a handful however many tasks an execution makes while it runs.
"""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rayflow.lang.entries import TaskEntry
from rayflow.runtime.calls import Surroundings
from rayflow.values.digests import digest, to_hex

Known: TypeAlias = tuple[str, tuple[str, ...]]
"""Key of the surroundings, and keys of the chapters: what a worker has to know."""

Travelling: TypeAlias = tuple[Known, list[Any] | None]
"""What a worker has to know, and the object references of all of it (inside a list, so that Ray leaves them alone); no
references where the worker is thought to know it all."""


@dataclass(slots=True)
class _Chapter:
    key: str
    ref: Any
    entries: tuple[TaskEntry, ...]


@dataclass(slots=True)
class Around:
    """The surroundings of one execution. put: keeps bytes in the object store and gives the reference (ray.put)."""

    surroundings: Surroundings
    put: Callable[[bytes], Any]
    key: str = ""
    ref: Any = None
    _chapters: list[_Chapter] = field(default_factory=list)
    _learnt: dict[str, TaskEntry] = field(default_factory=dict)
    _new: list[TaskEntry] = field(default_factory=list)
    _travelling: Travelling | None = None
    _told: int = 0

    def __post_init__(self) -> None:
        packed = pickle.dumps(self.surroundings, protocol=5)
        self.key = to_hex(digest("surroundings", packed))
        self.ref = self.put(packed)

    @property
    def channel(self) -> str:
        """Goes before everything that the tasks print."""
        return self.surroundings.channel

    def learn(self, entries: Iterable[TaskEntry]) -> None:
        """Tasks that a worker has met and the table lacks."""
        for entry in entries:
            if entry.name not in self.surroundings.table and entry.name not in self._learnt:
                self._learnt[entry.name] = entry
                self._new.append(entry)
                self._travelling = None
                self._told = 0

    def travelling_light(self, workers: float) -> Travelling:
        """What goes with a bundle, without the references once so many bundles have carried them that about every
        worker knows what they hold: references cost a call more than everything else that travels."""
        travelling = self.travelling()
        self._told += 1
        return travelling if self._told <= 2 * workers else (travelling[0], None)

    def travelling(self) -> Travelling:
        """What goes with a bundle, references and all."""
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
        self._chapters.append(_Chapter(secrets.token_hex(8), self.put(pickle.dumps(entries, protocol=5)), entries))
