"""The critical path of an execution: what it waited for at each moment, from its end back to its beginning.

In: the times of jobs. Out: a `CriticalPath`. Never: recursion (a chain of calls may have any length); text.

The walk goes backward in time. A job has ended when the last of the calls below it had: the path goes on in that call.
A call began when its last argument was there: the path goes on in the call that made this argument, or else in the
caller. So the spans of the path lie one after the other and fill the whole time. This is the way in which Gregg's
"what was it waiting for" and the critical path method of project planning (Kelley and Walker, 1959) go, over times that
were measured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from rayflow.errors import NotFound
from rayflow.store.history import views
from rayflow.store.history.answer_types import CriticalPath, PathSpan, Record
from rayflow.store.history.database import RecordDatabase, as_microseconds

FEW_JOBS = 20_000
"""The jobs of an execution become objects at once if they are so few. Otherwise those that one job called do, so many
of them at a time, when the walk comes to that job."""


class PathJob(NamedTuple):
    """A job, as far as the walk looks at it. Times are in microseconds since the epoch. parent_job_id: empty for a
    first job. finished: of a job that has not ended, the moment up to which the path is asked for."""

    job_id: bytes
    parent_job_id: bytes
    call_hash: bytes | None
    name: str
    how: str | None
    waited_on: str | None
    queued: int
    ready: int | None
    sent: int | None
    started: int | None
    finished: int
    wall: float = 0.0
    stage_in: float = 0.0
    stage_out: float = 0.0


class PathJobs(Protocol):
    """The jobs of an execution, for the walk. The whole execution counts as a job that called the first ones."""

    @property
    def root(self) -> PathJob:
        """The whole execution."""

    def below(self, job: PathJob, at: int) -> Iterator[PathJob]:
        """The jobs that a job called, those that ended at this moment or before, the last one first."""

    def caller(self, job: PathJob) -> PathJob:
        """The job that called a job."""

    def sources(self, job: PathJob) -> Sequence[PathJob]:
        """The jobs of the same execution whose results were arguments of a job."""


def walk(jobs: PathJobs) -> list[PathSpan]:
    """The spans of the path, the first one first."""
    found: list[PathSpan] = []
    seen: set[bytes] = set()  # the walk comes to the end of a job once, whatever clocks have done to the times
    job, at = jobs.root, jobs.root.finished
    while True:
        seen.add(job.job_id)
        last = _last_below(jobs, job, at, seen)
        if last is not None:
            found.extend(_spans(job, last.finished, at))
            job, at = last, last.finished
            continue
        begin = min(at, job.queued if job.ready is None else max(job.ready, job.queued))
        found.extend(_spans(job, begin, at))
        source = _last_source(jobs, job, begin, seen)
        if source is not None:
            found.extend(_spans(job, source.finished, begin))
            job, at = source, source.finished
            continue
        at = min(job.queued, begin)
        found.extend(_spans(job, at, begin))
        if job is jobs.root:
            return _joined(reversed(found))
        job = jobs.caller(job)


def _last_below(jobs: PathJobs, job: PathJob, at: int, seen: Container[bytes]) -> PathJob | None:
    """The call below a job that ended last, before this moment, among those that the walk has not seen."""
    for last in jobs.below(job, at):
        if last.queued < at and last.job_id not in seen:
            return last if last.finished > (job.ready or job.queued) else None
    return None


def _last_source(jobs: PathJobs, job: PathJob, at: int, seen: Container[bytes]) -> PathJob | None:
    """The job that made the last argument of a job, if the job waited for it."""
    ended = [each for each in jobs.sources(job) if job.queued < each.finished <= at and each.queued < at]
    return max([each for each in ended if each.job_id not in seen], key=_end, default=None)


def _end(job: PathJob) -> int:
    return job.finished


def _spans(job: PathJob, begin: int, end: int) -> list[PathSpan]:
    """The phases of a job that lie in a time, the last one first. Clocks of two machines differ: a phase that would
    begin before the one before it begins there."""
    bounds = _bounds(job)
    spans: list[PathSpan] = []
    for (phase, since), (_, until) in zip(bounds, [*bounds[1:], ("", end)], strict=True):
        low, high = (begin if phase == "arguments" else max(since, begin)), min(until, end)
        if low < high:
            spans.append(PathSpan(job.job_id.hex(), job.name, phase, low, high))
    return spans[::-1]


def _bounds(job: PathJob) -> list[tuple[str, int]]:
    """The phases of a job with their beginnings, in their order."""
    ready = max(job.queued, job.ready if job.ready is not None else job.queued)
    bounds = [("arguments", job.queued)]
    if job.how in ("cached", "shared") or job.started is None:
        return [*bounds, ("look-up" if job.how in ("cached", "shared") else "evaluator", ready)]
    sent = max(ready, job.sent if job.sent is not None else ready)
    started = max(sent, job.started)
    whole = round(job.wall * 1e6)
    read = min(whole, round(job.stage_in * 1e6))
    stored = min(whole - read, round(job.stage_out * 1e6))
    bounds += [(f"held: {job.waited_on}" if job.waited_on else "evaluator", ready), ("worker", sent)]
    if read:
        bounds.append(("stage in", started))
    bounds.append(("body", started + read))
    if stored:
        bounds.append(("stage out", started + whole - stored))
    return [*bounds, ("evaluator", started + whole)]


def _joined(spans: Iterable[PathSpan]) -> list[PathSpan]:
    """Spans of one job and phase that touch are one."""
    found: list[PathSpan] = []
    for span in spans:
        if found and found[-1][:3] == span[:3] and found[-1].end_us == span.begin_us:
            found[-1] = found[-1]._replace(end_us=span.end_us)
        else:
            found.append(span)
    return found


def critical_path(database: RecordDatabase, execution: Record, now: datetime | None) -> CriticalPath:
    """The critical path of an execution. now: of one that goes on, the moment up to which the path goes; None: up to
    the last thing that was recorded. Raises NotFound when no job was recorded."""
    jobs = _RecordedJobs(database, execution, now)
    if next(jobs.below(jobs.root, jobs.root.finished), None) is None:
        raise NotFound(f"No job of execution {execution['execution_id']} was recorded.")
    return CriticalPath(execution, tuple(walk(jobs)))


class _RecordedJobs:
    """The jobs of a recorded execution. They are read at once, or as the walk comes to them."""

    def __init__(self, database: RecordDatabase, execution: Record, now: datetime | None) -> None:
        self._database = database
        self._id = execution["execution_id"]
        query = "SELECT count(*), max(greatest(queued_at, finished_at)) FROM raw.jobs WHERE execution_id = $execution"
        ((count, latest),) = database.answer(query, {"execution": self._id}).fetchall()
        self._has_all = count <= FEW_JOBS
        begin = as_microseconds(execution["started_at"])
        until = as_microseconds(execution["finished_at"] or now or latest or execution["started_at"])
        self._until = until
        self.root = PathJob(
            job_id=b"", parent_job_id=b"", call_hash=None, name="the execution", how=None, waited_on=None,
            queued=begin, ready=begin, sent=None, started=None, finished=max(begin, until),
        )  # fmt: skip
        self._jobs: dict[bytes, PathJob] = {b"": self.root}
        self._by_call: dict[bytes, list[PathJob]] = {}
        self._below: dict[bytes, list[PathJob]] = {}
        self._waiting: dict[bytes, deque[PathJob]] = {}
        """The jobs below a job that were read from the temporary table, the last one first."""
        self._ends: dict[bytes, tuple[int, bytes] | None] = {}
        """End and id of the last job that was read below a job; None if all were."""
        self._sources: dict[bytes, list[bytes]] = {}
        """The calls that made the arguments of a call, by the call. A call that is not in it was not asked for."""
        asked = {"execution": self._id, "until": self._until}
        if not self._has_all:
            database.answer(f"CREATE OR REPLACE TEMP TABLE path_jobs AS {views.text_of('path_jobs')}", asked)
            return
        for row in database.answer(views.text_of("path_jobs"), asked).fetchall():
            job = PathJob(*row)
            self._jobs[job.job_id] = job
            self._below.setdefault(job.parent_job_id, []).append(job)
            if job.call_hash is not None:
                self._by_call.setdefault(job.call_hash, []).append(job)
        self._read_sources(list(self._by_call))

    def below(self, job: PathJob, at: int) -> Iterator[PathJob]:
        if self._has_all:
            known = self._below.get(job.job_id, [])
            yield from known[: bisect_right(known, at, key=_end)][::-1]
            return
        waiting = self._waiting.setdefault(job.job_id, deque())
        while waiting and waiting[0].finished > at:
            waiting.popleft()  # the walk goes back: it comes to this job again with an earlier moment only
        yield from waiting
        end = self._ends.get(job.job_id, (at + 1, b""))
        while end is not None:
            found = self._found(
                """parent_job_id = $parent AND (finished < $at OR (finished = $at AND job_id < $before))
                   ORDER BY finished DESC, job_id DESC LIMIT $most""",
                parent=job.job_id, at=end[0], before=end[1], most=FEW_JOBS,
            )  # fmt: skip
            end = (found[-1].finished, found[-1].job_id) if len(found) == FEW_JOBS else None
            self._ends[job.job_id] = end
            waiting.extend(found)
            yield from found

    def caller(self, job: PathJob) -> PathJob:
        return self._job(job.parent_job_id) or self.root

    def sources(self, job: PathJob) -> list[PathJob]:
        if job.call_hash is None:
            return []
        if job.call_hash not in self._sources:
            self._read_sources([job.call_hash])
        calls = self._sources[job.call_hash]
        if self._has_all:
            return [each for call in calls for each in self._by_call.get(call, ())]
        return self._found("call_hash IN (SELECT unnest($calls))", calls=calls) if calls else []

    def _job(self, job_id: bytes) -> PathJob | None:
        if job_id in self._jobs or self._has_all:
            return self._jobs.get(job_id)
        return next(iter(self._found("job_id = $job", job=job_id)), None)

    def _found(self, condition: str, **named: Any) -> list[PathJob]:
        """The jobs of the temporary table that meet a condition."""
        rows = self._database.answer(f"SELECT * FROM temp.path_jobs WHERE {condition}", named).fetchall()
        found = [PathJob(*row) for row in rows]
        self._jobs.update((job.job_id, job) for job in found)
        return found

    def _read_sources(self, calls: list[bytes]) -> None:
        self._sources.update((call, []) for call in calls)
        for call, source in self._database.answer(views.text_of("path_sources"), {"calls": calls}).fetchall():
            self._sources[call].append(source)
