"""What is measured: calls that do nothing, large arrays, and their plain twins for the peers.

Kept in a module of its own, because workers import it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rayflow import File, map_, task
from tests.benchmarks.shapes import SHAPES, last_of


def plain_noop(number: int) -> int:
    """The body of every call that does nothing."""
    return number


def plain_bundle(numbers: list[int]) -> list[int]:
    """Several calls that do nothing, one after the other."""
    return [plain_noop(number) for number in numbers]


def plain_step(number: int) -> int:
    """One link of a chain."""
    return number + 1


@task
def warm_up(number: int) -> int:
    """Not measured: so that workers are there, and the measured tasks are still new."""
    return number


@task
def warm_up_all(count: int) -> Any:
    """Not measured."""
    return [warm_up(number) for number in range(count)]


@task
def noop(number: int) -> int:
    """A call that does nothing."""
    return number


@task
def fan_out(count: int) -> Any:
    """So many independent calls that do nothing."""
    return [noop(number) for number in range(count)]


@task
def map_all(count: int) -> Any:
    """The same calls, made by a form."""
    return map_(noop, range(count))


@task
def length(place: Any) -> int:
    """The length of a path, be it a File or text: it reads nothing."""
    return len(str(place))


@task
def lengths(places: list[Any]) -> Any:
    """A call for each."""
    return [length(place) for place in places]


@task
def step(number: int) -> int:
    """One link of a chain."""
    return number + 1


def plain_pause(seconds: float, number: int = 0) -> int:
    """A body that waits."""
    time.sleep(seconds)
    return number


@task
def pause(seconds: float, number: int) -> int:
    """The same as a task."""
    return plain_pause(seconds, number)


@task
def occupy(seconds: float, number: int) -> int:
    """Not measured: so that each slot has a worker, and the measured task is still new."""
    return plain_pause(seconds, number)


@task
def occupy_all(count: int, seconds: float) -> Any:
    """Not measured."""
    return [occupy(seconds, number) for number in range(count)]


@task
def pause_all(count: int, seconds: float) -> Any:
    """So many of them."""
    return [pause(seconds, number) for number in range(count)]


def plain_write(output: str, *inputs: str) -> str:
    """Read files and write one, as a small step of a pipeline does."""
    read = sum(len(Path(path).read_bytes()) for path in inputs)
    Path(output).write_text(f"{read:>4096}")
    return output


@task
def write(output: str, inputs: list[File]) -> File:
    """The same with files as arguments and result."""
    return File(plain_write(output, *map(str, inputs)))


@task
def write_graph(shape: str, count: int, folder: str, source: File) -> Any:
    """A graph of tasks that write files; gives those that no other task reads."""
    graph = SHAPES[shape](count)
    files: list[Any] = []
    for number, above in enumerate(graph):
        files.append(write(f"{folder}/{number:05}", [files[other] for other in above] or [source]))
    return [files[number] for number in last_of(graph)]


def plain_array(size: int) -> Any:
    """An array of so many bytes."""
    import numpy

    return numpy.full(size, 7, dtype=numpy.uint8)


def plain_look(array: Any) -> tuple[int, str, int]:
    """Read every page of an array.

    Gives a sum, the file behind its memory ('' when it was copied), and the bytes that belong to this process alone.
    """
    total = int(array[::4096].sum(dtype="int64"))
    return total, file_behind(array.ctypes.data), private_bytes()


@task
def make_array(size: int) -> Any:
    """An array of so many bytes."""
    return plain_array(size)


@task
def look_at(array: Any) -> tuple[int, str, int]:
    """What a reader sees of an array, and how it lies in its memory."""
    return plain_look(array)


def file_behind(address: int) -> str:
    """The file that is mapped at an address of this process; '' for ordinary memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in fields[0].split("-"))
        if start <= address < end:
            return fields[5] if len(fields) > 5 and fields[5].startswith("/") else ""
    return ""


def private_bytes() -> int:
    """Bytes of this process's memory that belong to it alone."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
