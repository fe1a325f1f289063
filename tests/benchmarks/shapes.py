"""Shapes of scientific workflows, after those that WfCommons describes: levels, fan-outs, joins.

In: about how many tasks. Out: a `Graph`. Never: says what a task does.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

Graph = list[tuple[int, ...]]
"""For each task the tasks whose results it reads, all of which stand before it. One that reads none reads a source."""

CHUNKS = 30
"""Chunks of one lane of epigenomics."""

CROPS = 8
"""Simulations on one piece of land in cycles."""


def montage(count: int) -> Graph:
    """A mosaic of images: project each, compare neighbours on a grid, fit all, correct each, join all, view."""
    width = max(2, isqrt(count // 4))
    graph: Graph = []
    images = [_add(graph) for _ in range(width * width)]
    right = [_add(graph, images[at], images[at + 1]) for at in range(width * width - 1) if (at + 1) % width]
    below = [_add(graph, images[at], images[at + width]) for at in range(width * (width - 1))]
    model = _add(graph, _add(graph, *right, *below))
    corrected = [_add(graph, image, model) for image in images]
    mosaic = _add(graph, _add(graph, *corrected), *corrected)
    _add(graph, mosaic)
    return graph


def epigenomics(count: int) -> Graph:
    """Lanes of a sequencer: split each, four steps for each chunk, merge the lane; merge all, index, pile up."""
    graph: Graph = []
    lanes = []
    for _ in range(max(1, count // (4 * CHUNKS + 2))):
        split = _add(graph)
        chunks = []
        for _ in range(CHUNKS):
            step = split
            for _ in range(4):
                step = _add(graph, step)
            chunks.append(step)
        lanes.append(_add(graph, *chunks))
    index = _add(graph, _add(graph, *lanes))
    _add(graph, index)
    return graph


def cycles(count: int) -> Graph:
    """Agriculture: for each piece of land a baseline, simulations of two steps, each parsed, and a summary; plots."""
    graph: Graph = []
    summaries = []
    for _ in range(max(1, count // (3 * CROPS + 2))):
        baseline = _add(graph)
        parsed = []
        for _ in range(CROPS):
            simulated = _add(graph, baseline)
            fertilized = _add(graph, baseline, simulated)
            parsed.append(_add(graph, simulated, fertilized))
        summaries.append(_add(graph, *parsed))
    _add(graph, *summaries)
    return graph


SHAPES: dict[str, Callable[[int], Graph]] = {"montage": montage, "epigenomics": epigenomics, "cycles": cycles}
"""By name."""


def last_of(graph: Graph) -> list[int]:
    """The tasks whose results no other task reads."""
    read = {other for above in graph for other in above}
    return [number for number in range(len(graph)) if number not in read]


def _add(graph: Graph, *above: int) -> int:
    graph.append(above)
    return len(graph) - 1
