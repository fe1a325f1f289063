"""What a body makes is collected while somebody asks."""

from __future__ import annotations

import pickle
import threading

from rayflow import task
from rayflow.lang.created_calls import collecting_calls
from rayflow.lang.packing.pack import pack


@task
def join(x):
    return x


def test_calls_that_a_body_makes_are_collected() -> None:
    with collecting_calls() as outer:
        join(1)
        with collecting_calls() as inner:
            join(2)
    assert [len(outer), len(inner)] == [1, 1]


def test_tasks_that_a_body_gives_as_values_are_collected_also_those_inside_objects() -> None:
    with collecting_calls() as created:
        assert created.tasks is None
        pack([join], lambda *_: None)
        assert created.tasks == {join.fullname}
    with collecting_calls() as created:
        pickle.dumps(join)
    assert created.tasks == {join.fullname}


def test_calls_are_collected_by_the_body_of_their_own_thread_and_helpers_are_heard_by_name() -> None:
    def other() -> None:
        with collecting_calls() as its:
            join(2)
        assert len(its) == 1
        join(3)

    with collecting_calls() as created:
        join(1)
        for target in (other, lambda: join(4)):
            assert created.tasks is None
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert len(created) == 1
    assert created.tasks == {join.fullname}
