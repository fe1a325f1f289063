"""Rows about the language: `map_` over many items, a shallow answer for a large tree."""

from __future__ import annotations

from typing import Any

from rayflow import Scheduler
from tests.benchmarks import workloads
from tests.benchmarks.measuring import Plan, Row, clock, interleaved

ITEMS = 100_000
TREE = 10_000


def mapped(plan: Plan) -> Row:
    """`map_` over many items on Ray, against a task whose body returns the list of the same calls."""
    from tests.benchmarks import clusters

    count = plan.size(ITEMS)
    clusters.ensure()

    def on_ray(expression: Any, jobs: int) -> float:
        store = plan.folder("map") / "store"
        plan.counter()
        with clusters.ready_scheduler(store) as ready, clock() as taken:
            submission = ready.scheduler.submit(expression)
            assert submission.result() == list(range(count))
            plan.counted(store, submission.execution_id, jobs)
        return taken.seconds

    body, seconds = interleaved(
        1,
        lambda: on_ray(workloads.fan_out(count), count + 1),
        lambda: on_ray(workloads.map_all(count), count + 1),
    )
    return Row(
        "map", f"map_ over {count:,} items, recorded", count / seconds, "calls/s", "a body's list", count / body,
        ">= 0.8 x", body / seconds >= 0.8, clock="submit - counted",
    )  # fmt: skip


def mapped_again(plan: Plan) -> Row:
    """`map_` over many items that are all in the cache, against a body's list of them."""
    count = plan.size(ITEMS)
    store = plan.folder("map-cached") / "store"
    with Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run([workloads.map_all(count), workloads.fan_out(count)])

    def cached(expression: Any) -> float:
        with Scheduler(store=str(store)) as scheduler, clock() as taken:
            assert scheduler.run(expression) == list(range(count))
        return taken.seconds

    body, seconds = interleaved(
        plan.rounds, lambda: cached(workloads.fan_out(count)), lambda: cached(workloads.map_all(count))
    )
    return Row(
        "map-cached", f"map_ over {count:,} cached items", count / seconds, "calls/s", "a body's list", count / body,
        ">= 0.8 x", body / seconds >= 0.8, clock="run - value",
    )  # fmt: skip


def shallow(plan: Plan) -> Row:
    """A tree of cached calls answered by its full reduction, against checking each call."""
    count = plan.size(TREE)
    store = plan.folder("shallow") / "store"
    whole = workloads.fan_out.options(check_valid="shallow")
    with Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run(whole(count))

    def cached(expression: Any) -> float:
        with Scheduler(store=str(store)) as scheduler, clock() as taken:
            assert scheduler.run(expression) == list(range(count))
        return taken.seconds

    each, seconds = interleaved(plan.rounds, lambda: cached(workloads.fan_out(count)), lambda: cached(whole(count)))
    return Row(
        "shallow", f"shallow answer for a tree of {count:,} calls", 1000 * seconds, "ms", "each call checked",
        1000 * each, "<= 0.2 x", seconds / each <= 0.2, clock="run - value",
    )  # fmt: skip
