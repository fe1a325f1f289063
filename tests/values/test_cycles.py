"""Values that contain themselves are kept, and known by their content."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tangles import MAKERS, Node, doubly_linked, linked, ring, shape_of, tree

import rayflow.lang.tasks  # noqa: F401  # it knows best what a function is
from rayflow.errors import NotSerializable
from rayflow.values.encoding.cycles import Member, cycles_in, identities_in
from rayflow.values.encoding.encoding import decode, encode, from_bytes, make_ref, to_bytes
from rayflow.values.encoding.identity import identity, value_hash
from rayflow.values.encoding.nested import iter_leaves, map_leaves
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now, checked, opened
from rayflow.values.objects import opaque
from rayflow.values.objects.opaque import UnstableHash

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_equal_content_has_one_identity_and_other_content_another(make: Any) -> None:
    assert value_hash(make("a")) == value_hash(make("a"))
    assert value_hash(make("a")) != value_hash(make("b"))
    assert identity([make("a"), 1]) == identity([make_ref(make("a"))[0], 1])
    assert value_hash({"k": (make("a"),)}) != value_hash({"k": (make("b"),)})


def test_it_comes_back_as_it_was_with_what_is_shared(make: Any) -> None:
    value = make("a")
    ref, encoded = make_ref(value)
    for again in (decode(encoded), decode(from_bytes(to_bytes(encode([value]))))[0]):
        assert value_hash(again) == ref.digest
        assert shape_of(again) == shape_of(value)
    assert 0 < len(preview(value)) <= 200 and ref.preview


def test_a_copy_is_taken_at_the_call(make: Any) -> None:
    value = make("a")
    held = as_now(value)
    digest = value_hash(value)
    assert value_hash(held) == digest and value_hash(opened(held)) == digest
    assert opened(held) is not value and checked(held) is not value
    held = as_now([value, "x"])
    if isinstance(value, list):
        value.append("later")
        assert value_hash(opened(held)[0]) == digest != value_hash(value)


def test_it_is_a_leaf_for_whoever_changes_leaves(make: Any) -> None:
    value = {"inside": [make("a"), "x"], "n": 1}
    met: list[Any] = []
    changed = map_leaves(value, lambda leaf: met.append(leaf) or leaf)
    assert changed is value
    assert all(not isinstance(each, str | int) for each in met) and met
    assert map_leaves(value, lambda leaf: leaf, always=True) is not value
    list(iter_leaves(value, scalars=True))


@pytest.mark.slow
def test_in_another_process_it_has_the_same_identity() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/support')\n"
        "import rayflow.lang.tasks\nfrom tangles import MAKERS\n"
        "from rayflow.values.encoding.identity import value_hash\n"
        "for name, make in MAKERS.items(): print(name, value_hash(make('a')).hex())"
    )
    found = []
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1] == found[2] and len(found[0].splitlines()) == len(MAKERS)
    here = [f"{name} {value_hash(make('a')).hex()}" for name, make in MAKERS.items()]
    assert found[0].splitlines() == here


@pytest.mark.slow
@pytest.mark.parametrize("length", [2, 40, 90, 200])
@pytest.mark.parametrize("position", [0, 1, 37, -1])
def test_of_a_chain_every_member_counts(length: int, position: int) -> None:
    def nodes(first: Node) -> list[Node]:
        found = [first]
        for each in found:
            found.extend(each.children)
        return found

    one, other = doubly_linked("end", length), doubly_linked("end", length)
    changed = nodes(other)[min(position, length)]
    assert value_hash(one) == value_hash(other)
    for entry in (0, length // 2, length):
        assert value_hash(nodes(one)[entry]) == value_hash(nodes(other)[entry])
    changed.name = "changed"
    for entry in (0, length // 2, length):
        assert value_hash(nodes(one)[entry]) != value_hash(nodes(other)[entry])
    assert value_hash(doubly_linked("end", length)) != value_hash(doubly_linked("end", length + 1))


def test_members_of_one_cycle_differ_from_each_other() -> None:
    root = tree("right")
    found = [root]
    for each in found:
        found.extend(each.children)
    assert len({value_hash(each) for each in found}) == len(found)


def test_how_often_a_cycle_is_repeated_does_not_count() -> None:
    """As elsewhere, whether equal parts are one object does not count: what one finds by following them does."""
    once: list[Any] = ["x"]
    once.append(once)
    twice: list[Any] = ["x", ["x"]]
    twice[1].append(twice)
    assert value_hash(once) == value_hash(twice) != value_hash(["x", ["x", ["x"]]])


def test_a_cycle_that_stands_in_many_places_is_looked_at_once() -> None:
    nodes = [Node(number) for number in range(2000)]
    for number, each in enumerate(nodes):
        each.children = [nodes[number * 7 % 2000], nodes[(number * 13 + 5) % 2000]]
    started = time.perf_counter()
    digest = value_hash(nodes)
    assert value_hash({"all": nodes, "first": [nodes[0]] * 1000}) != digest
    chain = [doubly_linked("x", 600)]
    for each in chain:
        chain.extend(each.children)
    assert value_hash(chain) != digest
    assert time.perf_counter() - started < 30


def test_a_walk_that_is_cut_by_chance_gives_what_the_whole_gives() -> None:
    """References stand in for parts, wherever they are cut out."""
    chance = random.Random(5)
    for _ in range(20):
        parts = [chance.choice([ring, tree, linked])(chance.randrange(3)) for _ in range(4)]
        whole = [[part, {"k": part}] for part in parts]
        cut = [[make_ref(part)[0] if chance.random() < 0.5 else part, {"k": part}] for part in parts]
        assert value_hash(cut) == value_hash(whole)


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque, "_warned", set())


def tied(count: int) -> list[Any]:
    """Chains that all look alike for a long way, in a set that they know."""
    root: list[Any] = [set()]
    for number in range(count):
        first = last = Node("x")
        for _ in range(80):
            last = Node("x", last)
        last.name = number
        last.children.append(root)  # type: ignore[arg-type]
        root[0].add(first)
    return root


@pytest.mark.usefixtures("unwarned")
def test_what_no_content_tells_apart_is_known_by_its_pickle_with_a_warning_once() -> None:
    with pytest.warns(UnstableHash, match="A list contains itself by way of a set whose members cannot be told apart"):
        digest = value_hash(tied(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value_hash(tied(3)) != digest
    assert shape_of(decode(make_ref(tied(1))[1])) == shape_of(tied(1))


def test_a_part_that_cannot_be_kept_is_named_though_there_are_cycles() -> None:
    root = tree("right")
    root.children[1].name = [open(os.devnull)]  # noqa: SIM115
    try:
        with pytest.raises(NotSerializable, match=r"result\.children\[1\]\.name\[0\] is a _io\.TextIOWrapper"):
            make_ref(root)
    finally:
        root.children[1].name[0].close()


@pytest.mark.slow
def test_a_chain_longer_than_python_can_pickle_says_so() -> None:
    value = doubly_linked("x", 20_000)
    assert value_hash(value) == value_hash(value)
    with pytest.raises(NotSerializable, match="a chain too long to be pickled"):
        encode(value)


def test_a_cycle_deep_inside_is_kept() -> None:
    value: Any = ring("a")
    for _ in range(5000):
        value = [value]
    again = decode(make_ref(value)[1])
    for _ in range(5000):
        (again,) = again
    assert again[1] is again and again[0] == "a"


# --- the algorithm ----------------------------------------------------------------------------------------------------

graphs = st.integers(1, 8).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, count - 1), max_size=3), min_size=count, max_size=count)
)


@given(graphs)
def test_cycles_are_what_can_be_reached_both_ways(below: list[list[int]]) -> None:
    count = len(below)
    reach = [[start == end or end in below[start] for end in range(count)] for start in range(count)]
    for middle in range(count):
        for start in range(count):
            for end in range(count):
                reach[start][end] = reach[start][end] or (reach[start][middle] and reach[middle][end])
    found = cycles_in(below)
    assert sorted(each for cycle in found for each in cycle) == list(range(count))
    place = {each: number for number, cycle in enumerate(found) for each in cycle}
    for start in range(count):
        for end in range(count):
            assert (place[start] == place[end]) == (reach[start][end] and reach[end][start])
            if reach[start][end]:
                assert place[end] <= place[start]


@given(graphs, st.data())
def test_identities_do_not_depend_on_the_order_of_the_members(below: list[list[int]], data: st.DataObject) -> None:
    def members(order: list[int]) -> list[Member]:
        return [
            Member(b"|".join, True, [b"%d" % (each % 2), *(order.index(part) for part in below[each])])
            for each in order
        ]

    order = data.draw(st.permutations(range(len(below))))
    straight = identities_in(members(list(range(len(below)))), range(len(below)))
    shuffled = identities_in(members(order), range(len(below)))
    for each in range(len(below)):
        ours = straight[each]
        assert ours is not None and len(ours) == 21
    assert {straight[each] for each in straight} == {shuffled[each] for each in shuffled}


class Counted:
    """Each pickle of it is another one."""

    made = 0

    def __init__(self) -> None:
        self.me = self

    def __getstate__(self) -> dict[str, Any]:
        Counted.made += 1
        return {"me": self, "made": Counted.made}


@pytest.mark.usefixtures("unwarned")
def test_what_differs_each_time_one_looks_is_told_of_once() -> None:
    with pytest.warns(UnstableHash, match=r"Two encodings of one .*Counted differ") as told:
        assert value_hash([Counted()]) != value_hash([Counted()])
    assert len(told) == 1
    assert decode(make_ref(Counted())[1]).me.me.made > 0


def test_arrays_in_it_come_back_writable() -> None:
    numpy = pytest.importorskip("numpy")
    drawing = Node("figure")
    Node(numpy.zeros(5), drawing)
    for value in (drawing, [drawing, numpy.ones(3)], {"a": (drawing,)}):
        again = decode(make_ref(value)[1])
        found = again[0] if isinstance(again, list) else again["a"][0] if isinstance(again, dict) else again
        found.children[0].name[0] = 7
    assert drawing.children[0].name[0] == 0
    apart = Node([numpy.zeros(5)])
    assert not decode(make_ref(apart)[1]).name[0].flags.writeable
