"""What happens after an attempt that did not return."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.timers import RetryTimer
from rayflow.records import AttemptRow, JobRow, LogRow
from rayflow.testing.patterns import Like, Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    failure,
    finishes,
    fired,
    lost,
    raised,
    records,
    returned,
    runs,
    sets_timer,
    submitted,
    task,
)

TIMEOUT = failure("rayflow.errors.TaskTimeout", "too slow", ("rayflow.errors.TaskTimeout", "builtins.Exception"))


def started(**options):
    """A book in which the first attempt of `lab.f(1)` runs, and the placeholder of its job."""
    job = Placeholder("job")
    root, entry = call("lab.f", 1), task("lab.f", "x", cache=False, **options)
    return Playbook(Evaluator()) >> submitted(root, entry) << runs("lab.f", job=job, attempt=1, losses=0), job


def test_a_task_that_raised_fails_when_no_retries_are_asked_for() -> None:
    book, job = started()
    assert (
        book
        >> raised(job, failure("ValueError", "no"))
        << records(Like(AttemptRow, attempt=1, ended="raised", error="ValueError: no", node="n1"))
        << records(Like(JobRow, status="failed", attempts=1, error="ValueError: no", how="computed"))
        << finishes(fails("ValueError", "no"))
    )


def test_a_retry_without_delay_starts_at_once_and_ends_well() -> None:
    book, job = started(retries=1)
    assert (
        book
        >> raised(job)
        << runs("lab.f", job=job, attempt=2)
        >> returned(job, 5, attempt=2)
        << records(Like(JobRow, status="done", attempts=2))
        << finishes(5)
    )


def test_retries_come_to_an_end() -> None:
    book, job = started(retries=2)
    assert (
        book
        >> raised(job, attempt=1)
        << runs("lab.f", attempt=2)
        >> raised(job, attempt=2)
        << runs("lab.f", attempt=3)
        >> raised(job, failure("ValueError", "last"), attempt=3)
        << finishes(fails("ValueError", "last"))
    )
    assert [row.attempt for row in book.rows(AttemptRow)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("backoff", "delays"), [(None, [10.0, 20.0, 40.0]), (3, [10.0, 30.0, 90.0]), (1, [10.0, 10.0, 10.0])]
)
def test_the_delay_grows_from_retry_to_retry(backoff, delays) -> None:
    options = {} if backoff is None else {"retry_backoff": backoff}
    book, job = started(retries=3, retry_delay=10.0, **options)
    for attempt, delay in enumerate(delays, start=1):
        timer = Placeholder("timer")
        book = book >> raised(job, attempt=attempt) << sets_timer(seconds=delay, timer=timer) >> fired(timer)
        book = book << runs("lab.f", attempt=attempt + 1)
    assert book


def test_a_timer_that_fires_twice_starts_one_attempt() -> None:
    book, job = started(retries=2, retry_delay=1.0)
    timer, second = Placeholder("timer"), Placeholder("second")
    assert (
        book
        >> raised(job, attempt=1)
        << sets_timer(timer=timer)
        >> fired(timer)
        << runs("lab.f", attempt=2)
        >> fired(timer)
        >> raised(job, attempt=2)
        << sets_timer(timer=second)
        >> fired(timer)
        >> fired(second)
        << runs("lab.f", attempt=3)
    )


def test_a_timer_that_fires_twice_starts_one_attempt_of_a_job_that_waits_for_a_limit() -> None:
    root = [call("lab.f", 1), call("lab.f", 2)]
    first, second, timer = Placeholder("first"), Placeholder("second"), Placeholder("timer")
    entry = task("lab.f", "x", cache=False, limits=["db"], retries=1, retry_delay=1.0)
    assert (
        Playbook(Evaluator())
        >> submitted(root, entry)
        << runs("lab.f", job=first)
        >> raised(first)
        << runs("lab.f", job=second)
        << sets_timer(timer=timer)
        >> fired(timer)
        >> fired(timer)
        >> returned(second, 2)
        << runs("lab.f", job=first, attempt=2)
        >> returned(first, 1, attempt=2)
        << finishes([1, 2])
    )


@pytest.mark.parametrize(
    ("wanted", "again"),
    [
        (("builtins.ValueError",), True),
        (("builtins.KeyError", "builtins.ValueError"), True),
        (("builtins.KeyError",), False),
        (("builtins.Exception",), True),
        (None, True),
    ],
)
def test_only_errors_named_by_retry_on_are_tried_again(wanted, again) -> None:
    book, job = started(retries=1, retry_on=wanted)
    book = book >> raised(job, failure("ValueError"))
    assert book << (runs("lab.f", attempt=2) if again else finishes(fails("ValueError")))


def test_what_can_never_go_well_is_not_tried_again() -> None:
    book, job = started(retries=5)
    classes = ("rayflow.errors.NotSerializable", "rayflow.errors.UserError", "builtins.TypeError", "builtins.Exception")
    error = failure("rayflow.errors.NotSerializable", "a lock", classes)
    assert book >> raised(job, error) << finishes(fails("NotSerializable"))


def test_a_timeout_counts_as_raised_and_is_recorded_as_a_timeout() -> None:
    book, job = started(retries=1)
    assert book >> raised(job, TIMEOUT) << records(Like(AttemptRow, ended="timeout")) << runs("lab.f", attempt=2)


def test_a_lost_worker_is_made_up_for_without_counting_as_a_retry() -> None:
    book, job = started()
    timer = Placeholder("timer")
    assert (
        book
        >> lost(job, reason="killed")
        << records(Like(AttemptRow, ended="lost", error="killed", node="n1", pid=42))
        << sets_timer(seconds=0.5, timer=timer)
        >> fired(timer)
        << runs("lab.f", attempt=2, losses=1)
        >> returned(job, 5, attempt=2)
        << finishes(5)
    )


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_task_that_kills_its_workers_is_named(most) -> None:
    book, job = started(max_worker_losses=most)
    for attempt in range(1, most + 1):
        timer = Placeholder("timer")
        book = book >> lost(job, attempt) << sets_timer(seconds=0.5 * 2 ** (attempt - 1), timer=timer) >> fired(timer)
        book = book << runs("lab.f", attempt=attempt + 1, losses=attempt)
    book = book >> lost(job, most + 1, reason="out of memory")
    assert book << finishes(fails("WorkerLost", lambda text: "lab.f" in text and "out of memory" in text))


def test_the_wait_after_a_loss_never_grows_to_days() -> None:
    book, job = started(max_worker_losses=2000)
    for attempt in range(1, 1100):
        timer, most = Placeholder("timer"), min(60.0, 0.5 * 2 ** min(attempt - 1, 10))
        book = book >> lost(job, attempt) << sets_timer(seconds=most, timer=timer) >> fired(timer)
        book = book << runs("lab.f", attempt=attempt + 1)
    assert book


def test_a_task_may_be_tried_again_more_often_than_a_delay_can_double() -> None:
    book, job = started(retries=2000)
    for attempt in range(1, 1100):
        book = book >> raised(job, attempt=attempt) << runs("lab.f", attempt=attempt + 1)
    assert book


def test_losses_and_errors_are_counted_apart() -> None:
    book, job = started(retries=1, max_worker_losses=1)
    timer = Placeholder("timer")
    assert (
        book
        >> lost(job, 1)
        << sets_timer(timer=timer)
        >> fired(timer)
        << runs("lab.f", attempt=2)
        >> raised(job, attempt=2)
        << runs("lab.f", attempt=3, losses=1)
        >> returned(job, 5, attempt=3)
        << finishes(5)
    )


def test_a_fatal_loss_is_not_tried_again() -> None:
    book, job = started(max_worker_losses=3)
    book = book >> lost(job, reason="no such environment", fatal=True)
    assert book << finishes(fails("WorkerLost", "no worker can run lab.f: no such environment."))


def test_late_repeated_and_unknown_answers_are_dropped() -> None:
    book, job = started(retries=1)
    timer = Placeholder("timer")
    assert (
        book
        >> returned(job, 1, attempt=2)
        >> returned(12345, 1)
        >> raised(12345)
        >> lost(12345)
        >> fired(RetryTimer(12345))
        >> lost(job, 1)
        << sets_timer(timer=timer)
        >> returned(job, 1, attempt=1)
        >> lost(job, 1)
        >> fired(timer)
        << runs("lab.f", attempt=2)
        >> returned(job, 1, attempt=1)
        >> raised(job, attempt=1)
        >> returned(job, 7, attempt=2)
        << finishes(7)
        >> returned(job, 8, attempt=2)
        >> raised(job, attempt=2)
    )


def test_what_a_worker_recorded_is_kept_even_when_the_task_raised() -> None:
    book, job = started()
    log = LogRow(b"j" * 16, 1, "stdout", "hello", None)
    assert book >> raised(job)._replace(rows=(log,)) << records(log) << finishes(fails())
