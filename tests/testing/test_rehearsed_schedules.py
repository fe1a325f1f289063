"""Schedules can be rehearsed: they fire when the test lets time pass, at the moments of the clocks that count."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from projects import Project

from rayflow import cron, every
from rayflow.errors import BadArguments, BadOption, NoSuchTask, NotFound, RunConflict
from rayflow.service.run_queries import RunFilter
from rayflow.testing import Rehearsal, RehearsedRun

HOUR = 3_600_000_000

FLOW = """
    from rayflow import Firing, cron, effect, every, flow, now, seq, sleep, wait_for_event

    @effect
    def note(text: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(text + "\\n")
        return text

    @flow(schedule=cron("0 9 * * *", tz="Europe/Oslo"), catch_up="3h")
    def digest(firing: Firing, limit: int = 3):
        return f"{limit} {firing.schedule} {firing.moment.isoformat()} {firing.previous.isoformat()}"

    @flow(schedule=every("1h"), overlap="queue")
    def slow(seconds: float = 5400.0):
        return seq([note("slow"), sleep(seconds)])

    @flow
    def report(city: str, firing: Firing | None = None):
        return f"{city} {firing.moment.isoformat()}" if firing else city

    @flow
    def hears(name: str):
        return wait_for_event(name)

    @flow
    def wants_more(number: int):
        return number
"""


@pytest.fixture
def stage(project: Project) -> Iterator[Rehearsal]:
    """A rehearsal of a project with schedules. `slow` is paused."""
    project.write("flow.py", FLOW)
    project.load("flow")
    with Rehearsal() as rehearsal:
        rehearsal.schedules.pause("slow")
        yield rehearsal


def now_of(stage: Rehearsal) -> datetime.datetime:
    """The time in the rehearsal."""
    return datetime.datetime.fromtimestamp(stage.service.now() / 1_000_000, datetime.UTC)


def states(stage: Rehearsal, name: str) -> list[tuple[str, str | None]]:
    """The firings of a schedule, oldest first."""
    return [(each["state"], each["cause"]) for each in reversed(stage.schedules.show(name)["firings"])]


def test_time_that_passes_fires_schedules_at_the_times_of_their_zone(stage: Rehearsal) -> None:
    oslo = ZoneInfo("Europe/Oslo")
    stage.skip("49h")
    first, second = stage.runs("flow.digest")
    day = datetime.datetime.fromisoformat(first.result().split()[2])
    assert (day.astimezone(oslo).hour, day.astimezone(oslo).minute) == (9, 0)
    assert second.result().split()[:2] == ["3", "flow.digest"]
    assert second.result().split()[3] == day.isoformat()
    stage.advance_to(datetime.datetime.fromtimestamp(stage.schedules.next("digest", 1)[0] / 1_000_000, datetime.UTC))
    assert len(stage.runs("flow.digest")) == 3


def test_a_firing_has_come_when_time_has_passed_to_its_moment(stage: Rehearsal) -> None:
    for count in range(1, 41):
        [moment] = stage.schedules.next("digest", 1)
        stage.advance_to(datetime.datetime.fromtimestamp(moment / 1_000_000, datetime.UTC))
        assert len(stage.runs("flow.digest")) == count
        stage.skip(0.1 * count)  # seconds are rounded


def test_a_schedule_says_what_it_is_and_what_has_become_of_it(stage: Rehearsal) -> None:
    stage.skip("24h")
    said = stage.schedules.show("digest")
    assert (said["state"], said["flow"], said["overlap"], said["is_of_code"]) == ("active", "flow.digest", "skip", True)
    assert (said["when"], said["catch_up_seconds"]) == ("cron 0 9 * * * (Europe/Oslo)", 10800)
    assert said["timetable"] == [{"cron": "0 9 * * *", "tz": "Europe/Oslo"}]
    assert [each["cause"] for each in said["changes"]] == ["code"]
    [firing] = said["firings"]
    [run] = stage.runs("flow.digest")
    assert (firing["state"], firing["run_id"]) == ("started", run.id)
    described = stage.service.questions.runs(RunFilter(flows=("flow.digest",)), limit=1)[0]
    assert (described["schedule"], described["moment"]) == ("flow.digest", firing["moment"])
    assert stage.schedules.next("digest", 2) == said["next"][:2] == [said["next_at"], said["next"][1]]
    assert [each["schedule"] for each in stage.schedules.list()] == ["flow.digest", "flow.slow"]


def test_a_queue_keeps_its_order_and_goes_on_when_a_run_ends(stage: Rehearsal) -> None:
    stage.schedules.resume("slow")
    stage.skip("3h")
    said = stage.schedules.show("slow")
    assert len(said["runs"]) == 1 and len(said["queued"]) == 1
    stage.skip("30m")
    runs = stage.runs("flow.slow")
    assert [run.state() for run in runs] in (["done", "waiting"], ["done", "done", "waiting"])
    moments = [run.history()[0]["at"] for run in runs]
    assert moments == sorted(moments)


def test_a_pause_skips_and_a_trigger_does_not_care(stage: Rehearsal) -> None:
    stage.skip("2h")
    run = stage.schedules.trigger("slow")
    assert (run.is_new, run.state()) == (True, "waiting")
    moment = now_of(stage)
    assert stage.schedules.trigger("slow", moment).id == run.id
    assert stage.schedules.resume("slow")["state"] == "active"
    assert states(stage, "slow") == [("skipped", "paused"), ("started", None)]


def test_a_backfill_starts_what_has_had_no_run_once(stage: Rehearsal) -> None:
    first = now_of(stage) - datetime.timedelta(hours=72)
    assert len(stage.schedules.backfill("digest", first)["moments"]) == 3
    assert stage.schedules.backfill("digest", first) == {"schedule": "flow.digest", "moments": [], "known": 3}
    assert [run.state() for run in stage.runs("flow.digest")] == ["done"] * 3


def test_a_schedule_is_put_with_arguments_and_deleted(stage: Rehearsal) -> None:
    said = stage.schedules.put("nightly", "report", [every("6h"), cron("0 3 * * *")], arguments={"city": "Oslo"})
    assert (said["flow"], said["arguments"], said["is_of_code"]) == ("flow.report", {"city": "Oslo"}, False)
    stage.skip("6h")
    runs = stage.runs("flow.report")
    assert runs and all(run.result().startswith("Oslo 20") for run in runs)
    assert stage.schedules.delete("nightly")["state"] == "deleted"
    stage.skip("12h")
    assert len(stage.runs("flow.report")) == len(runs)
    with pytest.raises(NotFound, match="no schedule"):
        stage.schedules.pause("nightly")


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda of: of.put("s", "report", every("5m")), BadArguments, "city"),
        (lambda of: of.put("s", "report", every("5m"), arguments={"town": "Oslo"}), BadArguments, "town"),
        (lambda of: of.put("s", "wants_more", every("5m"), arguments={"number": "x"}), BadArguments, "number"),
        (lambda of: of.put("s", "report", every("5m"), arguments={"city": "x"}, overlap="run"), BadArguments, "skip"),
        (lambda of: of.put("a/b", "report", every("5m"), arguments={"city": "x"}), BadArguments, "slash"),
        (lambda of: of.put("s", "nothing", every("5m")), NoSuchTask, "nothing"),
        (lambda of: of.put("s", "report", "5m"), BadOption, "cron"),
        (lambda of: of.put("flow.digest", "report", every("5m"), arguments={"city": "x"}), RunConflict, "in the code"),
        (lambda of: of.delete("digest"), RunConflict, "pause it"),
        (lambda of: of.show("nobody"), NotFound, "flow.digest"),
        (lambda of: of.trigger("digest", datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)), BadArguments, "has come"),
        (lambda of: of.backfill("digest", datetime.datetime(2026, 1, 1)), BadArguments, "time zone"),
    ],
)
def test_what_does_not_fit_a_schedule_is_refused(stage: Rehearsal, ask: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ask(stage.schedules)
    assert [each["schedule"] for each in stage.schedules.list()] == ["flow.digest", "flow.slow"]


def test_another_service_goes_on_with_the_schedules_where_the_last_one_was(stage: Rehearsal, project: Project) -> None:
    stage.schedules.resume("slow")
    stage.skip("2h")
    stage.replace("flow.note", lambda text: text)  # another service begins
    before = len(stage.runs("flow.slow"))
    stage.skip("4h")
    firings = stage.schedules.show("slow")["firings"]
    assert len({each["moment"] for each in firings}) == len(firings) == 6
    assert len(stage.runs("flow.slow")) > before
    assert stage.schedules.show("digest")["changes"][-1]["cause"] == "code"


def test_what_no_time_will_bring_is_told_though_schedules_fire_for_ever(stage: Rehearsal) -> None:
    flow = sys.modules["flow"]
    with pytest.raises(AssertionError, match="No time will bring that"):
        stage.start(flow.hears("news")).result()
    assert 10 < len(stage.runs(flow.digest)) <= 101
    with pytest.raises(TimeoutError):
        stage.start(flow.hears("news")).result("48h")


@pytest.mark.campaign
def test_each_moment_has_one_run_wherever_the_service_is_killed(stage: Rehearsal, project: Project) -> None:
    flow = sys.modules["flow"]

    def pass_hours(world: Rehearsal, run: RehearsedRun) -> None:
        world.skip("2h")
        firings = world.schedules.show("slow")["firings"]
        began = world.schedules.show("slow")["changes"][0]["at"]
        hours = range(began // HOUR * HOUR + HOUR, world.service.now() + 1, HOUR)
        assert [each["moment"] for each in reversed(firings)] == list(hours)
        runs = world.runs("flow.slow")
        assert len(runs) == sum(each["state"] == "started" for each in firings) > 0

    assert stage.crash_everywhere(flow.report("Oslo"), pass_hours) > 10
