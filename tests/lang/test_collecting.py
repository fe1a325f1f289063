"""What a body makes is collected while somebody asks."""

from __future__ import annotations

import pickle

from rayflow import task
from rayflow.lang.collecting import collecting_calls
from rayflow.lang.packing import pack


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
