"""Schedules: when they fire, what a firing does while a run goes on, pauses, changes, triggers and backfills."""

from __future__ import annotations

from typing import Any

import pytest
from keeper_talks import (
    SECOND,
    KeeperTalk,
    cancels,
    ends,
    evaluates,
    firings_recalled,
    later,
    made,
    makes,
    opens,
    parks,
    pauses,
    puts,
    recalled,
    refuses,
    replies,
    resumes,
    retries,
    start,
    stops,
)

from rayflow.keeper.commands import ForgetRun, Recall, RecallFirings
from rayflow.keeper.ids import derived_run_id, firing_id
from rayflow.keeper.requests import (
    BackfillRequested,
    DeleteScheduleRequested,
    FlowSpec,
    ScheduleSpec,
    TriggerRequested,
)
from rayflow.keeper.schedules import LATE_US, MOST_COUNTED, MOST_MADE_UP
from rayflow.records import FiringRow, RunRow, ScheduleRow
from rayflow.testing.playbook import START, STEP, failure

EVERY_10 = '[{"every": 10}]'
HOURLY = '[{"every": 3600}]'


def at(seconds: int) -> int:
    """So many seconds after the start."""
    return START + seconds * SECOND


def run_at(seconds: int, name: str = "s") -> str:
    """The run of a firing."""
    return derived_run_id(firing_id(name, at(seconds)))


def scheduled(**how: Any) -> KeeperTalk:
    """A conversation with a schedule that fires every ten seconds."""
    talk = KeeperTalk()
    assert talk >> puts("s", EVERY_10, **how) << replies("put")
    return talk


def with_run(**how: Any) -> KeeperTalk:
    """The same, when the first firing has its run."""
    talk = scheduled(**how)
    assert talk >> later(10) << makes("s", at(10)) >> made("s", at(10)) << evaluates(run_at(10))
    return talk


def states(talk: KeeperTalk, seconds: int | None = None) -> list[tuple[str, str | None]]:
    """The states of all firings, or of one, each with its cause."""
    rows = talk.rows(FiringRow)
    return [(row.state, row.cause) for row in rows if seconds is None or row.moment == at(seconds)]


def triggers(seconds: int) -> TriggerRequested:
    """A TriggerRequested."""
    return TriggerRequested(0, "trigger", "s", at(seconds))


def backfills(first: int, last: int | None) -> BackfillRequested:
    """A BackfillRequested."""
    return BackfillRequested(0, "backfill", "s", at(first), None if last is None else at(last))


def tells(talk: KeeperTalk, first: int, last: int) -> Any:
    """What the store says of the firings between two times."""
    talk.play()
    return firings_recalled(talk.kept.rows, RecallFirings("s", at(first), at(last)))


# --- firing -----------------------------------------------------------------------------------------------------------


def test_a_schedule_starts_a_run_at_each_of_its_moments() -> None:
    talk = with_run()
    [row] = talk.rows(RunRow)
    assert (row.id, row.link, row.schedule, row.moment) == (f"schedule:s:{at(10)}", "schedule", "s", at(10))
    assert talk >> ends(run_at(10), 1) >> later(20) << makes("s", at(20), previous=at(10))
    assert talk >> made("s", at(20)) << evaluates(run_at(20))
    assert states(talk, 20) == [("pending", None), ("started", None)]


def test_a_moment_fires_once_however_often_time_comes() -> None:
    talk = with_run()
    assert talk >> later(10) >> later(11) >> made("s", at(10)) >> later(12)
    assert len([row for row in talk.rows(RunRow) if row.id is not None]) == 1


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    talk = with_run()
    assert talk >> ends(run_at(10), 1)
    talk.at = START
    talk.crash()
    assert talk >> later(5) >> later(12)
    assert states(talk) == [("pending", None), ("started", None)]


