"""Two trees of calls are aligned from their roots: every call has one counterpart, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

import pytest

from rayflow.store.history.call_alignment import AlignedCall, Alignment, align


class Node(NamedTuple):
    """A call that a test has made up. salt: what its result depends on besides."""

    name: str
    argument: int
    salt: int
    below: tuple[Node, ...] = ()

    @property
    def call(self) -> bytes:
        return repr(self).encode()


def jobs(node: Node, path: str = "0", parent: tuple[str, Node] | None = None) -> Iterator[AlignedCall]:
    """The jobs of an execution, callers first."""
    yield AlignedCall(
        job_id=path.encode(), parent_job_id=parent[0].encode() if parent else None,
        parent_call=parent[1].call if parent else None, name=node.name, task_hash=node.name.encode(),
        call_hash=node.call, args_hash=str(node.argument).encode(), value_hash=node.call, status="done", how="computed",
    )  # fmt: skip
    for number, each in enumerate(node.below):
        yield from jobs(each, f"{path}.{number}", (path, node))


def differing(one: Node, other: Node) -> tuple[list[AlignedCall], list[AlignedCall]]:
    """What each execution has, and the other one has not."""
    sides = list(jobs(one)), list(jobs(other))
    known = [{job.call_hash for job in side} for side in sides]
    first = [job for job in sides[0] if job.call_hash not in known[1]]
    return first, [job for job in sides[1] if job.call_hash not in known[0]]


def nothing(calls: Iterable[bytes]) -> dict[bytes, list[AlignedCall]]:
    raise AssertionError("every call has a job")


def aligned(one: Node, other: Node) -> Alignment:
    return align(*differing(one, other), nothing)


def tree(chance: Random, depth: int = 3) -> Node:
    below = [tree(chance, depth - 1) for _ in range(chance.randrange(4))] if depth else []
    return Node(chance.choice("fgh"), chance.randrange(3), chance.randrange(2), tuple(below))


def changed(node: Node, chance: Random) -> Node:
    """The same tree, with some calls changed, added or left out."""
    below = [changed(each, chance) for each in node.below if chance.random() > 0.1]
    if chance.random() < 0.1:
        below.insert(chance.randrange(len(below) + 1), tree(chance, 1))
    argument = node.argument if chance.random() > 0.1 else chance.randrange(3)
    return Node(node.name, argument, node.salt if chance.random() > 0.1 else 2, tuple(below))


@pytest.mark.parametrize("seed", range(200))
def test_each_differing_call_has_one_counterpart_or_none(seed: int) -> None:
    chance = Random(seed)
    one = tree(chance)
    other = changed(one, chance)
    sides, found = differing(one, other), aligned(one, other)
    for side, jobs_there in enumerate(sides):
        alone = (found.before_only, found.after_only)[side]
        paired = [(pair.before, pair.after)[side] for pair in found.pairs]
        told = Counter(job.job_id for job in (*paired, *alone))
        assert max(told.values(), default=1) == 1
        # What is not told of is a call, or stands below one, that is told of in another place.
        calls = {job.call_hash for job in paired}
        by_id = {job.job_id: job for job in jobs_there}
        for job in jobs_there:
            above = job
            while job.job_id not in told and above.call_hash not in calls:
                above = by_id[above.parent_job_id]
                assert above.job_id not in told
    for pair in found.pairs:
        assert pair.before.name == pair.after.name and pair.before.call_hash != pair.after.call_hash
        if pair.parent is not None:
            caller = found.pairs[pair.parent]
            assert (caller.before.job_id, caller.after.job_id) == (pair.before.parent_job_id, pair.after.parent_job_id)


@pytest.mark.parametrize("seed", range(20))
def test_the_other_way_round_the_pairs_are_as_many(seed: int) -> None:
    chance = Random(seed)
    one = tree(chance)
    other = changed(one, chance)
    there, back = aligned(one, other), aligned(other, one)
    assert len(there.before_only) == len(back.after_only) and len(there.after_only) == len(back.before_only)


def test_equal_arguments_are_paired_before_the_order() -> None:
    one = Node("main", 0, 0, (Node("f", 1, 0), Node("f", 2, 0), Node("f", 3, 0)))
    other = Node("main", 0, 0, (Node("f", 9, 0), Node("f", 3, 1), Node("f", 1, 1)))
    pairs = {(pair.before.args_hash, pair.after.args_hash) for pair in aligned(one, other).pairs[1:]}
    assert pairs == {(b"1", b"1"), (b"3", b"3"), (b"2", b"9")}


def test_a_long_chain_needs_no_recursion() -> None:
    def chain(salt: int) -> list[AlignedCall]:
        return [
            AlignedCall(
                job_id=b"%d" % n, parent_job_id=b"%d" % (n - 1) if n else None, parent_call=None, name="f",
                task_hash=b"f", call_hash=b"%d %d" % (n, salt), args_hash=b"%d" % n, value_hash=None, how="computed",
            )
            for n in range(50_000)
        ]  # fmt: skip

    assert len(align(chain(0), chain(1), nothing).pairs) == 50_000
