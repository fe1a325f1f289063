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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
"""The clone."""

MIB = 1024 * 1024

T = TypeVar("T")


QUICK = 10
"""By how much --quick divides the sizes."""


class Skipped(Exception):
    """A row cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    value, peer: in `unit`. ratio: value to peer. beside: further figures, in words. ok: None where no budget is set.
    clock: between which two moments the value was taken. others: what further peers do, as text, by their names.
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
    clock: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the peer's."""
        return self.value / self.peer if self.peer else None


@dataclass(slots=True)
class Plan:
    """How much to measure.

    divide: all sizes are divided by it. scratch: a folder that is gone afterwards. peers_python: an interpreter that
    has the peers that this one lacks.
    """

    full: bool
    scratch: Path
    divide: int = 1
    peers_python: str | None = None
    _counter: subprocess.Popen[str] | None = field(default=None, repr=False)
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def quick(self) -> bool:
        """Whether the sizes are smaller than figures are quoted for."""
        return self.divide > 1

    @property
    def rounds(self) -> int:
        """How often what is cheap is measured."""
        return 1 if self.quick else 5 if self.full else 3

    def size(self, number: int) -> int:
        """The number, divided by what all sizes are divided by."""
        return max(1, number // self.divide)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made for the first row that asks for it. Raises Skipped if that has failed before."""
        if name not in self._made:
            self._made[name] = None  # and it stays so when this fails: it may have taken minutes
            self._made[name] = make()
        made: T | None = self._made[name]
        if made is None:
            raise Skipped(f"what it measures has failed before: {name}")
        return made

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

    def peer(self, name: str, work: str, count: int) -> dict[str, Any] | str:
        """The figures of joblib, Dask or redun for the same work, measured now; a text where there are none."""
        script = Path(__file__).with_name("peers.py")
        for python in (sys.executable, *([self.peers_python] if self.peers_python else [])):
            done = subprocess.run(
                [python, str(script), name, work, str(count)],
                capture_output=True, text=True, cwd=self.folder(name), env=child_environment(), timeout=900,
            )  # fmt: skip
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no output"])[-1]
                return f"fails at {count:,}: {last[:60]}"
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            if found["installed"]:
                return found
        return "not installed"

    def peer_rate(self, name: str, work: str, count: int) -> str:
        """Calls a second of a peer, as text."""
        count = self.size(count)
        found = self.peer(name, work, count)
        return found if isinstance(found, str) else f"{count / found['seconds']:,.0f} calls/s"


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


def command_seconds(words: Sequence[str], store: Path) -> float:
    """From the start of a `rayflow` command on a store to its end. Raises AssertionError when it says nothing."""
    command = [sys.executable, "-m", "rayflow", *words, "--store", str(store)]
    _, ended, line = first_line_of(command, store.parent, child_environment())
    assert line, f"rayflow {' '.join(words)} says nothing"
    return ended


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
        return self.peak() - self.before

    def peak(self) -> int:
        """The highest since."""
        return memory_of(self.pid, "VmHWM")


# --- the table --------------------------------------------------------------------------------------------------------


CLOCKS = """\
submit, run: the call of that method, on a scheduler that is there; Scheduler(): the constructor, in a process with Ray.
counted: another process has counted all job rows by SQL; value: it is here, and committed; answer: on stdout.
Peers: from the first call that is sent to the last result. A ratio is rayflow's figure over the peer's."""
"""What the words of the column `clock` mean."""


def table_of(rows: Sequence[Row]) -> str:
    """The rows as text for people: a line for each; then what further peers do, and what the clocks mean."""
    lines = [("", "", "rayflow", "peer", "ratio", "budget", "", "clock")]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer_name} {figure(row.peer)}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} x"
        verdict = "" if row.ok is None else "met" if row.ok else "MISSED"
        lines.append((row.name, row.what, figure(row.value, row.unit), peer, ratio, row.budget, verdict, row.clock))
    text = _aligned(lines)
    compared = [row for row in rows if row.others]
    if compared:
        names = list(dict.fromkeys(name for row in compared for name in row.others))
        others = [("", *names), *((row.name, *(row.others.get(name, "") for name in names)) for row in compared)]
        text += ["", *_aligned(others)]
    return "\n".join([*text, "", CLOCKS])


def notes_of(rows: Sequence[Row]) -> str:
    """The further figures of the rows."""
    return "\n".join(f"{row.name}: {'; '.join(row.beside)}" for row in rows if row.beside)


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def figure(value: float, unit: str = "") -> str:
    """A number with three significant digits or more, and its unit."""
    return (f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}").rstrip()


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain data."""
    return [
        {
            "name": row.name, "what": row.what, "rayflow": row.value, "unit": row.unit, "peer_name": row.peer_name,
            "peer": row.peer, "ratio": row.ratio, "budget": row.budget, "ok": row.ok, "beside": list(row.beside),
            "clock": row.clock, "others": dict(row.others),
        }
        for row in rows
    ]  # fmt: skip
