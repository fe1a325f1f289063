"""A call that needs its own result fails with an error that names the cycle; it never hangs."""

from __future__ import annotations

from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.expressions import Form
from rayflow.records import JobRow
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    fails,
    finishes,
    operated,
    returned,
    runs,
    runs_operation,
    submitted,
    task,
    task_value,
)

F = task("lab.f", "x", cache=False)
G = task("lab.g", "x", cache=False)
H = task("lab.h", "x", cache=False)


def test_a_call_that_returns_itself() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F) << runs("lab.f", job=job)
    assert book >> returned(job, call("lab.f", 1)) << finishes(fails("CyclicCall", "lab.f(x=1) needs its own result"))
    assert [row.status for row in book.rows(JobRow)] == ["failed", "failed"]


def test_a_loop_of_calls_is_named_in_order() -> None:
    f, g, h = Placeholder("f"), Placeholder("g"), Placeholder("h")
    outcome = Placeholder("outcome")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G, H) << runs("lab.f", job=f)
    book = book >> returned(f, [call("lab.g", 1)]) << runs("lab.g", job=g) >> returned(g, call("lab.h", 1) + 1)
    book = book << runs("lab.h", job=h) >> returned(h, call("lab.g", 1)) << finishes(outcome)
    assert book
    assert outcome.value.type_name == "rayflow.errors.CyclicCall"
    message = outcome.value.message
    assert "lab.g(x=1)" in message
    assert "lab.h(x=1)" in message
    assert "lab.f" not in message


def test_an_argument_that_needs_the_call() -> None:
    job = Placeholder("job")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G) << runs("lab.f", job=job)
    assert book >> returned(job, call("lab.g", call("lab.f", 1))) << finishes(fails("CyclicCall", "lab.f(x=1)"))


def test_a_cycle_can_be_caught() -> None:
    f, worker, g = Placeholder("f"), Placeholder("worker"), Placeholder("g")
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 1), F, G, cache=False) << runs("lab.f", job=f)
    caught = Form("catch", (call("lab.f", 1), ("builtins.RecursionError",), task_value("lab.g")))
    book = book >> returned(f, caught) << runs_operation("restore", asker=worker) >> operated(worker, 0)
    assert book << runs("lab.g", job=g) >> returned(g, 7) << finishes(7)


def test_a_cycle_beside_other_work_waits_for_it_to_end() -> None:
    f, h = Placeholder("f"), Placeholder("h")
    book = Playbook(Evaluator()) >> submitted([call("lab.f", 1), call("lab.h", 1)], F, H)
    book = book << runs("lab.f", job=f) << runs("lab.h", job=h) >> returned(f, call("lab.f", 1))
    assert book >> returned(h, 5) << finishes(fails("CyclicCall"))


def test_two_cycles_are_both_broken() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = Playbook(Evaluator()) >> submitted([call("lab.f", 1), call("lab.g", 1)], F, G)
    book = book << runs("lab.f", job=f) << runs("lab.g", job=g) >> returned(f, call("lab.f", 1))
    listed = Placeholder("listed")
    assert book >> returned(g, call("lab.g", 1)) << finishes(fails("CyclicCall", "lab.f"), failures=listed)
    assert len(listed.value) == 2


def test_a_cycle_of_thousands_of_calls_is_found() -> None:
    count = 3_000
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 0), F)
    for number in range(count):
        job = Placeholder(f"job {number}")
        book = book << runs("lab.f", job=job) >> returned(job, [call("lab.f", (number + 1) % count)])
    assert book << finishes(fails("CyclicCall"))


def test_recursion_with_an_end_is_no_cycle() -> None:
    book = Playbook(Evaluator()) >> submitted(call("lab.f", 3), F)
    for number in (3, 2, 1):
        job = Placeholder("job")
        book = book << runs("lab.f", job=job, arguments={"x": number}) >> returned(job, call("lab.f", number - 1) + 1)
    job = Placeholder("job")
    assert book << runs("lab.f", job=job) >> returned(job, 0) << finishes(3)
