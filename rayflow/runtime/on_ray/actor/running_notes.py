"""Reads what workers have noted about the bundles that they run, and trades claims with other schedulers.

In: the bundles in flight. Out: which of them run, and where; the claims of others. Never: makes the loop wait: a thread
asks the cluster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from rayflow.runtime.on_ray import whereabouts
from rayflow.runtime.on_ray.actor.bundles import Bundle
from rayflow.runtime.on_ray.cluster_notes import NO_ANSWER
from rayflow.store.live.live_state import MOST_RUNNING
from rayflow.values.display.user_warnings import warn_user

NOTES_SECONDS = 0.5
"""The shortest time between two looks at the cluster's notes."""


class RunningNotes:
    """The notes about the bundles of one scheduler. owner: the beginning of their names. trade: trades claims, in the
    thread.

    names: the bundles that were noted. of_first: the notes of those that were sent first, by name.
    """

    def __init__(self, owner: str, trade: Callable[[], None]) -> None:
        self._owner = owner
        self._trade = trade
        self.names: frozenset[str] = frozenset()
        self.of_first: Mapping[str, whereabouts.BundleNote] = {}
        self.thread: threading.Thread | None = None
        self._has_warned = False

    def look(self, bundles: Iterable[Bundle]) -> None:
        """Have the notes read, unless that is going on."""
        if self.thread is None or not self.thread.is_alive():
            names = [bundle.name for bundle in bundles]
            self.thread = threading.Thread(target=self._read, args=(names,), name="rayflow-notes", daemon=True)
            self.thread.start()

    def _read(self, names: list[str]) -> None:
        try:
            self.names = whereabouts.noted_of(self._owner)
            self.of_first = self._read_first(names)
            self._trade()
        except NO_ANSWER:  # the cluster is lost: the driver notices that
            pass
        except Exception as error:  # what runs is then shown as of the last look
            if not self._has_warned:
                self._has_warned = True
                warn_user(f"The notes about what runs cannot be read: {type(error).__name__}: {error}")
        time.sleep(NOTES_SECONDS)

    def _read_first(self, names: list[str]) -> dict[str, whereabouts.BundleNote]:
        """The notes of the bundles that were sent first, each read once."""
        known = self.of_first
        found: dict[str, whereabouts.BundleNote] = {}
        for name in names:
            if name in self.names and len(found) < MOST_RUNNING:
                note = known.get(name) or whereabouts.note_of(name)
                if note is not None:
                    found[name] = note
        return found
