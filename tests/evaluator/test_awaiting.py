"""Bodies that await: they leave their worker, and are entered again with what they asked for."""

from __future__ import annotations

import pytest

from rayflow.errors import Bug
from rayflow.evaluator.awaiting import MOST_STRAYS
from rayflow.evaluator.commands import Remember, RunTask
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.messages import Paused
from rayflow.lang.terms.codec import content_digest, dumps
from rayflow.lang.terms.expressions import Form, Operation, Quoted
from rayflow.records import CallChildRow, JobRow
from rayflow.testing.patterns import Exactly, Placeholder, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    cancelled,
    candidate,
    cost,
    fails,
    failure,
    finishes,
    fired,
    found,
    looks_up,
    lost,
    raised,
    remembers,
    returned,
    runs,
    sets_timer,
    stops,
    submitted,
    task,
    task_hash,
)

BODY = task("lab.body", "x")
PLAIN = task("lab.plain", "x", cache=False)
KEPT = task("lab.kept", "x")
LOOSE = task("lab.body", "x", cache=False)


def paused(job, attempt: int = 1, *, strayed: bool = False, **asked):
    """Paused: the body asks for these terms by key."""
    terms = {key.encode(): term for key, term in asked.items()}
    return Paused(0, job, attempt, dumps(((b"missed",) if strayed else (), terms)), cost())


def begun(*entries, root=None, **fields) -> tuple[Playbook, Placeholder]:
    """A conversation in which the body of `lab.body` runs, and its job."""
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(root or call("lab.body", 1), *(entries or (LOOSE, PLAIN)), **fields)
    return book << runs("lab.body", job=job, attempt=1, known=None), job


def test_a_body_that_awaits_is_entered_again_with_what_it_asked_for() -> None:
    book, job = begun()
    child = Placeholder("child")
    assert book >> paused(job, a=call("lab.plain", 5), b=7) << runs("lab.plain", job=child)
    assert book >> returned(child, 6) << runs("lab.body", job=job, attempt=2, known=Exactly({b"a": 6, b"b": 7}))
    assert book >> returned(job, "done", attempt=2) << finishes("done")


def test_outcomes_of_earlier_rounds_stay_known() -> None:
    book, job = begun()
    assert book >> paused(job, a=1) << runs("lab.body", attempt=2, known=Exactly({b"a": 1}))
    assert book >> paused(job, 2, b=[2]) << runs("lab.body", attempt=3, known=Exactly({b"a": 1, b"b": [2]}))
    assert book >> returned(job, 3, attempt=3) << finishes(3)


def test_the_awaited_calls_are_children_of_the_body_s_job() -> None:
    book, job = begun()
    child = Placeholder("child")
    assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
    assert book >> returned(child, 6) << runs("lab.body") >> returned(job, 0, attempt=2) << finishes(0)
    rows = {row.task_name: row for row in book.rows(JobRow)}
    assert rows["lab.plain"].parent_job_id == rows["lab.body"].job_id
    assert [row.child_call_hash for row in book.rows(CallChildRow)] == [rows["lab.plain"].call_hash]


def test_a_failed_expression_is_an_outcome_that_the_body_is_given() -> None:
    book, job = begun()
    child = Placeholder("child")
    assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
    assert book >> raised(child) << runs("lab.body", attempt=2, known=lambda known: known[b"a"].message == "no")
    assert book >> returned(job, "mended", attempt=2) << finishes("mended", counts=lambda counts: counts["failed"] == 1)


def test_an_error_that_the_body_does_not_catch_passes_on_and_is_no_failed_attempt() -> None:
    entry = task("lab.body", "x", cache=False, retries=5)
    book, job = begun(entry, PLAIN)
    child, error = Placeholder("child"), Placeholder("error")
    assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
    assert book >> raised(child) << runs("lab.body", attempt=2, known={b"a": error})
    told = finishes(fails("ValueError", "no"), failures=lambda failures: len(failures) == 1)
    assert book >> raised(job, error.value, attempt=2) << told
    assert error.value.trail == ("lab.body(x=1)", "lab.plain(x=5)")


