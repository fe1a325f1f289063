"""A request to cancel that goes through the cluster, against a cluster that is played."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rayflow.errors import ClusterUnavailable, NotFound
from rayflow.submission import cancelling
from rayflow.submission.bootstrap import frame, unpacked
from rayflow.submission.cancelling import CancelJob
from rayflow.submission.job_api import RayJob
from rayflow.submission.job_requests import STORE

ID = "0197a3c2-51f0-7000-8000-000000000000"
ENVIRONMENT = {"working_dir": "gcs://_ray_pkg_1.zip", "py_modules": ["gcs://_ray_pkg_2.zip"]}
JOB = RayJob(f"rayflow-{ID}", "RUNNING", metadata={STORE: "s3://bucket/results"}, runtime_env=ENVIRONMENT)


@dataclass
class PlayedApi:
    """A cluster with one job of ours. second: the end of each further job. log: what it prints. stops: the end of our
    job when it is stopped; None for one that goes on."""

    job_now: RayJob
    second: RayJob | None = None
    log_text: str = ""
    stops: RayJob | None = None
    address: str = "http://head:8265"
    submitted: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def submit(self, name: str, entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]) -> bool:
        self.submitted.append((name, entrypoint, runtime_env))
        return True

    def job(self, name: str) -> RayJob | None:
        return self.job_now if name == self.job_now.submission_id else self.second

    def log(self, job: RayJob) -> bytes:
        return self.log_text.encode()

    def stop(self, name: str) -> None:
        self.stopped.append(name)
        if name == self.job_now.submission_id and self.stops is not None:
            self.job_now = self.stops


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEGIN_SECONDS", "STOP_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(cancelling, name, 0.02)


def asked(api: Any, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    return CancelJob(api, api.job_now, say).answer("ada@laptop", "it's wrong")


def ends(state: str, code: int | None = None) -> RayJob:
    return replace(JOB, state=state, exit_code=code)


SECOND = RayJob(f"cancel-{ID}-1", "SUCCEEDED", 0, "it is over", "n")
TOLD = {"execution_id": ID, "status": "cancelled", "was": "running", "error": "by ada@laptop: it's wrong"}


def test_a_second_job_in_the_environment_of_the_first_asks_for_the_end_and_tells_what_came_of_it() -> None:
    api = PlayedApi(JOB, SECOND, "Ray's own line\n" + frame(ID, "answer", json.dumps(TOLD)))
    assert asked(api) == TOLD
    ((name, entrypoint, environment),) = api.submitted
    assert name.startswith(f"cancel-{ID}-") and environment == ENVIRONMENT
    _, packed, verb, words = shlex.split(entrypoint.partition(" -I ")[2])
    told = unpacked(packed)
    assert (told["store"], told["execution"], told["is_shipped"]) == ("s3://bucket/results", ID, True)
    assert (verb, json.loads(words)) == ("cancel", {"by": "ada@laptop", "reason": "it's wrong"})
    assert api.stopped == []


@pytest.mark.parametrize(
    ("job", "status"),
    [(ends("SUCCEEDED", 0), "done"), (ends("FAILED", 1), "failed"), (ends("FAILED", 130), "cancelled"),
     (ends("STOPPED"), "cancelled"), (ends("FAILED", -9), "lost"), (ends("FAILED"), "lost")],
)  # fmt: skip
def test_a_job_that_has_ended_is_asked_for_nothing(job: RayJob, status: str) -> None:
    api = PlayedApi(job)
    assert asked(api) == {"execution_id": ID, "status": status, "was": status, "error": None}
    assert api.submitted == [] and api.stopped == []


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_job_whose_execution_has_not_begun_is_stopped(state: str) -> None:
    unknown = frame(
        ID, "answer", json.dumps({"execution_id": ID, "status": "unknown", "was": "unknown", "error": None})
    )
    api = PlayedApi(ends(state), SECOND, unknown, ends("STOPPED"))
    assert asked(api) == {"execution_id": ID, "status": "cancelled", "was": "running", "error": None}
    assert api.stopped == [JOB.submission_id]
    assert len(api.submitted) == (state == "RUNNING")
    api = PlayedApi(ends(state), SECOND, unknown)  # it goes on for longer than anybody waits
    assert asked(api)["status"] == "running"


def test_a_job_that_ends_meanwhile_takes_the_environment_of_the_second_one_with_it() -> None:
    class Ends(PlayedApi):
        def submit(self, *words: Any) -> bool:
            self.job_now = ends("SUCCEEDED", 0)
            return super().submit(*words)

    api = Ends(JOB, replace(SECOND, state="FAILED", exit_code=None))
    assert asked(api) == {"execution_id": ID, "status": "done", "was": "running", "error": None}


def test_a_second_job_that_fails_or_does_not_begin_is_an_error_with_what_it_says() -> None:
    failed = replace(SECOND, state="FAILED", exit_code=2)
    with pytest.raises(ClusterUnavailable, match=r"(?s)error: Cannot read s3://bucket.*could not ask for the end"):
        asked(PlayedApi(JOB, failed, "error: Cannot read s3://bucket/results\n"))
    api = PlayedApi(JOB, replace(SECOND, state="PENDING", exit_code=None))
    with pytest.raises(ClusterUnavailable, match=f"ray job stop rayflow-{ID}"):
        asked(api)
    assert api.stopped == [api.submitted[0][0]], "the request may not come later"


def test_a_job_that_rayflow_has_not_started_is_not_touched() -> None:
    api: Any = PlayedApi(replace(JOB, metadata={}))
    with pytest.raises(NotFound, match="was not started by `rayflow submit`"):
        asked(api)
    assert api.submitted == [] and api.stopped == []
