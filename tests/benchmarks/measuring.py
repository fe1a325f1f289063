"""How things are measured: clocks, medians, child processes, memory; and what a measurement comes out as.

In: what to run. Out: `Row`. Never: decides what is measured, or imports Ray.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The clone."""

MIB = 1024 * 1024


class Skipped(Exception):
    """A row cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    value, peer: in `unit`. ratio: value to peer. beside: further figures, in words. ok: None where no budget is set.
    """

    name: str
    what: str
    value: float
    unit: str
    peer_name: str = ""
    peer: float | None = None
    budget: str = ""
    ok: bool | None = None
    beside: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the peer's."""
        return self.value / self.peer if self.peer else None


@dataclass(slots=True)
class Plan:
    """How much to measure.

    scratch: a folder that is gone afterwards. redun_python: an interpreter that has redun, if any.
    """

    quick: bool
    full: bool
    scratch: Path
    redun_python: str | None = None
    _counter: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def rounds(self) -> int:
        """How often what is cheap is measured."""
        return 1 if self.quick else 5 if self.full else 3

    def size(self, number: int) -> int:
        """So many, or a tenth of it."""
        return number // 10 if self.quick else number

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        return Path(mkdtemp(prefix=f"{name}-", dir=self.scratch))

    def counted(self, store: Path | str, execution: str, jobs: int) -> None:
        """Return when another process has counted all job rows of an execution by SQL. Raises AssertionError if they
        are not there."""
        counter = self.counter()
        assert counter.stdin is not None
        assert counter.stdout is not None
        counter.stdin.write(json.dumps({"store": str(store), "execution": execution, "jobs": jobs}) + "\n")
        counter.stdin.flush()
        found = int(counter.stdout.readline())
        assert found == jobs, f"{found} job rows of {jobs} are recorded"

    def counter(self) -> subprocess.Popen[str]:
        """The process that counts; started at the first call, so call it before the clock runs."""
        if self._counter is None:
            self._counter = subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.counter"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=child_environment(),
            )  # fmt: skip
            assert self._counter.stdout is not None
            assert self._counter.stdout.readline() == "ready\n"
        return self._counter

    def close(self) -> None:
        """End the process that counts."""
        if self._counter is not None:
            assert self._counter.stdin is not None
            assert self._counter.stdout is not None
            self._counter.stdin.close()
            self._counter.wait(timeout=30)
            self._counter.stdout.close()
            self._counter = None

    def redun(self, what: str, number: int) -> dict[str, float] | str:
        """redun's figures for the same work, measured now; a sentence where it fails, "" where it is not installed."""
        if self.redun_python is None:
            return ""
        script = Path(__file__).with_name("redun_peer.py")
        done = subprocess.run(
            [self.redun_python, str(script), what, str(number)],
            capture_output=True, text=True, cwd=self.folder("redun"), env=child_environment(), timeout=900,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return f"redun: {what} of {number:,} failed: {last[:100]}"
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child process: it can import the packages of this clone, and may keep compiled bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    return {**environment, **more}


@dataclass(slots=True)
class Clock:
    """A `with` block's clock. seconds: what it took, once it has ended."""

    started: float
    seconds: float = 0.0

    def lap(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.started


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure a block."""
    running = Clock(time.perf_counter())
    yield running
    running.seconds = running.lap()


def interleaved(rounds: int, *ways: Callable[[], float]) -> list[float]:
    """The median of each way, measured in turns (A B A B), because the machine is noisier than the difference."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, seconds in zip(ways, taken, strict=True):
            seconds.append(way())
    return [statistics.median(seconds) for seconds in taken]


def first_line_of(command: Sequence[str], folder: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds from a process's start to its first line on stdout (or its end, when it says nothing), seconds to its
    end, and the line. Raises AssertionError when it fails."""
    with (folder / "stderr.txt").open("w+b") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment
        )
        assert process.stdout is not None
        with process.stdout:
            line = process.stdout.readline()
            answered = time.perf_counter() - started
            process.stdout.read()
        code = process.wait()
        ended = time.perf_counter() - started
        errors.seek(0)
        assert code == 0, f"{' '.join(command)} ended with {code}: {errors.read().decode()[-2000:]}"
    return answered if line else ended, ended, line.strip()


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_of(pid: int, what: str = "VmRSS") -> int:
    """Bytes of a process's memory: VmRSS now, VmHWM at its highest. Raises Skipped where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        raise Skipped("memory is read from /proc, which this machine does not have") from None
    for line in text.splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise Skipped(f"/proc/{pid}/status does not say {what}")


@dataclass(slots=True)
class Growth:
    """How far a process's resident memory rose above where it was."""

    pid: int
    before: int = 0

    def start(self) -> None:
        """From now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the highest mark is now what it is
        self.before = memory_of(self.pid)

    def bytes(self) -> int:
        """The highest since, less what it was."""
        return memory_of(self.pid, "VmHWM") - self.before


# --- the table --------------------------------------------------------------------------------------------------------


def table_of(rows: Sequence[Row]) -> str:
    """The rows as text for people."""
    lines = [("", "rayflow", "peer", "ratio", "budget", "")]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer_name} {_figure(row.peer, row.unit)}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} x"
        verdict = "" if row.ok is None else "ok" if row.ok else "below"
        lines.append((f"{row.name}: {row.what}", _figure(row.value, row.unit), peer, ratio, row.budget, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    text = []
    for number, line in enumerate(lines):
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number:
            text.extend(f"    {sentence}" for sentence in rows[number - 1].beside if sentence)
    return "\n".join(text)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain data."""
    return [
        {
            "name": row.name, "what": row.what, "rayflow": row.value, "unit": row.unit, "peer_name": row.peer_name,
            "peer": row.peer, "ratio": row.ratio, "budget": row.budget, "ok": row.ok, "beside": list(row.beside),
        }
        for row in rows
    ]  # fmt: skip
