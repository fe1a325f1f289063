"""The phases of a job in its row: when it was ready, when it was sent, what held it in between, what it asked for."""

from __future__ import annotations

import json

from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.messages import Paused
from rayflow.lang.terms.codec import dumps
from rayflow.records import AttemptRow, JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    START,
    STEP,
    Playbook,
    call,
    candidate,
    cost,
    finishes,
    fired,
    found,
    looks_up,
    raised,
    returned,
    runs,
    sets_timer,
    submitted,
    task,
)

F, G = task("lab.f", "x", cache=False), task("lab.g", "x", cache=False)


def rows_of(book: Playbook) -> dict[str, JobRow]:
    """The last row of each task's job."""
    return {row.task_name: row for row in book.rows(JobRow)}


def test_a_job_is_ready_when_its_arguments_are_values_and_sent_when_an_attempt_is() -> None:
    f, g, asker = Placeholder("f"), Placeholder("g"), Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", call("lab.g", 1)), task("lab.f", "x"), G)
    book = book << runs("lab.g", job=g) >> returned(g, 2) << looks_up("lab.f", asker=asker) >> found(asker)
    assert book << runs("lab.f", job=f) >> returned(f, 3) << finishes(3)
    first, second = rows_of(book)["lab.g"], rows_of(book)["lab.f"]
    assert first.queued_at == first.ready_at == first.sent_at == START + STEP
    assert second.queued_at == START + STEP
    assert second.ready_at == START + 2 * STEP, "when the argument came"
    assert second.sent_at == START + 3 * STEP, "when the store had answered"
    assert first.waited_on is second.waited_on is None


def test_a_job_that_the_cache_answers_was_ready_and_never_sent() -> None:
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), task("lab.f", "x")) << looks_up(asker=asker)
    assert book >> found(asker, candidate(5)) << finishes(5)
    (row,) = book.rows(JobRow)
    assert (row.ready_at, row.sent_at, row.waited_on) == (row.queued_at, None, None)


def test_a_job_whose_argument_fails_was_never_ready() -> None:
    g = Placeholder("g")
    entry = task("lab.f", "x", num_cpus=2)
    book = Playbook(Evaluator()) >> submitted(call("lab.f", call("lab.g", 1)), entry, G) << runs("lab.g", job=g)
    assert book >> raised(g) << finishes()
    row = rows_of(book)["lab.f"]
    assert (row.status, row.ready_at, row.sent_at, row.requested) == ("not_run", None, None, None)


def test_the_limits_that_held_a_job_are_named_and_no_others() -> None:
    jobs = [Placeholder("one"), Placeholder("two")]
    entry = task("lab.f", "x", cache=False, limits={"db": 1, "net": 1, "disk": 1})
    book = Playbook(Evaluator({"net": 5})) >> submitted([call("lab.f", 1), call("lab.f", 2)], entry)
    for job, value in zip(jobs, (1, 2), strict=True):
        book = book << runs("lab.f", job=job) >> returned(job, value)
    assert book << finishes([1, 2])
    first, second = book.rows(JobRow)[:2]
    assert (first.waited_on, second.waited_on) == (None, "limit db, limit disk")
    assert second.sent_at == second.ready_at + STEP


def test_the_delay_before_another_attempt_is_a_wait_and_the_last_attempt_counts() -> None:
    job, timer = Placeholder("job"), Placeholder("timer")
    entry = task("lab.f", "x", cache=False, retries=2, retry_delay=1.0)
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), entry) << runs("lab.f", job=job)
    for attempt in (1, 2):
        book = book >> raised(job, attempt=attempt) << sets_timer(timer=timer) >> fired(timer)
        book = book << runs("lab.f", job=job, attempt=attempt + 1)
        timer = Placeholder("timer")
    assert book >> returned(job, 5, attempt=3) << finishes(5)
    row = rows_of(book)["lab.f"]
    assert (row.waited_on, row.sent_at) == ("retry", START + 5 * STEP)
    assert [(each.attempt, each.started_at) for each in book.rows(AttemptRow)] == [(1, START), (2, START)]


def test_a_body_that_awaits_is_held_until_it_goes_on_and_its_stages_add_up() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G) << runs("lab.f", job=f)
    asked = dumps(((), {b"k": call("lab.g", 1)}))
    book = book >> Paused(0, f, 1, asked, cost()._replace(stage_in_seconds=0.5)) << runs("lab.g", job=g)
    book = book >> returned(g, 2) << runs("lab.f", attempt=2)
    last = cost()._replace(stage_in_seconds=0.25, stage_out_seconds=2.0)
    assert book >> returned(f, 3, attempt=2)._replace(cost=last) << finishes(3)
    row = rows_of(book)["lab.f"]
    assert (row.waited_on, row.stage_in_seconds, row.stage_out_seconds) == ("await", 0.75, 2.0)


def test_what_a_job_asks_of_a_node_is_recorded_unless_it_is_the_default() -> None:
    asking = {"num_cpus": 2, "num_gpus": 0, "memory": "4GiB", "resources": {"tape": 1}, "priority": 3}
    named = [("lab.f", asking), ("lab.g", {"num_cpus": 1})]
    entries = [task(name, "x", cache=False, **options) for name, options in named]
    book = Playbook(Evaluator()) >> submitted([call(name, 1) for name, _ in named], *entries)
    jobs = [Placeholder(name) for name, _ in named]
    for job, (name, _) in zip(jobs, named, strict=True):
        book = book << runs(name, job=job)
    for job in jobs:
        book = book >> returned(job, 1)
    assert book << finishes([1, 1])
    rows = rows_of(book)
    assert json.loads(rows["lab.f"].requested) == {"num_cpus": 2, "memory": 4 << 30, "resources": {"tape": 1}}
    assert rows["lab.g"].requested is None
