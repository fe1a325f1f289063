"""Values that contain themselves, as arguments, as results, and beside what is lazy."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import Flow
from projects import Project
from tangles import MAKERS, shape_of

from rayflow.errors import NotSerializable
from rayflow.values.encoding.identity import value_hash

TANGLED = """
    import dataclasses
    import sys
    sys.path.insert(0, SUPPORT)
    from tangles import MAKERS, Node, shape_of
    from rayflow import Dir, File, Handle, task
    from rayflow.values.encoding.identity import value_hash

    @task
    def make(kind, name="a"):
        return MAKERS[kind](name)

    @task
    def look(value, extra=None):
        return value_hash(value)

    @task
    def one():
        return 1

    @task
    def beside(kind):
        return {"made": [MAKERS[kind]("a")], "lazy": (one(), [one()])}

    @task
    def through(kind):
        return look(make(kind))

    @task
    def lazy_inside(kind):
        if kind == "a list":
            made = [one()]
            made.append(made)
        elif kind == "dataclasses":
            made = Person([one()])
            made.friends.append(Person([made]))
        elif kind == "deep":
            made = {"a": [lazy_inside.func("a list"), 1]}
        return made

    @dataclasses.dataclass
    class Person:
        friends: list

    @task
    def with_file(name):
        root = Node("root")
        Node(File(name), root)
        File(name).write("x")
        return root

    @task
    def family():
        parent = Node("parent")
        children = [Node(n, parent) for n in range(3)]
        return [parent, *children]

    @task
    def are_kin(people):
        parent, *children = people
        return [child.parent is parent for child in children] + [parent.children == children]

    @task
    def kin():
        return are_kin(family())
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    from pathlib import Path

    support = str(Path(__file__).resolve().parents[1] / "support")
    made = Flow(project)
    made.write(TANGLED.replace("SUPPORT", repr(support)))
    return made


@pytest.mark.parametrize("kind", MAKERS)
def test_as_results_and_arguments_they_are_kept_and_found_again(flow: Flow, kind: str) -> None:
    value = MAKERS[kind]("a")
    found = flow.call("make", kind)
    assert value_hash(found) == value_hash(value) and shape_of(found) == shape_of(value)
    assert flow.call("look", value) == flow.call("through", kind) == value_hash(value)
    flow.call("look", [MAKERS[kind]("a")])
    assert flow.computed() == {"look": 1}
    for _ in range(2):
        flow.call("look", MAKERS[kind]("a"))
        assert flow.computed() == {}
    flow.call("look", MAKERS[kind]("b"))
    assert flow.computed() == {"look": 1}


@pytest.mark.parametrize("kind", MAKERS)
def test_beside_something_lazy_they_are_kept_as_they_are(flow: Flow, kind: str) -> None:
    for _ in range(2):
        found = flow.call("beside", kind)
        assert found["lazy"] == (1, [1])
        assert shape_of(found["made"]) == shape_of([MAKERS[kind]("a")])
    assert flow.computed() == {}


@pytest.mark.parametrize("kind", ["a list", "dataclasses", "deep"])
def test_something_lazy_inside_is_an_error_that_names_it(flow: Flow, kind: str) -> None:
    said = r"contains itself, so it is kept as one value, and (flow\.)?one\(\) in it has no value yet\. Pass that"
    with pytest.raises(NotSerializable, match=f"result.*{said}"):
        flow.call("lazy_inside", kind)
    with pytest.raises(NotSerializable, match=f"look.*{said}"):
        flow.call("look", flow.module.lazy_inside.func(kind))  # type: ignore[union-attr]


def test_a_file_in_a_cycle_counts(flow: Flow) -> None:
    for _ in range(2):
        flow.call("with_file", "inside.txt")
    assert flow.computed() == {}
    (flow.project.path / "inside.txt").unlink()
    flow.call("with_file", "inside.txt")
    assert flow.computed() == {"with_file": 1}
    assert flow.project.sql("select distinct task_name from calls_of_file('inside.txt')") == [("flow.with_file",)]


def test_a_change_after_the_call_is_not_seen(flow: Flow) -> None:
    value: list[Any] = ["before"]
    value.append(value)
    call = flow.module.look(value)  # type: ignore[union-attr]
    before = value_hash(value)
    value[0] = "after"
    assert flow.run(call) == before


def test_objects_of_one_list_that_know_each_other_still_do(flow: Flow) -> None:
    assert flow.call("kin") == [True] * 4
    parent, *children = flow.call("family")
    assert all(child.parent is parent for child in children)


def test_what_a_store_shows_of_them_is_short(flow: Flow) -> None:
    flow.call("make", "a list in itself")
    told = flow.project.rayflow("log").stdout
    assert "make('a list in itself')" in told
    assert "..." in flow.project.rayflow("run", "flow.py", "make", "--kind", "a list in itself", "--inline").stdout