def test_an_error_of_the_body_itself_is_tried_again_and_pauses_count_no_retry() -> None:
    entry = task("lab.body", "x", cache=False, retries=1)
    book, job = begun(entry)
    assert book >> paused(job, a=1) << runs("lab.body", attempt=2)
    assert book >> paused(job, 2, b=1) << runs("lab.body", attempt=3)
    assert book >> raised(job, attempt=3) << runs("lab.body", attempt=4, known=Exactly({b"a": 1, b"b": 1}))
    assert book >> raised(job, attempt=4) << finishes(fails("ValueError"))


def test_a_lost_worker_loses_nothing_of_what_was_awaited() -> None:
    book, job = begun()
    timer = Placeholder("timer")
    assert book >> paused(job, a=1) << runs("lab.body", attempt=2)
    assert book >> lost(job, 2) << sets_timer(timer=timer)
    assert book >> fired(timer) << runs("lab.body", attempt=3, known=Exactly({b"a": 1}), losses=1)
    assert book >> returned(job, 2, attempt=3) << finishes(2)


def test_a_pause_that_is_told_twice_counts_once() -> None:
    book, job = begun()
    assert book >> paused(job, a=1) << runs("lab.body", attempt=2)
    assert book >> paused(job, a=1)
    assert book >> returned(job, 2, attempt=2) << finishes(2)


def test_a_body_that_awaits_gives_back_its_limits() -> None:
    entry = task("lab.body", "x", cache=False, limits={"db": 1})
    other = task("lab.plain", "x", cache=False, limits={"db": 1})
    book, job = begun(entry, other)
    child = Placeholder("child")
    assert book >> paused(job, a=call("lab.plain", 1)) << runs("lab.plain", job=child)
    assert book >> returned(child, 1) << runs("lab.body", attempt=2) >> returned(job, 2, attempt=2) << finishes(2)


def test_a_body_that_never_comes_to_the_same_expressions_is_an_error() -> None:
    book, job = begun()
    for attempt in range(1, MOST_STRAYS + 1):
        key = f"k{attempt}"
        assert book >> paused(job, attempt, strayed=True, **{key: attempt}) << runs("lab.body", attempt=attempt + 1)
    last = paused(job, MOST_STRAYS + 1, strayed=True, last=1)
    assert book >> last << finishes(fails("UnsteadyBody", "lab.body awaits other expressions"))


def test_a_body_that_is_cancelled_while_it_waits_is_not_entered_again() -> None:
    book, job = begun()
    child = Placeholder("child")
    assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
    assert book >> cancelled() << stops(child) >> returned(child, 6) << finishes(fails("Cancelled"))
    assert {row.status for row in book.rows(JobRow)} == {"cancelled"}


def test_a_body_that_is_cancelled_as_it_leaves_asks_for_nothing() -> None:
    book, job = begun()
    assert book >> cancelled() << stops(job) >> paused(job, a=call("lab.plain", 5)) << finishes(fails("Cancelled"))


def test_a_body_that_awaits_itself_is_a_cycle() -> None:
    book, job = begun()
    error = Placeholder("error")
    again = runs("lab.body", attempt=2, known={b"a": error})
    assert book >> paused(job, a=call("lab.body", 1)) << again
    assert error.value.type_name == "rayflow.errors.CyclicCall"
    assert book >> raised(job, error.value, attempt=2) << finishes(fails("CyclicCall", "needs its own result"))


def test_equal_calls_share_a_body_that_awaits() -> None:
    book, job = begun(root=[call("lab.body", 1), call("lab.body", 1)])
    assert book >> paused(job, a=1) << runs("lab.body", attempt=2)
    assert book >> returned(job, 2, attempt=2) << finishes([2, 2], counts=lambda counts: counts["shared"] == 1)


def test_the_costs_of_all_entries_are_added_up() -> None:
    book, job = begun()
    assert book >> paused(job, a=1) << runs("lab.body") >> returned(job, 2, attempt=2) << finishes(2)
    (row,) = [row for row in book.rows(JobRow) if row.status == "done"]
    assert (row.wall_seconds, row.attempts) == (0.5, 2)


