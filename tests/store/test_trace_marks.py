"""The jobs of an execution become a trace that keeps the rules of its format, whatever the clocks did."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from trace_format import broken_rules

from rayflow.store.history.trace_marks import TraceMark, TraceMarks

START = 1_000_000_000


def row(number: int, **given: Any) -> dict[str, Any]:
    names = (
        "how", "attempts", "node", "pid", "queued_at", "ready_at", "sent_at", "started_at", "finished_at",
        "wall_seconds", "stage_in_seconds", "stage_out_seconds", "cpu_seconds", "peak_memory_bytes", "waited_on",
        "requested",
    )  # fmt: skip
    usual = {"job_id": f"{number:032x}", "name": "flow.f", "status": "done", "how": "computed"}
    return {**dict.fromkeys(names), **usual, **given}


def ran(number: int, begin: int, seconds: float, **given: Any) -> dict[str, Any]:
    times = {"started_at": START + begin, "finished_at": START + begin + 10, "wall_seconds": seconds}
    return row(number, **{"node": "node1", "pid": 7, **times, **given})


def marks_of(rows: list[dict[str, Any]], attempts: list[dict[str, Any]] | None = None) -> list[TraceMark]:
    def place(each: dict[str, Any]) -> tuple[str, int, int, float]:
        return each["node"] or "", each["pid"] or 0, each["started_at"] or 0, -(each["wall_seconds"] or 0)

    made = TraceMarks(START)
    ordered = sorted(rows, key=place)
    return [*made.head("a run"), *made.of_jobs(ordered), *made.of_attempts(attempts or [])]


def trace(marks: list[TraceMark]) -> dict[str, Any]:
    return {"displayTimeUnit": "ms", "traceEvents": marks, "otherData": {}}


def test_a_body_is_an_event_of_its_worker_with_what_it_read_and_stored_in_it() -> None:
    marks = marks_of([ran(1, 100, 1.0, stage_in_seconds=0.25, stage_out_seconds=0.5, requested='{"GPU": 1}')])
    whole, read, stored = (each for each in marks if each["ph"] == "X")
    assert (whole["name"], whole["ts"], whole["dur"], whole["cat"]) == ("flow.f", 100, 1_000_000, "computed")
    assert whole["args"]["asked for"] == '{"GPU": 1}'
    assert (read["ts"], read["dur"]) == (100, 250_000)
    assert (stored["ts"], stored["dur"]) == (500_100, 500_000)
    names = {(each["pid"], each["tid"]): each["args"]["name"] for each in marks if each["name"] == "thread_name"}
    assert names[whole["pid"], whole["tid"]] == "worker 7"
    assert broken_rules(trace(marks)) == []


def test_what_was_cached_is_a_moment_and_marked_as_such() -> None:
    cached = row(1, how="cached", finished_at=START + 5)
    never = row(2, how=None, status="not_run", finished_at=START + 6)
    still_open = row(3, how=None, status="open", queued_at=START + 1)
    marks = [each for each in marks_of([cached, never, still_open]) if each["ph"] != "M"]
    assert [(each["ph"], each["cat"], each["ts"]) for each in marks] == [("i", "cached", 5), ("i", "not_run", 6)]
    assert len({each["tid"] for each in marks}) == 2


def test_the_waits_of_a_job_are_told_apart() -> None:
    times = {"queued_at": START, "ready_at": START + 2_000, "sent_at": START + 5_000}
    marks = marks_of([ran(1, 9_000, 0.1, waited_on="limit db", **times), ran(2, 9_500, 0.0, queued_at=START + 9_400)])
    waits = [(each["name"], each["ph"], each["ts"]) for each in marks if each["ph"] in "be"]
    assert waits == [
        ("waits for arguments", "b", 0), ("waits for arguments", "e", 2_000),
        ("is held: limit db", "b", 2_000), ("is held: limit db", "e", 5_000),
        ("waits for a worker", "b", 5_000), ("waits for a worker", "e", 9_000),
    ]  # fmt: skip


def test_bodies_of_one_worker_that_overlap_have_tracks_of_their_own() -> None:
    marks = marks_of([ran(1, 0, 1.0), ran(2, 500_000, 1.0), ran(3, 600_000, 0.1), ran(4, 2_000_000, 1.0)])
    tracks = [each["tid"] for each in marks if each["ph"] == "X"]
    assert tracks[0] == tracks[2] == tracks[3] != tracks[1]
    assert broken_rules(trace(marks)) == []


def test_a_failed_attempt_has_an_event_although_another_one_followed() -> None:
    attempt = {
        "job_id": "ab", "name": "flow.f", "attempt": 1, "ended": "raised", "error": "ValueError: no", "node": "node1",
        "pid": 7, "started_at": START + 5, "ended_at": START + 9,
    }  # fmt: skip
    marks = marks_of([ran(1, 0, 1.0)], [attempt, {**attempt, "attempt": 2, "started_at": START + 7}])
    found, _ = [each for each in marks if each.get("cat") == "attempt raised"]
    assert (found["ts"], found["dur"], found["args"]["error"]) == (5, 4, "ValueError: no")
    assert broken_rules(trace(marks)) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_jobs_make_a_trace_that_keeps_the_rules(seed: int) -> None:
    random = Random(seed)
    rows = []
    for number in range(300):
        begin = random.randrange(5_000_000)
        seconds = random.random() ** 4 * 3
        ways = ("stage_in_seconds", "stage_out_seconds")
        staged = {way: random.choice([None, seconds * random.random() * 1.2]) for way in ways}
        where = {"node": random.choice(["a", "b", None]), "pid": random.choice([1, 2])}
        steps = ("queued_at", "ready_at", "sent_at")
        times = {step: random.choice([None, START + random.randrange(6_000_000)]) for step in steps}
        rows.append(ran(number, begin, seconds, **staged, **where, **times))
        rows.append(row(number + 1_000, how=random.choice(["cached", "shared"]), finished_at=START + begin))
    marks = marks_of(rows)
    assert broken_rules(trace(marks)) == []
    assert Counter(each["ph"] for each in marks)["i"] == 300


def test_the_rules_find_what_breaks_them() -> None:
    marks = marks_of([ran(1, 0, 1.0)])
    [body] = [each for each in marks if each["ph"] == "X"]
    for change in ({"dur": -1}, {"ts": 0.5}, {"tid": 99}, {"pid": 99}, {"ph": "Z"}, {"name": None}):
        assert broken_rules(trace([*marks, {**body, **change}])), change
    assert broken_rules(trace([*marks, {**body, "ts": 500_000}])), "it overlaps"
    wait = {"ph": "b", "cat": "wait", "name": "w", "id": "1", "pid": 1, "tid": 0, "ts": 1}
    assert broken_rules(trace([*marks, wait]))
    assert broken_rules(trace([*marks, {**wait, "ph": "e"}]))
