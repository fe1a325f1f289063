"""Limits: held while an attempt runs, given back on every way out."""

from __future__ import annotations

from rayflow.evaluator.capacity import Capacity
from rayflow.evaluator.evaluator import Evaluator
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import (
    Playbook,
    call,
    cancelled,
    candidate,
    fails,
    finishes,
    fired,
    found,
    looks_up,
    lost,
    raised,
    returned,
    runs,
    sets_timer,
    stops,
    submitted,
    task,
)


def calls(count, **options):
    """A root of so many calls of `lab.f`, and its entry."""
    return [call("lab.f", number) for number in range(count)], task("lab.f", "x", cache=False, **options)


def job_named(number: int) -> Placeholder:
    return Placeholder(f"job {number}")


def test_no_more_attempts_run_than_the_limit_has_capacity() -> None:
    root, entry = calls(3, limits=["db"])
    first, second, third = map(job_named, range(3))
    evaluator = Evaluator({"db": 2})
    book = Playbook(evaluator) >> submitted(root, entry)
    book = book << runs("lab.f", job=first, arguments={"x": 0}) << runs("lab.f", job=second, arguments={"x": 1})
    assert book
    assert evaluator.capacity.held == {"db": 2}
    assert (
        book
        >> returned(second, 1)
        << runs("lab.f", job=third, arguments={"x": 2})
        >> returned(first, 0)
        >> returned(third, 2)
        << finishes([0, 1, 2])
    )
    assert evaluator.capacity.held == {}


def test_a_limit_that_nobody_declared_has_capacity_one() -> None:
    root, entry = calls(2, limits=["licence"])
    assert Playbook(Evaluator()) >> submitted(root, entry) << runs("lab.f", arguments={"x": 0})


def test_amounts_count() -> None:
    root, entry = calls(3, limits={"db": 2})
    book = Playbook(Evaluator({"db": 5})) >> submitted(root, entry)
    assert book << runs("lab.f", arguments={"x": 0}) << runs("lab.f", arguments={"x": 1})


def test_a_need_beyond_the_whole_capacity_runs_alone_rather_than_never() -> None:
    root, entry = calls(2, limits={"db": 100})
    first = job_named(0)
    book = Playbook(Evaluator({"db": 3})) >> submitted(root, entry) << runs("lab.f", job=first)
    assert book >> returned(first, 0) << runs("lab.f")


def test_several_limits_are_taken_all_or_none() -> None:
    root = [call("lab.f", 0), call("lab.g", 0), call("lab.h", 0)]
    f = task("lab.f", "x", cache=False, limits=["a"])
    g = task("lab.g", "x", cache=False, limits=["a", "b"])
    h = task("lab.h", "x", cache=False, limits=["b"])
    book = Playbook(Evaluator()) >> submitted(root, f, g, h)
    # g waits for a, and so does not keep b from h.
    assert book << runs("lab.f") << runs("lab.h")


def test_who_waits_blocks_nobody_who_needs_less() -> None:
    root = [call("lab.small", 0), call("lab.large", 0), call("lab.small", 1)]
    small = task("lab.small", "x", cache=False, limits={"db": 1})
    large = task("lab.large", "x", cache=False, limits={"db": 2})
    book = Playbook(Evaluator({"db": 2})) >> submitted(root, small, large)
    assert book << runs("lab.small", arguments={"x": 0}) << runs("lab.small", arguments={"x": 1})


def test_higher_priority_goes_first_then_age() -> None:
    priorities = (0, 1, 5, 5, -1)
    root = [call("lab.f", number, options={"priority": priority}) for number, priority in enumerate(priorities)]
    _, entry = calls(0, limits=["db"])
    book = Playbook(Evaluator()) >> submitted(root, entry)
    for number in (0, 2, 3, 1, 4):
        job = job_named(number)
        book = book << runs("lab.f", job=job, arguments={"x": number}) >> returned(job, number)
    assert book << finishes([0, 1, 2, 3, 4])


def test_a_cached_call_takes_no_limit() -> None:
    f = task("lab.f", "x", limits=["db"])
    first, second = Placeholder("first"), Placeholder("second")
    evaluator = Evaluator()
    assert (
        Playbook(evaluator)
        >> submitted([call("lab.f", 1), call("lab.f", 2)], f)
        << looks_up("lab.f", asker=first)
        << looks_up("lab.f", asker=second)
        >> found(first)
        << runs("lab.f", job=first)
        >> found(second, candidate(2))
        >> returned(first, 1)
        << finishes([1, 2])
    )


