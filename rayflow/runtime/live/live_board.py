"""Writes the live files of a shell's executions, and reads the requests to cancel them: in a thread of its own.

In: executions that begin and end, their counts. Out: a file for each of them in the store, written again in each
interval, also while a body keeps the loop's thread for hours; calls of `cancel`. Never: raises, or keeps its caller
waiting for long.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rayflow.errors import StoreUnavailable
from rayflow.runtime.clock import CLOCK, Clock
from rayflow.runtime.listener import LiveCounts
from rayflow.runtime.live.rates import Rates
from rayflow.store.folders.protocol import Folder
from rayflow.store.live.live_files import CancelOrder, LiveFiles
from rayflow.store.live.live_state import LiveState, RunningCall

END_SECONDS = 10.0
"""How long the end of an execution waits, at most, for its live file to be removed."""

WRITING_SHARE = 10
"""Writing may take a tenth of an interval. A slow store gets longer intervals."""


def _nothing() -> None:
    pass


@dataclass(slots=True)
class _Entry:
    """An execution on the board. due: when its file is written next, in monotonic seconds."""

    execution_id: str
    life: int
    first_life: int
    started_at: int
    cancel: Callable[[CancelOrder], None]
    running: Callable[[], Mapping[str, Sequence[RunningCall]]]
    warned: Callable[[str], None]
    commit: Callable[[], None]
    interval_seconds: float
    counts: LiveCounts = field(default_factory=LiveCounts)
    rates: Rates = field(default_factory=Rates)
    due: float = 0.0
    is_first: bool = True
    order: CancelOrder | None = None
    has_warned: bool = False
    has_failed: bool = False
    is_over: bool = False
    is_removed: threading.Event = field(default_factory=threading.Event)


class LiveBoard:
    """The live files of the executions of one shell. shell: "ray" or "inline". Any thread may use it."""

    def __init__(self, folder: Folder, shell: str, clock: Clock = CLOCK) -> None:
        self._files = LiveFiles(folder)
        self._shell = shell
        self._clock = clock
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._entries: dict[str, _Entry] = {}
        self._thread: threading.Thread | None = None
        self._host = socket.gethostname()

    # --- from the shell -----------------------------------------------------------------------------------------------

    def begin(
        self,
        execution_id: str,
        *,
        life: int,
        first_life: int,
        started_at: int,
        cancel: Callable[[CancelOrder], None],
        running: Callable[[], Mapping[str, Sequence[RunningCall]]],
        warned: Callable[[str], None],
        commit: Callable[[], None] = _nothing,
    ) -> None:
        """An execution begins. Its first state is written at once.

        life, first_life: of those from `first_life` on, one submission has begun each; a request to cancel one of them
        is obeyed. A request to an earlier one is dropped: somebody has resumed the execution since.
        cancel: called in each interval from the moment at which somebody asks for the end of the execution until it
        ends. running: gives the calls that run. warned: gets a text when the store cannot be written. commit: called in
        each interval: where a body keeps the loop's thread, the loop itself cannot record what has ended before.
        """
        entry = _Entry(
            execution_id, life, first_life, started_at, cancel, running, warned, commit, self._files.interval_seconds
        )
        entry.counts = LiveCounts(self._clock.now())
        with self._lock:
            earlier = self._entries.get(execution_id)
            if earlier is not None:
                earlier.is_removed.set()  # its file is this one's now
            self._entries[execution_id] = entry
            self._news.set()
            self._have_thread()

    def take(self, counts: Mapping[str, LiveCounts]) -> None:
        """The newest counts of the executions."""
        for execution_id, of_one in counts.items():
            entry = self._entries.get(execution_id)
            if entry is not None:
                entry.counts = of_one

    def end(self, execution_id: str, seconds: float = END_SECONDS) -> None:
        """An execution has ended, and its end is recorded: remove its file. Waits for that, at most so long."""
        entry = self._entries.get(execution_id)
        if entry is None:
            return
        entry.is_over = True
        self._news.set()
        with self._lock:
            self._have_thread()
        entry.is_removed.wait(seconds)

    def await_end(self, execution_id: str, seconds: float = END_SECONDS) -> None:
        """Wait, at most so long, until the file of an execution is removed that has ended. One that has not ended, such
        as a later life, is left alone."""
        entry = self._entries.get(execution_id)
        if entry is not None and entry.is_over:
            entry.is_removed.wait(seconds)

    def leave(self, execution_id: str | None = None) -> None:
        """Write nothing more of an execution, or of all, though its end is not recorded. Its file stays: from it others
        see that it is lost."""
        with self._lock:
            gone = list(self._entries.values()) if execution_id is None else [self._entries.get(execution_id)]
            for entry in gone:
                if entry is not None and not entry.is_over:
                    del self._entries[entry.execution_id]
            self._news.set()

    def _have_thread(self) -> None:
        """Start the board's thread, unless it runs. The caller has the lock."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write_until_empty, name="rayflow-live", daemon=True)
            self._thread.start()

    # --- the board's own thread ---------------------------------------------------------------------------------------

    def _write_until_empty(self) -> None:
        while True:
            self._news.clear()
            for entry in list(self._entries.values()):
                try:
                    if entry.is_over:
                        self._remove(entry)
                    elif time.monotonic() >= entry.due:
                        self._beat(entry)
                except Exception as error:
                    self._failed(entry, error)
            with self._lock:
                if not self._entries:
                    self._thread = None
                    return
                next_due = min(entry.due for entry in self._entries.values())
            self._news.wait(max(0.0, next_due - time.monotonic()))

    def _beat(self, entry: _Entry) -> None:
        """Write the state of an execution, and look whether anybody asks for its end."""
        began = time.monotonic()
        entry.due = began + entry.interval_seconds  # also if it fails
        try:
            if entry.order is None:
                self._look_for_order(entry)
            self._files.write(self._state_of(entry))
            if not entry.is_over:
                entry.commit()
        except StoreUnavailable as error:
            if not entry.has_warned:
                entry.has_warned = True
                entry.warned(
                    "What this execution does now cannot be written to the store, so that it seems lost to others. "
                    f"{error}"
                )
        ended = time.monotonic()
        entry.interval_seconds = max(self._files.interval_seconds, WRITING_SHARE * (ended - began))
        entry.due = began + entry.interval_seconds
        if entry.order is not None and self._entries.get(entry.execution_id) is entry and not entry.is_over:
            entry.cancel(entry.order)

    def _failed(self, entry: _Entry, error: Exception) -> None:
        """An error that nobody has expected. The thread goes on, for the other executions and for the next interval."""
        if entry.has_failed:
            return
        entry.has_failed = True
        text = "".join(traceback.format_exception(error))
        try:
            entry.warned(f"What this execution does now cannot be told to others, by a mistake of rayflow:\n{text}")
        except Exception:  # whoever is warned has failed
            traceback.print_exc()

    def _look_for_order(self, entry: _Entry) -> None:
        order = self._files.cancel_order(entry.execution_id)
        # One without a life that was there before a resumption is an old one: nothing else can tell.
        unknown = 0 if entry.is_first else entry.first_life
        if order is not None and (unknown if order.life is None else order.life) < entry.first_life:
            self._files.drop_order(entry.execution_id)
            order = None
        entry.is_first = False
        entry.order = order

    def _state_of(self, entry: _Entry) -> LiveState:
        now, counts = self._clock.now(), entry.counts
        return LiveState(
            execution_id=entry.execution_id,
            life=entry.life,
            host=self._host,
            pid=os.getpid(),
            shell=self._shell,
            started_at=entry.started_at,
            counted_at=counts.at,
            written_at=now,
            next_at=now + round(entry.interval_seconds * 1_000_000),
            tasks=counts.tasks,
            waits=counts.waits,
            sentences=counts.sentences,
            rates=entry.rates.of(counts.tasks, time.monotonic()),
            running=tuple(entry.running().get(entry.execution_id, ())),
            cancelled_by=None if entry.order is None else entry.order.text,
        )

    def _remove(self, entry: _Entry) -> None:
        try:
            # A later life, here or in another process, has this file as its own. One that begins here at this moment
            # writes it afterwards, in this thread.
            if self._entries.get(entry.execution_id) is entry:
                self._files.remove(entry.execution_id, entry.life)
        except StoreUnavailable as error:
            # Nobody reads it: the execution's row says that it has ended. `rayflow store gc` removes it.
            entry.warned(f"The live file of {entry.execution_id} could not be removed: {error}")
        finally:
            with self._lock:
                if self._entries.get(entry.execution_id) is entry:
                    del self._entries[entry.execution_id]
            entry.is_removed.set()
