"""Closed jobs: they stay in memory for equal calls to come, and keep little for that."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from rayflow.evaluator import recorded_once
from rayflow.evaluator.commands import Finish, LookUp, LookUpVector, RunTask, RunVector
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.graph import NO_WORK, Work
from rayflow.evaluator.messages import LookedUp, LookedUpVector, Message, Returned, ReturnedVector, TimerFired
from rayflow.evaluator.timers import OpeningTimer
from rayflow.evaluator.vectors import FEWEST
from rayflow.lang.terms.codec import dumps
from rayflow.records import JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import EXECUTION, START, Playbook, call, cost, finishes, returned, runs, submitted, task
from rayflow.values.encoding.identity import value_hash

F, G = task("lab.f", "x"), task("lab.g", "x", cache=False)
JOBS = 2_000
MOST_BYTES = 580
"""What a closed job, its value and its key may take together. (Dicts that grow are counted at their largest.)"""

MOST_BYTES_OF_MEMBER = 480
"""The same for a member of a vector."""


def kept(evaluator: Evaluator, numbers: range) -> int:
    """Evaluate calls of these numbers, beside one that stays open; how many bytes are there more than before."""
    root = [*(call("lab.f", number) for number in numbers), call("lab.g", -1)]
    waiting: list[Message] = [submitted(root, F, G, at=START)]
    del root
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    answered = 0
    while waiting:
        batch, waiting = waiting[:100], waiting[100:]
        for command in evaluator.handle(batch):
            if type(command) is LookUpVector:
                waiting.append(LookedUpVector(START, command.first, {}))
            elif type(command) is RunVector:
                for job, (number,) in zip(command.jobs, command.arguments, strict=True):
                    answered += 1
                    term = dumps(number + 10**6)
                    waiting.append(ReturnedVector(START, [job], [term], [START], [0.1], [0.1], [None]))
            elif type(command) is LookUp:
                waiting.append(LookedUp(START, command.asker, ()))
            elif type(command) is RunTask and command.entry is F:
                answered += 1
                waiting.append(Returned(START, command.job, 1, dumps(command.arguments["x"] + 10**6), cost()))
    del batch
    assert answered == len(numbers)
    # It remembers new jobs for a second, and its last commands.
    evaluator.handle([TimerFired(START + 10_000_000, OpeningTimer(1))])
    evaluator.handle([])
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize(("fewest", "most_bytes"), [(FEWEST, MOST_BYTES_OF_MEMBER), (10**9, MOST_BYTES)])
def test_a_closed_job_keeps_few_bytes(monkeypatch: pytest.MonkeyPatch, fewest: int, most_bytes: int) -> None:
    monkeypatch.setattr(recorded_once, "MOST_VALUES", 10)
    kept(Evaluator(fewest=fewest), range(10))
    tracemalloc.start()
    try:
        evaluator = Evaluator(fewest=fewest)
        taken = kept(evaluator, range(1000, 1000 + JOBS))
    finally:
        tracemalloc.stop()
    assert len(evaluator.executions[EXECUTION].shared) == JOBS + 1
    assert taken / JOBS < most_bytes


def test_an_equal_call_has_the_value_and_the_hashes_of_a_closed_job() -> None:
    first, last = Placeholder("first"), Placeholder("last")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", call("lab.g", 1)), task("lab.f", "x", cache=False), G)
    book = book << runs("lab.g", job=first) >> returned(first, 5) << runs("lab.f", job=last)
    book = book >> returned(last, [call("lab.g", 1), call("lab.g", 1)]) << finishes([5, 5])
    assert book
    rows = [row for row in book.rows(JobRow) if row.task_name == "lab.g"]
    assert [row.how for row in rows] == ["computed", "shared", "shared"]
    assert len({row.call_hash for row in rows}) == 1
    assert len({row.job_id for row in rows}) == 3


def test_a_root_that_follows_a_closed_job_ends_with_the_hash_of_its_value() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.g", call("lab.g", 1)), G) << runs("lab.g", job=job)
    assert book >> returned(job, 1) << finishes(1)
    (finish,) = [command for command in book.commands if type(command) is Finish]
    assert finish.value_hash == value_hash(1)


def test_nothing_is_written_into_what_closed_jobs_have_in_common() -> None:
    untouched = Work(None, 0)
    untouched.children, untouched.wanted = NO_WORK.children, False
    for name in Work.__slots__:
        assert getattr(NO_WORK, name) == getattr(untouched, name), name
