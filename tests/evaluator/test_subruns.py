"""A call whose body is an evaluation of its own: what it is given, and what its end tells."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.evaluator.commands import Finish, RunTask
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.subruns import Below
from rayflow.lang.codec import content_digest
from rayflow.lang.expressions import Quoted
from rayflow.lang.operations import SUBRUN
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import Playbook, call, failure, finishes, lost, raised, returned, runs, submitted, task

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
        (lambda job: returned(job, 7)._replace(below=Below()), False),
        (lambda job: returned(job, 7)._replace(below=Below(is_torn=True)), True),
        (lambda job: raised(job, failure())._replace(below=Below(is_clean=False)), False),
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
