"""Which calls run and which are queued, told from what workers note and from the processors that there are."""

from __future__ import annotations

import pytest

from rayflow.evaluator.commands import RunTask
from rayflow.runtime.loop import with_queued
from rayflow.runtime.on_ray.actor.bundles import Bundle
from rayflow.runtime.on_ray.actor.running_counts import NOTED_BY_SECONDS, RunningCounts
from rayflow.runtime.on_ray.lowering import shape_of
from rayflow.testing.playbook import task


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bundles(count: int, first: int = 0, name: str = "lab.f", **options: object) -> list[Bundle]:
    """Bundles of one call each, their runs named by number."""
    made = []
    for number in range(first, first + count):
        attempt = RunTask(number, 1, "e", b"j", task(name, "x"), {}, options)
        made.append(Bundle(number, "e", shape_of(options), [attempt], 0.0, name=f"b:{number}"))
    return made


@pytest.mark.parametrize(("cpus", "sent", "runs"), [(2, 7, 2), (8, 7, 7), (1, 0, 0), (0.5, 3, 0)])
def test_as_many_run_as_there_are_processors_however_long_ago_they_were_sent(cpus: float, sent: int, runs: int) -> None:
    clock = Clock()
    clock.now = 10_000.0
    assert RunningCounts(clock).look(bundles(sent), (), cpus)["e", "lab.f"] == runs


def test_what_workers_have_noted_runs_and_takes_its_processors() -> None:
    running = RunningCounts(Clock())
    assert running.look(bundles(5), {"b:3"}, 2)["e", "lab.f"] == 2
    assert running.look(bundles(5), {"b:0", "b:1", "b:2"}, 2)["e", "lab.f"] == 3  # more than were thought to fit


def test_a_call_takes_the_processors_of_its_whole_gang() -> None:
    gangs = bundles(5, gang=[{"CPU": 2}, {"CPU": 1, "GPU": 1}])
    assert RunningCounts(Clock()).look(gangs, (), 8)["e", "lab.f"] == 2


def test_what_is_never_noted_is_queued_and_so_is_what_stands_behind_it() -> None:
    clock, all_of_them = Clock(), bundles(6)
    running = RunningCounts(clock)
    assert running.look(all_of_them, (), 2)["e", "lab.f"] == 2
    clock.now += NOTED_BY_SECONDS + 1
    assert running.look(all_of_them, (), 2)["e", "lab.f"] == 0
    clock.now += 100
    assert running.look(all_of_them, (), 2)["e", "lab.f"] == 0
    assert running.look(all_of_them, {"b:0", "b:1"}, 2)["e", "lab.f"] == 2  # they have begun at last


def test_what_waits_for_one_thing_does_not_keep_others_from_counting() -> None:
    clock = Clock()
    running = RunningCounts(clock)
    stuck, others = bundles(3, name="lab.g", num_gpus=1), bundles(9, first=3)
    running.look([*stuck, *others], (), 2)
    clock.now += NOTED_BY_SECONDS + 1
    found = running.look([*stuck, *others], (), 2)
    assert (found["e", "lab.g"], found["e", "lab.f"]) == (0, 2)


def test_short_calls_follow_each_other_and_always_some_run() -> None:
    clock, left = Clock(), bundles(40)
    running = RunningCounts(clock)
    while len(left) > 2:
        assert running.look(left, (), 2)["e", "lab.f"] == 2
        clock.now += 1.5  # shorter than a note takes
        left = left[2:]


def test_of_a_bundle_of_many_calls_one_runs_and_the_rest_is_queued() -> None:
    counts = with_queued({"lab.f": {"open": 12, "running": 10, "computed": 3}, "lab.g": {"open": 1}}, {"lab.f": 2})
    assert counts["lab.f"] == {"open": 12, "running": 2, "queued": 8, "computed": 3}
    assert counts["lab.g"] == {"open": 1, "running": 0, "queued": 0}
    assert with_queued({"lab.f": {"running": 1}}, {"lab.f": 5})["lab.f"]["running"] == 1
