"""What is recorded when a job closes."""

from __future__ import annotations

import pytest

from rayflow.evaluator import hashes
from rayflow.evaluator.commands import SetTimer
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.messages import TimerFired
from rayflow.evaluator.timers import OpeningTimer
from rayflow.lang.terms.expressions import Operation
from rayflow.records import (
    ArgumentRow,
    CallChildRow,
    CallRow,
    JobRow,
    TaskRow,
    TaskSetRow,
    ValueRow,
)
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    START,
    Playbook,
    call,
    candidate,
    finishes,
    fired,
    found,
    looks_up,
    returned,
    runs,
    submitted,
    task,
    task_hash,
)
from rayflow.values.digests import digest
from rayflow.values.encoding.identity import value_hash

F = task("lab.f", "x", cache=False)
G = task("lab.g", "x", cache=False)
PAIR = task("lab.pair", "x", "y", cache=False)


def played(root, answers, *entries):
    """A book in which each call of a name in `answers` has returned what it says there, in order."""
    book = Playbook(Evaluator()) >> submitted(root, *entries)
    for name, term in answers:
        job = Placeholder(name)
        book = book << runs(name, job=job) >> returned(job, term)
    return book


def calls_by_name(book):
    return {row.task_name: row for row in book.rows(CallRow)}


def children_of(book, call_hash):
    rows = sorted((row for row in book.rows(CallChildRow) if row.call_hash == call_hash), key=lambda row: row.position)
    assert [row.position for row in rows] == list(range(len(rows)))
    return [row.child_call_hash for row in rows]


def test_a_call_hash_is_a_merkle_hash_over_task_arguments_result_and_calls_below() -> None:
    below = [call("lab.g", 1), call("lab.g", 2)]
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G)
    f, one, two = Placeholder("f"), Placeholder("one"), Placeholder("two")
    book = book << runs("lab.f", job=f) >> returned(f, below) << runs("lab.g", job=one) << runs("lab.g", job=two)
    assert book >> returned(two, 20) >> returned(one, 10) << finishes([10, 20])
    row = calls_by_name(book)["lab.f"]
    children = children_of(book, row.call_hash)
    assert sorted(children) == sorted(each.call_hash for each in book.rows(CallRow) if each.task_name == "lab.g")
    assert row.call_hash == digest("call", row.task_hash, row.args_hash, row.value_hash, *sorted(children))
    assert row.value_hash == value_hash([10, 20])


def test_the_call_node_is_the_same_whatever_the_order_of_answers() -> None:
    found = set()
    for order in ((0, 1), (1, 0)):
        jobs = [Placeholder("one"), Placeholder("two")]
        book = Playbook(Evaluator()) >> submitted([call("lab.g", 1), call("lab.g", 2)], G)
        book = book << runs("lab.g", job=jobs[0]) << runs("lab.g", job=jobs[1])
        for number in order:
            book = book >> returned(jobs[number], number)
        assert book << finishes([0, 1])
        found.add(next(row.call_hash for row in book.rows(JobRow) if row.parent_job_id is None))
    assert len(found) == 1


def test_an_argument_names_every_call_that_a_part_of_it_came_from() -> None:
    root = call("lab.pair", [call("lab.f", 1), Operation("add", (call("lab.g", 1), 1))], y=5)
    f, g, pair = Placeholder("f"), Placeholder("g"), Placeholder("pair")
    book = Playbook(Evaluator()) >> submitted(root, F, G, PAIR) << runs("lab.f", job=f) << runs("lab.g", job=g)
    book = book >> returned(g, 20) >> returned(f, 10) << runs("lab.pair", job=pair, arguments={"x": [10, 21], "y": 5})
    assert book >> returned(pair, 0) << finishes(0)
    calls = calls_by_name(book)
    rows = {
        (row.name, row.source_call_hash): row.value_hash
        for row in book.rows(ArgumentRow)
        if row.call_hash == calls["lab.pair"].call_hash
    }
    assert rows == {
        ("x", calls["lab.f"].call_hash): value_hash([10, 21]),
        ("x", calls["lab.g"].call_hash): value_hash([10, 21]),
        ("y", None): value_hash(5),
    }


def test_sources_reach_through_shared_jobs_and_results() -> None:
    # f returns g's value; what f's value is passed to came from f.
    root = call("lab.pair", call("lab.f", 1), call("lab.f", 1))
    book = played(root, [("lab.f", call("lab.g", 1)), ("lab.g", 3), ("lab.pair", 0)], F, G, PAIR) << finishes(0)
    assert book
    calls = calls_by_name(book)
    sources = {row.source_call_hash for row in book.rows(ArgumentRow) if row.call_hash == calls["lab.pair"].call_hash}
    assert sources == {calls["lab.f"].call_hash}


def test_task_sets_hold_all_tasks_below_a_call_itself_included() -> None:
    book = played(call("lab.f", 1), [("lab.f", call("lab.g", 1)), ("lab.g", 3)], F, G) << finishes(3)
    assert book
    sets: dict[bytes, set[bytes]] = {}
    for row in book.rows(TaskSetRow):
        sets.setdefault(row.task_set, set()).add(row.task_hash)
    calls = calls_by_name(book)
    assert sets[calls["lab.f"].task_set] == {task_hash("lab.f"), task_hash("lab.g")}
    assert sets[calls["lab.g"].task_set] == {task_hash("lab.g")}


