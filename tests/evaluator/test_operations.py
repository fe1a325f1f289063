"""Operations: here when they are cheap, else where the data is; and then remembered."""

from __future__ import annotations

from rayflow.evaluator.commands import Remember
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.operations import OPERATIONS
from rayflow.lang.terms.expressions import Form, Operation, TaskRef
from rayflow.testing.patterns import Placeholder, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    candidate,
    fails,
    failure,
    finishes,
    found,
    looks_up,
    operated,
    remembers,
    returned,
    runs,
    runs_operation,
    submitted,
    task,
)
from rayflow.values.refs import ValueRef

F = task("lab.f", "x")
UNCACHED = task("lab.u", "x", cache_scope="NONE")
TABLE = ValueRef(b"t" * 20, "pandas.DataFrame", 1 << 30, "arrow")


def asked(root, *entries, **fields):
    """A book in which an operation on something large has been looked up, and the placeholder of who asks."""
    asker = Placeholder("asker")
    book = Playbook(Evaluator()) >> submitted(root, *entries, **fields)
    return book << looks_up(task_hash=OPERATIONS, asker=asker), asker


def test_cheap_operations_need_no_trip() -> None:
    root = [Operation("add", (1, 2)), Operation("getitem", ({"k": 5}, "k")), Operation("eq", (1, 1))]
    assert Playbook(Evaluator()) >> submitted(root) << finishes([3, 5, True])


def test_what_an_operation_raises_here_is_a_failure() -> None:
    assert Playbook(Evaluator()) >> submitted(Operation("floordiv", (1, 0))) << finishes(fails("ZeroDivisionError"))


def test_an_operation_on_a_large_value_is_looked_up_run_and_remembered() -> None:
    book, asker = asked(Operation("getitem", (TABLE, "k")))
    worker = Placeholder("worker")
    assert (
        book
        >> found(asker)
        << runs_operation("getitem", TABLE, "k", asker=worker)
        >> operated(worker, 5)
        << remembers(term=5, task_hash=OPERATIONS, kind="single")
        << finishes(5)
    )


def test_a_remembered_operation_is_not_run() -> None:
    book, asker = asked(Operation("getitem", (TABLE, "k")))
    assert book >> found(asker, candidate(9, verdict=False), candidate(5)) << finishes(5)


def test_equal_operations_have_one_key_and_others_another() -> None:
    keys = []
    for args in ((TABLE, "k"), (TABLE, "k"), (TABLE, "l")):
        key = Placeholder("key")
        assert Playbook(Evaluator()) >> submitted(Operation("getitem", args)) << looks_up(eval_hash=key)
        keys.append(key.value)
    assert keys[0] == keys[1] != keys[2]


def test_without_cache_an_operation_is_run_at_once() -> None:
    worker = Placeholder("worker")
    assert (
        Playbook(Evaluator())
        >> submitted(Operation("getitem", (TABLE, "k")), cache=False)
        << runs_operation("getitem", asker=worker)
        >> operated(worker, 5)
        << finishes(5)
    )


def test_without_cache_a_replay_takes_operations_of_its_own_execution_only() -> None:
    for execution_id, hit in (("execution", True), ("earlier", False)):
        book, asker = asked(Operation("getitem", (TABLE, "k")), cache=False, life=1)
        book = book >> found(asker, candidate(5, execution_id=execution_id))
        assert book << (finishes(5) if hit else runs_operation("getitem"))


def test_a_failed_operation_is_a_failure_and_not_remembered() -> None:
    book, asker = asked(Operation("getitem", (TABLE, "k")))
    worker = Placeholder("worker")
    assert (
        book
        >> found(asker)
        << runs_operation("getitem", asker=worker)
        >> operated(worker, failure=failure("KeyError", "k"))
        << finishes(fails("KeyError"))
    )
    assert not book.of(Remember)


def test_an_operation_may_give_a_call() -> None:
    book, asker = asked(Operation("call", (TABLE, (1,), {})), F)
    worker, below = Placeholder("worker"), Placeholder("below")
    assert (
        book
        >> found(asker)
        << runs_operation("call", asker=worker)
        >> operated(worker, call("lab.f", 1))
        << looks_up("lab.f", asker=below)
        >> found(below, candidate(4))
        << finishes(4)
    )


def test_a_task_as_a_value_is_called_without_a_trip() -> None:
    partial = TaskRef("lab.g", b"", (1,), {"y": 2})
    job = Placeholder("job")
    g = task("lab.g", "x", "z", "y", cache_scope="NONE")
    assert (
        Playbook(Evaluator())
        >> submitted(Operation("call", (partial, (3,), {})), g)
        << runs("lab.g", job=job, arguments={"x": 1, "z": 3, "y": 2})
    )


def test_repeated_and_unknown_answers_are_dropped() -> None:
    asker, worker, job = Placeholder("asker"), Placeholder("worker"), Placeholder("job")
    book = (
        Playbook(Evaluator())
        >> submitted([Operation("getitem", (TABLE, "k")), call("lab.u", 1)], UNCACHED)
        << runs("lab.u", job=job)
        << looks_up(asker=asker)
        >> found(asker)
        << runs_operation("getitem", asker=worker)
        >> found(asker)
        >> found(asker, candidate(7))
        >> operated(12345, 8)
        >> operated(worker, 5)
        << remembers(term=5)
        >> operated(worker, 6)
        >> found(asker, candidate(7))
        >> returned(job, 1)
        << finishes([5, 1])
    )
    assert book


def test_what_two_operations_gave_is_kept_apart_although_both_terms_are_gone() -> None:
    # The second term is likely to stand where the first one stood in memory.
    root = Form("seq", tuple(Operation("call", (TABLE, (number,), {})) for number in range(6)))
    book = Playbook(Evaluator()) >> submitted(root, UNCACHED, cache=False)
    for number in range(6):
        worker, job = Placeholder("worker"), Placeholder("job")
        once = call("lab.u", number)
        book = book << runs_operation("call", asker=worker) >> operated(worker, once + once)
        book = book << runs("lab.u", job=job, arguments={"x": number}) >> returned(job, number)
    assert book << finishes([0, 2, 4, 6, 8, 10])


def test_equal_operations_under_way_are_asked_once() -> None:
    size = Operation("len", (TABLE,))
    again = Operation("len", (TABLE,))
    asker, job, worker = Placeholder("asker"), Placeholder("job"), Placeholder("worker")
    assert (
        Playbook(Evaluator())
        >> submitted([size, again, call("lab.f", 1)], F)
        << unordered(looks_up(task_hash=OPERATIONS, asker=asker), looks_up("lab.f", asker=job))
        >> found(asker)
        << runs_operation("len", TABLE, asker=worker)
        >> operated(worker, 7)
        << remembers(term=7)
        >> found(job, candidate(1))
        << finishes([7, 7, 1])
    )
