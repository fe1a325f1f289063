"""Which recorded reduction may answer a call."""

from __future__ import annotations

import pytest

from rayflow.evaluator import lookups, reduction
from rayflow.evaluator.commands import LookUp, Record, Remember
from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Form, TaskCall
from rayflow.records import CallRow, JobRow
from rayflow.testing.patterns import Like, Placeholder
from rayflow.testing.playbook import (
    EXECUTION,
    START,
    Playbook,
    call,
    candidate,
    finishes,
    found,
    looks_up,
    operated,
    raised,
    records,
    remembers,
    returned,
    runs,
    runs_operation,
    submitted,
    task,
    task_hash,
    task_value,
)
from rayflow.values.digests import digest

F = task("lab.f", "x")
G = task("lab.g", "x")


def asked(*entries, root=None, **fields):
    """A book in which `lab.f(1)` has been submitted and asked for, and the placeholder of the asker."""
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(root or call("lab.f", 1), *(entries or (F,)), **fields)
    return book << looks_up("lab.f", asker=asker), asker


def test_a_miss_runs_the_task_and_remembers_the_term_that_it_returned() -> None:
    book, asker = asked()
    assert (
        book
        >> found(asker)
        << runs("lab.f", job=asker, attempt=1, arguments={"x": 1})
        >> returned(asker, 5)
        << remembers(kind="single", term=5, task_hash=task_hash("lab.f"), wall_seconds=0.25)
        << records(Like(JobRow, status="done", how="computed", attempts=1))
        << finishes(5)
    )


def test_a_hit_is_reduced_without_running() -> None:
    book, asker = asked(F, G)
    below = Placeholder("below")
    assert (
        book
        >> found(asker, candidate(call("lab.g", 2) + 1))
        << looks_up("lab.g", asker=below)
        >> found(below, candidate(10))
        << records(Like(JobRow, task_name="lab.f", how="cached", attempts=0))
        << finishes(11)
    )
    assert not [row for row in book.rows(JobRow) if row.how == "computed"]


def test_none_is_a_result_like_any_other() -> None:
    book, asker = asked()
    assert book >> found(asker, candidate(None)) << finishes(None)


def test_the_newest_candidate_that_holds_wins() -> None:
    book, asker = asked()
    assert book >> found(asker, candidate(3, verdict=False), candidate(2), candidate(1)) << finishes(2)


@pytest.mark.parametrize(
    "invalid",
    [
        candidate(1, verdict=False),
        candidate(call("lab.gone", 2)),
        candidate(call("lab.g")),
        candidate(call("lab.g", 1, 2)),
        candidate(call("lab.g", y=1)),
        candidate([task_value("lab.g", code=2)]),
        candidate(task_value("lab.gone")),
        candidate(1, kind="full", task_set=[task_hash("lab.f")]),
    ],
    ids=["verdict", "task gone", "too few", "too many", "wrong name", "task value changed", "value gone", "full"],
)
def test_a_candidate_that_does_not_hold_is_a_miss(invalid) -> None:
    book, asker = asked(F, G)
    assert book >> found(asker, invalid) << runs("lab.f") >> returned(asker, 2) << finishes(2)


def test_a_candidate_that_cannot_be_read_is_a_miss() -> None:
    book, asker = asked()
    damaged = candidate(1)._replace(term=b"no term")
    assert book >> found(asker, damaged) << runs("lab.f") >> returned(asker, 2) << finishes(2)


def test_a_task_as_a_value_holds_while_it_is_current() -> None:
    book, asker = asked(F, G)
    assert book >> found(asker, candidate([task_value("lab.g")])) << finishes([task_value("lab.g")])


@pytest.mark.parametrize("options", [{"cache": False}, {"cache_scope": "CSE"}, {"cache_scope": "NONE"}])
def test_a_task_that_must_not_be_cached_is_not_looked_up(options) -> None:
    job = Placeholder("job")
    assert (
        Playbook(Evaluator())
        >> submitted(call("lab.f", 1), task("lab.f", "x", **options))
        << runs("lab.f", job=job)
        >> returned(job, 5)
        << remembers(kind="single", term=5)
        << finishes(5)
    )


def test_a_run_without_cache_looks_nothing_up() -> None:
    job = Placeholder("job")
    assert (
        Playbook(Evaluator())
        >> submitted(call("lab.f", 1), F, cache=False)
        << runs("lab.f", job=job)
        >> returned(job, 5)
        << finishes(5)
    )


def test_the_option_of_the_call_counts_over_that_of_the_definition_and_that_of_the_run_over_both() -> None:
    definition = task("lab.f", "x", cache=False)
    root = call("lab.f", 1, options={"cache": True})
    assert Playbook(Evaluator()) >> submitted(root, definition) << looks_up("lab.f")
    assert Playbook(Evaluator()) >> submitted(root, definition, options={"cache": False}) << runs("lab.f")


