"""Bundles: how many calls travel together, and what goes alone."""

from __future__ import annotations

import pytest

from rayflow.evaluator.commands import RunTask
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.on_ray.actor.bundles import (
    FIRST_TRIES_PER_CPU,
    LONG_SECONDS,
    MOST_CALLS,
    TARGET_SECONDS,
    WINDOW_PER_CPU,
    Bundle,
    Bundler,
)

NO_PARAMETERS = Parameters((), (), frozenset())
ENTRIES = {name: TaskEntry(name, name.encode(), NO_PARAMETERS) for name in ("f", "g", "h")}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def attempt(job: int, name: str = "f", execution: str = "e", losses: int = 0, **options: object) -> RunTask:
    return RunTask(job, 1, execution, str(job).encode(), ENTRIES[name], {}, options, losses)


def all_of(bundler: Bundler, *, come_back: bool = False) -> list[Bundle]:
    """The bundles that may be sent now. come_back: also those that may be sent as soon as these have come back."""
    bundles = []
    while (bundle := bundler.next()) is not None:
        bundles.append(bundle)
        if come_back:
            bundler.ended(bundle.number)
    return bundles


def sizes(bundles: list[Bundle]) -> list[int]:
    return [len(bundle.attempts) for bundle in bundles]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def filled(clock: Clock, count: int, cpus: float = 2, seconds: float | None = None, **options: object) -> Bundler:
    bundler = Bundler(cpus, clock)
    if seconds is not None:
        bundler.note_seconds("f", seconds)
    for job in range(count):
        bundler.add(attempt(job, **options))
    return bundler


def test_a_task_that_was_never_measured_goes_alone_and_only_a_few_at_a_time(clock):
    bundler = filled(clock, 1000)
    assert sizes(all_of(bundler)) == [1] * int(FIRST_TRIES_PER_CPU * 2)


def test_a_first_try_that_does_not_come_back_shows_that_the_task_is_long(clock):
    bundler = filled(clock, 1000)
    all_of(bundler)
    clock.now = LONG_SECONDS + 0.01
    assert sizes(all_of(bundler)) == [1] * (WINDOW_PER_CPU * 2 - int(FIRST_TRIES_PER_CPU * 2))


def test_an_unmeasured_task_does_not_wait_for_another_one_that_is_long(clock):
    bundler = filled(clock, 50)
    all_of(bundler)
    bundler.add(attempt(1000, "g"))
    bundler.add(attempt(1001, "g", num_cpus=2))
    clock.now = LONG_SECONDS / 2
    assert [bundle.attempts[0].entry.name for bundle in all_of(bundler)] == ["g"]
    clock.now = 100.0
    assert {bundle.attempts[0].entry.name for bundle in all_of(bundler)} == {"f", "g"}
    assert len(bundler) == 0


def test_short_calls_fill_a_bundle_and_long_ones_do_not(clock):
    assert max(sizes(all_of(filled(clock, 100_000, seconds=0.0)))) == MOST_CALLS
    ten = sizes(all_of(filled(clock, 10_000, seconds=TARGET_SECONDS / 10)))
    assert set(ten) == {10}
    assert set(sizes(all_of(filled(clock, 500, seconds=1.0)))) == {1}


def test_the_last_calls_are_cut_so_that_every_processor_gets_some(clock):
    for seconds in (0.0001, 0.001):
        bundles = all_of(filled(clock, 60, cpus=4, seconds=seconds), come_back=True)
        assert len(bundles) >= 12 and max(sizes(bundles)) == 5
        assert sum(sizes(bundles)) == 60


def test_a_faster_measurement_counts_for_more_than_a_slower_one(clock):
    bundler = filled(clock, 0, seconds=3.0)
    for _ in range(5):
        bundler.note_seconds("f", 0.001)
    for job in range(10_000):
        bundler.add(attempt(job))
    assert max(sizes(all_of(bundler))) > 3


