"""A crashed execution is taken up again: the same jobs, and nothing twice that was remembered."""

from __future__ import annotations

import pytest

from rayflow.evaluator.commands import Remember
from rayflow.evaluator.evaluator import Evaluator
from rayflow.records import CallRow, JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    EXECUTION,
    Playbook,
    call,
    candidate,
    finishes,
    found,
    looks_up,
    returned,
    runs,
    submitted,
    task,
)

F = task("lab.f", "x")
UNSHARED = task("lab.u", "x", cache_scope="NONE")
MINE = {"execution_id": EXECUTION}


@pytest.mark.parametrize("options", [{"cache": False}, {"cache_scope": "CSE"}, {"cache_scope": "BACKEND"}])
def test_what_the_same_execution_remembered_counts_whatever_the_cache_options(options) -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), task("lab.f", "x", **options), life=1)
    assert book << looks_up("lab.f", asker=asker) >> found(asker, candidate(5, **MINE)) << finishes(5)
    assert book.rows(JobRow)[-1].how == "shared"


def test_a_run_without_cache_takes_only_what_it_remembered_itself() -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, life=1, cache=False)
    assert book << looks_up("lab.f", asker=asker) >> found(asker, candidate(4), candidate(5, **MINE)) << finishes(5)


def test_a_task_that_is_not_cached_takes_nothing_of_other_executions() -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), task("lab.f", "x", cache=False), life=1)
    assert book << looks_up("lab.f", asker=asker) >> found(asker, candidate(5)) << runs("lab.f")


def test_a_call_that_nothing_may_answer_is_known_again_by_its_place() -> None:
    root = [call("lab.u", 1), call("lab.u", 1)]
    jobs = [Placeholder("one"), Placeholder("two")]
    book = Playbook(Evaluator()) >> submitted(root, UNSHARED)
    book = book << runs("lab.u", job=jobs[0]) << runs("lab.u", job=jobs[1])
    assert book >> returned(jobs[0], 1) >> returned(jobs[1], 2) << finishes([1, 2])
    keys = [command.reduction.eval_hash for command in book.of(Remember)]
    assert len(set(keys)) == 2
    askers = [Placeholder("first"), Placeholder("second")]
    again = Playbook(Evaluator()) >> submitted(root, UNSHARED, life=1)
    again = again << looks_up(asker=askers[0], eval_hash=keys[0]) << looks_up(asker=askers[1], eval_hash=keys[1])
    assert again >> found(askers[0], candidate(1, **MINE)) >> found(askers[1]) << runs("lab.u")


def played(order):
    """A run in which f(1) is called from two places; the job ids by task and arguments, and by place."""
    u = task("lab.u", "x", cache=False)
    g = task("lab.g", "x", cache=False)
    root = [call("lab.g", call("lab.u", 1)), call("lab.g", call("lab.u", 2) - 1)]
    book = Playbook(Evaluator()) >> submitted(root, u, g, cache=False)
    jobs = [Placeholder("one"), Placeholder("two")]
    book = book << runs("lab.u", job=jobs[0]) << runs("lab.u", job=jobs[1])
    leader, below = Placeholder("leader"), Placeholder("below")
    book = book >> returned(jobs[order[0]], order[0] + 1) << runs("lab.g", job=leader)
    book = book >> returned(jobs[order[1]], order[1] + 1) >> returned(leader, call("lab.u", 9))
    assert book << runs("lab.u", job=below) >> returned(below, 0) << finishes([0, 0])
    return {row.job_id: row.task_name for row in book.rows(JobRow)}


def test_jobs_have_the_same_ids_in_every_life_whichever_twin_did_the_work() -> None:
    assert played((0, 1)) == played((1, 0))


def test_what_was_remembered_before_the_crash_leaves_its_call_after_it() -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, life=1) << looks_up("lab.f", asker=asker)
    assert book >> found(asker, candidate(5, **MINE)) << finishes(5)
    (call_row,) = book.rows(CallRow)
    assert call_row.call_hash == book.rows(JobRow)[-1].call_hash


def test_a_first_life_takes_nothing_for_its_own() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.u", 1), UNSHARED, life=0) << runs("lab.u", job=job)
    assert book >> returned(job, 1) << finishes(1)
