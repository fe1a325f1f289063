"""Equal calls under several contexts: the body once, the reduction of its term once a context."""

from __future__ import annotations

from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.inheritance import Inherited
from rayflow.lang.terms.expressions import Form
from rayflow.records import CallRow, JobRow
from rayflow.testing.patterns import Placeholder
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
    remembers,
    returned,
    runs,
    submitted,
    task,
)

F = task("lab.f", "x")
SHALLOW = task("lab.s", "x", check_valid="shallow")
READ = Form("get_context", ("a.b", "nothing"))


def f(**context: object) -> object:
    return call("lab.f", 1, options={"context": context})


def test_a_call_of_another_context_waits_for_the_body_of_its_twin_and_takes_its_term_up() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    book = (
        Playbook(Evaluator())
        >> submitted([f(a={"b": 1}), f(a={"b": 2})], F)
        << looks_up("lab.f", asker=first)
        >> found(first)
        << runs("lab.f")
        >> returned(first, [READ])
        << looks_up("lab.f", asker=second)
        >> found(second, candidate([READ], execution_id="execution", age_seconds=0))
        << finishes([[1], [2]])
    )
    assert book
    jobs = [row for row in book.rows(JobRow) if row.task_name == "lab.f"]
    assert sorted(row.how for row in jobs) == ["computed", "shared"]
    assert len({row.call_hash for row in book.rows(CallRow) if row.task_name == "lab.f"}) == 2


def test_a_call_of_another_context_shares_the_failure_of_its_twins_body() -> None:
    first = Placeholder("first")
    assert (
        Playbook(Evaluator())
        >> submitted([f(a={"b": 1}), f(a={"b": 2})], F)
        << looks_up("lab.f", asker=first)
        >> found(first)
        << runs("lab.f")
        >> raised(first, failure("ValueError", "no"))
        << finishes(fails("ValueError"), failures=lambda listed: len(listed) == 1)
    )


def test_a_call_of_another_context_shares_the_value_of_a_twin_that_has_read_nothing() -> None:
    first = Placeholder("first")
    assert (
        Playbook(Evaluator())
        >> submitted(Form("seq", (f(a={"b": 1}), f(a={"b": 2}))), F)
        << looks_up("lab.f", asker=first)
        >> found(first, candidate(5))
        << finishes([5, 5])
    )


def test_equal_contexts_that_were_given_apart_are_one() -> None:
    first = Placeholder("first")
    assert (
        Playbook(Evaluator())
        >> submitted([f(a={"b": 1}), call("lab.f", 1), f(a={"b": 1})], F, context={"a": {"b": 1}})
        << looks_up("lab.f", asker=first)
        >> found(first, candidate(READ))
        << finishes([1, 1, 1])
    )


def test_the_default_of_a_path_is_reduced_only_where_it_is_needed() -> None:
    asker = Placeholder("asker")
    root = [Form("get_context", ("a", call("lab.f", 1))), Form("get_context", ("none", call("lab.f", 2)))]
    assert (
        Playbook(Evaluator())
        >> submitted(root, F, context={"a": 3})
        << looks_up("lab.f", asker=asker)
        >> found(asker, candidate(4))
        << finishes([3, 4])
    )


def test_a_full_reduction_names_what_was_read_of_the_context_and_answers_where_that_is_alike() -> None:
    def evaluated(*found_then: object, **context: object) -> Playbook:
        asker = Placeholder("asker")
        book = Playbook(Evaluator()) >> submitted(call("lab.s", 1), SHALLOW, context=context)
        return book << looks_up("lab.s", asker=asker) >> found(asker, *found_then)

    read = {"a.b": Inherited({"a": {"b": 1}}).hash_at("a.b")}
    full = candidate(1, kind="full", task_set=[SHALLOW.hash], call_hash=b"c" * 20, context=read)
    assert evaluated(full, a={"b": 1}) << finishes(1)
    assert evaluated(full, a={"b": 2}) << runs("lab.s")
    assert evaluated(full) << runs("lab.s")
    remembered = evaluated(candidate([READ]), a={"b": 1}) << remembers(kind="full", context=lambda text: "a.b" in text)
    assert remembered << finishes([1])
    unread = evaluated(candidate([5]), a={"b": 1}) << remembers(kind="full", context=None)
    assert unread << finishes([5])