class TestGivenBack:
    """After each way out of an attempt, the next one starts."""

    def started(self, **options):
        root, entry = calls(2, limits=["db"], **options)
        first = job_named(0)
        evaluator = Evaluator()
        book = Playbook(evaluator) >> submitted(root, entry) << runs("lab.f", job=first, arguments={"x": 0})
        return book, first, evaluator

    def test_when_it_returned(self) -> None:
        book, first, _ = self.started()
        assert book >> returned(first, 0) << runs("lab.f", arguments={"x": 1})

    def test_when_it_raised(self) -> None:
        book, first, _ = self.started()
        assert book >> raised(first) << runs("lab.f", arguments={"x": 1})

    def test_when_it_raised_and_is_tried_again(self) -> None:
        book, first, _ = self.started(retries=1)
        second = job_named(1)
        book = book >> raised(first) << runs("lab.f", job=second, arguments={"x": 1})
        assert book >> returned(second, 1) << runs("lab.f", job=first, attempt=2)

    def test_when_its_worker_was_lost(self) -> None:
        book, first, evaluator = self.started()
        second, timer = job_named(1), Placeholder("timer")
        book = book >> lost(first) << runs("lab.f", job=second, arguments={"x": 1}) << sets_timer(timer=timer)
        book = book >> returned(second, 1) >> fired(timer) << runs("lab.f", job=first, attempt=2)
        assert book >> returned(first, 0, attempt=2) << finishes([0, 1])
        assert evaluator.capacity.held == {}

    def test_when_its_worker_was_lost_for_good(self) -> None:
        book, first, _ = self.started()
        assert book >> lost(first, fatal=True) << runs("lab.f", arguments={"x": 1})

    def test_when_it_was_cancelled(self) -> None:
        book, first, evaluator = self.started()
        assert book >> cancelled() << stops(first) >> returned(first, 0) << finishes(fails("Cancelled"))
        assert evaluator.capacity.held == {}

    def test_when_it_was_cancelled_the_next_execution_may_start(self) -> None:
        book, first, _ = self.started()
        root, entry = calls(1, limits=["db"])
        assert (
            book
            >> submitted(root, entry, execution_id="next")
            >> cancelled()
            << stops(first)
            >> lost(first)
            << runs("lab.f", execution_id="next")
            << finishes(fails("Cancelled"))
        )


class Waiter:
    """What a queue has to know of a job."""

    def __init__(self, number: int, options: dict[str, object]) -> None:
        self.number, self.options, self.execution = number, options, self
        self.execution_id = "execution"


def test_whoever_fits_goes_first_by_priority_and_age_whatever_the_others_need() -> None:
    capacity = Capacity({"db": 4, "net": 2})
    running = Waiter(0, {"limits": {"db": 4, "net": 1}})
    assert capacity.take(running)
    waiting = [
        Waiter(1, {"limits": {"db": 3, "net": 2}}),
        Waiter(2, {"limits": {"db": 1}}),
        Waiter(3, {"limits": {"db": 3, "net": 2}, "priority": 1}),
        Waiter(4, {"limits": {"db": 1}}),
        Waiter(5, {"limits": ["db"]}),
        Waiter(6, {"limits": {"net": 2}}),
    ]
    assert not any(capacity.take(each) for each in waiting)
    capacity.drop(waiting[3])
    assert [each.number for each in capacity.give_back(running)] == [3, 2]
    assert capacity.take(waiting[2]) and capacity.take(waiting[1])
    assert [each.number for each in capacity.give_back(waiting[1])] == [5]
    assert capacity.take(waiting[4])
    assert [each.number for each in capacity.give_back(waiting[2])] == [1]
    assert capacity.take(waiting[0])
    assert [each.number for each in capacity.give_back(waiting[0])] == [6]


def test_what_a_limit_gives_back_is_not_offered_to_all_who_wait_for_it() -> None:
    capacity = Capacity({"db": 1})
    crowd = [Waiter(number, {"limits": ["db"]}) for number in range(1_000)]
    assert [each.number for each in crowd if capacity.take(each)] == [0]
    for number in range(999):
        (following,) = capacity.give_back(crowd[number])
        assert following is crowd[number + 1] and capacity.take(following)
