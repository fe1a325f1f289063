"""Failures: everything else goes on until done, and the first by position counts."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.expressions import Operation
from rayflow.records import CallRow, JobRow, TagRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    failure,
    finishes,
    raised,
    returned,
    runs,
    submitted,
    task,
)

F = task("lab.f", "x", cache=False)
PAIR = task("lab.pair", "x", "y", cache=False)

ROOTS = {
    "list": lambda one, two: [one, two],
    "tuple": lambda one, two: (one, two),
    "dict": lambda one, two: {"one": one, "two": two},
    "nested": lambda one, two: {"k": ([one], {"z": two})},
    "operation": lambda one, two: one + two,
    "arguments": lambda one, two: call("lab.pair", one, two),
    "named arguments": lambda one, two: call("lab.pair", y=two, x=one),
}


@pytest.mark.parametrize("shape", ROOTS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_first_failure_by_position_wins_whatever_the_order_in_time(shape, order) -> None:
    jobs = [Placeholder("first"), Placeholder("second")]
    book = Playbook(Evaluator()) >> submitted(ROOTS[shape](call("lab.f", 1), call("lab.f", 2)), F, PAIR)
    book = book << runs("lab.f", job=jobs[0], arguments={"x": 1}) << runs("lab.f", job=jobs[1], arguments={"x": 2})
    for number in order:
        book = book >> raised(jobs[number], failure("ValueError", f"number {number}"))
    assert book << finishes(fails("ValueError", "number 0"), failures=lambda listed: len(listed) == 2)


@pytest.mark.parametrize("shape", ROOTS)
def test_siblings_of_a_failure_go_on_until_they_are_done(shape) -> None:
    first, second, below = Placeholder("first"), Placeholder("second"), Placeholder("below")
    book = Playbook(Evaluator()) >> submitted(ROOTS[shape](call("lab.f", 1), call("lab.f", 2)), F, PAIR)
    assert (
        book
        << runs("lab.f", job=first)
        << runs("lab.f", job=second)
        >> raised(first)
        >> returned(second, call("lab.f", 3))
        << runs("lab.f", job=below)
        >> returned(below, 3)
        << finishes(fails("ValueError"))
    )
    assert sum(row.status == "done" for row in book.rows(JobRow)) == 2
    assert sum(row.task_name == "lab.f" for row in book.rows(CallRow)) == 2


def test_a_call_whose_argument_failed_fails_with_it_and_has_no_identity() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted([call("lab.pair", call("lab.f", 1), 2)], F, PAIR)
    assert book << runs("lab.f", job=job) >> raised(job) << finishes(fails("ValueError"))
    (row,) = [row for row in book.rows(JobRow) if row.task_name == "lab.pair"]
    assert (row.status, row.eval_hash, row.how, row.attempts) == ("not_run", None, None, 0)


def test_only_jobs_that_failed_by_themselves_are_listed_the_one_that_the_execution_ends_with_first() -> None:
    jobs = [Placeholder("one"), Placeholder("two")]
    root = call("lab.pair", call("lab.f", 1), call("lab.f", 2))
    book = Playbook(Evaluator()) >> submitted(root, F, PAIR) << runs("lab.f", job=jobs[0]) << runs("lab.f", job=jobs[1])
    book = book >> raised(jobs[1], failure("KeyError", "second")) >> raised(jobs[0], failure("ValueError", "first"))
    listed = Placeholder("listed")
    assert book << finishes(fails("ValueError", "first"), failures=listed)
    assert [(name, each.message) for _, name, each in listed.value] == [("lab.f", "first"), ("lab.f", "second")]


def test_a_failure_tells_which_calls_led_to_it() -> None:
    outer, inner = Placeholder("outer"), Placeholder("inner")
    outcome = Placeholder("outcome")
    book = Playbook(Evaluator()) >> submitted(call("lab.pair", 1, 2), F, PAIR) << runs("lab.pair", job=outer)
    book = book >> returned(outer, [call("lab.f", 3)]) << runs("lab.f", job=inner) >> raised(inner) << finishes(outcome)
    assert book
    assert outcome.value.trail == ("lab.pair(x=1, y=2)", "lab.f(x=3)")


def test_an_operation_that_fails_tells_where_too() -> None:
    job, outcome = Placeholder("job"), Placeholder("outcome")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job)
    assert book >> returned(job, Operation("floordiv", (1, 0))) << finishes(outcome)
    assert outcome.value.trail == ("lab.f(x=1)", "(1 // 0)")


def test_an_operation_that_fails_is_listed_under_the_job_whose_term_it_stands_in() -> None:
    job, failures = Placeholder("job"), Placeholder("failures")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job)
    missing = Operation("getitem", ({"a": 1}, "b"))
    assert book >> returned(job, missing) << finishes(fails("KeyError"), failures=failures)
    ((_, name, failure),) = failures.value
    assert (name, failure.summary) == ("lab.f", "KeyError: 'b'")


def test_tags_of_a_call_are_recorded_with_its_job() -> None:
    job = Placeholder("job")
    tagged = task("lab.f", "x", cache=False, tags={"stage": "train", "fold": 3})
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), tagged) << runs("lab.f", job=job)
    assert book >> returned(job, 1) << finishes(1)
    (row,) = book.rows(JobRow)
    tags = {(tag.entity, tag.entity_id, tag.key, tag.value) for tag in book.rows(TagRow)}
    assert tags == {("job", row.job_id.hex(), "stage", '"train"'), ("job", row.job_id.hex(), "fold", "3")}


def test_a_failed_job_is_recorded_with_its_error_and_its_story() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job) >> raised(job)
    assert book << finishes(fails())
    (row,) = book.rows(JobRow)
    assert row.error == "ValueError: no"
    assert row.call_hash is None
    assert "RUNNING > FAILED" in row.story


def test_counts_tell_how_each_job_ended() -> None:
    jobs = [Placeholder("one"), Placeholder("two")]
    root = [call("lab.f", 1), call("lab.f", 1), call("lab.f", 2)]
    book = Playbook(Evaluator()) >> submitted(root, F) << runs("lab.f", job=jobs[0]) << runs("lab.f", job=jobs[1])
    counts = Placeholder("counts")
    assert book >> returned(jobs[0], 1) >> raised(jobs[1]) << finishes(fails(), counts=counts)
    ended = {"computed": 1, "cached": 0, "shared": 1, "failed": 2, "not_run": 0, "cancelled": 0, "retries": 0}
    assert counts.value == {"jobs": 4, "recorded": 4, **ended}
