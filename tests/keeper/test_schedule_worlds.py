"""Random worlds around schedules: through kills, deploys and clocks that go wrong, each moment has one run at most, and
what became of it is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from keeper_talks import Kept, later, made, puts
from schedule_oracle import ScheduleOracle
from schedule_world import OVERLAPS, ScheduleWorld, play_schedules

from rayflow.keeper.schedule_states import FIRING_MOVES, SCHEDULE_MOVES
from rayflow.records import FiringRow, RunRow, ScheduleRow
from rayflow.testing.playbook import START

SECOND = 1_000_000


@pytest.mark.parametrize("seed", range(16))
def test_what_schedules_do_in_a_random_world_can_be_explained(seed: int) -> None:
    assert play_schedules(seed) is None


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_what_schedules_do_in_many_random_worlds_can_be_explained() -> None:
    assert {seed: said for seed in range(16, 4_000) if (said := play_schedules(seed)) is not None} == {}


def test_a_world_of_schedules_is_the_same_for_one_seed() -> None:
    one, other = ScheduleWorld(7), ScheduleWorld(7)
    one.play()
    other.play()
    assert one.rows == other.rows


# --- moves ------------------------------------------------------------------------------------------------------------

SEEDS = (1, 4, 8, 21, 39, 41, 45, 53)
"""Worlds that walk all moves, and decide in all ways."""


def test_every_move_of_schedules_and_firings_is_walked_and_no_other() -> None:
    moves: set[Any] = set()
    firing_moves: set[Any] = set()
    decisions: set[Any] = set()
    for seed in SEEDS:
        world = ScheduleWorld(seed)
        world.play()
        moves |= world.oracle.moves
        firing_moves |= world.oracle.firing_moves
        decisions |= world.oracle.decisions
    assert moves == {(before, after) for before, moves in SCHEDULE_MOVES.items() for after in moves}
    assert firing_moves == {(before, after) for before, moves in FIRING_MOVES.items() for after in moves}
    free = {(overlap, "pending", is_made_up) for overlap in OVERLAPS for is_made_up in (False, True)}
    made_up = {(overlap, "queued", True) for overlap in OVERLAPS if overlap != "allow"}
    assert decisions == {*free, *made_up, ("queue", "queued", False), ("skip", "skipped", False)}


# --- the oracle can fail ----------------------------------------------------------------------------------------------


def history() -> list[list[Any]]:
    """The rows of a short conversation, by turn: a schedule, two firings, two runs."""
    kept, turns = Kept(), []
    every_10 = '[{"every": 10}]'
    moments = [START + 10 * SECOND, START + 20 * SECOND]
    for request in (
        puts("s", every_10, overlap="allow"), later(10), made("s", moments[0]), later(20), made("s", moments[1]),
    ):  # fmt: skip
        before = len(kept.rows)
        kept.handle([request._replace(at=request.at or START)])
        turns.append(kept.rows[before:])
    return turns


def read(turns: list[list[Any]]) -> ScheduleOracle:
    """An oracle that has read these turns."""
    oracle = ScheduleOracle()
    for rows in turns:
        oracle.turn(rows, max((row.at for row in rows), default=0))
    return oracle


def test_the_oracle_of_schedules_takes_a_history_that_is_right() -> None:
    oracle = read(history())
    assert oracle.known["s"].states == {START + 10 * SECOND: "started", START + 20 * SECOND: "started"}


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_the_oracle_of_schedules_notices_a_turn_that_is_missing(lost: int) -> None:
    turns = history()
    del turns[lost]
    with pytest.raises((AssertionError, KeyError)):
        read(turns)


@pytest.mark.parametrize("of", [ScheduleRow, FiringRow, RunRow])
def test_the_oracle_of_schedules_notices_a_row_that_is_missing(of: type) -> None:
    turns = history()
    [row, *_] = [row for rows in turns for row in rows if isinstance(row, of)]
    with pytest.raises((AssertionError, KeyError)):
        read([[each for each in rows if each is not row] for rows in turns])


def test_the_oracle_of_schedules_notices_a_second_run_of_one_moment() -> None:
    turns = history()
    with pytest.raises(AssertionError, match="went from started"):
        read([*turns, turns[-1]])