def test_the_firing_that_was_asked_for_is_asked_for_again_after_a_crash() -> None:
    talk = scheduled()
    assert talk >> later(10) << makes("s", at(10))
    [again] = talk.crash()
    assert (again.schedule, again.moment) == ("s", at(10))
    assert talk >> made("s", at(10)) << evaluates(run_at(10))


def test_a_firing_without_code_waits_for_it() -> None:
    talk = scheduled()
    assert talk >> later(10) << makes("s", at(10)) >> made("s", at(10), root=None)
    assert talk.keeper.schedule("s")["pending"] == [at(10)]
    assert talk >> later(20)
    assert states(talk, 20) == [("skipped", "overlap")]
    assert [type(command).__name__ for command in talk.crash()] == ["BindFiring"]


def test_arguments_that_do_not_fit_fail_the_firing_alone() -> None:
    talk = scheduled()
    assert talk >> later(10) << makes("s", at(10)) >> made("s", at(10), error="n: not a number")
    assert talk >> later(20) << makes("s", at(20)) >> made("s", at(20)) << evaluates(run_at(20))
    assert states(talk, 10)[-1] == ("failed", None)


def test_several_schedules_fire_at_one_moment() -> None:
    talk = scheduled()
    assert talk >> puts("other", EVERY_10) << replies("put") >> later(10) << makes("s") << makes("other")


# --- overlap ----------------------------------------------------------------------------------------------------------


def test_skip_starts_nothing_while_a_run_has_not_ended() -> None:
    talk = with_run()
    assert talk >> opens(run_at(10), "nap", "sleep", delay_us=25 * SECOND) >> parks(run_at(10), "nap")
    assert talk >> later(20) >> later(30)
    assert states(talk, 20) == states(talk, 30) == [("skipped", "overlap")]


def test_queue_starts_each_when_the_one_before_has_ended() -> None:
    talk = with_run(overlap="queue")
    assert talk >> later(20) >> later(30)
    assert talk.keeper.schedule("s")["queued"] == [at(20), at(30)]
    assert talk >> ends(run_at(10), 1) << makes("s", at(20)) >> made("s", at(20)) << evaluates(run_at(20))
    assert talk >> ends(run_at(20), failure()) << makes("s", at(30)) >> made("s", at(30)) << evaluates(run_at(30))
    assert states(talk, 20) == [("queued", "overlap"), ("pending", None), ("started", None)]


def test_a_queue_goes_on_after_a_crash() -> None:
    talk = with_run(overlap="queue")
    assert talk >> later(20) >> later(30)
    talk.crash()
    assert talk >> ends(run_at(10), 1) << makes("s", at(20)) >> made("s", at(20)) << evaluates(run_at(20))


def test_a_queue_goes_on_when_a_firing_fails() -> None:
    talk = with_run(overlap="queue")
    assert talk >> later(20) >> later(30) >> ends(run_at(10), 1) << makes("s", at(20))
    assert talk >> made("s", at(20), error="no") << makes("s", at(30))


def test_allow_starts_each_at_its_moment() -> None:
    talk = with_run(overlap="allow")
    assert talk >> later(20) << makes("s", at(20)) >> made("s", at(20)) << evaluates(run_at(20))


def test_cancel_previous_cancels_what_runs() -> None:
    talk = with_run(overlap="cancel_previous")
    assert talk >> later(20) << makes("s", at(20)) << stops(run_at(10), by="cancel")
    assert talk >> made("s", at(20)) << evaluates(run_at(20)) >> ends(run_at(10), is_cancelled=True)
    assert talk.states(run_at(10))[-1] == ("cancelled", "cancel")
    [ending] = [row for row in talk.rows(RunRow) if row.state == "ending"]
    assert ending.reason == "schedule s has fired again, for 2023-11-14T22:13:40+00:00"


def test_cancel_previous_drops_a_firing_that_waits_for_code() -> None:
    talk = scheduled(overlap="cancel_previous")
    assert talk >> later(10) << makes("s", at(10)) >> made("s", at(10), root=None) >> later(20) << makes("s", at(20))
    assert states(talk, 10)[-1] == ("skipped", "overlap")


