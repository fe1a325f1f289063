"""Rows about what is kept: bytes in the store, memory in the scheduler."""

from __future__ import annotations

from pathlib import Path

from rayflow import Scheduler
from rayflow.store.open import open_store
from tests.benchmarks import workloads
from tests.benchmarks.measuring import MIB, Growth, Plan, Row, clock

JOBS = 10_000
SMALLER, LARGER = 200_000, 400_000
MILLION = 1_000_000


def store_bytes(plan: Plan) -> Row:
    """Bytes per call that does nothing, when its execution has compacted its segments."""
    count = plan.size(JOBS)
    store = plan.folder("bytes") / "store"
    with Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run(workloads.fan_out(count))
    snapshot = open_store(store, create=False, read_only=True).snapshot()
    live = sum(commit.total_size for commit in snapshot.commits)
    live += sum(path.stat().st_size for path in (store / "blobs").rglob("*") if path.is_file())
    everything = sum(path.stat().st_size for path in Path(store).rglob("*") if path.is_file())
    found = plan.redun("bytes", plan.size(500))
    redun = found if isinstance(found, str) else f"redun {found['version']}: {found['bytes']:,.0f} B"
    return Row(
        "bytes",
        f"store, per no-op job of {count:,}, compacted",
        live / (count + 1),
        "B",
        budget="< 400 B",
        ok=live / (count + 1) < 400,
        beside=(f"with replaced files, which stay for an hour: {everything / (count + 1):,.0f} B", redun),
    )


def memory(plan: Plan) -> Row:
    """The scheduler's memory per job of a live execution, as a slope."""
    (small, small_seconds), (large, large_seconds) = (_peak(plan, count) for count in (SMALLER, LARGER))
    each = (large - small) / (LARGER - SMALLER)
    return Row(
        "memory",
        f"scheduler, per job, {SMALLER:,} to {LARGER:,} calls",
        each,
        "B",
        budget="< 1,500 B",
        ok=each < 1500,
        beside=(
            f"growth {small / MIB:,.0f} MiB in {small_seconds:.0f} s, {large / MIB:,.0f} MiB in {large_seconds:.0f} s",
        ),
    )


def million(plan: Plan) -> Row:
    """A fan-out of a million calls completes."""
    peak, seconds = _peak(plan, MILLION)
    return Row(
        "million",
        f"{MILLION:,} calls in one fan-out",
        MILLION / seconds,
        "calls/s",
        budget="completes",
        ok=True,
        beside=(f"in {seconds:.0f} s; the scheduler grew by {peak / MIB:,.0f} MiB at the most",),
    )


def _peak(plan: Plan, count: int) -> tuple[int, float]:
    """The most that the scheduler grew in a fan-out, in bytes, and the seconds that it took."""
    from tests.benchmarks import clusters

    store = plan.folder("memory") / "store"
    plan.counter()
    with clusters.ready_scheduler(store) as ready:
        growth = Growth(ready.process_id())
        growth.start()
        with clock() as taken:
            submission = ready.scheduler.submit(workloads.fan_out(count))
            found = submission.result()
            plan.counted(store, submission.execution_id, count + 1)
        assert len(found) == count
        return growth.bytes(), taken.seconds
