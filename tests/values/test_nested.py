"""The walker: sees every leaf once, changes only what changes, at any depth."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rayflow.values.encoding.nested import build, copy_containers, iter_leaves, loops_in, map_leaves, parts_of
from rayflow.values.refs import TaggedTree, ValueRef


class Mark:
    """A leaf: it says its identity itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __rayflow_identity__(self) -> bytes:
        return self.name.encode()


@dataclasses.dataclass(frozen=True)
class MarkedClass:
    """A dataclass that is a leaf all the same."""

    x: object

    def __rayflow_identity__(self) -> bytes:
        return b"x"


@dataclasses.dataclass
class Plain:
    x: Any
    y: Any = 0


A, B = Mark("a"), Mark("b")
hashable = st.integers() | st.text(max_size=3)
trees = st.recursive(
    hashable | st.sampled_from([A, B]),
    lambda below: (
        st.lists(below, max_size=4)
        | st.lists(below, max_size=4).map(tuple)
        | st.dictionaries(hashable, below, max_size=4)
        | st.lists(below, max_size=3).map(collections.deque)
        | st.tuples(below, below).map(lambda both: Plain(*both))
        | st.dictionaries(hashable, below, max_size=3).map(collections.OrderedDict)
        | st.sets(hashable | st.sampled_from([A, B]), max_size=3)
    ),
    max_leaves=25,
)


def marks(value: Any) -> list[str]:
    """The marks in a value, by plain recursion."""
    if isinstance(value, Mark):
        return [value.name]
    if isinstance(value, dict):
        return [name for part in value.values() for name in marks(part)]
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return [name for part in value for name in marks(part)]
    if isinstance(value, Plain):
        return marks(value.x) + marks(value.y)
    return []


@given(trees)
def test_every_leaf_that_is_no_scalar_is_seen(tree: Any) -> None:
    assert sorted(leaf.name for leaf in iter_leaves(tree) if isinstance(leaf, Mark)) == sorted(marks(tree))


@given(trees)
def test_a_walk_that_changes_nothing_gives_the_same_object_back(tree: Any) -> None:
    assert map_leaves(tree, lambda leaf: leaf) is tree


@given(trees)
def test_a_walk_replaces_every_leaf_and_leaves_the_original_alone(tree: Any) -> None:
    before = marks(tree)
    other = Mark("other")
    changed = map_leaves(tree, lambda leaf: other if isinstance(leaf, Mark) else leaf)
    assert set(marks(changed)) <= {"other"}
    assert type(changed) is type(other if isinstance(tree, Mark) else tree)
    assert marks(tree) == before


@given(trees)
def test_a_copy_is_equal_and_shares_no_list(tree: Any) -> None:
    original = [tree, []]
    again = copy_containers(original)
    assert again == original
    assert again is not original and again[1] is not original[1]
    if isinstance(tree, list | dict | collections.deque | Plain):
        assert again[0] is not tree


def test_keys_and_values_of_dicts_are_changed() -> None:
    assert map_leaves({A: [B], 1: 2}, lambda leaf: leaf.name) == {"a": ["b"], 1: 2}


def test_only_what_changed_is_made_anew() -> None:
    untouched = [[1], {"k": 2}]
    changed = map_leaves([untouched, [A]], lambda leaf: 5)
    assert changed == [[[1], {"k": 2}], [5]]
    assert changed[0] is untouched


def test_scalars_are_shown_when_asked_for() -> None:
    assert map_leaves([1, (2, "a")], lambda leaf: str(leaf) * 2, scalars=True) == ["11", ("22", "aa")]
    assert list(iter_leaves([1, (2, A), {"k": None}], scalars=True)) == [1, 2, A, "k", None]
    assert list(iter_leaves([1, (2, A), {"k": None}])) == [A]
    assert list(iter_leaves(5)) == [] and list(iter_leaves(5, scalars=True)) == [5]