def test_calls_of_two_executions_or_two_shapes_never_share_a_bundle_and_take_turns(clock):
    bundler = filled(clock, 0, seconds=0.0001)
    for job in range(900):
        bundler.add(attempt(job, execution="one" if job % 3 else "two", num_cpus=1 + (job % 2)))
    bundles = all_of(bundler)
    for bundle in bundles:
        assert {each.execution_id for each in bundle.attempts} == {bundle.execution_id}
        assert {each.options["num_cpus"] for each in bundle.attempts} == {bundle.shape.num_cpus}
    assert len({(bundle.execution_id, bundle.shape) for bundle in bundles[:4]}) == 4


def test_a_shape_that_no_node_has_does_not_take_the_window_of_the_others(clock):
    bundler = filled(clock, 1000, seconds=10.0, num_gpus=1)
    assert len(all_of(bundler)) == WINDOW_PER_CPU * 2
    bundler.add(attempt(5000))
    assert sizes(all_of(bundler)) == [1]


@pytest.mark.parametrize(
    ("options", "losses"), [({"timeout": 5}, 0), ({"bundle": False}, 0), ({}, 1)], ids=["timeout", "asked", "lost"]
)
def test_a_call_with_a_timeout_or_a_lost_worker_or_by_wish_goes_alone(clock, options, losses):
    bundler = Bundler(2, clock)
    bundler.note_seconds("f", 0.0001)
    for job in range(200):
        bundler.add(attempt(job, losses=losses, **options))
    assert set(sizes(all_of(bundler))) == {1}


def test_the_largest_bundle_can_be_asked_for(clock):
    assert max(sizes(all_of(filled(clock, 5000, seconds=0.0001, bundle=7)))) == 7


def test_a_task_that_makes_large_values_goes_alone_also_behind_another(clock):
    bundler = Bundler(1, clock)
    bundler.note_seconds("f", 0.0001)
    bundler.note_seconds("g", 0.0001)
    bundler.note_size("g", large=True)
    for job in range(100):
        bundler.add(attempt(job, "g" if job == 5 else "f"))
    for bundle in all_of(bundler):
        names = {each.entry.name for each in bundle.attempts}
        assert names in ({"f"}, {"g"})
        assert "g" not in names or len(bundle.attempts) == 1


def test_calls_of_higher_priority_and_calls_that_go_again_alone_come_first(clock):
    bundler = Bundler(1, clock)
    for name in ("f", "g", "h"):
        bundler.note_seconds(name, 5.0)
    bundler.add(attempt(1, "f"))
    bundler.add(attempt(2, "g", priority=3))
    bundler.add(attempt(3, "h"), alone=True)
    assert [bundle.attempts[0].job for bundle in all_of(bundler)] == [3, 2, 1]


def test_the_window_opens_again_when_bundles_come_back(clock):
    bundler = filled(clock, 1000, seconds=10.0)
    first = all_of(bundler)
    assert bundler.next() is None
    assert bundler.ended(first[0].number) is first[0]
    assert bundler.ended(first[0].number) is None
    assert sizes(all_of(bundler)) == [1]


def test_stopped_attempts_leave_the_queues_and_are_given_back(clock):
    bundler = filled(clock, 50, seconds=0.01)
    dropped = bundler.drop({(job, 1) for job in range(10)} | {(11, 2)})
    assert sorted(dropped) == [(job, 1) for job in range(10)]
    assert len(bundler) == 40
    assert sum(sizes(all_of(bundler))) == 40


def test_nothing_of_an_execution_that_has_ended_is_sent(clock):
    bundler = filled(clock, 50, seconds=0.01, execution="gone")
    flying = bundler.next()
    bundler.add(attempt(99))
    bundler.forget("gone")
    assert [each.job for bundle in all_of(bundler) for each in bundle.attempts] == [99]
    assert flying is not None and bundler.ended(flying.number) is flying
    assert len(bundler) == 0


def test_cutting_a_hundred_thousand_calls_is_quick(clock):
    import time

    bundler = filled(clock, 100_000, cpus=200, seconds=0.001)
    begun = time.process_time()
    bundles = all_of(bundler)
    assert sum(sizes(bundles)) == 100_000
    assert time.process_time() - begun < 2.0