CAUGHT = Form("catch", (call("lab.plain", 1), ("builtins.ValueError",), 1))
SUM = Operation("add", (1, call("lab.plain", 1)))


@pytest.mark.parametrize("form", [CAUGHT, SUM], ids=["form", "operation"])
def test_what_is_awaited_may_be_any_expression(form) -> None:
    book, job = begun()
    child = Placeholder("child")
    assert book >> paused(job, a=form) << runs("lab.plain", job=child)
    assert book >> returned(child, 6) << runs("lab.body", known={b"a": int})
    assert book >> returned(job, 0, attempt=2) << finishes(0)


def test_an_equal_call_under_another_context_does_not_fail_with_a_body_that_has_awaited() -> None:
    """What that one has awaited may have failed under its own context alone."""
    other = call("lab.body", 1, options={"context": {"who": "other"}})
    gate = task("lab.gate", cache=False)
    job, again, child, later = (Placeholder(name) for name in ("job", "again", "child", "later"))
    book = Playbook(Evaluator()) >> submitted(
        [call("lab.body", 1), Form("seq", (call("lab.gate"), other))], LOOSE, PLAIN, gate
    )
    assert book << unordered(runs("lab.body", job=job), runs("lab.gate", job=later))
    assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
    error = Placeholder("error")
    assert book >> raised(child) << runs("lab.body", job=job, attempt=2, known={b"a": error})
    assert book >> returned(later, 0) << looks_up("lab.body", asker=again)
    assert book >> found(again) << runs("lab.body", job=again)
    assert book >> raised(job, error.value, attempt=2) >> returned(again, 7) << finishes(fails("ValueError"))
    assert [row.status for row in book.rows(JobRow) if row.task_name == "lab.body"].count("done") == 1


