"""What touches the job around a form: threads that are begun, tags that are recorded; and rules of the user's own."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.forms import MOST_STEPS, Begin, Tag, apply_tags, fork_thread, own
from rayflow.lang.options.tags import tag_pairs
from rayflow.lang.packing.pack import pack
from rayflow.lang.rules import Become, Fail, Need
from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall
from rayflow.records import TagRow
from rayflow.testing.patterns import Like, Placeholder, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    failure,
    finishes,
    raised,
    records,
    returned,
    runs,
    submitted,
    task,
)

F = task("lab.f", "x", cache=False)
G = task("lab.g", "x", cache=False)
JOIN = task("lab.join", "thread", cache=False)
NO = failure("ValueError", "no")


def quoted(term):
    return pack(Quoted(term), lambda *_: None)


def thread(term):
    return Form("fork_thread", (TaskCall("lab.join", (quoted(term),)),))


def begun(root):
    return Playbook(Evaluator()) >> submitted(root, F, G, JOIN, cache=False)


def test_an_execution_ends_only_when_its_threads_have() -> None:
    join, below = Placeholder("join"), Placeholder("below")
    book = begun([thread(call("lab.f", 1)), 5]) << runs("lab.join", job=join)
    book = book >> returned(join, call("lab.f", 1)) << runs("lab.f", job=below) >> returned(below, 7)
    assert book << finishes([quoted(call("lab.f", 1)), 5])


def test_a_thread_goes_on_while_its_parent_ends() -> None:
    parent, join, user = Placeholder("parent"), Placeholder("join"), Placeholder("user")
    book = begun(call("lab.g", call("lab.f", 1))) << runs("lab.f", job=parent)
    book = book >> returned(parent, thread(3)) << unordered(runs("lab.join", job=join), runs("lab.g", job=user))
    assert book >> returned(user, 2) >> returned(join, 3) << finishes(2)


def test_joining_a_thread_shares_its_call() -> None:
    join, user, below = Placeholder("join"), Placeholder("user"), Placeholder("below")
    book = begun([thread(call("lab.f", 1)), call("lab.g", 2)])
    book = book << unordered(runs("lab.join", job=join), runs("lab.g", job=user))
    book = book >> returned(user, TaskCall("lab.join", (quoted(call("lab.f", 1)),)))
    book = book >> returned(join, call("lab.f", 1)) << runs("lab.f", job=below) >> returned(below, 7)
    assert book << finishes([quoted(call("lab.f", 1)), 7])


@pytest.mark.parametrize("joined", [False, True])
def test_the_failure_of_a_thread_counts_for_who_joins_it_alone(joined) -> None:
    join, below = Placeholder("join"), Placeholder("below")
    again = [TaskCall("lab.join", (quoted(call("lab.f", 1)),))] if joined else []
    book = begun([thread(call("lab.f", 1)), *again]) << runs("lab.join", job=join)
    book = book >> returned(join, call("lab.f", 1)) << runs("lab.f", job=below) >> raised(below, NO)
    outcome = fails("ValueError") if joined else [quoted(call("lab.f", 1))]
    assert book << finishes(outcome, failures=lambda listed: len(listed) == 1)


def test_a_thread_is_told_as_a_step() -> None:
    join = TaskCall("lab.join", (quoted(3),))
    assert fork_thread((join,), ()) == Begin(join, join._args[0])


class TestTags:
    def test_the_value_and_the_tags_are_needed_first(self) -> None:
        args = (call("lab.f", 1), {"a": 1}, {}, {})
        assert apply_tags(args, ()) == Need(args)
        assert apply_tags(args, (7, {"a": 1}, {}, {"b": 2})) == Tag(7, {"a": 1}, {}, {"b": 2})
        assert apply_tags(args, (NO, {}, {}, {})) == Fail(NO)

    @pytest.mark.parametrize("tags", [5, "a=1", {1: 2}, {"": 1}, [("a", 1, 2)], [5], [(1, 2)], ["=1"]])
    def test_what_are_no_tags_fails(self, tags) -> None:
        step = apply_tags((1, tags, {}, {}), (1, tags, {}, {}))
        assert type(step) is Fail and " tag" in step.error.message

    @pytest.mark.parametrize("tags", [{"a": 1}, [("a", 1)], [["a", 1]], ["a=1"], (("a", 1), ("a", 1))])
    def test_tags_are_a_dict_or_pairs_or_texts(self, tags) -> None:
        assert apply_tags((1, tags, {}, {}), (1, tags, {}, {})) == Tag(1, tags, {}, {})
        assert tag_pairs(tags) == (("a", 1),)

    def test_they_are_recorded_with_the_value_the_job_and_the_execution(self) -> None:
        job = Placeholder("job")
        form = Form("apply_tags", (5, {"v": [1]}, {"j": True}, {"e": None}))

        told = [("value", "v", "[1]"), ("job", "j", "true"), ("execution", "e", "null")]
        rows = [Like(TagRow, entity=entity, key=key, value=value) for entity, key, value in told]
        book = begun(call("lab.f", 1)) << runs("lab.f", job=job) >> returned(job, form)
        assert book << records(*rows) << finishes(5)


class TestARuleOfTheUsers:
    ARGS = ("the rule", (1, 2))

    def test_it_is_asked_then_what_it_needs_is_then_it_is_asked_again(self) -> None:
        step = own(self.ARGS, ())
        assert step.terms[0]._args == ("the rule", (1, 2), [])
        need = ["need", 2, Quoted(["a", "b"])]
        assert own(self.ARGS, (need,)) == Need(("a", "b"))
        step = own(self.ARGS, (need, 5, NO))
        assert type(step.terms[0]) is Operation and step.terms[0]._name == "step"
        assert step.terms[0]._args[2] == [("value", 5), ("failed", NO.pickled, NO.summary)]
        assert own(self.ARGS, (need, 5, NO, ["become", Quoted("c")])) == Become("c")
        assert own(self.ARGS, (need, 5, NO, ["fail", 1])) == Fail(NO)
        assert own(self.ARGS, (need, 5, NO, failure("BadForm"))) == Fail(failure("BadForm"))
        again = (need, 5, NO, ["need", 1, Quoted(["c"])])
        assert own(self.ARGS, again) == Need(("c",))
        assert own(self.ARGS, (*again, 7)).terms[0]._args[2][2] == ("value", 7)

    def test_one_that_never_ends_is_stopped(self) -> None:
        step = own(self.ARGS, (["need", 1, Quoted(["a"])], 5) * MOST_STEPS)
        assert type(step) is Fail and "does not come to an end: its rule was asked 1,000 times" in step.error.message
