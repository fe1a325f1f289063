"""Fail fast: the first failure that nothing can catch stops the execution; one that may be caught does not."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.expressions import Form, Operation
from rayflow.records import JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    finishes,
    operated,
    raised,
    returned,
    runs,
    runs_operation,
    stops,
    submitted,
    task,
    task_value,
)

F = task("lab.f", "x", cache=False)
G = task("lab.g", "x", cache=False)
HELD = task("lab.held", "x", cache=False, limits=["door"])


def begun(root, *entries, fail_fast=True):
    return Playbook(Evaluator()) >> submitted(root, *entries, cache=False, fail_fast=fail_fast)


def statuses(book: Playbook) -> list[tuple[str, str]]:
    return sorted((row.task_name, row.status) for row in book.rows(JobRow) if row.finished_at)


def test_the_first_failure_stops_what_runs_and_is_the_error_whatever_stands_before_it() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = begun([call("lab.f", 1), call("lab.g", 2)], F, G)
    book = book << runs("lab.f", job=f) << runs("lab.g", job=g)
    book = book >> raised(g) << stops(f) >> returned(f, 1) << finishes(fails("ValueError"))
    assert book
    assert statuses(book) == [("<expression>", "failed"), ("lab.f", "cancelled"), ("lab.g", "failed")]


def test_without_it_everything_else_goes_on() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = begun([call("lab.f", 1), call("lab.g", 2)], F, G, fail_fast=False)
    book = book << runs("lab.f", job=f) << runs("lab.g", job=g) >> raised(g)
    book = book >> returned(f, 1) << finishes(fails("ValueError"))
    assert book
    assert ("lab.f", "done") in statuses(book)


def test_what_waits_for_a_limit_never_starts() -> None:
    g, first = Placeholder("g"), Placeholder("first")
    book = begun([call("lab.g", 1), call("lab.held", 1), call("lab.held", 2)], G, HELD)
    book = book << runs("lab.g", job=g) << runs("lab.held", job=first) >> raised(g) << stops(first)
    book = book >> returned(first, 1) << finishes(fails("ValueError"))
    assert book
    assert book.evaluator.capacity.held == {}


@pytest.mark.parametrize("around", [lambda t: {"b": t}, lambda t: Form("seq", (t, t)), lambda t: {"a": (t,)}])
def test_a_failure_that_may_be_caught_does_not_stop_it(around) -> None:
    f, g = Placeholder("f"), Placeholder("g")
    caught = Form("catch", (around(call("lab.f", 1)), ("builtins.ValueError",), task_value("lab.mend")))
    worker, mend = Placeholder("worker"), Placeholder("mend")
    book = begun([caught, call("lab.g", 2)], F, G, task("lab.mend", "error", cache=False))
    book = book << runs("lab.g", job=g) << runs("lab.f", job=f) >> raised(f) << runs_operation("restore", asker=worker)
    book = book >> operated(worker, "the error") << runs("lab.mend", job=mend) >> returned(mend, 7)
    assert book >> returned(g, 2) << finishes([7, 2])


def test_a_failure_that_was_not_caught_in_the_end_does() -> None:
    f, g, above = Placeholder("f"), Placeholder("g"), Placeholder("above")
    caught = Form("catch", (call("lab.f", 1), ("builtins.KeyError",), task_value("lab.mend")))
    book = begun([call("lab.above", 0), call("lab.g", 2)], F, G, task("lab.above", "x", cache=False))
    book = book << runs("lab.above", job=above) << runs("lab.g", job=g) >> returned(above, caught)
    book = book << runs("lab.f", job=f) >> raised(f) << stops(g)
    assert book >> returned(g, 1) << finishes(fails("ValueError"))


def test_it_is_carried_through_operations_arguments_and_equal_calls() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    one = call("lab.f", 1)
    root = [call("lab.g", 5), call("lab.g", Operation("add", (call("lab.f", 1), 1))), one]
    book = begun(root, F, G) << runs("lab.g", job=g) << runs("lab.f", job=f) >> raised(f) << stops(g)
    assert book >> returned(g, 1) << finishes(fails("ValueError"))