class TestTheCache:
    def test_a_body_that_has_begun_a_thread_is_not_remembered(self) -> None:
        """Who took its value would begin nothing."""
        book, job = self.begun()
        assert book >> found(job) << runs("lab.body")
        thread = Form("fork_thread", (call("lab.plain", Quoted(1, content_digest(1))),))
        begun = Placeholder("begun")
        assert book >> paused(job, a=thread) << unordered(
            runs("lab.plain", job=begun), runs("lab.body", job=job, attempt=2)
        )
        assert book >> returned(begun, 1) >> returned(job, 5, attempt=2) << finishes(5)
        assert BODY.hash not in {each.reduction.task_hash for each in book.of(Remember)}

    def begun(self) -> tuple[Playbook, Placeholder]:
        asker = Placeholder("asker")
        book = Playbook(Evaluator()) >> submitted(call("lab.body", 1), BODY, PLAIN, KEPT)
        return book << looks_up("lab.body", asker=asker), asker

    def test_a_body_that_awaited_is_remembered_by_its_value_and_the_tasks_below(self) -> None:
        book, job = self.begun()
        child = Placeholder("child")
        assert book >> found(job) << runs("lab.body")
        assert book >> paused(job, a=call("lab.kept", 5)) << looks_up("lab.kept", asker=child)
        assert book >> found(child) << runs("lab.kept")
        tasks = b"".join(sorted((task_hash("lab.body"), task_hash("lab.kept"))))
        assert (
            book
            >> returned(child, 6)
            << runs("lab.body")
            >> returned(job, Operation("add", (1, 2)), attempt=2)
            << remembers(kind="awaited", term=3, task_set=tasks)
            << finishes(3)
        )
        kinds = [each.reduction.kind for each in book.of(Remember) if each.reduction.task_hash == BODY.hash]
        assert kinds == ["awaited"]

    def test_a_body_is_not_remembered_above_a_call_that_is_made_anew(self) -> None:
        book, job = self.begun()
        child = Placeholder("child")
        assert book >> found(job) << runs("lab.body")
        assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
        assert book >> returned(child, 6) << runs("lab.body") >> returned(job, 7, attempt=2) << finishes(7)
        assert BODY.hash not in {each.reduction.task_hash for each in book.of(Remember)}

    def test_its_value_is_taken_while_the_tasks_below_are_current(self) -> None:
        book, asker = self.begun()
        known = candidate(9, kind="awaited", task_set=[task_hash("lab.body"), task_hash("lab.plain")])
        assert book >> found(asker, known) << finishes(9, counts=lambda counts: counts["cached"] == 1)

    def test_its_value_is_not_taken_when_a_task_below_has_changed(self) -> None:
        book, asker = self.begun()
        stale = candidate(9, kind="awaited", task_set=[task_hash("lab.body"), task_hash("lab.plain", code=2)])
        assert book >> found(asker, stale) << runs("lab.body")

    def test_nothing_is_remembered_above_a_failure_that_it_has_caught(self) -> None:
        book, job = self.begun()
        child = Placeholder("child")
        assert book >> found(job) << runs("lab.body")
        assert book >> paused(job, a=call("lab.plain", 5)) << runs("lab.plain", job=child)
        assert book >> raised(child, failure()) << runs("lab.body") >> returned(job, 1, attempt=2) << finishes(1)
        assert not book.of(Remember)

    def test_a_crashed_execution_takes_the_value_that_it_has_recorded_also_of_a_task_without_cache(self) -> None:
        asker = Placeholder("asker")
        book = Playbook(Evaluator()) >> submitted(call("lab.body", 1), LOOSE, PLAIN, life=1)
        known = candidate(9, kind="awaited", task_set=[task_hash("lab.body")], execution_id="execution")
        other = candidate(8, kind="awaited", task_set=[task_hash("lab.body")], execution_id="another")
        assert book << looks_up("lab.body", asker=asker) >> found(asker, other, known) << finishes(9)

    def test_a_crashed_execution_enters_the_body_anew_and_finds_what_it_has_awaited(self) -> None:
        asker, child = Placeholder("asker"), Placeholder("child")
        book = Playbook(Evaluator()) >> submitted(call("lab.body", 1), LOOSE, PLAIN, life=1)
        assert book << looks_up("lab.body", asker=asker) >> found(asker) << runs("lab.body", known=None)
        assert book >> paused(asker, a=call("lab.plain", 5)) << looks_up("lab.plain", asker=child)
        known = Exactly({b"a": 6})
        assert book >> found(child, candidate(6, execution_id="execution")) << runs("lab.body", known=known)
        assert book >> returned(asker, 7, attempt=2) << finishes(7)

    def test_a_body_that_awaited_nothing_is_remembered_by_its_term(self) -> None:
        book, job = self.begun()
        assert book >> found(job) << runs("lab.body")
        assert book >> returned(job, 5) << remembers(kind="single", term=5) << finishes(5)


def test_ids_of_awaited_calls_do_not_depend_on_the_round_in_which_they_are_asked_for() -> None:
    ids = []
    for rounds in ([{"a": 5}, {"b": 6}], [{"b": 6}, {"a": 5}], [{"a": 5, "b": 6}]):
        book, job = begun()
        for attempt, asked in enumerate(rounds, start=1):
            children = [Placeholder(key) for key in asked]
            terms = {key: call("lab.plain", x) for key, x in asked.items()}
            expected = unordered(*[runs("lab.plain", job=child) for child in children])
            assert book >> paused(job, attempt, **terms) << expected
            for child in children[:-1]:
                assert book >> returned(child, 0)
            assert book >> returned(children[-1], 0) << runs("lab.body", attempt=attempt + 1)
        assert book >> returned(job, 0, attempt=len(rounds) + 1) << finishes(0)
        ids.append({each.job_id for each in book.of(RunTask) if each.entry is PLAIN})
    assert ids[0] == ids[1] == ids[2]


def test_what_a_worker_asks_for_must_be_readable() -> None:
    book, job = begun()
    assert book.play()
    with pytest.raises(Bug, match="cannot be read"):
        Playbook.play(book >> Paused(0, job.value, 1, b"rubbish", cost()))
