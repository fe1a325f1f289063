"""Rows about many small calls: fan-out, chain, replay."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from rayflow import Scheduler
from tests.benchmarks import workloads
from tests.benchmarks.measuring import Plan, Row, Skipped, clock, interleaved

FAN_OUT = 10_000
CHAIN = 2_000
REDUN_CALLS = 500
REDUN_REPLAY = 1_000
REDUN_CHAIN = 400


def fan_out(plan: Plan) -> Row:
    """Cold, recorded, with default settings, against raw Ray."""
    from tests.benchmarks import clusters

    count = plan.size(FAN_OUT)
    clusters.ensure()
    starts: list[float] = []
    raw, bundled, seconds = interleaved(
        plan.rounds,
        lambda: clusters.raw_calls(count),
        lambda: clusters.raw_bundles(count),
        lambda: _recorded_fan_out(plan, count, {}, starts),
    )
    return Row(
        "fan-out",
        f"{count:,} no-op calls, recorded",
        count / seconds,
        "calls/s",
        "raw Ray",
        count / raw,
        ">= 5 x",
        raw / seconds >= 5,
        (
            f"raw Ray in bundles of 50: {count / bundled:,.0f} calls/s",
            f"with the start of a scheduler, {statistics.median(starts):.2f} s: "
            f"{count / (seconds + statistics.median(starts)):,.0f} calls/s",
            _redun_rate(plan, "fan-out", REDUN_CALLS),
        ),
    )


def fan_out_single(plan: Plan) -> Row:
    """The same, each call in a Ray task of its own."""
    from tests.benchmarks import clusters

    count = plan.size(FAN_OUT)
    clusters.ensure()
    raw, seconds = interleaved(
        plan.rounds,
        lambda: clusters.raw_calls(count),
        lambda: _recorded_fan_out(plan, count, {"bundle": False}, []),
    )
    return Row(
        "fan-out-single", "the same with bundle=False", count / seconds, "calls/s", "raw Ray", count / raw, ">= 0.7 x",
        raw / seconds >= 0.7,
    )  # fmt: skip


def _recorded_fan_out(plan: Plan, count: int, options: Mapping[str, Any], starts: list[float]) -> float:
    from tests.benchmarks import clusters

    store = plan.folder("fan-out") / "store"
    plan.counter()
    with clusters.ready_scheduler(store) as ready:
        starts.append(ready.started_seconds)
        with clock() as taken:
            submission = ready.scheduler.submit(workloads.fan_out(count), options=options)
            found = submission.result()
            plan.counted(store, submission.execution_id, count + 1)
        assert found == list(range(count))
    return taken.seconds


def replay(plan: Plan) -> Row:
    """All calls answered by the cache, in one process, against a memo on disk."""
    try:
        from joblib import Memory
    except ImportError:
        raise Skipped("joblib is not installed") from None

    count = plan.size(FAN_OUT)
    memory = Memory(str(plan.folder("joblib")), verbose=0).cache(workloads.plain_noop)
    for number in range(count):
        memory(number)
    store = plan.folder("replay") / "store"
    with Scheduler(store=str(store), inline=True) as scheduler:
        scheduler.run(workloads.fan_out(count))
    plan.counter()
    alone: list[float] = []

    def memo() -> float:
        with clock() as taken:
            found = [memory(number) for number in range(count)]
        assert found == list(range(count))
        return taken.seconds

    def rayflow() -> float:
        # A new scheduler each time: what the one before has in memory does not count.
        with Scheduler(store=str(store)) as scheduler, clock() as taken:
            submission = scheduler.submit(workloads.fan_out(count))
            found = submission.result()
            alone.append(count / taken.lap())
            plan.counted(store, submission.execution_id, count + 1)
        assert found == list(range(count))
        return taken.seconds

    peer, seconds = interleaved(plan.rounds, memo, rayflow)
    return Row(
        "replay",
        f"{count:,} cached calls, one process",
        count / seconds,
        "calls/s",
        "joblib.Memory",
        count / peer,
        ">= 10,000 /s",
        count / seconds >= 10_000,
        (
            f"to the answer, committed, without another process counting: {statistics.median(alone):,.0f} calls/s",
            _redun_rate(plan, "replay", REDUN_REPLAY),
        ),
    )


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
        "chain",
        f"{length:,} dependent no-op calls",
        length / seconds,
        "calls/s",
        "raw Ray loop",
        length / raw,
        ">= 0.7 x",
        raw / seconds >= 0.7,
        (_redun_rate(plan, "chain", REDUN_CHAIN), _redun_rate(plan, "chain", length) if not plan.quick else ""),
    )


def _redun_rate(plan: Plan, what: str, count: int) -> str:
    count = plan.size(count)
    found = plan.redun(what, count)
    if isinstance(found, str):
        return found
    return f"redun {found['version']}: {count / found['seconds']:,.0f} calls/s ({count:,} calls)"
