"""Recovery: the rows are all that a keeper needs."""

from __future__ import annotations

import random

import pytest
from keeper_talks import (
    SECOND,
    KeeperTalk,
    Kept,
    at_place,
    binds,
    bound,
    cancels,
    emits,
    ends,
    evaluates,
    later,
    opens,
    parks,
    recalled,
    recovered,
    replies,
    resolves,
    start,
    stops,
)

from rayflow.errors import WrongMove
from rayflow.keeper import requests
from rayflow.keeper.commands import BindEvent, Evaluate, Recall, SetAlarm, Write
from rayflow.keeper.folding import apply, write
from rayflow.keeper.ids import derived_run_id
from rayflow.keeper.keeper import Keeper
from rayflow.keeper.run_states import MOVES, WAIT_MOVES, check_move
from rayflow.keeper.state import KeeperState
from rayflow.keeper.timers import RUN_DUE, set_timer
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import RunRow, WaitRow
from rayflow.testing.patterns import fits
from rayflow.testing.playbook import START


def test_a_run_that_was_running_is_taken_up_again_in_another_life() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    assert fits([evaluates("a", life=1)], talk.crash())
    assert fits([evaluates("a", life=2)], talk.crash())


def test_a_run_that_sleeps_is_left_alone_and_wakes_in_another_life() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    assert talk >> opens("a", "nap", "sleep", delay_us=5 * SECOND) >> parks("a", "nap")
    assert talk.crash() == []
    assert talk >> later(6) << resolves("a", "nap")
    command = talk.keeper.evaluation("a")
    assert (command.life, command.generation) == (1, 0)
    assert talk.keeper.resolved("a") == {at_place("nap"): pack_outcome(None)}


def test_overdue_deadlines_come_once_in_their_order() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    assert (
        talk
        >> opens("a", "second", "sleep", delay_us=6 * SECOND)
        >> opens("a", "first", "sleep", delay_us=5 * SECOND)
        >> opens("a", "event", "event", name="paid", delay_us=7 * SECOND)
        >> emits("e1", due_at=START + 6 * SECOND)
        << replies("emit")
        >> parks("a", "first", "second", "event")
    )
    talk.at = START + 60 * SECOND
    came = talk.crash()
    assert [command.place for command in came] == [at_place("first"), at_place("event"), at_place("second")]
    assert talk.crash()[1:] == []


def test_a_run_that_is_ending_is_asked_to_end_again() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> cancels("a") << replies("cancel") << stops("a")
    assert fits([evaluates("a", life=1, stops=1, by="cancel")], talk.crash())
    assert talk >> cancels("a") << replies("cancel") << stops("a", is_again=True)
    assert fits([evaluates("a", life=2, stops=2, by="cancel")], talk.crash())
    assert talk >> ends("a")
    assert talk.states("a")[-1] == ("cancelled", "cancel")


def test_a_clean_up_that_waits_goes_on_after_a_crash() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> cancels("a") << replies("cancel") << stops("a")
    assert talk >> opens("a", "tidy", "sleep", delay_us=5 * SECOND, is_cleanup=True)
    talk.crash()
    assert talk >> later(6) << resolves("a", "tidy")
    assert talk.keeper.evaluation("a")[2:] == (2, 0, 1, "cancel")


def test_a_question_to_the_store_is_asked_again() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> start("b") << evaluates("b") << replies("start")
    assert talk >> ends("b", 3) >> opens("a", "j", "join", target="b") << Recall("b") >> parks("a", "j")
    assert talk.crash() == [Recall("b")]
    assert talk >> recalled(talk.kept.rows, "b") << resolves("a", "j", 3)


def test_a_root_term_is_asked_for_again() -> None:
    talk = KeeperTalk(requests.FlowSpec("lab.ship", on=(("paid", None),)))
    assert talk >> emits("e1") << binds("e1", "lab.ship") << replies("emit")
    came = talk.crash(requests.FlowSpec("lab.ship"))
    assert [type(command) for command in came] == [BindEvent]
    assert talk >> bound("e1", "lab.ship") << evaluates(str)


def test_a_run_that_waits_for_code_is_taken_up_when_the_service_has_it() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> ends("a", missing=("lab.f",))
    assert fits([evaluates("a", life=1)], talk.crash())


def test_a_user_id_is_known_after_a_crash() -> None:
    talk = KeeperTalk()
    first = derived_run_id("order-1")
    assert talk >> start(id="order-1") << evaluates(first) << replies("start") >> ends(first, 1)
    talk.crash()
    assert talk >> start(id="order-1") << replies("start", {"run_id": first, "state": "done", "is_new": False})


def test_time_goes_on_where_it_was_recorded_last() -> None:
    talk = KeeperTalk()
    assert talk >> later(50) >> start("a") << evaluates("a") << replies("start")
    keeper = Keeper()
    keeper.handle([recovered(talk.kept.rows, START)])
    assert keeper.state.now == talk.kept.rows[-1].at


