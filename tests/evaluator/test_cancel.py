"""Cancel: nothing new starts, what runs ends when it ends, and everything is recorded."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.expressions import Form, Operation
from rayflow.records import AttemptRow, JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    cancelled,
    candidate,
    fails,
    failure,
    finishes,
    fired,
    found,
    looks_up,
    lost,
    operated,
    raised,
    returned,
    runs,
    runs_operation,
    sets_timer,
    stops,
    submitted,
    task,
)
from rayflow.values.refs import ValueRef

F = task("lab.f", "x", cache=False, retries=3)
G = task("lab.g", "x", cache=False)
H = task("lab.h", "x")
LARGE = ValueRef(b"t" * 20, "table", 1 << 30, "arrow")


def begun(root, *entries, **fields):
    return Playbook(Evaluator()) >> submitted(root, *entries, **fields)


def assert_all_closed(book: Playbook) -> None:
    """Every job has ended as cancelled or failed, and nothing is held."""
    last = {row.job_id: row for row in book.rows(JobRow)}
    assert last
    assert all(row.status in ("cancelled", "failed", "done") and row.finished_at for row in last.values())
    assert any(row.status == "cancelled" for row in last.values())
    assert book.evaluator.executions == {}
    assert book.evaluator.capacity.held == {}


@pytest.mark.parametrize("answer", [returned, raised, lost], ids=["returned", "raised", "lost"])
def test_a_running_attempt_is_stopped_and_its_answer_whatever_it_is_ends_the_execution(answer) -> None:
    job = Placeholder("job")
    message = answer(job, 5) if answer is returned else answer(job)
    book = begun(call("lab.f", 1), F) << runs("lab.f", job=job) >> cancelled() << stops(job)
    assert book >> message << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_call_that_is_being_looked_up_is_not_run() -> None:
    asker = Placeholder("asker")
    book = begun(call("lab.h", 1), H) << looks_up("lab.h", asker=asker) >> cancelled()
    assert book >> found(asker) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_hit_that_comes_after_the_cancel_does_not_count() -> None:
    asker = Placeholder("asker")
    book = begun(call("lab.h", 1), H) << looks_up("lab.h", asker=asker) >> cancelled()
    assert book >> found(asker, candidate(call("lab.h", 2))) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_call_whose_arguments_are_not_ready_is_not_run() -> None:
    job = Placeholder("job")
    book = begun(call("lab.g", call("lab.f", 1)), F, G) << runs("lab.f", job=job) >> cancelled() << stops(job)
    assert book >> returned(job, 5) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_job_that_waits_for_a_limit_ends_at_once() -> None:
    job = Placeholder("job")
    limited = task("lab.l", "x", cache=False, limits=["db"])
    book = begun([call("lab.l", 1), call("lab.l", 2)], limited) << runs("lab.l", job=job, arguments={"x": 1})
    assert book >> cancelled() << stops(job) >> lost(job) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_job_that_waits_for_its_next_attempt_ends_at_once_and_its_timer_wakes_nobody() -> None:
    job, timer = Placeholder("job"), Placeholder("timer")
    book = begun(call("lab.f", 1), F) << runs("lab.f", job=job) >> lost(job) << sets_timer(timer=timer)
    assert book >> cancelled() << finishes(fails("Cancelled")) >> fired(timer)
    assert_all_closed(book)


def test_a_job_whose_calls_are_open_ends_with_them_and_starts_no_more() -> None:
    job, below = Placeholder("job"), Placeholder("below")
    book = begun(call("lab.f", 1), F, G) << runs("lab.f", job=job)
    book = book >> returned(job, Form("seq", (call("lab.g", 1), call("lab.g", 2)))) << runs("lab.g", job=below)
    assert book >> cancelled() << stops(below) >> returned(below, 1) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_a_job_that_follows_its_twin_is_cancelled_with_it() -> None:
    job = Placeholder("job")
    book = begun([call("lab.f", 1), call("lab.f", 1)], F) << runs("lab.f", job=job) >> cancelled() << stops(job)
    assert book >> returned(job, 1) << finishes(fails("Cancelled"))
    assert_all_closed(book)
    assert [row.status for row in book.rows(JobRow)] == ["cancelled"] * 3


def test_an_operation_that_is_under_way_ends_it_too() -> None:
    asker, worker = Placeholder("asker"), Placeholder("worker")
    root = Operation("getitem", (LARGE, "k"))
    book = begun(root) << looks_up(asker=asker) >> cancelled() >> found(asker) << finishes(fails("Cancelled"))
    assert_all_closed(book) if book else None
    book = begun(root) << looks_up(asker=asker) >> found(asker) << runs_operation("getitem", asker=worker)
    assert book >> cancelled() >> operated(worker, 5) << finishes(fails("Cancelled"))
    assert_all_closed(book)


def test_an_operation_that_would_go_out_after_the_cancel_does_not() -> None:
    job = Placeholder("job")
    root = Operation("getitem", (LARGE, call("lab.g", 1)))
    book = begun(root, G) << runs("lab.g", job=job) >> cancelled() << stops(job)
    assert book >> raised(job, failure()) << finishes(fails("Cancelled"))


def test_no_retry_is_started_after_the_cancel() -> None:
    job = Placeholder("job")
    book = begun(call("lab.f", 1), F) << runs("lab.f", job=job) >> cancelled() << stops(job)
    assert book >> raised(job) << finishes(fails("Cancelled"))
    assert [row.ended for row in book.rows(AttemptRow)] == ["raised"]


def test_what_was_done_before_the_cancel_stays_done() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    book = begun([call("lab.f", 1), call("lab.g", 1)], F, G) << runs("lab.f", job=first) << runs("lab.g", job=second)
    book = book >> returned(first, 1) >> cancelled() << stops(second)
    assert book >> returned(second, 2) << finishes(fails("Cancelled"))
    assert sorted(row.status for row in book.rows(JobRow)) == ["cancelled", "cancelled", "done"]


def test_cancelling_twice_too_late_or_something_unknown_does_nothing() -> None:
    job = Placeholder("job")
    book = begun(call("lab.f", 1), F) << runs("lab.f", job=job) >> cancelled("another") >> cancelled() << stops(job)
    assert book >> cancelled() >> returned(job, 1) << finishes(fails("Cancelled")) >> cancelled()


def test_other_executions_go_on() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    book = begun(call("lab.g", 1), G, execution_id="one") << runs("lab.g", job=first)
    book = book >> submitted(call("lab.g", 1), G, execution_id="two") << runs("lab.g", job=second)
    book = book >> cancelled("one") << stops(first) >> returned(second, 2) << finishes(2, execution_id="two")
    assert book >> returned(first, 1) << finishes(fails("Cancelled"), execution_id="one")