def test_a_chain_that_goes_on_has_not_ended() -> None:
    talk = with_run()
    assert talk >> opens(run_at(10), "on", "continue_as", root="next") << ForgetRun(run_at(10)) << evaluates(str)
    assert talk.keeper.schedule("s")["runs"] == [derived_run_id(f"next:{run_at(10)}")]
    assert talk >> later(20)
    assert states(talk, 20) == [("skipped", "overlap")]


def test_a_retried_run_has_not_ended() -> None:
    talk = with_run()
    assert talk >> ends(run_at(10), failure()) >> retries(run_at(10)) << Recall(run_at(10))
    assert talk >> recalled(talk.kept.rows, run_at(10)) << evaluates(run_at(10)) << replies("retry") >> later(20)
    assert states(talk, 20) == [("skipped", "overlap")]


def test_a_run_that_somebody_has_started_by_hand_does_not_count() -> None:
    talk = scheduled()
    assert talk >> start("a", flow="lab.f") << evaluates("a") << replies("start") >> later(10) << makes("s", at(10))


# --- no service was up ------------------------------------------------------------------------------------------------


def test_moments_within_the_catch_up_are_made_up_in_order_one_after_the_other() -> None:
    talk = scheduled(catch_up_us=3600 * SECOND)
    talk.at = at(35)
    [first] = talk.crash()
    assert first.moment == at(10)
    assert talk.keeper.schedule("s")["queued"] == [at(20), at(30)]
    assert talk >> made("s", at(10)) << evaluates(run_at(10)) >> ends(run_at(10), 1) << makes("s", at(20))
    assert talk >> made("s", at(20)) << evaluates(run_at(20)) >> ends(run_at(20), 1) << makes("s", at(30))


def test_with_allow_they_are_made_up_at_once() -> None:
    talk = scheduled(catch_up_us=3600 * SECOND, overlap="allow")
    talk.at = at(35)
    assert [command.moment for command in talk.crash()] == [at(10), at(20), at(30)]


def test_those_that_are_too_late_are_recorded_as_missed() -> None:
    talk = scheduled(catch_up_us=100 * SECOND)
    talk.at = at(1000)
    [first] = talk.crash()
    assert first.moment == at(900)
    [missed] = [row for row in talk.rows(FiringRow) if row.state == "missed"]
    assert (missed.moment, missed.last_moment, missed.many, missed.cause) == (at(10), at(890), 89, "late")


def test_a_restart_within_a_minute_misses_nothing() -> None:
    talk = scheduled()
    talk.at = at(65)
    assert [command.moment for command in talk.crash()] == [at(10)]
    assert talk.keeper.schedule("s")["queued"] == [at(each) for each in (20, 30, 40, 50, 60)]


def test_all_may_be_missed() -> None:
    talk = KeeperTalk()
    assert talk >> puts("s", HOURLY) << replies("put")
    talk.at = at(10 * 3600)
    assert talk.crash() == []
    [missed] = talk.rows(FiringRow)
    assert (missed.state, missed.many) == ("missed", 10)
    assert talk.crash() == []


def test_no_more_than_so_many_are_made_up() -> None:
    talk = scheduled(catch_up_us=10**9 * SECOND)
    talk.at = at(10 * (MOST_MADE_UP + 5))
    [first] = talk.crash()
    assert first.moment == at(60)
    assert len(talk.keeper.schedule("s")["queued"]) == MOST_MADE_UP - 1
    assert talk.rows(FiringRow)[0].many == 5


def test_a_series_that_is_too_long_is_not_counted() -> None:
    talk = scheduled()
    talk.at = at(10 * (MOST_COUNTED + 50))
    talk.crash()
    missed = talk.rows(FiringRow)[0]
    assert missed.many is None
    assert missed.last_moment == talk.at - LATE_US - 10 * SECOND


