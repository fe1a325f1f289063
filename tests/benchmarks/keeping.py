"""Rows about what is kept: bytes in the store, memory in the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from rayflow import Scheduler
from rayflow.store.open import open_store
from rayflow.store.store import Store
from tests.benchmarks import workloads
from tests.benchmarks.measuring import MIB, Growth, Plan, Row

JOBS = 10_000
SMALLER, LARGER = 200_000, 400_000


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Bytes for each job. everything: with the replaced files, which stay for an hour."""

    uncompacted: float
    compacted: float
    everything: float


def bytes_compacted(plan: Plan) -> Row:
    """Bytes for each call that does nothing, when its execution has compacted its segments."""
    found = plan.peer("redun", "bytes", plan.size(500))
    redun = found if isinstance(found, str) else f"{found['bytes']:,.0f} B"
    each = _sizes(plan).compacted
    return Row(
        "bytes", _store("compacted"), each, "B", budget="< 250 B", ok=each < 250, clock="its commits",
        others={"redun": redun},
    )  # fmt: skip


def bytes_uncompacted(plan: Plan) -> Row:
    """The same before that."""
    return Row(
        "bytes-fresh", _store("not yet compacted"), _sizes(plan).uncompacted, "B", clock="its commits"
    )


def bytes_replaced(plan: Plan) -> Row:
    """The same after it, with the files that it replaced."""
    return Row(
        "bytes-replaced", _store("with replaced files"), _sizes(plan).everything, "B",
        clock="its folder",
    )  # fmt: skip


def _store(state: str) -> str:
    return f"store, a job, {state}"


def _sizes(plan: Plan) -> _Sizes:
    return plan.once("bytes", lambda: _sizes_of(plan.size(JOBS), plan.folder("bytes") / "store"))


def _sizes_of(count: int, store: Path) -> _Sizes:
    with mock.patch.object(Store, "compact"), Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run(workloads.fan_out(count))
    before = _live(store)
    opened = open_store(store)
    opened.compact()
    opened.close()
    everything = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return _Sizes(before / (count + 1), _live(store) / (count + 1), everything / (count + 1))


def _live(store: Path) -> int:
    """Bytes of the commits that count, and of blobs."""
    commits = open_store(store, create=False, read_only=True).snapshot().commits
    blobs = (path.stat().st_size for path in (store / "blobs").rglob("*") if path.is_file())
    return sum(commit.total_size for commit in commits) + sum(blobs)


def memory(plan: Plan) -> Row:
    """The scheduler's memory for each job of a live execution, as a slope."""
    smaller, larger = plan.size(SMALLER), plan.size(LARGER)
    small, large = (_growth(plan, count) for count in (smaller, larger))
    each = (large - small) / (larger - smaller)
    return Row(
        "memory", f"scheduler, a job, to {larger:,} calls", each, "B", budget="< 1,200 B", ok=each < 1200,
        beside=(f"growth {small / MIB:,.0f} MiB, then {large / MIB:,.0f} MiB",), clock="peak meanwhile",
    )  # fmt: skip


def _growth(plan: Plan, count: int) -> int:
    """The most that the scheduler grew in a fan-out, in bytes."""
    from tests.benchmarks import clusters

    with clusters.ready_scheduler(plan.folder("memory") / "store") as ready:
        growth = Growth(ready.process_id())
        growth.start()
        assert len(ready.scheduler.run(workloads.fan_out(count))) == count
        return growth.bytes()
