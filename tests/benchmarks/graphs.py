"""Rows about graphs of tasks that read and write files, in the shapes of scientific workflows."""

from __future__ import annotations

from pathlib import Path

from rayflow import File
from tests.benchmarks import workloads
from tests.benchmarks.measuring import Plan, Row, clock, interleaved
from tests.benchmarks.shapes import SHAPES

TASKS = 10_000


def montage(plan: Plan) -> Row:
    """Grids and joins of all."""
    return _graph(plan, "montage")


def epigenomics(plan: Plan) -> Row:
    """Chains that are split and merged."""
    return _graph(plan, "epigenomics")


def cycles(plan: Plan) -> Row:
    """Many small independent joins."""
    return _graph(plan, "cycles")


def _graph(plan: Plan, shape: str) -> Row:
    """The time over that of raw Ray with the same work on files, and only paths as arguments and results."""
    from tests.benchmarks import clusters

    wanted = plan.size(TASKS)
    graph = SHAPES[shape](wanted)
    clusters.ensure()
    source = plan.folder(shape) / "source"
    source.write_bytes(b"x" * 4096)

    def raw() -> float:
        folder = plan.folder("raw")
        seconds = clusters.raw_graph(graph, folder, source)
        assert _written(folder) == len(graph) + 1  # one to warm up
        return seconds

    def rayflow() -> float:
        folder, store = plan.folder("files"), plan.folder(shape) / "store"
        plan.counter()
        with clusters.ready_scheduler(store) as ready, clock() as taken:
            submission = ready.scheduler.submit(workloads.write_graph(shape, wanted, str(folder), File(str(source))))
            submission.result()
            plan.counted(store, submission.execution_id, len(graph) + 1)
        assert _written(folder) == len(graph)
        return taken.seconds

    peer, seconds = interleaved(3 if plan.full else 1, raw, rayflow)
    return Row(
        shape, f"{len(graph):,} tasks that write files", seconds, "s", "raw Ray", peer, "<= 1.5 x",
        seconds / peer <= 1.5, clock="submit - counted",
    )  # fmt: skip


def _written(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