# --- pause ------------------------------------------------------------------------------------------------------------


def test_the_firings_of_a_pause_are_skipped() -> None:
    talk = scheduled()
    assert talk >> pauses("s") << replies("pause") >> later(35) >> pauses("s") << replies("pause")
    assert talk.keeper.schedule("s")["next_at"] is None
    assert talk >> resumes("s") << replies("resume") >> resumes("s") << replies("resume")
    [row] = talk.rows(FiringRow)
    assert (row.state, row.cause, row.moment, row.last_moment, row.many) == ("skipped", "paused", at(10), at(30), 3)
    assert talk >> later(40) << makes("s", at(40))


def test_a_pause_holds_through_a_crash() -> None:
    talk = scheduled()
    assert talk >> pauses("s") << replies("pause")
    talk.at = at(100)
    assert talk.crash() == []
    assert talk >> later(200) >> resumes("s") << replies("resume") >> later(210) << makes("s", at(210))


def test_what_was_queued_before_a_pause_has_its_turn() -> None:
    talk = with_run(overlap="queue")
    assert talk >> later(20) >> pauses("s") << replies("pause") >> ends(run_at(10), 1) << makes("s", at(20))


# --- changes ----------------------------------------------------------------------------------------------------------


def test_the_same_again_changes_nothing() -> None:
    talk = scheduled()
    assert talk >> puts("s", EVERY_10) << replies("put")
    assert len(talk.rows(ScheduleRow)) == 1


def test_another_timetable_counts_from_now_on() -> None:
    talk = scheduled()
    assert talk >> later(5) >> puts("s", '[{"every": 3}]') << replies("put") >> later(7) << makes("s")
    assert talk.rows(FiringRow)[0].moment > at(5)


def test_a_change_keeps_the_pause() -> None:
    talk = scheduled()
    assert talk >> pauses("s") << replies("pause") >> later(15) >> puts("s", HOURLY) << replies("put")
    assert talk.keeper.schedule("s")["state"] == "paused"
    assert states(talk) == [("skipped", "paused")]


def test_a_deleted_schedule_fires_no_more_and_its_queue_is_dropped() -> None:
    talk = with_run(overlap="queue")
    assert talk >> later(20) >> DeleteScheduleRequested(0, "delete", "s") << replies("delete")
    assert states(talk, 20)[-1] == ("skipped", "deleted")
    assert talk >> ends(run_at(10), 1) >> later(40)
    assert talk >> DeleteScheduleRequested(0, "delete", "s") << replies("delete")
    assert talk >> pauses("s") << refuses("pause", "NotFound") >> triggers(30) << refuses("trigger", "NotFound")


def test_a_deleted_schedule_may_be_put_again_and_is_not_paused() -> None:
    talk = scheduled()
    assert talk >> pauses("s") << replies("pause") >> DeleteScheduleRequested(0, "delete", "s") << replies("delete")
    assert talk >> puts("s", EVERY_10) << replies("put") >> later(10) << makes("s", at(10))


@pytest.mark.parametrize(
    "request_", [pauses("t"), resumes("t"), DeleteScheduleRequested(0, "r", "t"), TriggerRequested(0, "r", "t", START)]
)
def test_what_nobody_knows_is_not_found(request_: Any) -> None:
    assert scheduled() >> request_ << refuses(request_.request, "NotFound", "'t'")


# --- schedules in the code --------------------------------------------------------------------------------------------


def flow(timetable: str | None = EVERY_10, name: str = "lab.f", **how: Any) -> FlowSpec:
    """A flow with a schedule."""
    return FlowSpec(name, schedule=None if timetable is None else ScheduleSpec(timetable, **how))


def test_a_schedule_in_the_code_fires_from_the_first_start_of_the_service_on() -> None:
    talk = KeeperTalk(flow())
    assert talk >> later(10) << makes("lab.f", at(10), flow="lab.f", arguments=None)
    assert [row.cause for row in talk.rows(ScheduleRow)] == ["code"]


