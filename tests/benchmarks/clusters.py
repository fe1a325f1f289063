"""One local Ray for all rows that need it, and peers on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rayflow import Scheduler
from rayflow.runtime.protocol.reports import Reporter
from tests.benchmarks import workloads
from tests.benchmarks.measuring import clock
from tests.benchmarks.shapes import Graph, last_of


def ensure() -> None:
    """Start the local Ray, with warm workers, if it is not there yet."""
    if ray.is_initialized():
        return
    ray.init(
        address="local", namespace="rayflow", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    function = ray.remote(workloads.plain_noop)
    ray.get([function.remote(number) for number in range(200)])


def stop() -> None:
    """Stop it."""
    if ray.is_initialized():
        ray.shutdown()


@dataclass(frozen=True, slots=True)
class Ready:
    """A scheduler that has answered before."""

    scheduler: Scheduler

    def process_id(self) -> int:
        """The scheduler actor's process."""
        # Asked of the actor itself: no public way leads there, because nobody but a measurement wants it.
        pid: int = ray.get(self.scheduler._driver._cluster.actor().process_id.remote())
        return pid


@contextmanager
def ready_scheduler(store: Path, reporter: Reporter | None = None) -> Iterator[Ready]:
    """A scheduler on the local Ray with a new store, and workers that have imported what they need."""
    ensure()
    scheduler = Scheduler(store=str(store), reporter=reporter)
    try:
        calls = 4 * int(ray.cluster_resources().get("CPU", 1))
        scheduler.run(workloads.warm_up_all(calls))
        yield Ready(scheduler)
    finally:
        scheduler.close()


def raw_calls(count: int) -> float:
    """Seconds of so many calls on raw Ray, with one `ray.get` over all."""
    ensure()
    function = ray.remote(workloads.plain_noop)
    with clock() as taken:
        found: list[Any] = ray.get([function.remote(number) for number in range(count)])
    assert found == list(range(count))
    return taken.seconds


def raw_bundles(count: int, size: int = 50) -> float:
    """Seconds of so many calls on raw Ray in bundles."""
    ensure()
    function = ray.remote(workloads.plain_bundle)
    numbers = list(range(count))
    with clock() as taken:
        found = ray.get([function.remote(numbers[start : start + size]) for start in range(0, count, size)])
    assert sum(map(len, found)) == count
    return taken.seconds


def raw_chain(length: int) -> float:
    """Seconds of so many calls on raw Ray, each sent when the one before has come back."""
    ensure()
    function = ray.remote(workloads.plain_step)
    ray.get(function.remote(0))
    number = 0
    with clock() as taken:
        for _ in range(length):
            number = ray.get(function.remote(number))
    assert number == length
    return taken.seconds


def raw_graph(graph: Graph, folder: Path, source: Path) -> float:
    """Seconds of a graph of tasks that write files, as Ray tasks."""
    ensure()
    function = ray.remote(workloads.plain_write)
    ray.get(function.remote(str(folder / "warm"), str(source)))
    files: list[Any] = []
    with clock() as taken:
        for number, above in enumerate(graph):
            inputs = [files[other] for other in above] or [str(source)]
            files.append(function.remote(str(folder / f"{number:05}"), *inputs))
        ray.get([files[number] for number in last_of(graph)])
    return taken.seconds


def raw_array(size: int) -> tuple[float, tuple[int, str, int]]:
    """Seconds of an array's way from one raw Ray task to another, and what the reader saw."""
    ensure()
    make, look = ray.remote(workloads.plain_array), ray.remote(workloads.plain_look)
    with clock() as taken:
        seen = ray.get(look.remote(make.remote(size)))
    return taken.seconds, seen
