"""The row about bulk data: a large array on its way from one task to another."""

from __future__ import annotations

import os

from tests.benchmarks import workloads
from tests.benchmarks.measuring import MIB, Growth, Plan, Row, clock


def array(plan: Plan) -> Row:
    """How much scheduler and driver grow, and whether the reader maps it."""
    from tests.benchmarks import clusters

    size = 128 * MIB if plan.quick else 1024 * MIB
    clusters.ensure()
    raw, raw_seen = clusters.raw_array(size)
    store = plan.folder("array") / "store"
    with clusters.ready_scheduler(store) as ready:
        growths = [Growth(ready.process_id()), Growth(os.getpid())]
        for growth in growths:
            growth.start()
        with clock() as taken:
            seen = ready.scheduler.run(workloads.look_at(workloads.make_array(size)))
        scheduler, driver = (growth.bytes() for growth in growths)
    assert seen[0] == 7 * (size // 4096), "the reader saw another array"
    mapped = seen[1] != ""
    return Row(
        "array",
        f"{size // MIB:,} MiB array between two tasks",
        max(scheduler, driver) / MIB,
        "MiB",
        budget="< 64 MiB, mapped",
        ok=max(scheduler, driver) < 64 * MIB and mapped and seen[2] < size,
        beside=(
            f"scheduler {scheduler / MIB:.1f} MiB, driver {driver / MIB:.1f} MiB",
            f"the reader: {_place(seen)}; on raw Ray: {_place(raw_seen)}",
            f"time, with the copy in the store: {taken.seconds:.2f} s; raw Ray, without one: {raw:.2f} s",
        ),
        clock="peak meanwhile",
    )


def _place(seen: tuple[int, str, int]) -> str:
    return f"{f'mapped from {seen[1]}' if seen[1] else 'copied'}, with {seen[2] / MIB:,.0f} MiB of its own"
