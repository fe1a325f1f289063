"""Notes which node runs a bundle, and since when, for the scheduler: it needs that when a node does not answer, and to
say what runs.

In: the name of a bundle, while it runs. Out: the node that runs it. Never: costs a short bundle anything.

Ray tells the owner of a task that the task is lost, but not where it runs. So a thread of each worker process notes the
bundle that its process has been running for some seconds, in the cluster's key-value store.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import ray

from rayflow.runtime.on_ray import cluster_notes

NOTED_SECONDS = 2.0
"""A bundle that has run for so long is noted."""

TURN_SECONDS = 1.0
"""How often a worker's thread looks at the bundle of its process."""

_PREFIX = "runs:"
"""Stands before a bundle's name in the key of its note."""


class BundleNote(NamedTuple):
    """Where a bundle runs. node: Ray's id of the node. host: its name. since: when the bundle began, in microseconds
    since the epoch."""

    node: str
    host: str
    pid: int
    since: int


@dataclass(slots=True)
class _RunningBundle:
    name: str
    begun: float
    is_noted: bool = False


_current: _RunningBundle | None = None


class running:
    """While this lasts, this process runs the bundle of this name. One without a name is not noted."""

    def __init__(self, name: str) -> None:
        self._bundle = _RunningBundle(name, time.monotonic())

    def __enter__(self) -> None:
        global _current
        if self._bundle.name:
            _begin_noting()
            _current = self._bundle

    def __exit__(self, *_: object) -> None:
        global _current
        _current = None
        if self._bundle.is_noted:
            forget(self._bundle.name)


@functools.cache
def _begin_noting() -> None:
    threading.Thread(target=_note_for_ever, name="rayflow-whereabouts", daemon=True).start()


def _note_for_ever() -> None:
    own = ray.get_runtime_context().get_node_id()
    while True:
        time.sleep(TURN_SECONDS)
        bundle = _current
        if bundle is None or bundle.is_noted or time.monotonic() - bundle.begun < NOTED_SECONDS:
            continue
        bundle.is_noted = True
        with contextlib.suppress(Exception):  # the cluster is lost, and with it this process
            since = time.time_ns() // 1000 - round((time.monotonic() - bundle.begun) * 1_000_000)
            text = json.dumps(BundleNote(own, socket.gethostname(), os.getpid(), since))
            cluster_notes.write(f"{_PREFIX}{bundle.name}", text)
        if _current is not bundle:
            forget(bundle.name)


def node_of(name: str) -> str | None:
    """The id of the node that has been running a bundle for some seconds; None when that is not known."""
    note = note_of(name)
    return None if note is None else note.node


def note_of(name: str) -> BundleNote | None:
    """The note of a bundle that has been running for some seconds; None when there is none."""
    text = cluster_notes.read(f"{_PREFIX}{name}")
    return None if text is None else BundleNote(*json.loads(text))


def noted_of(owner: str) -> frozenset[str]:
    """The names of the noted bundles that begin with the name of their owner."""
    return frozenset(key.removeprefix(_PREFIX) for key in cluster_notes.keys(f"{_PREFIX}{owner}"))


def forget(name: str) -> None:
    """The bundle has ended: remove its note."""
    with contextlib.suppress(Exception):  # the cluster is lost: the note with it
        cluster_notes.remove(f"{_PREFIX}{name}")


def draining_nodes() -> list[str]:
    """The ids of the nodes that are being drained. Ray lists nodes without that."""
    return list(ray._private.state.state.get_draining_nodes())
