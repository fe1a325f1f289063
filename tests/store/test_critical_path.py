"""The critical path says what an execution waited for at each moment, whatever its calls did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

import pytest

from rayflow.store.history.answer_types import PathSpan
from rayflow.store.history.critical_path import PathJob, walk


def job(name: str, parent: PathJob | None, queued: int, finished: int, **given: object) -> PathJob:
    usual = {"job_id": name.encode(), "parent_job_id": parent.job_id if parent else b"", "call_hash": name.encode()}
    times = {"how": "computed", "waited_on": None, "ready": queued, "sent": queued, "started": queued}
    wall = {"wall": (finished - queued) / 1e6}
    return PathJob(**{**usual, **times, **wall, "name": name, "queued": queued, "finished": finished, **given})  # type: ignore[arg-type]


class Played:
    """Jobs that a test has made up. takes: the jobs whose results a job took, by name."""

    def __init__(self, jobs: Sequence[PathJob], finished: int, takes: dict[str, list[str]] | None = None) -> None:
        self.root = PathJob(b"", b"", None, "the execution", None, None, 0, 0, None, None, finished)
        self._jobs = {each.job_id: each for each in jobs}
        self._takes = takes or {}

    def below(self, job: PathJob, at: int) -> Iterator[PathJob]:
        found = [each for each in self._jobs.values() if each.parent_job_id == job.job_id and each.finished <= at]
        yield from sorted(found, key=lambda each: -each.finished)

    def caller(self, job: PathJob) -> PathJob:
        return self._jobs.get(job.parent_job_id, self.root)

    def sources(self, job: PathJob) -> list[PathJob]:
        return [self._jobs[name.encode()] for name in self._takes.get(job.name, [])]


def told(spans: list[PathSpan]) -> list[tuple[str, str, int, int]]:
    return [(span.name, span.phase, span.begin_us, span.end_us) for span in spans]


def test_the_path_goes_through_the_last_call_and_what_made_its_argument() -> None:
    main = job("main", None, 0, 100, wall=10e-6)
    made = job("made", main, 10, 50)
    other = job("other", main, 10, 60)  # ends later, and nobody waits for it
    taker = job("taker", main, 10, 95, ready=50, sent=55, started=60, wall=30e-6, waited_on="limit db")
    assert told(walk(Played([main, made, other, taker], 100, {"taker": ["made"]}))) == [
        ("main", "body", 0, 10),
        ("made", "body", 10, 50),
        ("taker", "held: limit db", 50, 55),
        ("taker", "worker", 55, 60),
        ("taker", "body", 60, 90),
        ("taker", "evaluator", 90, 95),
        ("main", "evaluator", 95, 100),
    ]


def test_what_a_worker_reads_and_stores_is_told_from_the_body() -> None:
    main = job("main", None, 0, 100, wall=90e-6, stage_in=20e-6, stage_out=30e-6)
    assert told(walk(Played([main], 110))) == [
        ("main", "stage in", 0, 20),
        ("main", "body", 20, 60),
        ("main", "stage out", 60, 90),
        ("main", "evaluator", 90, 100),
        ("the execution", "evaluator", 100, 110),
    ]


def test_a_body_that_awaits_is_on_the_path_before_and_after_what_it_awaits() -> None:
    main = job("main", None, 0, 100)
    first, second = job("first", main, 10, 40), job("second", main, 50, 80)
    assert told(walk(Played([main, first, second], 100))) == [
        ("main", "body", 0, 10),
        ("first", "body", 10, 40),
        ("main", "body", 40, 50),
        ("second", "body", 50, 80),
        ("main", "body", 80, 100),
    ]


def test_cached_calls_are_looked_up_and_take_no_worker() -> None:
    main = job("main", None, 0, 30, wall=10e-6)
    cached = job("cached", main, 10, 25, how="cached", started=None, sent=None)
    assert told(walk(Played([main, cached], 30)))[1:] == [("cached", "look-up", 10, 25), ("main", "evaluator", 25, 30)]


@pytest.mark.parametrize("seed", range(300))
def test_the_spans_follow_each_other_and_fill_the_time_whatever_the_clocks_did(seed: int) -> None:
    """Also for times that no honest clock gives: the walk ends, and leaves no gap."""
    random = Random(seed)
    end = random.randint(1, 60)
    jobs: list[PathJob] = []
    takes: dict[str, list[str]] = {}
    for number in range(random.randint(0, 30)):
        parent = random.choice([None, *jobs])
        low, high = (parent.queued, parent.finished) if parent and random.random() < 0.8 else (0, end)
        queued, finished = sorted((random.randint(low, high), random.randint(low, high)))
        odd = [random.choice([None, random.randint(-5, end + 5)]) for _ in range(3)]
        made = job(
            f"j{number}", parent, queued, finished, ready=odd[0], sent=odd[1], started=odd[2],
            wall=random.randint(0, 30) / 1e6, stage_in=random.randint(0, 9) / 1e6,
            how=random.choice(["computed", "cached", "shared", None]),
        )  # fmt: skip
        takes[made.name] = [each.name for each in random.sample(jobs, min(len(jobs), random.randint(0, 2)))]
        jobs.append(made)
    spans = walk(Played(jobs, end, takes))
    assert spans[0].begin_us == 0 and spans[-1].end_us == end
    assert all(before.end_us == after.begin_us for before, after in pairwise(spans))
    assert all(span.begin_us < span.end_us for span in spans)
