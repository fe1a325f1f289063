"""The playbook itself: it has to be able to fail, and to say how."""

from __future__ import annotations

import gc
import sys

import pytest

from rayflow.evaluator.commands import Finish, Record, Remember, SetTimer
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.timers import RetryTimer
from rayflow.lang.terms.expressions import TaskCall
from rayflow.testing.patterns import Containing, Exactly, Like, Placeholder, fits, same, unordered
from rayflow.testing.playbook import Playbook, call, fails, failure, finishes, returned, runs, submitted, task

F = task("lab.f", "x", cache=False)


def book(quiet=(Record, Remember)):
    return Playbook(Evaluator(), quiet) >> submitted([call("lab.f", 1), call("lab.f", 2)], F)


def test_a_command_that_did_not_come_is_shown_with_what_came() -> None:
    first = Placeholder("first")
    wrong = book() << runs("lab.f", job=first, arguments={"x": 1}) << runs("lab.f", arguments={"x": 3})
    with pytest.raises(AssertionError) as caught:
        wrong.play()
    text = str(caught.value)
    assert "  >> Submitted" in text
    assert "  << RunTask" in text
    assert "- << RunTask(" in text
    assert "+ << RunTask(" in text
    assert "'x': 3" in text
    assert "{x: 2}" in text


def test_a_command_that_nobody_expected_is_an_error() -> None:
    with pytest.raises(AssertionError, match=r"\+ << RunTask"):
        (book() << runs("lab.f")).play()


def test_a_command_expected_before_it_can_come_is_an_error() -> None:
    with pytest.raises(AssertionError, match="- << Finish"):
        (book() << runs("lab.f") << runs("lab.f") << finishes()).play()


def test_order_counts_unless_it_is_said_not_to() -> None:
    one, two = runs("lab.f", arguments={"x": 1}), runs("lab.f", arguments={"x": 2})
    assert book() << unordered(two, one)
    with pytest.raises(AssertionError):
        (book() << two << one).play()


def test_unordered_commands_must_all_come() -> None:
    with pytest.raises(AssertionError):
        (book() << unordered(runs("lab.f"), runs("lab.f"), runs("lab.f"))).play()


def test_records_may_go_unnamed_unless_nothing_is_quiet() -> None:
    job = Placeholder("job")
    silent = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job)
    assert silent >> returned(job, 1) << Finish
    loud = Playbook(Evaluator(), quiet=()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job)
    with pytest.raises(AssertionError, match="Record"):
        (loud >> returned(job, 1) << Finish).play()


def test_a_placeholder_is_learnt_once_and_then_has_to_fit() -> None:
    job = Placeholder("job")
    with pytest.raises(LookupError, match="'job' has not been learnt"):
        job.value  # noqa: B018  (reading it is the test)
    with pytest.raises(AssertionError):
        (book() << runs("lab.f", job=job) << runs("lab.f", job=job)).play()
    assert job.value == 2


def test_what_does_not_fit_teaches_nothing() -> None:
    job = Placeholder("job")
    assert book() << unordered(runs("lab.f", job=job, arguments={"x": 2}), runs("lab.f", arguments={"x": 1}))
    assert job.value == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_playbook_that_is_never_played_complains(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: said.append(str(args.exc_value))
    try:
        forgotten = book() << runs("lab.f")
        del forgotten
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert said == ["this playbook was written and never played: put `assert` before it"]


def test_a_playbook_may_go_on_after_it_was_asserted() -> None:
    jobs = [Placeholder("one"), Placeholder("two")]
    conversation = book() << runs("lab.f", job=jobs[0]) << runs("lab.f", job=jobs[1])
    assert conversation
    assert conversation >> returned(jobs[0], 1) >> returned(jobs[1], 2) << finishes([1, 2])


def test_terms_are_compared_as_terms() -> None:
    assert same(TaskCall("f", (1,)), TaskCall("f", (1,)))
    assert not same(TaskCall("f", (1,)), TaskCall("f", (2,)))
    assert not same(1, True)
    assert not same([1], [1.0])
    assert same({"a": (1, None)}, {"a": (1, None)})
    with pytest.raises(AssertionError):
        (Playbook(Evaluator()) >> submitted(1) << finishes(True)).play()


def test_patterns_inside_patterns() -> None:
    timer = SetTimer(RetryTimer(7), 1.5)
    number = Placeholder("number")
    assert fits(Like(SetTimer, timer__number=number, seconds=lambda value: value > 1), timer)
    assert number.value == 7
    assert not fits(Like(SetTimer, seconds=2.0), timer)
    assert fits({"a": 1}, {"a": 1, "b": 2})
    assert not fits(Exactly({"a": 1}), {"a": 1, "b": 2})
    assert fits(Containing(2, 1), [1, 2, 3])
    assert not fits(Containing(1, 1), [1, 2, 3])
    assert fits(fails("ValueError", "n"), failure("ValueError", "no"))
    assert not fits(fails("KeyError"), failure("ValueError", "no"))
