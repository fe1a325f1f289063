"""Special forms: what is reduced, and in which order."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal

import pytest

from rayflow.errors import Bug
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.forms import Become, Fail, Need, cond
from rayflow.evaluator.forms import catch as catch_rule
from rayflow.evaluator.forms import catch_all as catch_all_rule
from rayflow.evaluator.forms import map_ as map_rule
from rayflow.evaluator.forms import seq as seq_rule
from rayflow.evaluator.forms import starmap as starmap_rule
from rayflow.lang.combinators import cond as lazy_cond
from rayflow.lang.terms.expressions import Form, Operation
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    failure,
    finishes,
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
G = task("lab.g", "x", cache=False)
MEND = task("lab.mend", "error", cache=False)
NO = failure("ValueError", "no")


def begun(root):
    return Playbook(Evaluator()) >> submitted(root, F, G, MEND, cache=False)


class TestRulesAsTables:
    def test_cond_asks_in_order_and_takes_the_first_true_arm(self) -> None:
        args = ("p", "a", "q", "b", "otherwise")
        assert cond(args, ()) == Need(("p",))
        assert cond(args, (True,)) == Become("a")
        assert cond(args, (False,)) == Need(("q",))
        assert cond(args, (False, 1)) == Become("b")
        assert cond(args, (False, 0)) == Become("otherwise")
        assert cond(args, (False, NO)) == Fail(NO)
        assert cond(("otherwise",), ()) == Become("otherwise")

    def test_catch_passes_on_values_and_errors_that_nobody_catches(self) -> None:
        args = ("term", ("builtins.KeyError",), "recover")
        assert catch_rule(args, ()) == Need(("term",))
        assert catch_rule(args, (None,)) == Become(None)
        assert catch_rule(args, (NO,)) == Fail(NO)

    def test_seq_needs_one_after_the_other(self) -> None:
        assert seq_rule(("a", "b"), ()) == Need(("a",))
        assert seq_rule(("a", "b"), (1,)) == Need(("b",))
        assert seq_rule(("a", "b"), (1, 2)) == Become([1, 2])
        assert seq_rule(("a", "b"), (NO,)) == Fail(NO)
        assert seq_rule((), ()) == Become([])

    def test_catch_all_needs_all_then_becomes_its_structure_or_recovers(self) -> None:
        first, second = call("lab.f", 1), call("lab.g", 2)
        args = ({"a": [first], "b": (second, 3)}, ("builtins.ValueError",), "recover")
        assert catch_all_rule(args, ()) == Need((first, second))
        assert catch_all_rule(args, (1, 2)) == Become({"a": [1], "b": (2, 3)})
        step = catch_all_rule(args, (1, NO))
        assert type(step) is Become and step.term._name == "call" and step.term._args[0] == "recover"
        ((structure,),) = step.term._args[1:2]
        assert structure["a"] == [1] and structure["b"][0]._name == "restore" and structure["b"][1] == 3
        other = failure("KeyError")
        assert catch_all_rule(args, (NO, other)) == Fail(other)
        assert catch_all_rule(args[:1], (NO, other)) == Fail(NO)
        assert catch_all_rule(([1, 2],), ()) == Become([1, 2])

    def test_catch_all_chooses_by_the_first_error(self) -> None:
        args = ([call("lab.f", 1), call("lab.g", 2)], ("builtins.KeyError",), "keys", ("builtins.ValueError",), "all")
        step = catch_all_rule(args, (NO, failure("KeyError")))
        assert type(step) is Become and step.term._args[0] == "all"

    def test_map_needs_the_function_alone_where_items_are_open(self) -> None:
        task_f, item = task_value("lab.f"), call("lab.g", 2)
        assert map_rule((task_f, [1, item]), ()) == Need((task_f,))
        step = map_rule((task_f, [1, item]), (task_f,))
        assert type(step) is Become and [each._args for each in step.term] == [(1,), (item,)]
        assert map_rule((task_f, item), ()) == Need((task_f, item))
        assert map_rule((task_f, item), (task_f, NO)) == Fail(NO)
        step = map_rule((task_f, item), (task_f, [1, 2]))
        assert type(step) is Become and step.term._args == (task_f, [1, 2])

    def test_starmap_waits_for_items_that_are_not_there_to_be_spread(self) -> None:
        task_f, item = task_value("lab.f"), call("lab.g", 2)
        assert starmap_rule((task_f, [(1, item), {"x": item}]), ()) == Need((task_f,))
        assert starmap_rule((task_f, [(1, 2), item]), ()) == Need((task_f, [(1, 2), item]))
        step = starmap_rule((task_f, [(1, item), {"x": 3}]), (task_f,))
        assert type(step) is Become
        assert [(each._args, each._kwargs) for each in step.term] == [((1, item), None), ((), {"x": 3})]


def test_only_the_chosen_arm_of_a_cond_is_reduced() -> None:
    job, arm = Placeholder("job"), Placeholder("arm")
    root = lazy_cond(call("lab.f", 1) > 2, call("lab.f", 10), call("lab.f", 20))
    assert (
        begun(root)
        << runs("lab.f", job=job, arguments={"x": 1})
        >> returned(job, 3)
        << runs("lab.f", job=arm, arguments={"x": 10})
        >> returned(arm, 100)
        << finishes(100)
    )


def test_a_cond_without_a_true_condition_and_without_otherwise_is_none() -> None:
    job = Placeholder("job")
    assert begun(lazy_cond(call("lab.f", 1), "then")) << runs("lab.f", job=job) >> returned(job, 0) << finishes(None)


@pytest.mark.parametrize(("value", "arm"), [(Decimal(0), "b"), (Decimal(1), "a"), (OrderedDict(), "b"), ([], "b")])
def test_a_condition_that_is_a_value_counts_by_its_own_truth(value, arm) -> None:
    # A value of a class that the evaluator does not know would be a reference there, and no reference is false.
    assert begun(lazy_cond(value, "a", "b")) << finishes(arm)


def test_a_condition_that_fails_reduces_no_arm() -> None:
    job = Placeholder("job")
    root = lazy_cond(call("lab.f", 1), call("lab.f", 10), call("lab.f", 20))
    assert begun(root) << runs("lab.f", job=job) >> raised(job) << finishes(fails("ValueError"))


def test_a_caught_error_reaches_recover_as_a_value() -> None:
    job, worker, mend = Placeholder("job"), Placeholder("worker"), Placeholder("mend")
    root = Form("catch", (call("lab.f", 1), ("builtins.ValueError",), task_value("lab.mend")))
    assert (
        begun(root)
        << runs("lab.f", job=job)
        >> raised(job, NO)
        << runs_operation("restore", asker=worker)
        >> operated(worker, "the error")
        << runs("lab.mend", job=mend, arguments={"error": "the error"})
        >> returned(mend, 7)
        << finishes(7, failures=lambda listed: len(listed) == 1)
    )


def test_an_error_from_deep_below_is_caught() -> None:
    job, below, worker = Placeholder("job"), Placeholder("below"), Placeholder("worker")
    root = Form("catch", (call("lab.f", 1), ("builtins.ValueError",), task_value("lab.mend")))
    assert (
        begun(root)
        << runs("lab.f", job=job)
        >> returned(job, [call("lab.g", 1)])
        << runs("lab.g", job=below)
        >> raised(below, NO)
        << runs_operation("restore", asker=worker)
    )


@pytest.mark.parametrize(
    ("error", "chosen"),
    [(failure("KeyError"), "lab.f"), (failure("ValueError"), "lab.g"), (failure("OSError"), "lab.mend")],
)
def test_the_first_class_that_the_error_belongs_to_wins(error, chosen) -> None:
    job, worker = Placeholder("job"), Placeholder("worker")
    handlers = (
        ("builtins.KeyError",), task_value("lab.f"),
        ("builtins.OverflowError", "builtins.ValueError"), task_value("lab.g"),
        ("builtins.Exception",), task_value("lab.mend"),
    )  # fmt: skip
    book = begun(Form("catch", (call("lab.f", 1), *handlers))) << runs("lab.f", job=job) >> raised(job, error)
    assert book << runs_operation("restore", asker=worker) >> operated(worker, 0) << runs(chosen)


def test_an_error_that_nobody_catches_goes_on() -> None:
    job = Placeholder("job")
    root = Form("catch", (call("lab.f", 1), ("builtins.KeyError",), task_value("lab.mend")))
    assert begun(root) << runs("lab.f", job=job) >> raised(job, NO) << finishes(fails("ValueError"))


def test_recover_is_not_met_when_nothing_fails() -> None:
    job = Placeholder("job")
    root = Form("catch", (call("lab.f", 1), ("builtins.Exception",), task_value("lab.gone")))
    assert begun(root) << runs("lab.f", job=job) >> returned(job, 1) << finishes(1)


def test_a_recover_that_fails_is_a_failure_of_its_own() -> None:
    job, worker, mend = Placeholder("job"), Placeholder("worker"), Placeholder("mend")
    root = Form("catch", (call("lab.f", 1), ("builtins.ValueError",), task_value("lab.mend")))
    book = begun(root) << runs("lab.f", job=job) >> raised(job, NO) << runs_operation("restore", asker=worker)
    book = book >> operated(worker, 0) << runs("lab.mend", job=mend) >> raised(mend, failure("KeyError", "again"))
    assert book << finishes(fails("KeyError"), failures=lambda listed: len(listed) == 2)


def test_a_failure_of_the_evaluator_itself_can_be_caught() -> None:
    worker = Placeholder("worker")
    root = Form("catch", (call("lab.f"), ("builtins.TypeError",), task_value("lab.mend")))
    assert begun(root) << runs_operation("restore", asker=worker) >> operated(worker, 0) << runs("lab.mend")


def test_seq_starts_the_next_when_the_one_before_has_ended() -> None:
    first, second = Placeholder("first"), Placeholder("second")
    assert (
        begun(Form("seq", (call("lab.f", 1), 5, call("lab.f", 2))))
        << runs("lab.f", job=first, arguments={"x": 1})
        >> returned(first, 10)
        << runs("lab.f", job=second, arguments={"x": 2})
        >> returned(second, 20)
        << finishes([10, 5, 20])
    )


def test_an_error_stops_a_seq() -> None:
    job = Placeholder("job")
    root = Form("seq", (call("lab.f", 1), call("lab.f", 2)))
    assert begun(root) << runs("lab.f", job=job) >> raised(job) << finishes(fails("ValueError"))


def test_a_form_that_stands_in_two_places_is_reduced_once() -> None:
    job = Placeholder("job")
    once = Form("seq", (call("lab.f", 1),))
    root = Operation("add", (once, once))
    assert begun(root) << runs("lab.f", job=job) >> returned(job, 1) << finishes([1, 1])


def test_a_form_without_a_rule_is_a_bug_of_ours() -> None:
    with pytest.raises(Bug, match="nonsense"):
        begun(Form("nonsense", ())).play()


def test_nothing_is_looked_up_for_a_form() -> None:
    job = Placeholder("job")
    root = Form("seq", (call("lab.h", 1),))
    book = Playbook(Evaluator()) >> submitted(root, task("lab.h", "x")) << looks_up("lab.h", asker=job)
    assert book


def test_an_operation_without_arguments_is_one() -> None:
    assert begun(Operation("zip_", ())) << finishes([])


def test_a_catch_all_whose_set_would_hold_a_list_fails_here() -> None:
    job, worker = Placeholder("job"), Placeholder("worker")
    root = Form("catch", (Form("catch_all", ({call("lab.f", 1)},)), ("builtins.TypeError",), task_value("lab.mend")))
    book = begun(root) << runs("lab.f", job=job) >> returned(job, [1]) << runs_operation("restore", asker=worker)
    mend = Placeholder("mend")
    book = book >> operated(worker, 0) << runs("lab.mend", job=mend) >> returned(mend, 5)
    assert book << finishes(5, failures=lambda listed: len(listed) == 1)