def test_the_same_code_changes_nothing() -> None:
    talk = KeeperTalk(flow())
    talk.crash(flow())
    talk.knows(flow())
    assert len(talk.rows(ScheduleRow)) == 1


def test_a_change_in_the_code_counts_from_the_next_start_on_and_keeps_the_pause() -> None:
    talk = KeeperTalk(flow())
    assert talk >> pauses("lab.f") << replies("pause")
    talk.crash(flow(HOURLY))
    row = talk.rows(ScheduleRow)[-1]
    assert (row.timetable, row.state, row.cause) == (HOURLY, "paused", "code")


def test_what_a_changed_schedule_has_missed_goes_by_its_old_timetable() -> None:
    talk = KeeperTalk(flow())
    talk.at = at(15)
    [command] = talk.crash(flow('[{"every": 7}]'))
    assert command.moment == at(10)
    assert [row.moment for row in talk.rows(FiringRow)] == [at(10)]


def test_a_schedule_that_vanished_from_the_code_is_gone_until_it_is_back() -> None:
    talk = KeeperTalk(flow())
    talk.at = at(15)
    assert talk.crash(flow(None)) == []
    assert (talk.rows(ScheduleRow)[-1].state, talk.rows(FiringRow)) == ("gone", [])
    assert talk >> later(40)
    assert talk.crash(flow()) == []
    assert talk >> later(50) << makes("lab.f", at(50))


def test_one_that_is_back_is_paused_if_it_was() -> None:
    talk = KeeperTalk(flow())
    assert talk >> pauses("lab.f") << replies("pause")
    talk.crash()
    talk.crash(flow())
    assert [row.state for row in talk.rows(ScheduleRow)] == ["active", "paused", "gone", "paused"]


def test_the_code_says_what_its_schedules_are() -> None:
    talk = KeeperTalk(flow())
    assert talk >> puts("lab.f", HOURLY) << refuses("put", "RunConflict", "in the code")
    assert talk >> DeleteScheduleRequested(0, "delete", "lab.f") << refuses("delete", "RunConflict", "pause it")


# --- trigger and backfill ---------------------------------------------------------------------------------------------


def test_a_trigger_starts_a_run_whatever_runs() -> None:
    talk = with_run()
    assert talk >> pauses("s") << replies("pause") >> later(13)
    assert talk >> triggers(12) << RecallFirings("s", at(12), at(12))
    assert talk >> tells(talk, 12, 12) << makes("s", at(12), previous=at(10))
    said = {"schedule": "s", "moment": at(12), "run_id": run_at(12), "is_new": True}
    assert talk >> made("s", at(12)) << evaluates(run_at(12)) << replies("trigger", said)
    assert [row.kind for row in talk.rows(FiringRow)][-1] == "trigger"


def test_the_same_trigger_again_is_the_same_run() -> None:
    talk = with_run()
    again = {"schedule": "s", "moment": at(10), "run_id": run_at(10), "is_new": False}
    assert talk >> triggers(10) << RecallFirings("s", at(10), at(10))
    assert talk >> tells(talk, 10, 10) << replies("trigger", again) >> ends(run_at(10), 1)
    talk.crash()
    assert talk >> triggers(10) << RecallFirings("s", at(10), at(10))
    assert talk >> tells(talk, 10, 10) << replies("trigger", again)


def test_two_triggers_for_one_moment_are_one_run() -> None:
    talk = scheduled()
    assert talk >> later(5) >> triggers(5) << RecallFirings("s", at(5), at(5)) >> triggers(5)
    assert talk >> tells(talk, 5, 5) << makes("s", at(5)) >> tells(talk, 5, 5)
    assert talk >> made("s", at(5)) << evaluates(run_at(5)) << replies("trigger") << replies("trigger")


