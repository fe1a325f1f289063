"""Carries what bodies write to streams from workers to their scheduler, while the bodies run.

In: items, in a worker; bundles in flight, in the scheduler. Out: the same items, in the scheduler, in their order.
Never: loses an item of a bundle that answers: what was not on its way goes with the answer.

A worker writes its items as notes into the cluster's key-value store, a few together. The scheduler takes them out. If
it does not, the worker keeps further items back, and at last lets its bodies wait: so nothing grows without end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from rayflow.runtime.on_ray import cluster_notes
from rayflow.runtime.on_ray.cluster_notes import NO_ANSWER
from rayflow.runtime.protocol.stream_items import TakeItems, WrittenItems, joined
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.forks import at_fork

GATHER_SECONDS = 0.05
"""How long a worker gathers items for a note."""

NOTE_BYTES = 128 * 1024
"""About the most bytes of items in one note."""

MOST_NOTES = 16
"""So many notes of a bundle may be there; then the worker waits until the scheduler has taken some."""

MOST_WAITING_BYTES = 8 * 1024 * 1024
"""If items of so many bytes wait in a worker, its bodies wait, too."""

FIRST_LOOK_SECONDS = 0.1
"""The scheduler looks for notes when a bundle has been on its way for so long. What a shorter one has written comes
with its answer."""

LOOK_SECONDS = 0.15
QUICK_LOOK_SECONDS = 0.05
"""How often the scheduler looks for notes; the second, while some come."""

STALE_SECONDS = 24 * 3600
"""Notes that are so old were left by a scheduler that has died."""

_PREFIX = "items:"


def _prefix(bundle: str) -> str:
    return f"{_PREFIX}{bundle}:"


# --- in a worker ------------------------------------------------------------------------------------------------------


class ItemPump:
    """Sends the items of one process, for one bundle after the other."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        """Held while a note is written."""
        self._waiting: list[WrittenItems] = []
        self._size = 0
        self._bundle = ""
        self._notes = 0
        self._thread: threading.Thread | None = None

    def begin(self, bundle: str) -> None:
        """This process begins with a bundle."""
        with self._changed:
            self._bundle, self._notes, self._waiting, self._size = bundle, 0, [], 0

    def end(self) -> tuple[tuple[WrittenItems, ...], int]:
        """The bundle has ended: the items that are not on their way, and how many notes were written."""
        with self._sending, self._changed:
            left, self._waiting, self._size, self._bundle = joined(self._waiting), [], 0, ""
            self._changed.notify_all()
            return tuple(left), self._notes

    def take(self, written: WrittenItems) -> None:
        """Take in items. Waits while there are too many."""
        with self._changed:
            while self._size > MOST_WAITING_BYTES and self._bundle:
                self._changed.wait()
            if not self._bundle:
                return  # a thread writes whose body has ended
            self._waiting.append(written)
            self._size += written.size
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, name="rayflow-items", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _send_for_ever(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
            time.sleep(GATHER_SECONDS)
            with self._sending:
                try:
                    self._send()
                except NO_ANSWER:  # the items wait, or go with the answer
                    time.sleep(GATHER_SECONDS)

    def _send(self) -> None:
        """Write one note of what waits, if there is room for one."""
        bundle = self._bundle
        if not bundle:
            return
        if self._notes and self._notes % MOST_NOTES == 0 and len(cluster_notes.keys(_prefix(bundle))) >= MOST_NOTES:
            return
        with self._changed:
            count = size = 0
            while count < len(self._waiting) and size < NOTE_BYTES:
                size += self._waiting[count].size
                count += 1
            sent = self._waiting[:count]
        if not sent:
            return
        note = [int(time.time()), [(each.job_id.hex(), *each[1:]) for each in joined(sent)]]
        cluster_notes.write(f"{_prefix(bundle)}{self._notes:08d}", json.dumps(note))
        self._notes += 1
        with self._changed:
            del self._waiting[:count]
            self._size -= size
            self._changed.notify_all()

    def forked(self) -> None:
        """In a child that a body has forked: nothing that it writes is sent."""
        self._changed, self._sending, self._bundle = threading.Condition(), threading.Lock(), ""


PUMP = ItemPump()
"""The pump of this process."""

at_fork(in_child=PUMP.forked)


class pumping:
    """While this lasts, what the bodies of a bundle write is on its way to the scheduler.

    left: afterwards, the items that are not. notes: how many notes were written.
    """

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle
        self.left: tuple[WrittenItems, ...] = ()
        self.notes = 0

    def __enter__(self) -> pumping:
        PUMP.begin(self._bundle)
        return self

    def __exit__(self, *_: object) -> None:
        self.left, self.notes = PUMP.end()


# --- in the scheduler -------------------------------------------------------------------------------------------------


class NotedItems:
    """The notes for one scheduler. owner: the beginning of its bundles' names. in_flight: gives what takes the items of
    each bundle in flight, by its name; and when the first of these was sent, in monotonic seconds, None if there is
    none.
    """

    def __init__(
        self,
        owner: str,
        in_flight: Callable[[], tuple[Mapping[str, TakeItems], float | None]],
    ) -> None:
        self._owner = owner
        self._in_flight = in_flight
        self._reading = threading.Lock()
        """Held while notes are read and handed on, so that those of a bundle keep their order."""
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._has_warned = False

    def look(self) -> None:
        """A bundle is on its way: look for its notes from now on."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_for_ever, name="rayflow-items", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._is_stopped = True
        self._wanted.set()

    def finish(self, bundle: str, take: TakeItems) -> None:
        """A bundle has ended, which may have left notes: hand them on."""
        try:
            with self._reading:
                self._hand_on(cluster_notes.keys(_prefix(bundle)), {bundle: take})
        except NO_ANSWER:  # the cluster is lost, and with it the notes
            pass

    def _look_for_ever(self) -> None:
        self._guarded(self._remove_stale)
        pause = LOOK_SECONDS
        while True:
            self._wanted.wait()
            time.sleep(pause)
            if self._is_stopped:
                return
            self._wanted.clear()
            _, since = self._in_flight()
            if since is not None:
                self._wanted.set()
                if time.monotonic() - since >= FIRST_LOOK_SECONDS:
                    has_found = self._guarded(self._look)
                    pause = QUICK_LOOK_SECONDS if has_found else LOOK_SECONDS

    def _guarded(self, look: Callable[[], bool]) -> bool:
        try:
            return look()
        except NO_ANSWER:  # the cluster is lost: the driver notices that
            return False
        except Exception as error:  # the items come later, or with the answers
            if not self._has_warned:
                self._has_warned = True
                warn_user(f"What bodies write to streams cannot be read: {type(error).__name__}: {error}")
            return False

    def _look(self) -> bool:
        """Hand on what is there. Returns whether there was anything."""
        with self._reading:
            found = cluster_notes.keys(f"{_PREFIX}{self._owner}")
            if found:
                self._hand_on(found, self._in_flight()[0])
            return bool(found)

    def _hand_on(self, keys: Iterable[str], takers: Mapping[str, TakeItems]) -> None:
        """Take out the notes of these bundles. One that has just ended is left to `finish`."""
        for key in sorted(keys):
            bundle = key.removeprefix(_PREFIX).rpartition(":")[0]
            if bundle not in takers:
                continue
            text = cluster_notes.read(key)
            if text is not None:
                for job_id, *fields in json.loads(text)[1]:
                    written = WrittenItems(bytes.fromhex(job_id), *fields)
                    takers[bundle](written._replace(texts=tuple(written.texts), times=tuple(written.times)))
            cluster_notes.remove(key)

    def _remove_stale(self) -> bool:
        """Remove what schedulers that have died have left."""
        for key in cluster_notes.keys(_PREFIX):
            text = cluster_notes.read(key)
            if text is not None and time.time() - json.loads(text)[0] > STALE_SECONDS:
                cluster_notes.remove(key)
        return False
