"""Equal calls of one execution are made once."""

from __future__ import annotations

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Operation
from rayflow.records import CallRow, JobRow
from rayflow.testing.patterns import Placeholder, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    candidate,
    fails,
    failure,
    finishes,
    found,
    looks_up,
    raised,
    returned,
    runs,
    submitted,
    task,
)

F = task("lab.f", "x")
G = task("lab.g", "x")
UNCACHED = task("lab.u", "x", cache_scope="NONE")


def test_equal_calls_run_once_and_leave_one_call_and_a_job_each() -> None:
    asker = Placeholder("asker")
    book = (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.f", x=1)], F)
        << looks_up("lab.f", asker=asker)
        >> found(asker)
        << runs("lab.f")
        >> returned(asker, 5)
        << finishes([5, 5])
    )
    assert book
    jobs = [row for row in book.rows(JobRow) if row.task_name == "lab.f"]
    assert sorted(row.how for row in jobs) == ["computed", "shared"]
    assert len({row.call_hash for row in jobs}) == 1
    assert len([row for row in book.rows(CallRow) if row.task_name == "lab.f"]) == 1


def test_a_call_that_comes_after_its_twin_has_ended_is_shared_at_once() -> None:
    first, between = Placeholder("first"), Placeholder("between")
    book = (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.f", call("lab.g", 1))], F, G)
        << unordered(looks_up("lab.f", asker=first), looks_up("lab.g", asker=between))
        >> found(first, candidate(5))
        >> found(between, candidate(1))
        << finishes([5, 5])
    )
    assert book


def test_an_error_is_shared_too() -> None:
    asker = Placeholder("asker")
    book = (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.f", 1)], F)
        << looks_up("lab.f", asker=asker)
        >> found(asker)
        << runs("lab.f")
        >> raised(asker, failure("ValueError", "no"))
        << finishes(fails("ValueError"), failures=lambda listed: len(listed) == 1)
    )
    assert book
    assert [row.status for row in book.rows(JobRow)] == ["failed"] * 3


def test_an_error_is_shared_with_who_comes_later() -> None:
    first, between = Placeholder("first"), Placeholder("between")
    assert (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.f", call("lab.g", 1))], F, G)
        << unordered(looks_up("lab.f", asker=first), looks_up("lab.g", asker=between))
        >> found(first)
        << runs("lab.f")
        >> raised(first)
        >> found(between, candidate(1))
        << finishes(fails("ValueError"))
    )


def test_equal_calls_are_shared_when_caching_is_off() -> None:
    job = Placeholder("job")
    assert (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.f", 1)], F, cache=False)
        << runs("lab.f", job=job)
        >> returned(job, 5)
        << finishes([5, 5])
    )


def test_calls_that_nothing_may_answer_are_not_shared() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    assert (
        Playbook(Evaluator())
        >> submitted([call("lab.u", 1), call("lab.u", 1)], UNCACHED)
        << runs("lab.u", job=first)
        << runs("lab.u", job=second)
        >> returned(first, 1)
        >> returned(second, 2)
        << finishes([1, 2])
    )


def test_one_expression_in_two_places_is_one_call_even_when_nothing_may_answer_it() -> None:
    once, job = call("lab.u", 1), Placeholder("job")
    root = once + once * 10
    book = Playbook(Evaluator()) >> submitted(root, UNCACHED) << runs("lab.u", job=job) >> returned(job, 3)
    assert book << finishes(33)
    assert len([row for row in book.rows(JobRow) if row.task_name == "lab.u"]) == 1


def test_one_container_in_two_places_makes_its_calls_once() -> None:
    both, job = [call("lab.u", 1)], Placeholder("job")
    root = Operation("add", (both, both))
    book = Playbook(Evaluator()) >> submitted(root, UNCACHED) << runs("lab.u", job=job) >> returned(job, 3)
    assert book << finishes([3, 3])


def test_a_container_deep_in_a_shared_one_is_shared_with_it() -> None:
    inner = {"k": (call("lab.u", 1),)}
    outer = [inner, 0]
    read = loads(dumps([(outer, 1), (outer, 2)]))
    assert read[0][0][0]["k"][0]._shared


def test_executions_share_nothing() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    evaluator = Evaluator()
    assert (
        Playbook(evaluator)
        >> submitted(call("lab.f", 1), F, execution_id="one")
        << looks_up("lab.f", asker=first)
        >> submitted(call("lab.f", 1), F, execution_id="two")
        << looks_up("lab.f", asker=second)
        >> found(first, candidate(1))
        << finishes(1, execution_id="one")
        >> found(second, candidate(2))
        << finishes(2, execution_id="two")
    )
