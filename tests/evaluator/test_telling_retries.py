"""What is told of attempts that fail: as they come, at the end, and in the counts."""

from __future__ import annotations

import pytest

from rayflow.evaluator.commands import Finish, Warn
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.retries import MOST_CAUSES, RETRIES_SHOWN
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    failure,
    finishes,
    fired,
    lost,
    raised,
    returned,
    runs,
    sets_timer,
    submitted,
    task,
)


def no(text: str):
    """An error with this message."""
    return failure("ValueError", text)



def started(**options):
    job = Placeholder("job")
    entry = task("lab.f", "x", cache=False, **options)
    return Playbook(Evaluator()) >> submitted(call("lab.f", 1), entry) << runs("lab.f", job=job), job


@pytest.mark.parametrize("retries", [1, 2, MOST_CAUSES, MOST_CAUSES + 3, 30])
def test_the_last_failure_tells_why_each_attempt_failed(retries: int) -> None:
    book, job = started(retries=retries)
    for attempt in range(1, retries + 1):
        book = book >> raised(job, no(f"no {attempt}"), attempt) << runs("lab.f", attempt=attempt + 1)
    assert book >> raised(job, no(f"no {retries + 1}"), retries + 1) << finishes(fails())
    [finish] = book.of(Finish)
    [note] = finish.outcome.notes
    lines = note.splitlines()
    assert lines[0] == f"It failed in {retries + 1} attempts:"
    assert lines[1].startswith("  attempt 1: ") and lines[1].endswith("no 1")
    assert lines[-1].startswith(f"  attempt {retries + 1}: ") and lines[-1].endswith(f"no {retries + 1}")
    left_out = max(0, retries + 1 - MOST_CAUSES)
    assert len(lines) == 1 + min(retries + 1, MOST_CAUSES + 1)
    assert (f"  ... {left_out} more ..." in lines) == (left_out > 0)
    assert finish.counts["retries"] == finish.by_task["lab.f"]["retries"] == retries


@pytest.mark.parametrize("retries", [1, RETRIES_SHOWN, RETRIES_SHOWN + 20])
def test_the_first_retries_of_a_task_are_told_as_they_come(retries: int) -> None:
    book, job = started(retries=retries, retry_delay=3.0, retry_backoff=1.0)
    for attempt in range(1, retries + 1):
        timer = Placeholder("timer")
        book = book >> raised(job, no("no route"), attempt) << sets_timer(seconds=3.0, timer=timer)
        book = book >> fired(timer) << runs("lab.f", attempt=attempt + 1)
    assert book >> returned(job, 5, attempt=retries + 1) << finishes(5)
    texts = [each.text for each in book.of(Warn)]
    assert len(texts) == min(retries, RETRIES_SHOWN)
    assert texts[0].startswith(f"lab.f(x=1) failed in attempt 1 of {retries + 1}, and attempt 2 follows in 3 s: ")
    assert "no route" in texts[0]
    assert ("only counted" in texts[-1]) == (retries >= RETRIES_SHOWN)


def test_a_lost_worker_is_told_as_one() -> None:
    book, job = started(max_worker_losses=2)
    timer = Placeholder("timer")
    book = book >> lost(job, 1, reason="killed") << sets_timer(timer=timer)
    assert book >> fired(timer) << runs("lab.f", attempt=2)
    [warning] = book.of(Warn)
    assert "lab.f(x=1) has lost its worker, 1 of at most 2 times, and starts again in 0.5 s" in warning.text
    assert "killed" in warning.text


def test_one_attempt_is_not_worth_a_word() -> None:
    book, job = started(retries=3)
    assert book >> returned(job, 5) << finishes(5)
    assert book.of(Warn) == []
    assert book.of(Finish)[0].counts["retries"] == 0