GRAPHS = """
    import networkx
    from rayflow import task

    @task
    def cities(names):
        made = networkx.DiGraph()
        for one, other in zip(names, names[1:] + names[:1]):
            made.add_edge(one, other, road={"in": made})
        return made

    @task
    def count(graph):
        return graph.number_of_edges(), graph.edges["a", "b"]["road"]["in"] is graph

    @task
    def main():
        return count(cities(["a", "b", "c"]))
"""


def test_a_graph_that_is_in_its_own_edges(project: Project) -> None:
    pytest.importorskip("networkx")
    flow = Flow(project)
    flow.write(GRAPHS)
    for _ in range(2):
        assert flow.call("main") == (3, True)
    assert flow.computed() == {}


FIGURES = """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from rayflow import File, task

    @task
    def drawn(points):
        figure, axes = pyplot.subplots()
        axes.plot(points)
        pyplot.close(figure)
        return figure

    @task
    def saved(figure, path):
        figure.savefig(path)
        return File(path)

    @task
    def main():
        return saved(drawn([1, 2, 3]), "figure.png")
"""


def test_a_figure(project: Project) -> None:
    pytest.importorskip("matplotlib")
    flow = Flow(project)
    flow.write(FIGURES)
    for _ in range(2):
        assert flow.call("main").size() > 1000
    assert flow.computed() == {}


SHARING = """
    import dataclasses
    from rayflow import task

    class Plain:
        pass

    @dataclasses.dataclass
    class Person:
        friends: list

    def plain():
        return Plain()

    def person():
        return Person([1])

    def knot():
        made = Person([])
        made.friends.append(made)
        return made

    def items():
        return [1, [2]]

    MAKERS = {each.__name__: each for each in (plain, person, knot, items)}

    @task
    def one():
        return 1

    @task
    def twice(kind, shape, lazy):
        made = MAKERS[kind]()
        found = {"list": [made, made], "dict": {"a": made, "b": [made]}, "tuple": (made, (made,))}[shape]
        return [found, one()] if lazy else [found, 1]

    @task
    def are_one(value):
        first, second = value[0].values() if isinstance(value[0], dict) else value[0]
        return (second if second is first else second[0]) is first

    @task
    def main(kind, shape, lazy):
        return are_one(twice(kind, shape, lazy))

    @task
    def rings():
        one, other = [1], [2]
        one.append(other)
        other.append(one)
        return [one, {"k": other}]
"""


@pytest.fixture
def sharing(project: Project) -> Flow:
    made = Flow(project)
    made.write(SHARING)
    return made


@pytest.mark.parametrize("kind", ["plain", "person", "knot", "items"])
@pytest.mark.parametrize("shape", ["list", "dict", "tuple"])
@pytest.mark.parametrize("lazy", [False, True])
def test_one_object_in_two_places_is_one_object_again(sharing: Flow, kind: str, shape: str, lazy: bool) -> None:
    assert sharing.call("main", kind, shape, lazy)
    for _ in range(2):
        assert sharing.module.are_one.func(sharing.call("twice", kind, shape, lazy))  # type: ignore[union-attr]
    assert sharing.call("are_one", sharing.module.twice.func(kind, shape, False))  # type: ignore[union-attr]


def test_lists_that_hold_each_other_still_do(sharing: Flow) -> None:
    one, other = sharing.call("rings")
    assert one[1] is other["k"] and other["k"][1] is one


BESIDE = """
    from rayflow import task

    class Node:
        pass

    def pair():
        one, other = Node(), Node()
        one.friend, other.friend = other, one
        return [one, other]

    def alone():
        one = Node()
        one.friend = one
        return one

    @task
    def one(x):
        return x

    @task
    def look(items, *more):
        return [each.friend in items for each in items if isinstance(each, Node)]

    @task
    def argument():
        return look([*pair(), one(1)])

    @task
    def result():
        return [*pair(), one(1)]

    @task
    def deep():
        mine, other = pair()
        return look([mine, {"a": [other]}, one(1)])

    @task
    def list_of_its_own():
        return look(pair(), one(1))

    @task
    def strangers():
        return look([alone(), alone(), one(1)])
"""


@pytest.mark.parametrize("task", ["argument", "result", "deep"])
def test_objects_that_know_each_other_do_not_stand_beside_what_is_lazy(flow: Flow, task: str) -> None:
    """Each would be a value of its own: what the body sees would depend on which of two equal calls came first."""
    flow.write(BESIDE)
    with pytest.raises(NotSerializable, match=r"objects that know each other \(Node and Node\)"):
        flow.call(task)


@pytest.mark.parametrize("task", ["list_of_its_own", "strangers"])
def test_objects_that_know_no_other_stand_beside_what_is_lazy(flow: Flow, task: str) -> None:
    flow.write(BESIDE)
    assert flow.call(task) == [True, True]