def test_a_container_can_be_declared_a_leaf() -> None:
    pair = (1, A)
    assert map_leaves([pair, [2]], lambda leaf: "pair", is_leaf=lambda value: value is pair) == ["pair", [2]]
    assert list(iter_leaves([pair, [B]], is_leaf=lambda value: value is pair)) == [pair, B]


def test_objects_with_an_identity_of_their_own_are_leaves() -> None:
    marked = MarkedClass([A])
    ref = ValueRef(b"0" * 20, "list", 1, "pickle5")
    assert parts_of(marked) is None and parts_of(ref) is None
    assert list(iter_leaves([marked, ref])) == [marked, ref]


def test_a_tagged_tree_stays_a_tagged_tree() -> None:
    tree = TaggedTree("dataclass", ("no_such_module:Thing", "x"), ([A],))
    changed = map_leaves(tree, lambda leaf: leaf.name)
    assert changed == TaggedTree("dataclass", ("no_such_module:Thing", "x"), (["a"],))


def test_a_tagged_tree_builds_the_object_where_its_class_is() -> None:
    container = parts_of(Plain([1], 2))
    assert container is not None
    assert build(container.kind, container.header, ([3], 4)) == Plain([3], 4)


def test_a_container_in_two_places_has_one_image() -> None:
    shared = [A]
    changed = map_leaves([shared, (shared,)], lambda leaf: 1)
    assert changed == [[1], ([1],)]
    assert changed[0] is changed[1][0]


def test_containers_in_many_places_are_walked_once() -> None:
    value: Any = [A]
    for _ in range(200):
        value = [value, value]
    assert list(iter_leaves(value)) == [A]
    assert list(iter_leaves(map_leaves(value, lambda leaf: B))) == [B]


def test_deep_nesting_is_walked() -> None:
    deep: Any = A
    for level in range(100_000):
        deep = [deep] if level % 2 else (deep, 1)
    assert list(iter_leaves(deep)) == [A]
    assert list(iter_leaves(map_leaves(deep, lambda leaf: B))) == [B]


def test_wide_containers_take_time_linear_in_their_size() -> None:
    wide = [[A] for _ in range(50_000)]
    assert map_leaves(wide, lambda leaf: 1) == [[1]] * 50_000


def test_a_container_that_contains_itself_is_a_leaf_and_those_around_it_are_not() -> None:
    ring: list[Any] = [1]
    ring.append({"k": ring})
    assert map_leaves(ring, lambda leaf: leaf) is ring
    assert list(iter_leaves(ring)) == []
    around = [ring, {"in": (ring[1], [2])}]
    met: list[Any] = []
    changed = map_leaves(around, lambda leaf: met.append(leaf) or "leaf", scalars=True)
    assert changed == ["leaf", {"leaf": ("leaf", ["leaf"])}]
    assert [each for each in met if not isinstance(each, str | int)] == [ring, ring[1]]
    assert loops_in(around).keys() == {id(ring), id(ring[1])} and loops_in([[1], [1]]) == {}


def test_steps_are_written_as_python_would() -> None:
    for value, position, text in [
        ([1, 2], 1, "[1]"),
        ({"a": 1}, 1, '["a"]'),
        ({(1, 2): 3}, 1, "[tuple]"),
        (Plain(1), 0, ".x"),
        (collections.deque([1, 2]), 1, "[1]"),
    ]:
        container = parts_of(value)
        assert container is not None
        assert container.step(position) == text


def test_attributes_of_a_container_subclass_survive_a_rebuild() -> None:
    for make in (Ordered, Numbers, Words, Pair):
        value: Any = make([(1, A)])
        value.note = "kept"
        again = copy_containers(value)
        assert type(again) is make and again == value and again.note == "kept"


class Ordered(collections.OrderedDict):  # type: ignore[type-arg]
    pass


class Numbers(list):  # type: ignore[type-arg]
    pass


class Words(dict):  # type: ignore[type-arg]
    pass


class Pair(tuple):  # type: ignore[type-arg]
    pass
