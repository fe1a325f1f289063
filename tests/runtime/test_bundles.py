"""Bundles: how many calls travel together, and what goes alone."""

from __future__ import annotations

import pytest

from rayflow.evaluator.commands import RunTask, RunVector
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.on_ray.actor.bundles import (
    FIRST_TRIES_PER_CPU,
    LEAST_SECONDS,
    LONG_SECONDS,
    MOST_CALLS,
    MOST_MEMBERS,
    OVERHEAD_SECONDS,
    SHORT_SECONDS,
    SHORT_WINDOW_PER_CPU,
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
    for seconds in (0.001, 0.003):
        bundles = all_of(filled(clock, 60, cpus=4, seconds=seconds), come_back=True)
        assert len(bundles) >= 12 and max(sizes(bundles)) == 5
        assert sum(sizes(bundles)) == 60


def test_short_calls_are_not_cut_into_bundles_that_take_less_than_ray_itself(clock):
    for bundler in (filled(clock, 2000, cpus=64, seconds=0.0), of_a_vector(clock, 2000, cpus=64)):
        bundles = all_of(bundler)
        assert min(sizes(bundles[:-1])) * OVERHEAD_SECONDS >= LEAST_SECONDS / 2
        assert sum(sizes(bundles)) == 2000


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


def sharing(clock: Clock, *executions: str) -> Bundler:
    """A bundler in which these executions have one context."""
    bundler = Bundler(2, clock, shares=lambda one, other: {one, other} <= set(executions))
    bundler.note_seconds("f", 0.0001)
    return bundler


def test_calls_of_executions_with_one_context_travel_together_and_those_of_others_do_not(clock):
    bundler = sharing(clock, *(f"run{number}" for number in range(100)))
    for number in range(100):
        bundler.add(attempt(number, execution=f"run{number}"))
    bundler.add(attempt(100, execution="other"))
    bundler.add(attempt(101, execution="run1", num_cpus=3))
    bundles = all_of(bundler, come_back=True)
    assert sorted(each.job for bundle in bundles for each in bundle.attempts) == list(range(102))
    for bundle in bundles:
        assert len({each.execution_id == "other" for each in bundle.attempts}) == 1
        assert len({"num_cpus" in each.options for each in bundle.attempts}) == 1
        assert bundle.executions == {each.execution_id for each in bundle.attempts}
        assert set(bundle.execution_of()) == {((each.job, 1), each.execution_id) for each in bundle.attempts}
    assert len(bundles) < 10 and len(bundler) == 0 and bundler.next() is None


def test_each_of_the_executions_that_share_bundles_has_its_turn(clock):
    bundler = sharing(clock, "long", "short")
    for number in range(10_000):
        bundler.add(attempt(number, execution="long"))
    bundler.add(attempt(10_000, execution="short"))
    first_two = [bundler.next(), bundler.next()]
    assert any("short" in bundle.executions for bundle in first_two if bundle is not None)


def test_a_call_that_goes_alone_shares_no_bundle_with_another_execution(clock):
    bundler = sharing(clock, "one", "two")
    for number, name in enumerate(["one", "two"] * 10):
        bundler.add(attempt(number, execution=name, bundle=number % 4 < 2))
    bundles = all_of(bundler, come_back=True)
    alone = [bundle for bundle in bundles if not bundle.calls[0].options["bundle"]]
    assert sizes(alone) == [1] * 10
    assert max(sizes(bundles)) > 1


def test_a_bundle_is_stopped_when_no_execution_wants_it_and_else_the_attempts_of_the_others_go_on(clock):
    bundler = sharing(clock, "one", "two", "three")
    for number, name in enumerate(["one", "two", "three"]):
        bundler.add(attempt(number, execution=name))
    bundle = bundler.next()
    assert bundle is not None and bundle.executions == {"one", "two", "three"}
    assert bundle.without(["one", "elsewhere"], 5.0)
    assert (bundle.unwanted, bundle.unwanted_since) == ({"one"}, 5.0)
    assert bundle.goes_on("one"), "it may still come back"
    bundle.stopping_since = 7.0
    assert [bundle.goes_on(name) for name in ("one", "two", "three")] == [False, True, True]
    assert bundle.without(["two"], 8.0) and bundle.unwanted_since == 5.0
    assert not bundle.without(["three"], 9.0)
    assert [bundle.goes_on(name) for name in ("one", "two", "three")] == [False] * 3


def test_what_an_execution_has_ready_when_it_ends_does_not_go_with_the_bundles_of_others(clock):
    bundler = sharing(clock, "one", "gone")
    for number in range(20):
        bundler.add(attempt(number, execution="gone" if number % 2 else "one"))
    bundler.forget("gone")
    bundler.drop({(0, 1)})
    assert [each.job for bundle in all_of(bundler, come_back=True) for each in bundle.attempts] == list(range(2, 20, 2))
    assert len(bundler) == 0


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


def vector(jobs: range, name: str = "f", execution: str = "e", **options: object) -> RunVector:
    names = [str(job).encode() for job in jobs]
    return RunVector(execution, ENTRIES[name], options, jobs, names, ("n",), [(job,) for job in jobs])


def members(bundles: list[Bundle]) -> list[int]:
    return [job for bundle in bundles for each in bundle.vectors for job in each.jobs]


def of_a_vector(clock: Clock, count: int, seconds: float | None = 0.0, cpus: float = 2, **options: object) -> Bundler:
    bundler = filled(clock, 0, cpus, seconds)
    bundler.add(vector(range(count), **options))
    return bundler


def test_the_members_of_a_vector_travel_in_parts_of_it_in_order_and_each_with_its_own_arguments(clock):
    bundles = all_of(of_a_vector(clock, 10_000), come_back=True)
    assert members(bundles) == list(range(10_000)) and not any(bundle.calls for bundle in bundles)
    assert max(map(len, bundles)) == MOST_MEMBERS
    for part in (each for bundle in bundles for each in bundle.vectors):
        assert list(part.arguments) == [(job,) for job in part.jobs]
        assert list(part.job_ids) == [str(job).encode() for job in part.jobs]


def test_members_fill_a_bundle_up_to_its_time(clock):
    assert set(map(len, all_of(of_a_vector(clock, 10_000, TARGET_SECONDS / 10)))) == {10}


def test_calls_and_members_share_a_bundle(clock):
    bundler = of_a_vector(clock, 100)
    for job in range(1000, 1040):
        bundler.add(attempt(job))
    bundles = all_of(bundler, come_back=True)
    assert any(bundle.calls and bundle.vectors for bundle in bundles)
    assert sorted(each.job for bundle in bundles for each in bundle.attempts) == [*range(100), *range(1000, 1040)]


def test_members_of_a_task_that_was_never_measured_go_alone_and_only_a_few_at_a_time(clock):
    assert list(map(len, all_of(of_a_vector(clock, 100, None)))) == [1] * int(FIRST_TRIES_PER_CPU * 2)


def test_a_member_with_a_timeout_goes_as_a_call_of_its_own(clock):
    bundles = all_of(of_a_vector(clock, 5, timeout=5))
    assert [(len(bundle.calls), bundle.vectors) for bundle in bundles] == [(1, [])] * 5
    assert [bundle.calls[0].arguments for bundle in bundles] == [{"n": job} for job in range(5)]


def test_a_member_that_goes_alone_stays_one_of_its_vector(clock):
    bundles = all_of(of_a_vector(clock, 5, bundle=False))
    assert [bundle.calls for bundle in bundles] == [[]] * 5
    assert [(part.jobs, part.arguments) for bundle in bundles for part in bundle.vectors] == [
        (range(job, job + 1), [(job,)]) for job in range(5)
    ]


def test_calls_that_go_alone_do_not_wait_here_for_larger_bundles(clock):
    bundles = all_of(of_a_vector(clock, 100_000, SHORT_SECONDS / 2, bundle=False))
    assert len(bundles) == WINDOW_PER_CPU * 2


def test_stopped_members_leave_their_vector_and_the_others_stay(clock):
    bundler = of_a_vector(clock, 50)
    bundler.add(vector(range(100, 103)))
    stopped = {(job, 1) for job in (3, 7, 100, 101, 102)}
    assert sorted(bundler.drop(stopped | {(4, 2)})) == sorted(stopped)
    assert len(bundler) == 48
    assert members(all_of(bundler, come_back=True)) == [job for job in range(50) if job not in (3, 7)]
    assert len(bundler) == 0


def test_what_a_bundle_did_not_begin_is_left_as_a_part_of_its_vector(clock):
    bundler = of_a_vector(clock, 30)
    (bundle,) = filter(None, [bundler.next()])
    (left,) = bundle.left({3, 4})
    assert isinstance(left, RunVector) and (list(left.jobs), left.arguments) == ([3, 4], [(3,), (4,)])
    assert bundle.left() == [*bundle.vectors] and bundle.left(set()) == []


def test_a_short_task_keeps_few_large_bundles_in_flight_and_a_longer_one_many(clock):
    short, longer = (all_of(of_a_vector(clock, 100_000, seconds)) for seconds in (SHORT_SECONDS / 2, SHORT_SECONDS))
    assert (len(short), len(longer)) == (SHORT_WINDOW_PER_CPU * 2, WINDOW_PER_CPU * 2)


def test_a_short_task_does_not_narrow_the_window_of_calls_that_go_alone(clock):
    bundler = of_a_vector(clock, 100_000)
    count = len(all_of(bundler))
    bundler.add(attempt(200_000), alone=True)
    assert count == SHORT_WINDOW_PER_CPU * 2 and sizes(all_of(bundler)) == [1]


def test_cutting_a_very_long_vector_does_not_copy_the_rest_of_it_each_time(clock):
    import time

    begun = time.process_time()
    bundles = all_of(of_a_vector(clock, 150_000, 0.01), come_back=True)
    assert sum(map(len, bundles)) == 150_000 and max(map(len, bundles)) == 10
    assert time.process_time() - begun < 3.0


def test_no_short_call_waits_for_a_bundle_to_end_that_could_go_with_the_last_ones(clock):
    bundler = of_a_vector(clock, 3000)
    bundles = all_of(bundler)
    assert len(bundler) == 0 and max(map(len, bundles)) <= 3000 / 6 and len(bundles) <= SHORT_WINDOW_PER_CPU * 2
