"""Measures the processor time and the memory of an attempt, its child processes included, and the times of its stages.

In: where attempts and their stages begin and end. Out: `Cost`. Never: starts a thread, waits for a process.

Processor time is that of all threads of this process while the attempt runs alone in it, else that of its own thread.
To it is added the time of the child processes: those that have been waited for (the system adds them up), and those
that still run or have not been waited for. The sum of both only grows, so the time of earlier attempts does not count
twice.

The system counts the highest resident memory of a process since its start. On Linux it is reset before an attempt, so
that it is the attempt's own on a worker that is used again; elsewhere it is the process's. Of the processes that have
been waited for, the system tells the largest so far: one that is smaller than an earlier one does not show, except for
scripts, which are measured one by one. A process that its own parent has left (a daemon) counts for no attempt. Where
many child processes run, their time within some milliseconds may count for the attempt before or after.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator

from rayflow.evaluator.messages import Cost
from rayflow.runtime.worker.environment import own_environment
from rayflow.runtime.worker.task_lookup import HOST

SLACK_BYTES = 4 << 20
"""The peak of this process is reset when it has risen by more. A reset takes less time than a tiny call."""

LOOKING_SHARE = 20.0
"""Child processes are looked at again after so many times the duration of the last look."""

LEAST_STAGE_SECONDS = 0.0001
"""A stage that takes less is not reported: it is noise, and would take room in the row of each call."""

UNIT = 1 if sys.platform == "darwin" else 1024
"""The unit of the system's sizes of memory, in bytes."""

_lock = threading.Lock()
_running: dict[int, list[Meter]] = {}
"""The attempts that are measured now, by their threads. In one thread each runs inside the one before (a subrun)."""


class Meter:
    """Measures attempts in one thread, one after the other.

    The measurement of the first begins with the object. `lap` ends one and begins the next one. `cost` ends the last;
    `end` does, when nothing has run since the last lap.
    stage_in, stage_out: the seconds so far in which the arguments were read, and in which the result was stored.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._alone = True
        self._peak = 0
        self._others = 0.0
        self.stage_in = self.stage_out = 0.0
        with _lock:
            self._process, peak = _own_process()
            for thread, meters in _running.items():
                for each in meters:
                    each._peak = max(each._peak, peak)
                    if thread != self._thread:
                        each._alone = self._alone = False
            _set_back_from(peak)
            _running.setdefault(self._thread, []).append(self)
        self._started_at = time.time_ns() // 1000
        ended_seconds, self._children_peak = _ended_children()
        self._below = _lately(ended_seconds)
        self._own = time.thread_time()
        self._wall = time.perf_counter()

    def cost(self) -> Cost:
        """The cost of the attempt. Ends the measurement."""
        started_at, wall, seconds, peak, _ = self._measured()
        self._end(peak)
        stage_in = self.stage_in if self.stage_in >= LEAST_STAGE_SECONDS else None
        stage_out = self.stage_out if self.stage_out >= LEAST_STAGE_SECONDS else None
        environment = own_environment().environment
        return Cost(started_at, wall, seconds, peak, HOST, os.getpid(), stage_in, stage_out, environment)

    def end(self) -> None:
        """End the measurement after a lap."""
        self._end(0)

    def _end(self, peak: int) -> None:
        with _lock:
            meters = _running[self._thread]
            meters.remove(self)
            if meters:
                meters[-1]._note(self._others, peak)
            else:
                del _running[self._thread]

    def lap(self) -> tuple[int, float, float, int]:
        """The first four fields of the attempt's cost. The measurement of the next attempt begins."""
        started_at, wall, seconds, peak, own_peak = self._measured()
        with _lock:
            meters = _running[self._thread]
            self._alone = len(_running) == 1
            if own_peak > _level + SLACK_BYTES:
                for of_thread in _running.values():
                    for each in of_thread:
                        each._peak = max(each._peak, own_peak)
                _set_back_from(own_peak)
            if len(meters) > 1:
                meters[-2]._note(self._others, peak)
        self._peak, self._others = 0, 0.0
        self.stage_in = self.stage_out = 0.0
        return started_at, wall, seconds, peak

    def _measured(self) -> tuple[int, float, float, int, int]:
        """The cost of the attempt, and this process's peak. What is measured here is also where the next one begins."""
        started_at, self._started_at = self._started_at, time.time_ns() // 1000
        now = time.perf_counter()
        wall, self._wall = now - self._wall, now
        own_before, self._own = self._own, time.thread_time()
        process_before = self._process
        self._process, own_peak = _own_process()
        seconds = self._process - process_before if self._alone else self._own - own_before
        ended_seconds, children_peak = _ended_children()
        before, self._below = self._below, _lately(ended_seconds)
        peak = self._peak if self._peak > own_peak else own_peak
        if before is not self._below:
            seconds += max(0.0, self._below.seconds - before.seconds)
        if self._below.processes:
            # When a process that existed before the attempt had its peak is unknown.
            known = {each.pid for each in before.processes}
            peaks = [each.resident if each.pid in known else each.peak for each in self._below.processes]
            peak = max(peak, *peaks)
        if children_peak > self._children_peak:
            peak, self._children_peak = max(peak, children_peak), children_peak
        return started_at, wall, seconds + self._others, peak, own_peak

    def _note(self, seconds: float, peak: int) -> None:
        self._others += seconds
        self._peak = max(self._peak, peak)


