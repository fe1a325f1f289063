"""Cycles in a graph of values, and the identities of their members.

In: a graph, as numbers; for each member of a cycle, a function from the identities of its parts to its own. Out: the
members of each cycle; the identity of each member. Never: looks into a value.

The identity of a member depends on everything that can be reached by following its parts. Two cycles that look alike
from each of their members have one identity, even if one repeats a part more often: as elsewhere in hashes, it does not
matter whether equal parts are one object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from rayflow.values.digests import digest

MOST_ROUNDS = 64
"""In each round, the identity of each member is computed from the identities of the round before. Members that are
still equal after so many rounds (in a long chain of equal objects) are identified by their numbers on a walk."""

_UNKNOWN = b"\xfe"
"""The identity of each member before the first round; no other identity begins with it."""

_HASHED = b"\xff"


@dataclass(slots=True)
class Member:
    """A value that is part of a cycle.

    close: computes its identity from the identities of its parts. parts: identities, or the numbers of other members.
    is_ordered: whether the order of its parts matters.
    """

    close: Callable[[list[bytes]], bytes]
    is_ordered: bool = True
    parts: list[bytes | int] = field(default_factory=list)

    def closed(self, known: Callable[[int], bytes]) -> bytes:
        """The identity of this member. known: a function from the number of another member to its identity."""
        return _HASHED + self.close([known(part) if isinstance(part, int) else part for part in self.parts])


def cycles_in(below: Sequence[Sequence[int]]) -> list[list[int]]:
    """All parts of a graph in groups, inner ones first: the members of a cycle together, any other part alone.

    below: for each part, the numbers of the parts that it contains.
    """
    found: list[list[int]] = []
    order = [0] * len(below)
    """The order in which parts were met, from 1; 0 for parts that were not met yet."""
    lowest = [0] * len(below)
    is_open = [False] * len(below)
    members: list[int] = []
    count = 0
    for start in range(len(below)):
        if order[start]:
            continue
        way = [(start, iter(below[start]))]
        count += 1
        order[start] = lowest[start] = count
        members.append(start)
        is_open[start] = True
        while way:
            part, coming = way[-1]
            for each in coming:
                if not order[each]:
                    count += 1
                    order[each] = lowest[each] = count
                    members.append(each)
                    is_open[each] = True
                    way.append((each, iter(below[each])))
                    break
                if is_open[each]:
                    lowest[part] = min(lowest[part], order[each])
            else:
                way.pop()
                if way:
                    outer = way[-1][0]
                    lowest[outer] = min(lowest[outer], lowest[part])
                if lowest[part] == order[part]:
                    position = len(members) - 1
                    while members[position] != part:
                        position -= 1
                    cycle = members[position:]
                    del members[position:]
                    for each in cycle:
                        is_open[each] = False
                    found.append(cycle)
    return found


def identities_in(cycle: Sequence[Member], wanted: Collection[int]) -> dict[int, bytes | None]:
    """The identity of each wanted member; None where members, of a set for example, cannot be distinguished."""
    colours = [_UNKNOWN] * len(cycle)
    different = 1
    for _ in range(MOST_ROUNDS):
        before = colours
        colours = [member.closed(before.__getitem__) for member in cycle]
        different, different_before = len(set(colours)), different
        if different == different_before:
            whole = digest("cycle", *sorted(set(colours)))
            return {each: _HASHED + digest("in cycle", whole, colours[each]) for each in wanted}
    counts = Counter(colours)
    alone = [colour for colour in colours if counts[colour] == 1]
    if not alone:
        return {each: _known_by(_walk(cycle, each, colours), each) for each in wanted}
    walk = _walk(cycle, colours.index(min(alone)), colours)
    return {each: _known_by(walk, each) for each in wanted}


def _walk(cycle: Sequence[Member], start: int, colours: Sequence[bytes]) -> tuple[dict[int, int], bytes] | None:
    """The numbers of members on a walk from one of them, and a digest of the walk; None where the way is unclear."""
    numbers = {start: 0}
    walk = [start]
    for each in walk:
        inside = [part for part in cycle[each].parts if type(part) is int]
        if not cycle[each].is_ordered:
            inside = list(dict.fromkeys(inside))
            if len({colours[part] for part in inside}) < len(inside):
                return None
            inside.sort(key=colours.__getitem__)
        for part in inside:
            if part not in numbers:
                numbers[part] = len(walk)
                walk.append(part)
    identities = [cycle[each].closed(lambda part: b"\xfe%d" % numbers[part]) for each in walk]
    return numbers, digest("walk of cycle", *identities)


def _known_by(walk: tuple[dict[int, int], bytes] | None, member: int) -> bytes | None:
    return None if walk is None else _HASHED + digest("on walk", walk[1], b"%d" % walk[0][member])