@pytest.mark.parametrize(("age", "fits"), [(59, True), (61, False)])
@pytest.mark.parametrize("limit", [60, "60s", "1m"])
def test_a_reduction_counts_for_as_long_as_cache_for_says(age, fits, limit) -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), task("lab.f", "x", cache_for=limit))
    book = book << looks_up("lab.f", asker=asker) >> found(asker, candidate(5, age_seconds=age))
    assert book << (finishes(5) if fits else runs("lab.f"))


class TestShallow:
    """check_valid="shallow": the final value counts while all tasks below are current."""

    SHALLOW = task("lab.f", "x", check_valid="shallow")

    def test_a_current_full_reduction_is_the_value(self) -> None:
        book, asker = asked(self.SHALLOW, G)
        full = candidate(9, kind="full", task_set=[task_hash("lab.f"), task_hash("lab.g")])
        assert book >> found(asker, full) << records(Like(JobRow, how="cached")) << finishes(9)

    def test_it_alone_asks_for_any_record_of_the_value(self) -> None:
        book, asker = asked(self.SHALLOW, G)
        assert book >> found(asker, candidate(call("lab.g", 2))) << looks_up("lab.g")
        assert [each.wants_value for each in book.of(LookUp)] == [True, False]

    def test_a_value_taken_whole_keeps_the_call_node_that_it_was_recorded_with(self) -> None:
        book, asker = asked(self.SHALLOW)
        full = candidate(9, kind="full", task_set=[task_hash("lab.f")], call_hash=b"c" * 20)
        assert book >> found(asker, full) << records(Like(JobRow, call_hash=b"c" * 20)) << finishes(9)

    @pytest.mark.parametrize("stale", [task_hash("lab.g", code=2), digest("gone")])
    def test_a_stale_full_reduction_falls_back_to_the_single_one(self, stale) -> None:
        book, asker = asked(self.SHALLOW, G)
        below = Placeholder("below")
        full = candidate(9, kind="full", task_set=[task_hash("lab.f"), stale])
        single = candidate(call("lab.g", 2))
        book = book >> found(asker, full, single) << looks_up("lab.g", asker=below) >> found(below, candidate(4))
        assert book << finishes(4)

    def test_a_value_below_is_remembered_whole_with_all_tasks_below(self) -> None:
        book, asker = asked(self.SHALLOW, G)
        below = Placeholder("below")
        assert (
            book
            >> found(asker)
            << runs("lab.f")
            >> returned(asker, call("lab.g", 2) + 1)
            << looks_up("lab.g", asker=below)
            >> found(below)
            << runs("lab.g")
            >> returned(below, 3)
            << remembers(
                kind="full", term=4, task_set=b"".join(sorted((task_hash("lab.f"), task_hash("lab.g"))))
            )
            << finishes(4)
        )
        assert all(row.term is None for row in book.rows(CallRow))  # it need not stand there twice

    def test_a_call_that_nothing_may_answer_leaves_no_value_remembered_whole(self) -> None:
        asker = Placeholder("asker")
        entry = task("lab.f", "x", check_valid="shallow", cache_scope="NONE")
        book = Playbook(Evaluator(), quiet=(Record,)) >> submitted(call("lab.f", 1), entry) << runs("lab.f", job=asker)
        assert book >> returned(asker, 3) << remembers(kind="single") << finishes(3)

    def test_above_a_caught_failure_no_value_is_remembered_whole(self) -> None:
        book, asker = asked(self.SHALLOW, G, task("lab.mend", "error"))
        below, mend, cell = Placeholder("below"), Placeholder("mend"), Placeholder("cell")
        caught = Form("catch", (call("lab.g", 2), ("builtins.ValueError",), task_value("lab.mend")))
        assert (
            book
            >> found(asker)
            << runs("lab.f")
            >> returned(asker, caught)
            << looks_up("lab.g", asker=below)
            >> found(below)
            << runs("lab.g")
            >> raised(below)
            << looks_up(asker=cell)
            >> found(cell)
            << runs_operation("restore", asker=(asked_again := Placeholder("asked again")))
            >> operated(asked_again, "the error")
            << looks_up("lab.mend", asker=mend)
            >> found(mend, candidate(0))
            << finishes(0)
        )
        assert {each.reduction.kind for each in book.of(Remember)} == {"single"}

    def test_a_value_that_was_reduced_again_is_remembered_whole_again(self) -> None:
        book, asker = asked(self.SHALLOW)
        stale = candidate(9, kind="full", task_set=[digest("gone")])
        assert book >> found(asker, stale, candidate(8)) << remembers(kind="full", term=8) << finishes(8)

    def test_a_value_taken_whole_is_not_remembered_again(self) -> None:
        book, asker = asked(self.SHALLOW)
        assert book >> found(asker, candidate(9, kind="full", task_set=[task_hash("lab.f")])) << finishes(9)
        assert not book.of(Remember)