def test_the_rows_of_a_turn_come_first_and_the_alarm_last() -> None:
    keeper = Keeper()
    keeper.handle([requests.Recovered(START)])
    came = keeper.handle([start("a"), opens("a", "nap", "sleep", delay_us=SECOND)])
    assert isinstance(came[0], Write)
    assert isinstance(came[-1], SetAlarm)
    assert not any(isinstance(command, Write) for command in came[1:])


def test_an_alarm_is_set_once_and_again_for_an_earlier_time() -> None:
    keeper = Keeper()
    keeper.handle([requests.Recovered(START), start("a")])

    def alarms(*incoming: requests.Request) -> list[int]:
        return [each.at - START for each in keeper.handle(incoming) if isinstance(each, SetAlarm)]

    assert alarms(opens("a", "w", "sleep", deadline_at=START + 9)) == [9]
    assert alarms(opens("a", "x", "sleep", deadline_at=START + 12)) == []
    assert alarms(opens("a", "y", "sleep", deadline_at=START + 5)) == [5]
    assert alarms(requests.TimeCame(START + 5)) == [9]
    assert alarms(requests.TimeCame(START + 6)) == [9], "one that came too early is set again"
    assert alarms(requests.TimeCame(START + 9)) == [12]


def test_timers_that_nobody_needs_are_thrown_away() -> None:
    keeper = Keeper()
    keeper.handle([requests.Recovered(START), start("a")])
    for number in range(5_000):
        place = f"w{number}"
        keeper.handle([opens("a", place, "event", name="paid", delay_us=SECOND)])
        keeper.handle([emits(place)])
    assert len(keeper.state.timers) < 2_500


# --- moves ------------------------------------------------------------------------------------------------------------


def test_a_move_that_is_not_in_the_table_is_a_bug() -> None:
    state = KeeperState()
    write(state, RunRow("a", 1, START, "running", "start"))
    with pytest.raises(WrongMove, match="run a cannot go from running to scheduled"):
        apply(state, RunRow("a", 2, START, "scheduled", "start"))
    with pytest.raises(WrongMove, match="cannot go from nothing to resolved"):
        apply(state, WaitRow("a", b"p", 2, START, "resolved", "sleep"))
    with pytest.raises(WrongMove, match="cannot go from nothing to done"):
        apply(state, RunRow("b", 2, START, "done", "end"))


def test_the_tables_name_no_state_that_they_do_not_have() -> None:
    for moves in (MOVES, WAIT_MOVES):
        assert {after for each in moves.values() for after in each} == {state for state in moves if state}
        for before in moves:
            for after in moves[before]:
                check_move(moves, before, after, "a")


def test_a_timer_of_an_owner_that_is_done_does_not_hold() -> None:
    state = KeeperState(now=START)
    write(state, RunRow("a", 1, START, "running", "start"))
    set_timer(state, START, RUN_DUE, 1, state.runs["a"])
    keeper = Keeper()
    keeper.state = state
    assert keeper.handle([requests.TimeCame(START)]) == []


# --- every prefix -----------------------------------------------------------------------------------------------------


def test_a_keeper_that_recovers_after_any_turn_brings_all_to_the_same_end() -> None:
    """One conversation, cut at each turn: the rest of it leads to the same final states."""
    steps = [
        start("a"),
        opens("a", "nap", "sleep", delay_us=SECOND),
        opens("a", "paid", "event", name="paid"),
        opens("a", "c", "spawn", root="c", id="spawned"),
        emits("e1"),
        later(3),
        cancels(derived_run_id("spawned")),
        ends(derived_run_id("spawned")),
        ends("a", 1),
    ]

    def final(cut: int) -> dict[str, str]:
        kept = Kept()
        kept.handle([requests.Recovered(START)])
        for number, step in enumerate(steps):
            kept.handle([step])
            if number == cut:
                kept.keeper = Keeper()
                kept.handle([recovered(kept.rows, START)])
        return {row.run_id: row.state for row in kept.rows if isinstance(row, RunRow)}

    uncut = final(-1)
    assert set(uncut.values()) == {"done", "cancelled"}
    assert all(final(cut) == uncut for cut in range(len(steps)))


def test_commands_that_were_lost_come_again() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> cancels("a") << replies("cancel") << stops("a")
    rows = list(talk.kept.rows)
    again = Keeper().handle([recovered(rows, START)])
    assert [type(command) for command in again] == [Write, Evaluate]


def test_what_is_random_in_a_fold_does_not_matter() -> None:
    """Rows of one table come in order; tables may come in any way, and rows are put in order."""
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> opens("a", "q", "ask") >> parks("a", "q")
    rows = list(talk.kept.rows)
    random.Random(1).shuffle(rows)
    keeper = Keeper()
    assert keeper.handle([recovered(sorted(rows, key=lambda row: row.number), talk.at)]) == []
    assert keeper.waits("a") == talk.keeper.waits("a")