def test_a_trigger_says_what_does_not_fit() -> None:
    talk = scheduled()
    assert talk >> later(5) >> triggers(5) << RecallFirings("s", at(5), at(5)) >> tells(talk, 5, 5) << makes("s", at(5))
    assert talk >> made("s", at(5), error="n: not a number") << refuses("trigger", "BadArguments", "not a number")


def test_a_trigger_of_a_clock_that_is_ahead_takes_the_place_of_the_firing() -> None:
    talk = scheduled()
    assert talk >> triggers(10) << RecallFirings("s", at(10), at(10)) >> tells(talk, 10, 10) << makes("s", at(10))
    assert talk >> made("s", at(10)) << evaluates(run_at(10)) << replies("trigger") >> ends(run_at(10), 1)
    talk.crash()
    assert talk >> later(10) >> later(20) << makes("s", at(20))
    assert states(talk, 10)[-1] == ("skipped", "trigger")


def test_a_trigger_for_what_has_not_come_is_refused() -> None:
    assert scheduled() >> triggers(100) << refuses("trigger", "BadArguments", "has come")


def test_a_trigger_of_a_deleted_schedule_is_told_so() -> None:
    talk = scheduled()
    assert talk >> later(5) >> triggers(5) << RecallFirings("s", at(5), at(5)) >> tells(talk, 5, 5) << makes("s", at(5))
    assert talk >> DeleteScheduleRequested(0, "delete", "s") << refuses("trigger", "RunConflict") << replies("delete")


def test_a_backfill_starts_the_moments_that_have_had_no_run() -> None:
    talk = with_run()
    assert talk >> later(20) >> later(30) >> ends(run_at(10), 1) >> later(35)
    assert states(talk, 20) == states(talk, 30) == [("skipped", "overlap")]
    assert talk >> backfills(-25, None) << RecallFirings("s", at(-25), talk.at + STEP)
    said = {"schedule": "s", "moments": [at(-20), at(-10), at(0), at(20), at(30)], "known": 1}
    recalled = firings_recalled(talk.kept.rows, RecallFirings("s", at(-25), talk.at))
    assert talk >> recalled << makes("s", at(-20)) << replies("backfill", said)
    assert talk.keeper.schedule("s")["queued"] == [at(-10), at(0), at(20), at(30)]
    assert states(talk, 20)[-1] == ("queued", "overlap")
    assert talk >> made("s", at(-20)) << evaluates(run_at(-20))
    assert talk >> cancels(run_at(-20)) << replies("cancel") << stops(run_at(-20))
    assert talk >> ends(run_at(-20), is_cancelled=True) << makes("s", at(-10))


def test_the_same_backfill_twice_starts_each_once() -> None:
    talk = scheduled(overlap="allow")
    assert talk >> later(1) >> backfills(-25, 0) << RecallFirings("s", at(-25), at(0)) >> backfills(-25, 0)
    twice = [replies("backfill"), replies("backfill", {"schedule": "s", "moments": [], "known": 3})]
    assert talk >> tells(talk, -25, 0) << makes("s") << makes("s") << makes("s") << twice[0] << twice[1]
    assert talk >> tells(talk, -25, 0)


@pytest.mark.parametrize(("first", "last"), [(0, 100), (100, None), (5, 3)])
def test_a_backfill_of_what_has_not_come_is_refused(first: int, last: int | None) -> None:
    assert scheduled() >> later(6) >> backfills(first, last) << refuses("backfill", "BadArguments", "no further than")


def test_a_backfill_of_too_much_is_refused() -> None:
    talk, first = scheduled(), -10 * MOST_COUNTED - 20
    assert talk >> backfills(first, 0) << RecallFirings("s", at(first), at(0))
    assert talk >> tells(talk, first, 0) << refuses("backfill", "BadArguments", "in several parts")


def test_a_run_of_a_schedule_says_so() -> None:
    talk = with_run()
    said = talk.keeper.run(run_at(10))
    assert (said["id"], said["schedule"], said["moment"], said["link"]) == (None, "s", at(10), "schedule")