def test_defaults_written_out_or_left_to_the_task_are_one_call() -> None:
    f = task("lab.f", "x", "y", defaults={"y": 2})
    hashes = []
    for root in (call("lab.f", 1), call("lab.f", 1, 2), call("lab.f", y=2, x=1)):
        key = Placeholder("key")
        assert Playbook(Evaluator()) >> submitted(root, f) << looks_up("lab.f", eval_hash=key)
        hashes.append(key.value)
    assert len(set(hashes)) == 1


def test_other_arguments_other_types_and_other_code_are_other_calls() -> None:
    hashes = []
    for argument, code in ((1, 1), (2, 1), (True, 1), (1.0, 1), ([1], 1), ((1,), 1), (1, 2)):
        key = Placeholder("key")
        book = Playbook(Evaluator()) >> submitted(call("lab.f", argument), task("lab.f", "x", code=code))
        assert book << looks_up("lab.f", code=code, eval_hash=key)
        hashes.append(key.value)
    assert len(set(hashes)) == 7


def test_a_default_that_is_a_call_is_reduced_first() -> None:
    asker, below = Placeholder("asker"), Placeholder("below")
    f = task("lab.f", "x", "y", defaults={"y": TaskCall("lab.g", (7,))})
    assert (
        Playbook(Evaluator())
        >> submitted(call("lab.f", 1), f, G)
        << looks_up("lab.g", asker=below)
        >> found(below, candidate(70))
        << looks_up("lab.f", asker=asker)
        >> found(asker)
        << runs("lab.f", arguments={"x": 1, "y": 70})
    )


def test_of_very_many_calls_only_so_many_ask_the_store_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "MOST_LOOKUPS", 2)
    first, second, third = Placeholder("first"), Placeholder("second"), Placeholder("third")
    assert (
        Playbook(Evaluator())
        >> submitted([call("lab.g", 1), call("lab.g", 2), call("lab.g", 3)], G)
        << looks_up("lab.g", asker=first)
        << looks_up("lab.g", asker=second)
        >> found(second, candidate(20))
        << looks_up("lab.g", asker=third)
        >> found(first, candidate(10))
        >> found(third, candidate(30))
        << finishes([10, 20, 30])
    )


def test_an_execution_with_many_open_look_ups_makes_no_other_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "MOST_LOOKUPS", 2)
    first, second, third, other = map(Placeholder, ("first", "second", "third", "other"))
    assert (
        Playbook(Evaluator())
        >> submitted([call("lab.g", 1), call("lab.g", 2), call("lab.g", 3)], G, execution_id="many")
        << looks_up("lab.g", asker=first)
        << looks_up("lab.g", asker=second)
        >> submitted([call("lab.g", 4)], G, execution_id="few")
        << looks_up("lab.g", asker=other)
        >> found(other, candidate(40))
        << finishes([40], execution_id="few")
        >> found(first, candidate(10))
        << looks_up("lab.g", asker=third)
        >> found(second, candidate(20))
        >> found(third, candidate(30))
        << finishes([10, 20, 30], execution_id="many")
    )


def test_choosing_among_candidates_changes_nothing() -> None:
    book, _ = asked()
    execution = book.play().evaluator.executions[EXECUTION]
    job = execution.root
    choice = lookups.choose(job, (candidate(call("lab.gone")), candidate(5)), START)
    assert (choice.term, choice.unknown) == (5, ["lab.gone"])
    assert execution.tasks.unknown == {} and job.how is None and job.state.name == "LOOKUP"


class TestTold:
    """A call node tells its final value if the value depends on nothing below but tasks and files."""

    def told(self, book: Playbook) -> dict[str, object]:
        """The values that call nodes tell, by task."""
        return {row.task_name: loads(row.term) for row in book.rows(CallRow) if row.term is not None}

    def test_only_a_call_with_calls_below_tells_it(self) -> None:
        book, asker = asked(F, G)
        below = Placeholder("below")
        book = book >> found(asker) << runs("lab.f") >> returned(asker, call("lab.g", 2) + 1)
        assert book << looks_up("lab.g", asker=below) >> found(below, candidate(3)) << finishes(4)
        assert self.told(book) == {"lab.f": 4}
        [row] = [row for row in book.rows(CallRow) if row.term is not None]
        assert row.since == START - 60_000_000 and row.at > row.since

    def test_what_an_unrecorded_twin_has_returned_is_older_than_it_seems_and_so_the_node_tells_nothing(self) -> None:
        first, below = Placeholder("first"), Placeholder("below")
        unrecorded = call("lab.f", 1, options={"prov": False})
        book = (
            Playbook(Evaluator())
            >> submitted([unrecorded, call("lab.f", 1)], F, G)
            << looks_up("lab.f", asker=first)
            >> found(first)
            << runs("lab.f")
            >> returned(first, call("lab.g", 2) + 1)
            << looks_up("lab.g", asker=below)
            >> found(below, candidate(3))
            << finishes([4, 4])
        )
        assert book
        assert sorted(row.how for row in book.rows(JobRow) if row.task_name == "lab.f") == ["computed", "shared"]
        assert self.told(book) == {}