def test_each_job_is_a_row_that_tells_who_called_it_and_how_it_came_by_its_value() -> None:
    asker = Placeholder("asker")
    h = task("lab.h", "x")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, h)
    f = Placeholder("f")
    book = book << runs("lab.f", job=f) >> returned(f, [call("lab.h", 1), call("lab.h", 1)])
    assert book << looks_up("lab.h", asker=asker) >> found(asker, candidate(5)) << finishes([5, 5])
    rows = book.rows(JobRow)
    root = rows[-1]
    assert (root.parent_job_id, root.task_name, root.how, root.attempts) == (None, "lab.f", "computed", 1)
    below = sorted((row.how, row.parent_job_id == root.job_id) for row in rows[:-1])
    assert below == [("cached", True), ("shared", True)]
    assert (root.node, root.pid, root.wall_seconds) == ("n1", 42, 0.25)
    assert START < root.queued_at < root.finished_at


def test_each_job_has_an_id_of_its_own_also_where_arguments_and_results_look_alike() -> None:
    # Both the argument and the result of f are a sum of two calls.
    def total():
        return Operation("add", (call("lab.u", 1), call("lab.u", 1)))

    u = task("lab.u", "x", cache_scope="NONE")
    book = Playbook(Evaluator()) >> submitted([call("lab.f", total())], F, u)
    for _ in range(2):
        jobs = [Placeholder("one"), Placeholder("two")]
        book = book << runs("lab.u", job=jobs[0]) << runs("lab.u", job=jobs[1])
        book = book >> returned(jobs[0], 1) >> returned(jobs[1], 2)
        if _ == 0:
            f = Placeholder("f")
            book = book << runs("lab.f", job=f, arguments={"x": 3}) >> returned(f, total())
    assert book << finishes([3])
    ids = [row.job_id for row in book.rows(JobRow)]
    assert len(ids) == len(set(ids)) == 6


def test_tasks_and_values_are_recorded_once_for_an_execution() -> None:
    root = [call("lab.f", 1), call("lab.f", 2)]
    book = Playbook(Evaluator()) >> submitted(root, F)
    jobs = [Placeholder("one"), Placeholder("two")]
    book = book << runs("lab.f", job=jobs[0]) << runs("lab.f", job=jobs[1])
    assert book >> returned(jobs[0], 7) >> returned(jobs[1], 7) << finishes([7, 7])
    assert [row.task_name for row in book.rows(TaskRow) if row.task_name == "lab.f"] == ["lab.f"]
    found = [row.value_hash for row in book.rows(ValueRow)]
    assert len(found) == len(set(found))
    assert value_hash(7) in found


def test_a_job_that_stays_open_for_long_gets_an_opening_row_and_so_do_those_above_it() -> None:
    outer, inner, timer = Placeholder("outer"), Placeholder("inner"), OpeningTimer(1)
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G) << runs("lab.f", job=outer)
    book = book >> returned(outer, [call("lab.g", 1)]) << runs("lab.g", job=inner)
    assert book >> fired(timer, at=START + 5_000_000)
    opened = [row for row in book.rows(JobRow) if row.status == "open"]
    assert {row.task_name for row in opened} == {"lab.f", "lab.g"}
    assert all(row.finished_at is None for row in opened)
    assert book >> returned(inner, 1) << finishes([1])
    last = {row.job_id: row for row in book.rows(JobRow)}
    assert {row.status for row in last.values()} == {"done"}


def test_an_opening_timer_that_fires_again_sets_no_second_timer() -> None:
    evaluator, at = Evaluator(), START
    came = evaluator.handle([submitted(call("lab.f", 1), F, at=START)])
    (timer,) = [each.timer for each in came if isinstance(each, SetTimer)]
    for _ in range(5):
        at += 100_000
        came = evaluator.handle([TimerFired(at, timer), TimerFired(at, timer)])
        (timer,) = [each.timer for each in came if isinstance(each, SetTimer)]


def test_a_job_that_ends_soon_has_no_opening_row() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job) >> fired(OpeningTimer(1))
    assert book >> returned(job, 1) << finishes(1)
    assert [row.status for row in book.rows(JobRow)] == ["done"]


def test_calls_in_the_arguments_of_the_root_stand_below_it_but_are_no_calls_of_its_task() -> None:
    nested = played(call("lab.f", call("lab.g", 1)), [("lab.g", 2), ("lab.f", 3)], F, G) << finishes(3)
    assert nested
    plain = played(call("lab.f", 2), [("lab.f", 3)], F) << finishes(3)
    assert plain

    jobs = {row.task_name: row for row in nested.rows(JobRow)}
    assert jobs["lab.g"].parent_job_id == jobs["lab.f"].job_id
    assert calls_by_name(nested)["lab.f"].call_hash == calls_by_name(plain)["lab.f"].call_hash
    assert not nested.rows(CallChildRow)


def test_what_an_older_identity_of_values_has_recorded_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms name values by their hashes: under an older identity, unequal values may share one."""

    def key() -> bytes:
        book = played([call("lab.f", 1)], [("lab.f", 2)], F) << finishes([2])
        assert book
        return calls_by_name(book)["lab.f"].eval_hash

    today = key()
    assert key() == today
    monkeypatch.setattr(hashes, "MEANING", hashes.MEANING + b"+")
    assert key() != today
