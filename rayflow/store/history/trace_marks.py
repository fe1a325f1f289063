"""The jobs of an execution as a trace that Chrome (chrome://tracing) and Perfetto (ui.perfetto.dev) draw.

In: rows of jobs and of attempts, one after the other. Out: marks of the trace format of Chrome, as dictionaries. Never:
holds more than the tracks and one row; reads a file.

A process of the trace is a node, a thread a worker process, and a mark on it a body, with what it read and stored as
parts. Jobs that ran nowhere (cached, shared, never run) are moments of a track of their own. The waits of a job before
its body are asynchronous marks: for its arguments, for limits and retries, for a worker.

A viewer draws the marks of a track one inside the other. Bodies of one worker that overlap in another way (coroutines
that await, clocks that were set) go to a further track of that worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

TraceMark: TypeAlias = dict[str, Any]

SCHEDULER = 1
"""The process of the trace for what ran on no worker."""

SHORTEST_WAIT_US = 1_000
"""A shorter wait is not drawn, in microseconds: a million of them would hide the others."""

COLOURS = {
    "failed": "terrible", "cancelled": "bad", "not_run": "grey", "cached": "good", "shared": "vsync_highlight_color",
    "computed": "thread_state_running",
}  # fmt: skip
"""The colour of a job by how it ended, by the names that Chrome has for colours. Perfetto chooses its own."""

_MOMENTS = {"cached": 1, "shared": 2}
_OTHERS = 3
_TRACKS = {1: "cached", 2: "shared", 3: "ended without running"}

_WAITS = (
    ("queued_at", "ready_at", "waits for arguments"),
    ("ready_at", "sent_at", "is held"),
    ("sent_at", "started_at", "waits for a worker"),
)


class _OpenBody(NamedTuple):
    """A body on a track. inner_begin, inner_end: the part between what it read and what it stored."""

    inner_begin: int
    inner_end: int
    end: int


class TraceMarks:
    """Makes the marks of one execution. start: the moment that is 0 in the trace, in microseconds since the epoch."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._processes: dict[str, int] = {}
        self._threads: dict[tuple[str, int, int], int] = {}
        self._open: dict[tuple[str, int, bool], list[list[_OpenBody]]] = {}
        """For each worker, the bodies that are open in each of its tracks, outermost first. Attempts that failed have
        tracks of their own."""

    def head(self, name: str) -> Iterator[TraceMark]:
        """The marks before all others: the names of the tracks of what ran on no worker."""
        yield _named("process_name", SCHEDULER, 0, name)
        yield {"ph": "M", "name": "process_sort_index", "pid": SCHEDULER, "tid": 0, "args": {"sort_index": 0}}
        for number, track in _TRACKS.items():
            yield _named("thread_name", SCHEDULER, number, track)

    def of_jobs(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[TraceMark]:
        """The marks of jobs. rows: those of one worker together, in the order in which they began."""
        for row in rows:
            yield from self._waits(row)
            if row["started_at"] is not None and row["wall_seconds"] is not None and row["pid"] is not None:
                yield from self._body(row)
            elif row["finished_at"] is not None:
                yield self._moment(row)

    def of_attempts(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[TraceMark]:
        """The marks of the attempts that did not end well. rows: in the same order."""
        for row in rows:
            node, pid = row["node"] or "?", row["pid"] or 0
            begin = row["started_at"] - self._start
            end = max(begin, row["ended_at"] - self._start)
            lane = -1 - self._lane((node, pid, True), begin, _OpenBody(begin, end, end))
            yield from self._named_track(node, pid, lane)
            yield {
                "ph": "X", "name": row["name"], "cat": f"attempt {row['ended']}", "cname": COLOURS["failed"],
                "pid": self._processes[node], "tid": self._threads[node, pid, lane], "ts": begin, "dur": end - begin,
                "args": {"job": row["job_id"], "attempt": row["attempt"], "error": row["error"]},
            }  # fmt: skip

    def _waits(self, row: Mapping[str, Any]) -> Iterator[TraceMark]:
        """The waits of a job as pairs of a begin and an end."""
        for begin, end, name in _WAITS:
            since, until = row[begin], row[end]
            if since is None or until is None or until - since < SHORTEST_WAIT_US:
                continue
            if begin == "ready_at" and row["waited_on"]:
                name = f"{name}: {row['waited_on']}"
            mark = {"cat": "wait", "name": name, "id": row["job_id"], "pid": SCHEDULER, "tid": 0}
            yield {"ph": "b", **mark, "ts": since - self._start, "args": {"call": row["name"], "job": row["job_id"]}}
            yield {"ph": "e", **mark, "ts": until - self._start}

    def _body(self, row: Mapping[str, Any]) -> Iterator[TraceMark]:
        """The body of a job, and as its parts what it read and stored."""
        node, pid = row["node"] or "?", row["pid"]
        begin = row["started_at"] - self._start
        whole = round(row["wall_seconds"] * 1_000_000)
        read = min(whole, round((row["stage_in_seconds"] or 0.0) * 1_000_000))
        stored = min(whole - read, round((row["stage_out_seconds"] or 0.0) * 1_000_000))
        body = _OpenBody(begin + read, begin + whole - stored, begin + whole)
        lane = self._lane((node, pid, False), begin, body)
        yield from self._named_track(node, pid, lane)
        where = {"pid": self._processes[node], "tid": self._threads[node, pid, lane]}
        how = _how(row)
        yield {
            "ph": "X", "name": row["name"], "cat": how, "cname": COLOURS.get(how, "grey"), **where, "ts": begin,
            "dur": whole, "args": _arguments(row),
        }  # fmt: skip
        parts = (("reads arguments", begin, read), ("stores the result", begin + whole - stored, stored))
        for name, at, length in parts:
            if length:
                yield {"ph": "X", "name": name, "cat": "stage", **where, "ts": at, "dur": length}

    def _moment(self, row: Mapping[str, Any]) -> TraceMark:
        """A job that ran on no worker, at the moment of its end."""
        how = _how(row)
        return {
            "ph": "i", "s": "t", "name": row["name"], "cat": how, "cname": COLOURS.get(how, "grey"), "pid": SCHEDULER,
            "tid": _MOMENTS.get(how, _OTHERS), "ts": row["finished_at"] - self._start, "args": _arguments(row),
        }  # fmt: skip

    def _lane(self, worker: tuple[str, int, bool], begin: int, body: _OpenBody) -> int:
        """The first track of a worker in which a body lies beside all others, or inside the inner part of one."""
        lanes = self._open.setdefault(worker, [])
        for number, around in enumerate(lanes):
            while around and around[-1].end <= begin:
                around.pop()
            if not around or (around[-1].inner_begin <= begin and body.end <= around[-1].inner_end):
                around.append(body)
                return number
        lanes.append([body])
        return len(lanes) - 1

    def _named_track(self, node: str, pid: int, lane: int) -> Iterator[TraceMark]:
        """The marks that name a node and a track of a worker, when they are met for the first time."""
        if node not in self._processes:
            self._processes[node] = SCHEDULER + 1 + len(self._processes)
            yield _named("process_name", self._processes[node], 0, node)
        key = (node, pid, lane)
        if key not in self._threads:
            self._threads[key] = 1 + len(self._threads)
            which = "" if lane == 0 else " (failed attempts)" if lane < 0 else f" ({lane + 1})"
            yield _named("thread_name", self._processes[node], self._threads[key], f"worker {pid}{which}")


def _named(what: str, pid: int, tid: int, name: str) -> TraceMark:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _how(row: Mapping[str, Any]) -> str:
    return str(row["how"] if row["status"] == "done" and row["how"] else row["status"])


def _arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a viewer shows when the mark is chosen."""
    found = {
        "job": row["job_id"],
        "how": _how(row),
        "attempts": row["attempts"] if row["attempts"] and row["attempts"] > 1 else None,
        "processor seconds": row["cpu_seconds"],
        "peak memory bytes": row["peak_memory_bytes"],
        "asked for": row["requested"],
    }
    return {name: value for name, value in found.items() if value is not None}
