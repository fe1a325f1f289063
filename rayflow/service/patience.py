"""A store that goes away for a moment, and comes back.

In: what the loop writes. Out: the same, in the store. Never: lets anything be sent that is not committed.

A service that ended each time its store does not answer for some seconds would leave calls that run, and do them again.
So the loop waits, and with it all that would follow from the commit. The lease is not in danger: a commit checks it,
so nothing is written once another service has taken over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rayflow.errors import StoreUnavailable
from rayflow.record_columns import Columns
from rayflow.records import JobRow, Row
from rayflow.store.store import Store
from rayflow.values.refs import Encoded

PATIENCE_SECONDS = 60.0
"""How long a service waits for a store that does not take what it writes. Then it ends, and leaves every run where it
is."""

PAUSE_SECONDS = 0.5
"""The time between two tries."""


class PatientSink:
    """Where the loop of a service writes. warned: is told when the store does not answer, and when it does again.

    stopping: set when the service is to end; then there is no patience.
    """

    def __init__(self, store: Store, warned: Callable[[str], None], stopping: threading.Event) -> None:
        self._store = store
        self._warned = warned
        self._stopping = stopping

    def append(self, rows: Iterable[Row], columns: Iterable[Columns] = ()) -> None:
        """Collect rows, as `Store.append`."""
        self._store.append(rows, columns)

    def pending(self) -> int:
        """How many rows a commit would write now."""
        return self._store.pending()

    def due(self, now_us: int) -> bool:
        """Whether rows have waited long enough, as `Store.due`."""
        return self._store.due(now_us)

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """As `Store.open_jobs`."""
        return self._store.open_jobs(execution_id)

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """As `Store.put_blob`, after some waiting. Raises as that when the patience is at its end."""
        self._patiently(lambda: self._store.put_blob(digest, encoded))

    def commit(self) -> None:
        """As `Store.commit`, after some waiting. Raises as that when the patience is at its end."""
        self._patiently(self._store.commit)

    def _patiently(self, write: Callable[[], None]) -> None:
        end: float | None = None
        while True:
            try:
                write()
            except StoreUnavailable as error:
                now = time.monotonic()
                if end is None:
                    end = now + PATIENCE_SECONDS
                    self._warned(f"the runs wait for their store, for {PATIENCE_SECONDS:g} s at most: {error}")
                if now >= end or self._stopping.wait(PAUSE_SECONDS):
                    raise
            else:
                if end is not None:
                    self._warned("the store answers again, and the runs go on")
                return
