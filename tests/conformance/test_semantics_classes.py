"""What a call gives depends on the code of the classes whose instances it is given, named by it or not."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

POINTS = """
    from dataclasses import dataclass
    from rayflow import apply_func, task

    SHIFT = 0

    @dataclass
    class Point:
        x: int
        def norm(self):
            return self.x + 1
        @property
        def twice(self):
            return 2 * self.x + SHIFT
        def __add__(self, other):
            return Point(self.x + other.x)

    class Plain:
        def __init__(self, inner):
            self.inner = inner

    @task
    def one():
        return 1
    @task
    def point():
        return Point(1)
    @task
    def several():
        return [{"a": Point(1)}, Plain([Point(2)])]
    @task
    def lazy_point():
        return Point(one())

    @task
    def by_method():
        return point().norm()
    @task
    def by_property():
        return point().twice
    @task
    def by_operator():
        return (point() + point()).x

    @task
    def use(p):
        return p.norm()
    @task(version="1")
    def versioned(p):
        return p.norm()
    @task(track_helpers=False)
    def untracked(p):
        return p.norm()
    @task(check_valid="shallow")
    def shallow(p):
        return p.norm()
    @task
    def use_all(points):
        return points[0]["a"].norm() + points[1].inner[0].norm()
    @task
    def call_use():
        return use(point())
    @task
    def call_versioned():
        return versioned(point())
    @task
    def call_untracked():
        return untracked(point())
    @task
    def call_shallow():
        return shallow(point())
    @task
    def call_all():
        return use_all(several())
    @task
    def call_lazy():
        return use(lazy_point())
    @task
    def length(p):
        return 7
    @task
    def call_length():
        return length(point())
    @task
    def passed_on(p):
        return shallow(p)
    @task(check_valid="shallow")
    def all_shallow(p):
        return passed_on(p)
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(POINTS)
    return made


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("by_method", 2, 101),
        ("call_use", 2, 101),
        ("call_all", 5, 203),
        ("call_lazy", 2, 101),
        ("call_shallow", 2, 101),
        ("call_versioned", 2, 2),
        ("call_untracked", 2, 2),
    ],
)
def test_an_edited_method_counts_wherever_its_instances_are_given(
    flow: Flow, name: str, before: int, after: int
) -> None:
    assert flow.call(name) == before
    assert flow.call(name) == before
    assert flow.computed() == {}
    flow.edit("self.x + 1", "self.x + 100")
    assert flow.call(name) == after
    assert flow.call(name) == after
    assert flow.computed() == {}
    flow.edit("self.x + 100", "self.x + 1")
    assert flow.call(name) == before


def test_an_edited_operator_property_or_constant_of_a_class_counts(flow: Flow) -> None:
    assert (flow.call("by_property"), flow.call("by_operator")) == (2, 2)
    flow.edit("SHIFT = 0", "SHIFT = 10")
    flow.edit("self.x + other.x", "self.x - other.x")
    assert (flow.call("by_property"), flow.call("by_operator")) == (12, 0)


def test_a_comment_in_a_class_changes_nothing(flow: Flow) -> None:
    flow.call("call_length")
    flow.edit("def norm(self):", "def norm(self):  # of one dimension")
    flow.call("call_length")
    assert flow.computed() == {}


def test_a_shallow_answer_depends_on_the_classes_given_to_all_calls_below(flow: Flow) -> None:
    assert flow.module is not None
    assert flow.call("all_shallow", flow.module.Point(1)) == 2
    flow.edit("self.x + 1", "self.x + 100")
    assert flow.call("all_shallow", flow.module.Point(1)) == 101
    assert flow.computed() == {"shallow": 1, "passed_on": 1, "all_shallow": 1}
    flow.call("all_shallow", flow.module.Point(1))
    assert flow.counts("cached") == {"all_shallow": 1}
