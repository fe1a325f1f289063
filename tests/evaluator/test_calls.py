"""From a term to jobs: binding, nesting, tasks that are not there, depth."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Form, Operation, Quoted
from rayflow.records import JobRow
from rayflow.testing.patterns import Placeholder, together, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    candidate,
    fails,
    failure,
    finishes,
    found,
    looks_up,
    operated,
    raised,
    returned,
    runs,
    runs_operation,
    submitted,
    task,
    task_value,
)

F = task("lab.f", "x", cache=False)
G = task("lab.g", "x", "y", cache=False, defaults={"y": 10})


def begun(root, *entries, **fields):
    return Playbook(Evaluator()) >> submitted(root, *(entries or (F, G)), **fields)


def test_a_root_that_is_a_value_ends_at_once() -> None:
    assert begun(5) << finishes(5)
    assert begun({"a": [1, (2, None)]}) << finishes({"a": [1, (2, None)]})


def test_arguments_are_bound_by_name_with_defaults_in_the_order_of_the_signature() -> None:
    arguments = Placeholder("arguments")
    assert begun(call("lab.g", 1)) << runs("lab.g", arguments=arguments)
    assert list(arguments.value.items()) == [("x", 1), ("y", 10)]


def test_expressions_in_any_container_become_values() -> None:
    jobs = [Placeholder(str(number)) for number in range(4)]
    one, two, three, four = (call("lab.f", number) for number in range(4))
    book = begun({"a": [one, (two,)], 1: {"b": three}, "s": [[[four]]]})
    for number, job in enumerate(jobs):
        book = book << runs("lab.f", job=job, arguments={"x": number})
    for number, job in reversed(list(enumerate(jobs))):
        book = book >> returned(job, number * 10)
    assert book << finishes({"a": [0, (10,)], 1: {"b": 20}, "s": [[[30]]]})


def test_expressions_in_arguments_are_reduced_before_the_call() -> None:
    job, outer = Placeholder("job"), Placeholder("outer")
    book = begun(call("lab.g", [call("lab.f", 1), 2], y={"k": 3})) << runs("lab.f", job=job)
    assert book >> returned(job, 9) << runs("lab.g", job=outer, arguments={"x": [9, 2], "y": {"k": 3}})


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (call("lab.f"), "missing 1 required argument: 'x'"),
        (call("lab.f", 1, 2), "takes 1 positional argument but 2 were given"),
        (call("lab.f", z=1), "unexpected keyword argument 'z'"),
        (call("lab.f", 1, x=2), "multiple values for argument 'x'"),
    ],
)
def test_a_call_that_does_not_fit_fails_where_it_stands(root, words) -> None:
    book = begun([root]) << finishes(fails("BadArguments", words))
    assert book
    row = next(row for row in book.rows(JobRow) if row.task_name == "lab.f")
    assert (row.status, row.how, row.eval_hash) == ("failed", None, None)


def test_a_task_that_nobody_defines_fails_with_the_nearest_names() -> None:
    assert begun(call("lab.ff", 1)) << finishes(fails("NoSuchTask", "lab.f"))
    assert begun(call("other.g", 1)) << finishes(fails("NoSuchTask", "'other.g'"))


def test_a_task_that_a_worker_met_can_be_called() -> None:
    job, below = Placeholder("job"), Placeholder("below")
    book = begun(call("lab.f", 1), F) << runs("lab.f", job=job)
    book = book >> returned(job, call("lab.g", 1), entries=(G,)) << runs("lab.g", job=below)
    assert book >> returned(below, 2) << finishes(2)


def test_a_task_that_a_worker_met_does_not_replace_the_one_that_is_known() -> None:
    job = Placeholder("job")
    other = task("lab.g", "x", "y", code=2)
    book = begun(call("lab.f", 1)) << runs("lab.f", job=job)
    assert book >> returned(job, call("lab.g", 1), entries=(other,)) << runs("lab.g", entry=G)


def test_a_call_option_may_override_the_definition() -> None:
    job = Placeholder("job")
    book = begun(call("lab.f", 1, options={"retries": 1, "num_cpus": 4}))
    book = book << runs("lab.f", job=job, options={"retries": 1, "num_cpus": 4, "cache": False})
    assert book >> raised(job) << runs("lab.f", attempt=2)


def test_a_quoted_expression_is_a_value() -> None:
    quoted = Quoted(call("lab.f", 1), b"q" * 20)
    assert begun([quoted, 1]) << finishes(lambda value: isinstance(value[0], Quoted))
    assert begun(call("lab.f", quoted)) << runs("lab.f")


def test_what_recover_is_given_is_always_symbolic() -> None:
    # An exception that cannot be pickled is restored by a worker, like any other.
    job, worker = Placeholder("job"), Placeholder("worker")
    root = Form("catch", (call("lab.f", 1), ("builtins.ValueError",), task_value("lab.f")))
    book = begun(root, cache=False) << runs("lab.f", job=job) >> raised(job, failure("ValueError", "no"))
    assert book << runs_operation("restore", asker=worker, args=(None, "ValueError: no"))
    assert book >> operated(worker, "error") << runs("lab.f", arguments=lambda given: bool(dumps(dict(given))))


def test_messages_of_one_tick_are_handled_in_order() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    f = task("lab.f", "x")
    book = begun([call("lab.f", 1), call("lab.f", 2)], f)
    book = book << unordered(looks_up("lab.f", asker=first), looks_up("lab.f", asker=second))
    assert book >> together(found(first, candidate(1)), found(second, candidate(2))) << finishes([1, 2])


def test_a_submission_that_is_repeated_is_the_same_execution() -> None:
    job = Placeholder("job")
    book = begun(call("lab.f", 1)) << runs("lab.f", job=job) >> submitted(call("lab.f", 1), F, G)
    assert book >> returned(job, 1) << finishes(1)


class TestDepth:
    """Nothing that a user can nest or chain may meet the interpreter's recursion limit."""

    def test_a_list_nested_ten_thousand_deep(self) -> None:
        job, outcome = Placeholder("job"), Placeholder("outcome")
        root = call("lab.f", 1)
        for _ in range(10_000):
            root = [root]
        assert begun(root) << runs("lab.f", job=job) >> returned(job, 7) << finishes(outcome)
        value = outcome.value
        for _ in range(10_000):
            (value,) = value
        assert value == 7

    def test_a_chain_of_ten_thousand_operations(self) -> None:
        job = Placeholder("job")
        root = call("lab.f", 1)
        for _ in range(10_000):
            root = root + 1
        assert begun(root) << runs("lab.f", job=job) >> returned(job, 0) << finishes(10_000)

    def test_a_chain_of_a_thousand_nested_calls(self) -> None:
        root = 0
        for _ in range(1_000):
            root = call("lab.f", root)
        book = begun([root])
        for number in range(1_000):
            job = Placeholder("job")
            book = book << runs("lab.f", job=job, arguments={"x": number}) >> returned(job, number + 1)
        assert book << finishes([1_000])

    def test_forms_in_forms(self) -> None:
        job = Placeholder("job")
        root = call("lab.f", 1)
        for _ in range(5_000):
            root = Form("cond", (Operation("eq", (1, 1)), root, 0))
        assert begun(root) << runs("lab.f", job=job) >> returned(job, 7) << finishes(7)
