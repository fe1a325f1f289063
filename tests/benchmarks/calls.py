"""Rows about many small calls: fan-out, chain, replay."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Mapping
from typing import Any

from rayflow import Scheduler
from tests.benchmarks import workloads
from tests.benchmarks.measuring import Plan, Row, clock, figure, interleaved

FAN_OUT = 10_000
LARGE_FAN_OUT = 50_000
LARGE_RATIO = 20_000 / 1_400
"""20,000 calls a second on a machine where raw Ray does 1,400."""

REPLAY = 50_000
MEMORIZED = 10_000
"""Calls of joblib.Memory, which makes a folder for each."""

CHAIN = 2_000
REDUN_CALLS = 500
REDUN_REPLAY = 1_000
REDUN_CHAIN = 400

COUNTED = "submit - counted"
BUNDLES = "raw Ray in bundles of 50"


def cold(plan: Plan) -> Row:
    """Cold, recorded, with default settings, on a scheduler that has run something before."""
    from tests.benchmarks import clusters

    count = plan.size(FAN_OUT)
    clusters.ensure()
    raw, bundled, seconds = interleaved(
        plan.rounds,
        lambda: clusters.raw_calls(count),
        lambda: clusters.raw_bundles(count),
        lambda: _recorded_fan_out(plan, count),
    )
    return Row(
        "cold", f"{count:,} no-op calls, recorded", count / seconds, "calls/s", "raw Ray", count / raw, ">= 10 x",
        raw / seconds >= 10, clock=COUNTED,
        others={
            BUNDLES: figure(count / bundled, "calls/s"),
            "joblib": plan.peer_rate("joblib", "fan-out", FAN_OUT),
            "Dask": plan.peer_rate("dask", "fan-out", FAN_OUT),
            "redun": plan.peer_rate("redun", "fan-out", REDUN_CALLS),
        },
    )  # fmt: skip


def cold_start(plan: Plan) -> Row:
    """The same with the start of the scheduler: its actor, and the first task of rayflow's on each worker."""
    from tests.benchmarks import clusters

    count = plan.size(FAN_OUT)
    clusters.ensure()
    starts: list[float] = []

    def rayflow() -> float:
        store = plan.folder("cold-start") / "store"
        plan.counter()
        with clock() as taken, Scheduler(store=str(store)) as scheduler:
            submission = scheduler.submit(workloads.fan_out(count))
            starts.append(taken.lap())
            found = submission.result()
            plan.counted(store, submission.execution_id, count + 1)
            seconds = taken.lap()
        assert found == list(range(count))
        return seconds

    raw, seconds = interleaved(plan.rounds, lambda: clusters.raw_calls(count), rayflow)
    return Row(
        "cold-start", "the same, with the scheduler's start", count / seconds, "calls/s", "raw Ray", count / raw,
        ">= 6 x", raw / seconds >= 6, (f"{statistics.median(starts):.2f} s until the calls are submitted",),
        "Scheduler() - counted",
    )  # fmt: skip


def cold_large(plan: Plan) -> Row:
    """A larger fan-out, where the start of a run counts for less."""
    from tests.benchmarks import clusters

    count = plan.size(LARGE_FAN_OUT)
    clusters.ensure()
    raw, bundled, seconds = interleaved(
        3 if plan.full else 1,  # half a minute each on raw Ray
        lambda: clusters.raw_calls(count),
        lambda: clusters.raw_bundles(count),
        lambda: _recorded_fan_out(plan, count),
    )
    return Row(
        "cold-large", f"{count:,} no-op calls, recorded", count / seconds, "calls/s", "raw Ray", count / raw,
        f">= {LARGE_RATIO:.1f} x", raw / seconds >= LARGE_RATIO,
        ("the budget is 20,000 calls/s where raw Ray does 1,400",), COUNTED,
        {BUNDLES: figure(count / bundled, "calls/s")},
    )  # fmt: skip