def note_process(seconds: float, peak_bytes: int) -> None:
    """Add the cost of a child process of the running attempt that the system does not add to this process's."""
    meters = _running.get(threading.get_ident())
    if meters:
        meters[-1]._note(seconds, peak_bytes)


@contextlib.contextmanager
def staging_in() -> Iterator[None]:
    """While this lasts, the running attempt reads in what it was given."""
    began = time.perf_counter()
    try:
        yield
    finally:
        for meter in _running.get(threading.get_ident(), ())[-1:]:
            meter.stage_in += time.perf_counter() - began


@contextlib.contextmanager
def staging_out() -> Iterator[None]:
    """While this lasts, the running attempt stores what it has made."""
    began = time.perf_counter()
    try:
        yield
    finally:
        for meter in _running.get(threading.get_ident(), ())[-1:]:
            meter.stage_out += time.perf_counter() - began


# --- numbers of the system --------------------------------------------------------------------------------------------

_level = 0
"""The peak of this process when it was last reset."""


def _own_process() -> tuple[float, int]:
    """The processor time of this process, and its peak."""
    import resource  # Windows has none

    own = resource.getrusage(resource.RUSAGE_SELF)
    peak = own.ru_maxrss * UNIT
    return own.ru_utime + own.ru_stime, peak if peak > _inherited() else _memory_of("self")[0]


def _own_peak() -> int:
    return _own_process()[1]


@functools.cache
def _inherited() -> int:
    """The peak that this process has inherited from the process that started it, which the system reports at least. 0
    where this process's own peak is higher."""
    import resource  # likewise

    _set_back()
    reported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    own, _ = _memory_of("self")
    return reported if own and reported > own + SLACK_BYTES else 0


def _memory_of(pid: str) -> tuple[int, int]:
    """The peak and the present memory of a process, from /proc; 0 where it does not say."""
    reported = {"VmHWM": 0, "VmRSS": 0}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in reported:
                reported[name] = int(value.split()[0]) * 1024
    return reported["VmHWM"], reported["VmRSS"]


def _set_back_from(peak: int) -> None:
    """Reset the peak of this process where it has risen to this one, and note where it begins again."""
    global _level
    if peak > _level + SLACK_BYTES:
        _set_back()
        _level = _own_peak()


def _set_back() -> None:
    """Reset the peak of this process to its present memory. If that is not possible (no Linux, no permission), the
    peak stays."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as file:
        file.write(b"5")


def _ended_children() -> tuple[float, int]:
    """The child processes that were waited for: their processor time, and the peak of the largest."""
    import resource  # likewise

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime, ended.ru_maxrss * UNIT


class MeasuredProcess:
    """A process at one moment. seconds: its processor time, and that of the child processes that it has waited for."""

    __slots__ = ("group", "peak", "pid", "resident", "seconds")

    def __init__(self, pid: int, seconds: float, peak: int, resident: int, group: int) -> None:
        self.pid = pid
        self.seconds = seconds
        self.peak = peak
        self.resident = resident
        self.group = group


class _ChildProcesses:
    """The child processes, and theirs in turn, that had not been waited for at one moment.

    seconds: the processor time of all of them, without those that their parent has left. at: the moment. took: how long
    the look has taken.
    """

    __slots__ = ("at", "ended", "processes", "seconds", "took")

    def __init__(self, ended_seconds: float) -> None:
        began = time.perf_counter()
        self.ended = ended_seconds
        self.processes = list(_alive())
        self.seconds = self.ended + sum(each.seconds for each in self.processes)
        self.at = time.perf_counter()
        self.took = self.at - began


_latest: _ChildProcesses | None = None


def _lately(ended_seconds: float) -> _ChildProcesses:
    """The child processes now or a moment ago: looking at them takes a twentieth of the time at most. (A process that
    has started a Ray has dozens of them.)"""
    global _latest
    found = _latest
    if (
        found is None
        or time.perf_counter() - found.at > LOOKING_SHARE * found.took
        or found.ended != ended_seconds  # one of them has been waited for since then
    ):
        found = _latest = _ChildProcesses(ended_seconds)
    return found


def _alive() -> Iterator[MeasuredProcess]:
    """The child processes, and theirs in turn, that have not been waited for."""
    try:
        # One system call, for the many attempts that start no process.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    waiting = _children_of("self")
    while waiting:
        pid = waiting.pop()
        waiting.extend(_children_of(pid))
        found = _process(pid)
        if found is not None:
            yield found


def group_of(group: int) -> list[MeasuredProcess]:
    """The processes of a process group; none where the system has no /proc."""
    pids = [name for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc/self") else []
    return [each for each in map(_process, pids) if each is not None and each.group == group]


def _children_of(pid: str) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile, or there is no /proc
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.extend(file.read().split())
    return found


def _process(pid: str) -> MeasuredProcess | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return None
    seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return MeasuredProcess(int(pid), seconds, *_memory_of(pid), int(fields[2]))
