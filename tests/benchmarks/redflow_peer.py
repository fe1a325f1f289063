"""The work of `durable.py` on redflow: a worker in this process, a Redis of its own on this machine, both as they come.

In: a work and a count; an empty folder. Out: figures as plain data. Never: imports anything of rayflow.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

CONCURRENCY = 16
"""Runs that the worker has in hand. More of them were slower on two cores."""

LINGERS_SECONDS = 2.0
"""How long the step takes in which a worker is killed."""


def measure(work: str, count: int) -> dict[str, Any]:
    """Measure a work on a Redis that is started for it."""
    logging.disable(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    redis = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        return asyncio.run(_WORKS[work](f"redis://127.0.0.1:{port}", count))
    finally:
        redis.terminate()
        redis.wait()


def _flows() -> dict[str, Any]:
    from redflow import define_workflow

    async def charge(number: int) -> int:
        return number

    async def linger(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def one(context: Any) -> Any:
        return await context.step.run("charge", charge, context.input["number"])

    async def several(context: Any) -> Any:
        for number in range(context.input["count"]):
            await context.step.run(f"charge-{number}", charge, number)
        await context.step.wait_for("pause", context.input["milliseconds"])
        return context.input["count"]

    async def lingering(context: Any) -> Any:
        return await context.step.run("linger", linger, LINGERS_SECONDS)

    return {
        name: define_workflow(name, handler=handler, max_attempts=3)
        for name, handler in (("one", one), ("several", several), ("lingering", lingering))
    }


@asynccontextmanager
async def _working(url: str) -> AsyncIterator[dict[str, Any]]:
    """A worker, and a client beside it."""
    from redflow import StartWorkerOptions, create_client, set_default_client, start_worker
    from redis.asyncio import Redis

    flows = _flows()
    client = create_client(redis=Redis.from_url(url, max_connections=2000))
    set_default_client(client)
    for _ in range(100):
        try:
            await client.redis.ping()
            break
        except Exception:  # Redis is starting; its client has an error of its own for each stage of that
            await asyncio.sleep(0.05)
    worker = await start_worker(StartWorkerOptions(app="benchmark", url=url, concurrency=CONCURRENCY))
    try:
        yield flows
    finally:
        await worker.stop()
        await client.close()


async def _ended(flow: Any, **given: Any) -> None:
    handle = await flow.run(given)
    await handle.result(timeout_ms=120_000)


async def _run(url: str, count: int) -> dict[str, Any]:
    """Milliseconds from start to result of one run after the other: the median."""
    async with _working(url) as flows:
        for number in range(10):
            await _ended(flows["one"], number=-number)
        taken = []
        for number in range(count):
            began = time.perf_counter()
            await _ended(flows["one"], number=number)
            taken.append(time.perf_counter() - began)
    return {"milliseconds": statistics.median(taken) * 1000}


async def _runs(url: str, count: int) -> dict[str, Any]:
    """Runs per second, all started at once, and awaited one after the other: its waiters are dear."""
    async with _working(url) as flows:
        await _ended(flows["one"], number=-1)
        began = time.perf_counter()
        handles = await asyncio.gather(*(flows["one"].run({"number": number}) for number in range(count)))
        for handle in handles:
            await handle.result(timeout_ms=120_000)
        return {"rate": count / (time.perf_counter() - began)}


async def _wake(url: str, count: int) -> dict[str, Any]:
    """Milliseconds of CPU, of this process, for each wake of a run that has done so many steps and then sleeps."""
    runs = 10
    async with _working(url) as flows:
        handles = [await flows["several"].run({"count": count, "milliseconds": 5_000}) for _ in range(runs)]
        while True:
            states = [(await handle.get_state())["status"] for handle in handles]
            if "queued" not in states and "running" not in states:
                break
            await asyncio.sleep(0.05)
        before = time.process_time()
        for handle in handles:
            await handle.result(timeout_ms=60_000)
        return {"milliseconds": (time.process_time() - before) / runs * 1000}


async def _cancel(url: str, count: int) -> dict[str, Any]:
    """Milliseconds of a cancel of a sleeping run, with so many ended runs: the median."""
    from redflow import get_default_client

    async with _working(url) as flows:
        handles = await asyncio.gather(*(flows["one"].run({"number": number}) for number in range(count)))
        for handle in handles:
            await handle.result(timeout_ms=120_000)
        taken = []
        for _ in range(10):
            handle = await flows["several"].run({"count": 0, "milliseconds": 600_000})
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            await get_default_client().cancel_run(handle.id)
            taken.append(time.perf_counter() - began)
    return {"milliseconds": statistics.median(taken) * 1000}


async def _recovery(url: str, count: int) -> dict[str, Any]:
    """Seconds from the start of a new worker, after the death of one with a run in hand, to that run's next attempt."""
    child = subprocess.Popen([sys.executable, __file__, url])
    flows, client = _flows(), None
    from redflow import create_client, set_default_client

    client = create_client(url=url)
    set_default_client(client)
    await asyncio.sleep(2)
    handle = await flows["lingering"].run({})
    await asyncio.sleep(1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    began = time.perf_counter()
    async with _working(url):
        await handle.result(timeout_ms=60_000)
        seconds = time.perf_counter() - began - LINGERS_SECONDS
    await client.close()
    return {"seconds": seconds}


_WORKS: dict[str, Callable[[str, int], Coroutine[Any, Any, dict[str, Any]]]] = {
    "run": _run, "runs": _runs, "wake": _wake, "cancel": _cancel, "recovery": _recovery,
}  # fmt: skip


async def _work_for_ever(url: str) -> None:
    async with _working(url):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work_for_ever(sys.argv[1]))
