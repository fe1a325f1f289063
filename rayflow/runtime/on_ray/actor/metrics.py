"""The metrics of a scheduler, which Ray gives to Prometheus on the metrics port of the scheduler's node.

In: the counts that the loop keeps in any case, a few times a second. Out: Ray's metrics. Never: costs a job anything;
is imported or made where nobody wants metrics.

Prometheus sees them with `ray_` before their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ray.util import metrics

from rayflow.evaluator import commands
from rayflow.evaluator.tally import ENDS
from rayflow.runtime.listener import ExecutionCounts
from rayflow.runtime.loop import Loop
from rayflow.runtime.on_ray.actor.carrier import RayCarrier

BUNDLE_CALLS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 1500.0]
"""The bounds of the sizes of bundles, in calls."""

STATES = ("running", "queued", "waiting")


class EndedJobs:
    """Tells how many jobs have ended since it was asked last, from counts of executions that only grow."""

    def __init__(self) -> None:
        self._before: dict[str, dict[str, int]] = {}

    def since(self, counts: ExecutionCounts, ended: Iterable[str] = ()) -> Counter[str]:
        """The jobs that ended, by how. ended: the executions that are not asked of again."""
        found: Counter[str] = Counter()
        for execution_id, tasks in counts.items():
            sums = {how: sum(row.get(how, 0) for row in tasks.values()) for how in ENDS}
            before = self._before.get(execution_id, {})
            found.update({how: count - before.get(how, 0) for how, count in sums.items() if count > before.get(how, 0)})
            self._before[execution_id] = sums
        for execution_id in ended:
            self._before.pop(execution_id, None)
        return found


def by_state(counts: ExecutionCounts) -> dict[str, int]:
    """How many jobs run, are queued for a worker, and wait for something else, in all executions."""
    found = dict.fromkeys(STATES, 0)
    for tasks in counts.values():
        for row in tasks.values():
            sent = row.get("running", 0) + row.get("queued", 0)
            found["running"] += row.get("running", 0)
            found["queued"] += row.get("queued", 0)
            found["waiting"] += max(0, row.get("open", 0) - sent)
    return found


class SchedulerMetrics:
    """The metrics of one loop. Its methods are called in the loop's thread."""

    def __init__(self, loop: Loop[RayCarrier]) -> None:
        self._loop = loop
        self._ended = EndedJobs()
        self._looked_up = loop.outbox.looked_up
        self._commits = loop.store.commits
        loop.measures_lag = True
        loop.carrier.bundle_sizes = []
        self._jobs_total = metrics.Counter("rayflow_jobs_total", "jobs that have ended, by how", ("how",))
        self._jobs = metrics.Gauge("rayflow_open_jobs", "jobs that are open, by what they do", ("state",))
        self._executions = metrics.Gauge("rayflow_executions", "executions that are open")
        self._lookups_total = metrics.Counter("rayflow_lookups_total", "calls that were looked up in the store")
        self._commits_total = metrics.Counter("rayflow_commits_total", "commits to the store")
        self._bundles = metrics.Histogram("rayflow_bundle_calls", "calls in a Ray task", BUNDLE_CALLS)
        self._lag = metrics.Gauge(
            "rayflow_scheduler_lag_seconds", "the longest time that an answer has lately waited for the scheduler"
        )

    def take(self, counts: ExecutionCounts) -> None:
        """The newest counts of all open executions, with the calls that are queued."""
        for how, count in self._ended.since(counts).items():
            self._jobs_total.inc(count, {"how": how})
        for state, count in by_state(counts).items():
            self._jobs.set(count, {"state": state})
        self._executions.set(len(counts))
        self._take_totals()

    def end(self, finished: Mapping[str, commands.Finish]) -> None:
        """These executions have ended."""
        counts = {execution_id: finish.by_task for execution_id, finish in finished.items()}
        for how, count in self._ended.since(counts, finished).items():
            self._jobs_total.inc(count, {"how": how})
        self._take_totals()

    def _take_totals(self) -> None:
        loop = self._loop
        if loop.outbox.looked_up > self._looked_up:
            self._lookups_total.inc(loop.outbox.looked_up - self._looked_up)
            self._looked_up = loop.outbox.looked_up
        if loop.store.commits > self._commits:
            self._commits_total.inc(loop.store.commits - self._commits)
            self._commits = loop.store.commits
        sizes, loop.carrier.bundle_sizes = loop.carrier.bundle_sizes, []
        for size in sizes or ():
            self._bundles.observe(size)
        self._lag.set(loop.longest_lag_us / 1_000_000)
        loop.longest_lag_us = 0
