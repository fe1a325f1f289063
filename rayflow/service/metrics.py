"""Measures of a service, for Prometheus.

In: what happens, from any thread; the keeper's state, when it is asked. Out: text in Prometheus' format. Never: asks
the store.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rayflow.keeper.state import KeeperState
from rayflow.record_columns import Columns
from rayflow.records import EventRow, JobRow, Row, RunRow
from rayflow.runtime.keeping.keeper_turn import ENDED
from rayflow.service.patience import PatientSink
from rayflow.service.run_queries import STATES
from rayflow.values.refs import Encoded

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The bounds of the buckets of a histogram of short times."""


class Metrics:
    """The measures of one service since its start."""

    def __init__(self) -> None:
        self.registry = made = CollectorRegistry()
        self.runs = Gauge("rayflow_runs", "Runs that have not ended, by state.", ["state"], registry=made)
        self.waits = Gauge("rayflow_open_waits", "Waits that are open.", registry=made)
        self.asks = Gauge("rayflow_open_asks", "Questions to people that are open.", registry=made)
        self.timers = Gauge("rayflow_timers", "Timers that are set.", registry=made)
        self.pending = Gauge("rayflow_pending_deliveries", "Deliveries of events that wait for code.", registry=made)
        self.lag = Gauge(
            "rayflow_tick_lag_seconds", "The longest wait for the loop since these measures were last asked.",
            registry=made,
        )  # fmt: skip
        self.started = Counter("rayflow_runs_started", "Runs that were started.", registry=made)
        self.ended = Counter("rayflow_runs_ended", "Runs that have ended, by state.", ["state"], registry=made)
        self.retried = Counter("rayflow_runs_retried", "Runs that were retried.", registry=made)
        self.events = Counter("rayflow_events", "Events that were accepted.", registry=made)
        self.commits = Histogram(
            "rayflow_commit_seconds", "How long commits to the store have taken.", buckets=_SECONDS, registry=made
        )
        self.requests = Counter(
            "rayflow_http_requests", "Requests to the API, by operation and status.", ["operation", "status"],
            registry=made,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "rayflow_http_request_seconds", "How long requests to the API have taken; not those that wait on purpose.",
            ["operation"], buckets=_SECONDS, registry=made,
        )  # fmt: skip
        for state in ENDED:
            self.ended.labels(state)
        self._longest_lag = 0.0
        self._lock = threading.Lock()

    def waited(self, seconds: float) -> None:
        """Something has waited so long for the loop."""
        with self._lock:
            self._longest_lag = max(self._longest_lag, seconds)

    def recorded(self, rows: Iterable[Row]) -> None:
        """These rows will be committed."""
        for row in rows:
            if type(row) is RunRow:
                if row.seen_from is not None:
                    self.started.inc()
                if row.state in ENDED:
                    self.ended.labels(row.state).inc()
                elif row.cause == "retry":
                    self.retried.inc()
            elif type(row) is EventRow:
                self.events.inc()

    def look_at(self, state: KeeperState) -> None:
        """Take the numbers of what is open. The loop's thread calls it."""
        states = Counts(run.state for run in state.runs.values())
        for name in STATES:
            if name not in ENDED:
                self.runs.labels(name).set(states[name])
        self.waits.set(sum(run.open for run in state.runs.values()))
        self.asks.set(len(state.asks))
        self.timers.set(len(state.timers))
        self.pending.set(len(state.pending))

    def text(self) -> bytes:
        """All measures."""
        with self._lock:
            self.lag.set(self._longest_lag)
            self._longest_lag = 0.0
        return bytes(generate_latest(self.registry))


class MeasuredSink:
    """A store, as the loop writes to it, with its commits measured."""

    def __init__(self, store: PatientSink, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def append(self, rows: Iterable[Row], columns: Iterable[Columns] = ()) -> None:
        """As `Store.append`."""
        rows = list(rows)
        self._metrics.recorded(rows)
        self._store.append(rows, columns)

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """As `Store.put_blob`."""
        self._store.put_blob(digest, encoded)

    def pending(self) -> int:
        """As `Store.pending`."""
        return self._store.pending()

    def due(self, now_us: int) -> bool:
        """As `Store.due`."""
        return self._store.due(now_us)

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """As `Store.open_jobs`."""
        return self._store.open_jobs(execution_id)

    def commit(self) -> None:
        """As `Store.commit`."""
        if not self._store.pending():
            self._store.commit()
            return
        begun = time.perf_counter()
        self._store.commit()
        self._metrics.commits.observe(time.perf_counter() - begun)
