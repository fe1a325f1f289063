"""How a job is followed, against a cluster that is played: no network, no Ray."""

from __future__ import annotations

import dataclasses
import io
import sys
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from rayflow.cli.job_following import follow_job
from rayflow.errors import ClusterUnavailable
from rayflow.runtime.live.outlook import TimeLeft
from rayflow.runtime.protocol.reports import Progress
from rayflow.runtime.wording import progress_text
from rayflow.submission import following
from rayflow.submission.bootstrap import frame
from rayflow.submission.following import JobEnd, JobFollower
from rayflow.submission.frames import FrameReader, FrameWriter, JobAnswer, JobBegun, JobEnded, JobText
from rayflow.submission.job_api import RayJob

ID = "0197a3c2-51f0-7000-8000-000000000000"
RAYS = b"Runtime env is setting up.\nRunning entrypoint for job\n"
BEGUN = frame(ID, "begun", {"python": "3.11.7"}).encode()
KEPT = "What it had finished is kept in the store: submit it again to go on."
ANSWER = frame(ID, "answer", "[0, 2]\n").encode()
ENDED = frame(ID, "ended", 4).encode()


def job(state: str, code: int | None = None, node: str | None = "n") -> RayJob:
    return RayJob(f"rayflow-{ID}", state, code, f"it is {state}", node)


@dataclass
class PlayedApi:
    """states: the answers to each question for the job; the last one stays. cuts: where the stream of the log breaks,
    in bytes from the log's beginning, once each."""

    states: list[RayJob | Exception | None]
    whole: bytes
    cuts: list[int] = field(default_factory=list)
    address: str = "http://head:8265"
    streams: int = 0
    drained: threading.Event = field(default_factory=threading.Event)

    def job(self, submission_id: str) -> RayJob | None:
        if self.streams:
            self.drained.wait(2)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def log(self, asked: RayJob) -> bytes:
        return self.whole

    def follow_log(self, asked: RayJob):
        self.streams += 1
        end = self.cuts.pop(0) if self.cuts else len(self.whole)
        for start in range(0, end, 7):
            yield self.whole[start : min(start + 7, end)]
        self.drained.set()


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(following, "POLL_SECONDS", 0.02)


def follow(api: PlayedApi, first: RayJob, **how) -> tuple[list, list[str], JobEnd]:
    told: list = []
    waiting: list[str] = []
    end = JobFollower(api, first, told.append, waiting.append, **how).follow()
    return told, waiting, end


def test_all_that_a_job_prints_is_told_once_in_its_order_without_rays_own_lines():
    api = PlayedApi([job("RUNNING"), job("RUNNING"), job("SUCCEEDED", 0)], RAYS + BEGUN + b"one\ntwo\n" + ANSWER)
    told, waiting, end = follow(api, job("PENDING", node=None))
    assert told == [JobBegun({"python": "3.11.7"}), JobText("one"), JobText("two"), JobAnswer("[0, 2]\n")]
    assert (waiting, end) == ([], JobEnd(0))


def test_the_frames_of_a_further_job_of_an_execution_are_read():
    further = RayJob(f"rayflow-{ID}-2", "SUCCEEDED", 0, "", "n", {"rayflow_execution": ID})
    told, _, end = follow(PlayedApi([further], RAYS + BEGUN + b"one\n" + ANSWER), further)
    assert told == [JobBegun({"python": "3.11.7"}), JobText("one"), JobAnswer("[0, 2]\n")]
    assert end == JobEnd(0)


def test_a_log_that_breaks_off_is_read_again_without_repeating_anything():
    log = RAYS + BEGUN + b"".join(b"line %d\n" % number for number in range(30))
    api = PlayedApi([job("RUNNING")] * 12 + [job("SUCCEEDED", 0)], log, cuts=[80, 200, 81])
    told, _, _ = follow(api, job("RUNNING"))
    assert [word.text for word in told[1:]] == [f"line {number}" for number in range(30)]
    assert api.streams >= 3


def test_what_the_stream_has_not_brought_is_fetched_at_the_end():
    api = PlayedApi([job("FAILED", 1)], BEGUN + b"one\n" + b"last words", cuts=[len(BEGUN) + 2])
    told, _, end = follow(api, job("RUNNING"))
    assert told[1:] == [JobText("one"), JobText("last words")]
    assert end == JobEnd(1)


