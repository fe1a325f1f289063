"""Ends an execution on a cluster through the cluster alone: for machines that do not reach its store.

In: the job of an execution, who asks and why. Out: how the execution ended. Never: opens a store here.

A second job, in the environment of the first one, writes the same request into the store that `rayflow cancel` would
write from here, and tells how the execution ended. A job that has not begun has nothing in the store: it is stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from rayflow.errors import ClusterUnavailable, NotFound
from rayflow.submission.frames import FrameReader, JobAnswer, JobText
from rayflow.submission.job_api import EXECUTION, STORE, JobApi, RayJob
from rayflow.submission.job_requests import JobRequest

CANCEL = "cancel"
"""The word for what the second job does, and the beginning of its id."""

UNKNOWN = "unknown"
"""The status of an execution that has not begun yet, in the answer of the second job."""

BEGIN_SECONDS = 90.0
"""How long the second job may take: to begin, and to wait until the execution has ended."""

STOP_SECONDS = 30.0
"""How long a job that is stopped may take to end."""

LOOK_SECONDS = 0.25


class CancelJob:
    """A request to cancel the execution of a job. say: gets a line about what is going on.

    Raises NotFound for a job that rayflow has not started.
    """

    def __init__(self, api: JobApi, job: RayJob, say: Callable[[str], None]) -> None:
        store = job.metadata.get(STORE)
        if store is None:
            raise NotFound(f"The job {job.submission_id} was not started by `rayflow submit`, and evaluates nothing.")
        self.store = store
        self._api = api
        self._job = job
        self._say = say

    def answer(self, by: str, reason: str) -> dict[str, Any]:
        """Ask for the end, and wait for it: execution_id, status, was (the status before), error.

        Raises ClusterUnavailable when the cluster cannot carry the request out.
        """
        if self._job.has_ended:
            status = _status_of(self._job)
            return self._answer(status, status)
        told = None if self._job.state == "PENDING" else self._asked_there(by, reason)
        if told is None:
            self._say("the execution has not begun yet: its job is stopped")
            return self._stopped()
        return told

    def _answer(self, status: str, was: str) -> dict[str, Any]:
        return {"execution_id": self._job.execution_id, "status": status, "was": was, "error": None}

    def _asked_there(self, by: str, reason: str) -> dict[str, Any] | None:
        """What the second job answers; None when the execution has not begun yet."""
        job = self._job
        request = JobRequest(job.execution_id, (CANCEL, json.dumps({"by": by, "reason": reason})), ".", self.store)
        name = f"{CANCEL}-{job.execution_id}-{os.urandom(4).hex()}"
        entrypoint = request.entrypoint(is_shipped="py_modules" in job.runtime_env)
        self._say(f"asking for the end of {job.execution_id} on the cluster, by the job {name} ...")
        self._api.submit(name, entrypoint, job.runtime_env, {EXECUTION: job.execution_id})
        ended = self._ended(name, BEGIN_SECONDS)
        if ended is None:
            self._api.stop(name)
            raise ClusterUnavailable(
                f"The cluster at {self._api.address} has not carried out the job {name} within {BEGIN_SECONDS:g} s. "
                f"To end the execution's job by force: ray job stop {job.submission_id}"
            )
        reader = FrameReader(job.execution_id)
        words = [*reader.read(self._api.log(ended)), *reader.end()]
        answer = "".join(word.piece for word in words if isinstance(word, JobAnswer))
        if answer:
            told: dict[str, Any] = json.loads(answer)
            return None if told["status"] == UNKNOWN else told
        latest = self._api.job(job.submission_id)
        if latest is not None and latest.has_ended:  # and with it the copy of the project that both jobs need
            return self._answer(_status_of(latest), "running")
        said = [word.text for word in words if isinstance(word, JobText)]
        raise ClusterUnavailable("\n".join([*said[-5:], ended.message, f"The job {name} could not ask for the end."]))

    def _stopped(self) -> dict[str, Any]:
        self._api.stop(self._job.submission_id)
        ended = self._ended(self._job.submission_id, STOP_SECONDS)
        return self._answer("running" if ended is None else _status_of(ended), "running")

    def _ended(self, submission_id: str, seconds: float) -> RayJob | None:
        """A job once it has ended; None when it has not within so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self._api.job(submission_id)
            if found is None or found.has_ended:
                return found
            time.sleep(LOOK_SECONDS)
        return None


def _status_of(job: RayJob) -> str:
    """The status of the execution of a job that has ended."""
    if job.state == "SUCCEEDED":
        return "done"
    if job.state == "STOPPED" or job.exit_code == 130:
        return "cancelled"
    return "lost" if job.exit_code is None or job.exit_code < 0 else "failed"
