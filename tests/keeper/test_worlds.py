"""Random worlds around the keeper: whatever is lost, late, repeated, or killed, what happened can be explained."""

from __future__ import annotations

from itertools import pairwise

import pytest
from admission_world import AdmissionWorld
from keeper_invariants import check
from keeper_oracle import Oracle
from keeper_talks import KeeperTalk, Kept, ends, evaluates, opens, parks, replies, start
from keeper_world import FLOWS, World, play

from rayflow.keeper.requests import RunEnded
from rayflow.keeper.run_states import MOVES, WAIT_MOVES
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import RunRow
from rayflow.testing.playbook import failure


@pytest.mark.parametrize("seed", range(40))
def test_what_happens_in_a_random_world_can_be_explained(seed: int) -> None:
    assert play(seed) is None


@pytest.mark.parametrize("seed", range(20))
def test_what_admission_does_in_a_random_world_can_be_explained(seed: int) -> None:
    assert play(seed, world=AdmissionWorld) is None


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_what_happens_in_many_random_worlds_can_be_explained() -> None:
    assert {seed: said for seed in range(40, 4_000) if (said := play(seed)) is not None} == {}
    asking = {seed: play(seed, world=AdmissionWorld) for seed in range(40, 4_000)}
    assert {seed: said for seed, said in asking.items() if said is not None} == {}


def test_a_world_is_the_same_for_one_seed() -> None:
    one, other = World(7), World(7)
    one.play()
    other.play()
    assert one.rows == other.rows


# --- moves ------------------------------------------------------------------------------------------------------------

SEEDS = (0, 1, 2, 3, 6, 28)
"""Worlds that walk all moves but those below."""
ADMISSION_SEEDS = tuple(range(14))
"""Worlds with flows that ask something of admission."""


def walked() -> tuple[set[tuple[str | None, str]], set[tuple[str | None, str]]]:
    """The moves of runs and of waits that these worlds and some conversations walk."""
    runs: set[tuple[str | None, str]] = set()
    waits: set[tuple[str | None, str]] = set()
    for seed in SEEDS:
        world = World(seed)
        world.play()
        runs |= world.oracle.moves
        waits |= world.oracle.wait_moves
    for seed in ADMISSION_SEEDS:
        world = AdmissionWorld(seed)
        world.play()
        runs |= world.oracle.moves
        waits |= world.oracle.wait_moves
    for ended in (ends("a", 1), ends("a", failure()), RunEnded(0, "a", b"", missing=("lab.f",))):
        # What no shell of ours does: a parked run ends by itself.
        talk = KeeperTalk()
        assert talk >> start("a") << evaluates("a") << replies("start") >> opens("a", "q", "ask") >> parks("a", "q")
        assert talk >> ended
        states = [row.state for row in talk.rows(RunRow)]
        runs |= set(pairwise(states))
    return runs, waits


def test_every_move_of_the_tables_is_walked_and_no_other() -> None:
    runs, waits = walked()
    assert runs == {(before, after) for before, moves in MOVES.items() for after in moves}
    assert waits == {(before, after) for before, moves in WAIT_MOVES.items() for after in moves}


# --- the oracle can fail ----------------------------------------------------------------------------------------------


def history() -> list[list[object]]:
    """The rows of a short conversation, by turn."""
    kept, turns = Kept(), []
    for request in (start("a"), opens("a", "w", "event", name="x"), parks("a", "w"), ends("a", 1)):
        before = len(kept.rows)
        kept.handle([request._replace(at=1)])
        turns.append(kept.rows[before:])
    return turns


def read(turns: list[list[object]]) -> Oracle:
    """An oracle that has read these turns."""
    oracle = Oracle(FLOWS)
    wait = opens("a", "w", "event", name="x")
    for rows in turns:
        oracle.turn(rows, 1, {("a", wait.place): wait})
    return oracle


def test_the_oracle_takes_a_history_that_is_right() -> None:
    assert len(read(history()).rows) == 5


@pytest.mark.parametrize("lost", range(4))
def test_the_oracle_notices_a_turn_that_is_missing(lost: int) -> None:
    turns = history()
    del turns[lost]
    if lost == 3:
        return  # nothing has happened after it
    with pytest.raises(AssertionError):
        read(turns)


def test_the_oracle_notices_a_row_of_a_run_that_has_ended() -> None:
    turns = history()
    late = RunRow("a", 6, 1, "done", "end", outcome=pack_outcome(1))
    with pytest.raises(AssertionError, match="from done to done"):
        read([*turns, [late]])


def test_the_invariants_notice_an_index_that_is_wrong() -> None:
    kept = Kept()
    kept.handle([start("a", id="i")])
    kept.keeper.state.ids.clear()
    with pytest.raises(AssertionError):
        check(kept.keeper.state)