@pytest.mark.parametrize(
    ("last", "log", "code", "problem"),
    [
        (job("FAILED", 3), BEGUN, 3, None),
        (job("FAILED", -9), BEGUN, 137, f"killed by signal 9. {KEPT}"),
        (job("STOPPED"), BEGUN, 143, f"The job was stopped. {KEPT}"),
        (job("FAILED", node=None), b"", 2, "The job has failed on the cluster: it is FAILED"),
        (job("FAILED", 127), RAYS + b"sh: no python3\n", 127, "sh: no python3\nThe job ended before rayflow began."),
    ],
)
def test_the_exit_code_and_the_problem_say_how_the_job_ended(last, log, code, problem):
    told, _, end = follow(PlayedApi([last], log), last)
    assert end.code == code
    assert (end.problem or "").endswith(problem or "") and bool(end.problem) == bool(problem)
    assert [word for word in told if isinstance(word, JobText)] == []


@pytest.mark.parametrize("tail", [None, 5])
@pytest.mark.parametrize("last", [job("FAILED", 9), job("STOPPED"), job("SUCCEEDED", 0)])
@pytest.mark.parametrize("asked", [0, 40])
def test_the_end_that_the_log_tells_is_the_end_whatever_the_state_says(tail, last, asked):
    api = PlayedApi([*[job("RUNNING")] * asked, last], RAYS + BEGUN + b"one\n" + ANSWER + ENDED)
    told, waiting, end = follow(api, job("RUNNING"), tail=tail)
    assert told == [JobBegun({"python": "3.11.7"}), JobText("one"), JobAnswer("[0, 2]\n")]
    assert (waiting, end) == ([], JobEnd(4))
    assert len(api.states) > 1 or not asked, "it has waited for the state"


def test_the_end_that_another_execution_tells_is_text():
    api = PlayedApi([job("SUCCEEDED", 0)], BEGUN + frame("another", "ended", 4).encode())
    told, _, end = follow(api, job("RUNNING"))
    assert [type(word) for word in told] == [JobBegun, JobText] and end == JobEnd(0)


@pytest.mark.parametrize(("tail", "told"), [(None, "warning: no node has a GPU"), (0, "waiting: no node has a GPU")])
def test_a_cause_for_waiting_is_told_once_by_the_job_or_with_its_progress(tail, told, capsys):
    log = BEGUN + b"warning: no node has a GPU\none\n" + frame(ID, "progress", asdict(progress(0.5))).encode() + ENDED
    assert follow_job(PlayedApi([job("RUNNING")], log), job("RUNNING"), io.StringIO(), address=None, tail=tail) == 4
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "GPU" in line] == [told]


def test_a_tail_leaves_out_older_texts_but_no_answer():
    log = RAYS + BEGUN + ANSWER + b"".join(b"line %d\n" % number for number in range(9))
    told, _, _ = follow(PlayedApi([job("SUCCEEDED", 0)], log), job("SUCCEEDED", 0), tail=2)
    assert told == [JobBegun({"python": "3.11.7"}), JobAnswer("[0, 2]\n"), JobText("line 7"), JobText("line 8")]


def test_a_cluster_that_is_gone_for_a_moment_is_told_once_and_asked_again(monkeypatch):
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)
    gone = ClusterUnavailable("nothing answers")
    api = PlayedApi([gone, gone, gone, job("SUCCEEDED", 0)], BEGUN + b"one\n")
    told, waiting, end = follow(api, job("RUNNING"))
    assert end == JobEnd(0) and told[1:] == [JobText("one")]
    assert waiting == ["the cluster cannot be reached, trying again: nothing answers"]


def test_a_cluster_that_is_gone_for_good_or_has_forgotten_the_job_is_an_error(monkeypatch):
    monkeypatch.setattr(following, "LOST_SECONDS", 0.0)
    with pytest.raises(ClusterUnavailable, match="nothing answers"):
        follow(PlayedApi([ClusterUnavailable("nothing answers")], BEGUN), job("RUNNING"))
    with pytest.raises(ClusterUnavailable, match="does not know the job"):
        follow(PlayedApi([None], BEGUN), job("RUNNING"))


def test_what_a_job_waits_for_is_shown_once_also_when_its_text_was_left_out(monkeypatch, capsys):
    sentence = "flow.main cannot start: it asks for GPU=4; the most that a node has is GPU=0."
    log = BEGUN + f"warning: {sentence}\n".encode() + frame(ID, "progress", dataclasses.asdict(Progress(
        ID, 1.0, {"flow.main": {"open": 1}}, (sentence,)))).encode() + b"one\n"  # fmt: skip
    for tail in (None, 1):
        api: Any = PlayedApi([job("SUCCEEDED", 0)], log)
        assert follow_job(api, job("SUCCEEDED", 0), sys.stdout, address=None, tail=tail) == 0
        told = capsys.readouterr().err
        assert told.count(sentence) == 1, told
        assert told.endswith("one\n")


