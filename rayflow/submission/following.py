"""Follows a job until it ends: what it prints, as it comes, and how it ended.

In: a job. Out: its texts, progress and answer, in their order, and its exit code. Never: stops the job; shows anything.

A thread reads the log as it grows, while this one asks for the job's state several times a second. The log tells the
end of a run as soon as everything is recorded. The state tells the end of a job that was killed, and of one that never
began. When the connection breaks, as it does when a laptop sleeps, the log is read again from its beginning, and what
is known of it is skipped.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rayflow.errors import ClusterUnavailable
from rayflow.submission.frames import FrameReader, FrameWord, JobBegun, JobEnded, JobText
from rayflow.submission.job_api import JobApi, RayJob

POLL_SECONDS = 0.25
"""How often the job's state is asked for."""

LOST_SECONDS = 60.0
"""How long the cluster may be unreachable before the one who follows gives up."""

STOPPED_CODE = 143
"""The exit code of a job that was stopped: that of a process that SIGTERM has ended."""

_FIRST_WAIT_SECONDS = 5.0

_KEPT = "What it had finished is kept in the store: submit it again to go on."


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. code: the exit code for the one who followed. problem: why the job's program did not run, or
    was ended from outside; None when it ended by itself."""

    code: int
    problem: str | None = None


class JobFollower:
    """Follows one job.

    job: what is known of it. told: gets each word of its log. waiting: gets a text when the job does not begin, or when
    the cluster cannot be reached. tail: how many lines of text to tell of those that are there already; None for all.
    """

    def __init__(
        self,
        api: JobApi,
        job: RayJob,
        told: Callable[[FrameWord], None],
        waiting: Callable[[str], None],
        tail: int | None = None,
    ) -> None:
        self._api = api
        self._job = job
        self._told = told
        self._waiting = waiting
        self._tail = tail
        self._reader = FrameReader(job.execution_id)
        self._seen_bytes = 0
        self._has_begun = False
        self._code: int | None = None
        """The exit code that the log has told."""
        self._before: list[str] = []
        """What was printed before the program began: Ray's own lines, told only when it never begins."""
        self._pieces: queue.SimpleQueue[tuple[_LogStream, bytes]] = queue.SimpleQueue()
        self._stream: _LogStream | None = None

    def follow(self) -> JobEnd:
        """Tell all until the job ends. Raises ClusterUnavailable when the cluster cannot be reached for a minute."""
        begun = time.monotonic()
        is_waiting_told = False
        if self._tail is not None:
            self._take_tail(self._tail)
        while self._code is None and not self._job.has_ended:
            if self._stream is None and self._job.node_id is not None:
                self._stream = _LogStream(self._api, self._job, self._seen_bytes, self._pieces)
            self._take_pieces(POLL_SECONDS)
            if self._code is not None:
                break
            self._ask()
            is_late = time.monotonic() - begun > _FIRST_WAIT_SECONDS
            if is_late and self._job.state == "PENDING" and not is_waiting_told:
                is_waiting_told = True
                self._waiting(f"the cluster has not begun the job yet: {self._job.message}")
        return self._end()

    def _ask(self) -> None:
        """Ask for the job's state, again and again while the cluster cannot be reached."""
        since = time.monotonic()
        is_told = False
        while True:
            try:
                found = self._api.job(self._job.submission_id)
            except ClusterUnavailable as error:
                self._stream = None  # it may hang
                if time.monotonic() - since > LOST_SECONDS:
                    raise
                if not is_told:
                    is_told = True
                    self._waiting(f"the cluster cannot be reached, trying again: {error}")
                time.sleep(1.0)
                continue
            if found is None:
                raise ClusterUnavailable(
                    f"The cluster at {self._api.address} does not know the job {self._job.submission_id} any longer: "
                    "it was started anew, or the job was deleted there."
                )
            self._job = found
            return

    def _take_pieces(self, seconds: float) -> None:
        """Tell the pieces that come within so many seconds, or until the log tells the end."""
        end = time.monotonic() + seconds
        while self._code is None and (left := end - time.monotonic()) > 0:
            try:
                stream, piece = self._pieces.get(timeout=left)
            except queue.Empty:
                return
            if stream is not self._stream:
                continue  # given up
            if not piece:  # it has ended
                self._stream = None
                continue
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        self._seen_bytes += len(piece)
        for word in self._reader.read(piece):
            self._tell(word)

    def _tell(self, word: FrameWord) -> None:
        if isinstance(word, JobBegun):
            self._has_begun = True
        if isinstance(word, JobEnded):
            self._code = word.code
        elif self._has_begun or not isinstance(word, JobText):
            self._told(word)
        else:
            self._before.append(word.text)

    def _take_tail(self, count: int) -> None:
        """Tell what is there already: all frames, but only the last lines of text."""
        log = self._api.log(self._job)
        whole = log[: log.rfind(b"\n") + 1]
        self._seen_bytes = len(whole)
        words = list(self._reader.read(whole))
        begun = next((place for place, word in enumerate(words) if isinstance(word, JobBegun)), None)
        texts = [place for place, word in enumerate(words) if isinstance(word, JobText) and place > (begun or 0)]
        left_out = set(texts[: max(0, len(texts) - count)])
        for place, word in enumerate(words):
            if place not in left_out:
                self._tell(word)

    def _end(self) -> JobEnd:
        self._stream = None
        if self._code is None:
            self._take_rest()
        if self._code is not None:
            return JobEnd(self._code)
        job = self._job
        if job.exit_code is not None:
            code = job.exit_code if job.exit_code >= 0 else 128 - job.exit_code
            killed = f"The job's process was killed by signal {-job.exit_code}. {_KEPT}" if job.exit_code < 0 else None
            if not self._has_begun:
                killed = "\n".join([*self._before, "The job ended before rayflow began."])
            return JobEnd(code, killed)
        if job.state == "STOPPED":
            return JobEnd(STOPPED_CODE, f"The job was stopped. {_KEPT}")
        return JobEnd(2, f"The job has failed on the cluster: {job.message}")

    def _take_rest(self) -> None:
        """Tell what the stream has not brought."""
        try:
            self._take(self._api.log(self._job)[self._seen_bytes :])
        except ClusterUnavailable as error:  # the node of the job is gone, and with it the end of the log
            self._waiting(f"the end of what the job has printed cannot be read: {error}")
        for word in self._reader.end():
            self._tell(word)


class _LogStream:
    """A thread that reads the log of a job, from `skip` bytes on, into a queue. An empty piece: it has ended."""

    def __init__(
        self, api: JobApi, job: RayJob, skip: int, pieces: queue.SimpleQueue[tuple[_LogStream, bytes]]
    ) -> None:
        self._pieces = pieces
        self._source = api.follow_log(job)
        self._skip = skip
        threading.Thread(target=self._read, name="rayflow-job-log", daemon=True).start()

    def _read(self) -> None:
        try:
            for piece in self._unseen():
                self._pieces.put((self, piece))
        except ClusterUnavailable:
            pass  # the thread that asks for the job's state meets the same, and says so
        time.sleep(POLL_SECONDS)
        self._pieces.put((self, b""))

    def _unseen(self) -> Iterator[bytes]:
        skip = self._skip
        for piece in self._source:
            if len(piece) > skip:
                yield piece[skip:]
            skip = max(0, skip - len(piece))
