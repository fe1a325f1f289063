"""Objects that contain themselves: found in one walk, and whatever their methods do."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rayflow.values.encoding.cyclic_objects import contains_itself, tied_in


class Node:
    followed = 0

    def __init__(self, *knows: Any) -> None:
        self.knows = list(knows)

    def __reduce_ex__(self, protocol: Any) -> Any:
        Node.followed += 1
        return super().__reduce_ex__(protocol)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_shared_between_objects_is_judged_for_each_as_for_it_alone(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [Node() for _ in range(12)]
    for each in nodes:
        each.knows = chance.sample(nodes, chance.choice([0, 0, 1, 1, 2]))
    knots = [each for each in nodes if contains_itself(each)]
    lists = [[each] for each in nodes]
    for one in lists:
        for other in lists:
            wanted = one is not other and one[0] in knots and other[0] in knots
            term = [one, other]
            # All nodes are asked about, so that what was found of one is used for the next.
            assert (tied_in(term, nodes).keys() == {id(term)}) == wanted


@pytest.mark.parametrize("is_knot", [False, True])
def test_what_many_objects_share_is_followed_once(is_knot: bool) -> None:
    registry = Node(*(Node() for _ in range(1000)))
    if is_knot:
        registry.knows.append(registry)
    objects = [Node(registry) for _ in range(200)]
    Node.followed = 0
    assert bool(tied_in(objects, objects)) == is_knot
    assert Node.followed <= 1201


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), ValueError("odd")], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("late", [False, True])
def test_what_an_object_raises_that_is_asked_for_its_parts_ends_nothing(error: BaseException, late: bool) -> None:
    def fails() -> Any:
        raise error
        yield

    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            return (list, (), None, fails()) if late else next(fails())

    assert not contains_itself(Odd())