def test_who_follows_a_cluster_that_is_gone_is_told_how_to_look_and_how_to_go_on(monkeypatch):
    monkeypatch.setattr(following, "LOST_SECONDS", 0.0)
    api = PlayedApi([ClusterUnavailable("nothing answers.")], BEGUN)
    begun = dataclasses.replace(job("RUNNING"), metadata={"rayflow_store": "s3://bucket/x"})
    with pytest.raises(ClusterUnavailable) as error:
        follow_job(api, begun, io.StringIO(), address="http://head:8265")
    assert str(error.value) == (
        "nothing answers. The job may still run. If the cluster is gone, rayflow log 0197a3c2-51f0-7000 --store "
        "s3://bucket/x says so; what was finished is kept, and rayflow resume 0197a3c2-51f0-7000 --store s3://bucket/x "
        "goes on on another one. Come back with: rayflow attach 0197a3c2-51f0-7000 --address http://head:8265"
    )
    assert error.value.exit_code == 2


# --- frames -----------------------------------------------------------------------------------------------------------


def progress(seconds: float) -> Progress:
    return Progress(ID, seconds, {"flow.main": {"open": 1}}, ("no node has a GPU",))


def test_frames_are_read_back_however_the_bytes_are_cut(tmp_path):
    with (tmp_path / "log").open("wb") as stream:
        writer = FrameWriter(ID, stream.fileno())
        writer.progress(progress(0.5))
        stream.write("é\r\n half a line".encode())
        stream.flush()
        writer.answer("x" * 40_000 + "é\x1b")
        writer.ended(3)
    log = (tmp_path / "log").read_bytes() + b"::rayflow not a frame\n"
    for size in (1, 13, 10_000_000):
        reader = FrameReader(ID)
        words = [w for start in range(0, len(log), size) for w in reader.read(log[start : start + size])]
        words.extend(reader.end())
        assert [word for word in words if isinstance(word, Progress)] == [progress(0.5)]
        assert "".join(word.piece for word in words if isinstance(word, JobAnswer)) == "x" * 40_000 + "é\x1b"
        assert [word for word in words if isinstance(word, JobEnded)] == [JobEnded(3)]
        texts = [word.text for word in words if isinstance(word, JobText)]
        assert texts == ["é\r", " half a line", "::rayflow not a frame"]


def test_every_field_of_the_progress_comes_back_as_it_was(tmp_path):
    full = Progress(
        execution_id=ID, elapsed_seconds=12.5, by_task={"flow.main": {"open": 2, "running": 1}},
        waiting=("no node has a GPU",), rates={"computed": 1.5, "ended": 2.0}, left=TimeLeft(60.0, 90.0),
    )  # fmt: skip
    for each in dataclasses.fields(Progress):
        is_given = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        default = each.default_factory() if callable(each.default_factory) else each.default
        assert is_given or getattr(full, each.name) != default, f"this test does not set {each.name}"
    with (tmp_path / "log").open("wb") as stream:
        FrameWriter(ID, stream.fileno()).progress(full)
    [back] = FrameReader(ID).read((tmp_path / "log").read_bytes())
    for each in dataclasses.fields(Progress):
        was, came = getattr(full, each.name), getattr(back, each.name)
        assert (came, type(came)) == (was, type(was)), each.name
    assert progress_text(back) == progress_text(full)


def test_a_task_that_prints_the_frame_of_another_execution_prints_text():
    [word] = FrameReader(ID).read(frame("another", "answer", "42").encode())
    assert isinstance(word, JobText)


@pytest.mark.parametrize("told", [[], 5, {}, {"waiting": 5}, {"waiting": [], "left": [1]}, {"waiting": [], "new": 1}])
def test_progress_of_another_form_is_text(told):
    [word] = FrameReader(ID).read(frame(ID, "progress", told).encode())
    assert isinstance(word, JobText)


def test_a_day_of_progress_takes_a_megabyte_at_most(tmp_path):
    with (tmp_path / "log").open("wb") as stream:
        writer = FrameWriter(ID, stream.fileno())
        for second in range(86_400):
            writer.progress(progress(float(second)))
    size = (tmp_path / "log").stat().st_size
    assert 100_000 < size < 1_000_000
