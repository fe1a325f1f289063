"""A call whose body is an evaluation of its own: what it is given, and what its end tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rayflow.evaluator.commands import Finish, RunTask, Warn
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.messages import NestedEnd, NestedStart
from rayflow.evaluator.nested_executions import MOST_DEEP
from rayflow.lang.operations import SUBRUN
from rayflow.lang.terms.codec import content_digest
from rayflow.lang.terms.expressions import Quoted
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    EXECUTION,
    Playbook,
    call,
    fails,
    failure,
    finishes,
    lost,
    raised,
    returned,
    runs,
    submitted,
    task,
)

MANY = task(SUBRUN, "thunk", cache=False)
ONE, TWO = task("lab.one", cache=False), task("lab.two", cache=False)


def quoted(term: Any) -> Quoted:
    return Quoted(term, content_digest(term))


def sent(book: Playbook) -> RunTask:
    """The subrun that was sent last."""
    return [each for each in book.of(RunTask) if each.entry.name == SUBRUN][-1]


def played(*order: str) -> RunTask:
    """The subrun that is sent where two bodies return equal ones, in this order."""
    jobs = {"lab.one": Placeholder("one"), "lab.two": Placeholder("two")}
    book = Playbook(Evaluator()) >> submitted([call("lab.one"), call("lab.two")], ONE, TWO, MANY)
    book = book << runs("lab.one", job=jobs["lab.one"]) << runs("lab.two", job=jobs["lab.two"])
    first, second = [returned(jobs[name], call(SUBRUN, quoted(1))) for name in order]
    assert book >> first << runs(SUBRUN) >> second
    return sent(book)


def test_ids_below_do_not_depend_on_which_of_two_equal_ones_does_the_work() -> None:
    one, two = played("lab.one", "lab.two"), played("lab.two", "lab.one")
    assert one.under is not None and two.under is not None
    assert one.job_id != two.job_id
    assert one.under.path == two.under.path


@pytest.mark.parametrize(
    ("ends", "is_torn"),
    [
        (lambda job: returned(job, 7)._replace(below=NestedEnd()), False),
        (lambda job: returned(job, 7)._replace(below=NestedEnd(is_torn=True)), True),
        (lambda job: raised(job, failure())._replace(below=NestedEnd(is_clean=False)), False),
        (lambda job: raised(job, failure()), True),
        (lambda job: lost(job, fatal=True), True),
    ],
    ids=["returned", "returned, a part lost", "raised", "ended", "lost"],
)
def test_whether_jobs_may_be_left_open_is_known_by_how_it_ends(ends: Any, is_torn: bool) -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call(SUBRUN, quoted(1)), MANY) << runs(SUBRUN, job=job)
    assert book >> ends(job) << finishes()
    assert [each.is_torn for each in book.of(Finish)] == [is_torn]


def test_an_execution_that_is_taken_up_again_may_have_left_jobs_open() -> None:
    for life in (0, 1):
        book = Playbook(Evaluator()) >> submitted([1], life=life)
        assert book << finishes([1])
        assert [each.is_torn for each in book.of(Finish)] == [life > 0]


def under(**changes: Any) -> NestedStart:
    """What an evaluation inside a call is given."""
    plain = NestedStart(
        execution_id=EXECUTION,
        job_id=b"j" * 16,
        path=b"p" * 16,
        trail=(),
        options={},
        cache=True,
        life=0,
        context={},
        exports=None,
        is_recorded=True,
        profiles={},
        limits={"db": 2.0},
    )
    return replace(plain, **changes)


def test_subruns_that_stand_in_each_other_too_deep_fail_with_what_to_write_instead() -> None:
    inside = submitted(call(SUBRUN, quoted(1)), MANY)
    book = Playbook(Evaluator()) >> inside._replace(under=under(depth=MOST_DEEP - 1))
    assert book << runs(SUBRUN)
    job = sent(book)
    assert job.under is not None and job.under.depth == MOST_DEEP
    book = Playbook(Evaluator()) >> inside._replace(under=under(depth=MOST_DEEP))
    assert book << finishes(fails("NestedRun", lambda text: f"in {MOST_DEEP} others" in text and "f(n - 1)" in text))


def test_that_subruns_stand_too_deep_is_not_tried_again() -> None:
    job = Placeholder("job")
    error = failure("rayflow.errors.NestedRun")
    book = Playbook(Evaluator()) >> submitted(call(SUBRUN, quoted(1)), task(SUBRUN, "thunk", cache=False, retries=5))
    assert book << runs(SUBRUN, job=job) >> raised(job, error) << finishes(fails("NestedRun"))


@pytest.mark.parametrize(
    ("held", "told"),
    [({}, 1), ({"gpu": 1}, 1), ({"db": 1}, 1), ({"db": 2}, 0)],
    ids=["none", "other", "less", "enough"],
)
def test_a_limit_that_a_subrun_does_not_hold_itself_is_warned_of_once(held: dict[str, float], told: int) -> None:
    user = task("lab.user", "x", cache=False, limits={"db": 2})
    jobs = [Placeholder("one"), Placeholder("two")]
    inside = submitted([call("lab.user", 1), call("lab.user", 2)], user)._replace(under=under(held=held))
    book = Playbook(Evaluator({"db": 2.0})) >> inside << runs("lab.user", job=jobs[0])
    assert book >> returned(jobs[0], 1) << runs("lab.user", job=jobs[1]) >> returned(jobs[1], 2) << finishes([1, 2])
    texts = [each.text for each in book.of(Warn)]
    assert len(texts) == told
    assert all("lab.user" in text and "limits={'db': 2}" in text for text in texts)


def test_a_subrun_holds_what_those_around_it_hold() -> None:
    holder = task(SUBRUN, "thunk", cache=False, limits=["gpu"])
    inside = submitted(call(SUBRUN, quoted(1)), holder)._replace(under=under(held={"db": 2}))
    book = Playbook(Evaluator({"gpu": 1.0})) >> inside
    assert book << runs(SUBRUN)
    job = sent(book)
    assert job.under is not None and job.under.held == {"db": 2, "gpu": 1}


def test_what_is_warned_of_in_subruns_is_told_once() -> None:
    jobs = [Placeholder("one"), Placeholder("two")]
    root = [call(SUBRUN, quoted(1)), call(SUBRUN, quoted(2))]
    book = Playbook(Evaluator()) >> submitted(root, MANY) << runs(SUBRUN, job=jobs[0]) << runs(SUBRUN, job=jobs[1])
    book = book >> returned(jobs[0], 7)._replace(below=NestedEnd(warnings=("mind the gap", "look up")))
    end = NestedEnd(is_clean=False, warnings=("mind the gap", "duck"))
    book = book >> raised(jobs[1], failure())._replace(below=end)
    assert book << finishes()
    assert [each.text for each in book.of(Warn)] == ["mind the gap", "look up", "duck"]