def single(plan: Plan) -> Row:
    """Each call in a Ray task of its own."""
    from tests.benchmarks import clusters

    count = plan.size(FAN_OUT)
    clusters.ensure()
    raw, seconds = interleaved(
        plan.rounds,
        lambda: clusters.raw_calls(count),
        lambda: _recorded_fan_out(plan, count, {"bundle": False}),
    )
    return Row(
        "single", f"{count:,} calls, a Ray task for each", count / seconds, "calls/s", "raw Ray", count / raw,
        ">= 0.7 x", raw / seconds >= 0.7, clock=COUNTED,
    )  # fmt: skip


def _recorded_fan_out(plan: Plan, count: int, options: Mapping[str, Any] | None = None) -> float:
    from tests.benchmarks import clusters

    store = plan.folder("fan-out") / "store"
    plan.counter()
    with clusters.ready_scheduler(store) as ready:
        with clock() as taken:
            submission = ready.scheduler.submit(workloads.fan_out(count), options=options)
            found = submission.result()
            plan.counted(store, submission.execution_id, count + 1)
        assert found == list(range(count))
    return taken.seconds


def replay(plan: Plan) -> Row:
    """All calls answered by the cache, in one process, against a memo on disk."""
    count = plan.size(REPLAY)
    store = plan.folder("replay") / "store"
    with Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run(workloads.fan_out(count))
    plan.counter()
    alone: list[float] = []

    def rayflow() -> float:
        # A new scheduler each time: what the one before has in memory does not count.
        with Scheduler(store=str(store)) as scheduler, clock() as taken:
            submission = scheduler.submit(workloads.fan_out(count))
            found = submission.result()
            alone.append(count / taken.lap())
            plan.counted(store, submission.execution_id, count + 1)
        assert found == list(range(count))
        return taken.seconds

    if importlib.util.find_spec("joblib") is None:
        (seconds,), peer, joblib = interleaved(plan.rounds, rayflow), None, "not installed"
    else:
        remembered, seconds = interleaved(plan.rounds, _memo(plan), rayflow)
        peer = plan.size(MEMORIZED) / remembered
        joblib = f"Memory: {figure(peer, 'calls/s')}"
    return Row(
        "replay", f"{count:,} cached calls, one process", count / seconds, "calls/s", "joblib.Memory", peer,
        ">= 40,000 /s", count / seconds >= 40_000,
        (
            f"to the answer, committed, without another process counting: {statistics.median(alone):,.0f} calls/s",
            f"joblib.Memory with {plan.size(MEMORIZED):,} calls",
        ),
        COUNTED, {"joblib": joblib, "redun": plan.peer_rate("redun", "replay", REDUN_REPLAY)},
    )  # fmt: skip


def _memo(plan: Plan) -> Any:
    """A way to ask joblib.Memory for calls that it knows."""
    from joblib import Memory

    count = plan.size(MEMORIZED)
    memory = Memory(str(plan.folder("joblib")), verbose=0).cache(workloads.plain_noop)
    for number in range(count):
        memory(number)

    def asked() -> float:
        with clock() as taken:
            found = [memory(number) for number in range(count)]
        assert found == list(range(count))
        return taken.seconds

    return asked


def chain(plan: Plan) -> Row:
    """Calls that each wait for the one before, against sending them one by one."""
    from tests.benchmarks import clusters

    length = plan.size(CHAIN)
    clusters.ensure()

    def rayflow() -> float:
        store = plan.folder("chain") / "store"
        plan.counter()
        with clusters.ready_scheduler(store) as ready, clock() as taken:
            number: Any = 0
            for _ in range(length):
                number = workloads.step(number)
            submission = ready.scheduler.submit(number)
            assert submission.result() == length
            plan.counted(store, submission.execution_id, length)
        return taken.seconds

    raw, seconds = interleaved(plan.rounds, lambda: clusters.raw_chain(length), rayflow)
    return Row(
        "chain", f"{length:,} dependent no-op calls", length / seconds, "calls/s", "raw Ray loop", length / raw,
        ">= 0.8 x", raw / seconds >= 0.8,
        () if plan.quick else (f"redun with {CHAIN:,} calls: {plan.peer_rate('redun', 'chain', CHAIN)}",), COUNTED,
        {
            "Dask": plan.peer_rate("dask", "chain", CHAIN),
            "redun": plan.peer_rate("redun", "chain", REDUN_CHAIN),
        },
    )  # fmt: skip
