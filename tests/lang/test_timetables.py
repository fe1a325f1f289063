"""When schedules fire: expressions of cron where the clocks jump, periods, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow import Firing, cron, every, flow
from rayflow.errors import BadArguments, BadOption
from rayflow.lang.events.moments import microseconds_of, moment_of
from rayflow.lang.events.timetables import (
    CronTimes,
    from_plain,
    from_text,
    moments_after,
    moments_between,
    next_moment,
    previous_moment,
    said,
    text_of,
)
from rayflow.lang.registry import forget_tasks

OSLO, NEW_YORK, LORD_HOWE = "Europe/Oslo", "America/New_York", "Australia/Lord_Howe"
SAO_PAULO, KIRITIMATI, APIA = "America/Sao_Paulo", "Pacific/Kiritimati", "Pacific/Apia"
SECOND = 1_000_000


def local(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next moments as the clocks of the zone show them, with the difference from UTC."""
    moment = microseconds_of(datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone)))
    found = islice(cron(expression, tz=zone).after(moment), count)
    return [moment_of(each).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for each in found]


# --- where the clocks jump --------------------------------------------------------------------------------------------

JUMPS = [
    # Oslo: 2026-03-29 02:00 -> 03:00, and 2026-10-25 03:00 -> 02:00.
    (OSLO, "0 9 * * *", "2026-03-28T12:00", ["03-29 09:00+0200", "03-30 09:00+0200"]),
    (OSLO, "30 2 * * *", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
    (OSLO, "30 2 * * *", "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
    (OSLO, "0 3 * * *", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 03:00+0200"]),
    (OSLO, "*/20 2,3 * * *", "2026-03-28T12:00", ["03-29 03:00+0200", "03-29 03:20+0200", "03-29 03:40+0200"]),
    (OSLO, "*/30 2 * * *", "2026-10-24T12:00", ["10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"]),
    (OSLO, "0 * * * *", "2026-10-25T00:30", ["10-25 01:00+0200", "10-25 02:00+0200", "10-25 03:00+0100"]),
    (OSLO, "0 * * * *", "2026-03-29T00:30", ["03-29 01:00+0100", "03-29 03:00+0200", "03-29 04:00+0200"]),
    # New York: 2026-03-08 02:00 -> 03:00, and 2026-11-01 02:00 -> 01:00.
    (NEW_YORK, "15 2 * * *", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:15-0400"]),
    (NEW_YORK, "15 1 * * *", "2026-10-31T12:00", ["11-01 01:15-0400", "11-02 01:15-0500"]),
    # Lord Howe jumps by half an hour: 2026-10-04 02:00 -> 02:30, and 2026-04-05 02:00 -> 01:30.
    (LORD_HOWE, "15 2 * * *", "2026-10-03T12:00", ["10-04 02:30+1100", "10-05 02:15+1100"]),
    (LORD_HOWE, "45 2 * * *", "2026-10-03T12:00", ["10-04 02:45+1100", "10-05 02:45+1100"]),
    (LORD_HOWE, "45 1 * * *", "2026-04-04T12:00", ["04-05 01:45+1100", "04-06 01:45+1030"]),
    # Sao Paulo jumped at midnight: 2018-11-04 00:00 -> 01:00, and 2018-02-18 00:00 -> 02-17 23:00.
    (SAO_PAULO, "0 0 * * *", "2018-11-02T12:00", ["11-03 00:00-0300", "11-04 01:00-0200", "11-05 00:00-0200"]),
    (SAO_PAULO, "30 23 * * *", "2018-02-17T12:00", ["02-17 23:30-0200", "02-18 23:30-0300"]),
    # The first zone of the earth, without jumps; and Apia, which had no 2011-12-30 at all.
    (KIRITIMATI, "0 0 1 * *", "2026-01-15T12:00", ["02-01 00:00+1400", "03-01 00:00+1400"]),
    (APIA, "0 9 * * *", "2011-12-28T12:00", ["12-29 09:00-1000", "12-31 00:00+1400", "12-31 09:00+1400"]),
]


@pytest.mark.parametrize(("zone", "expression", "after", "found"), JUMPS)
def test_a_local_time_that_is_not_fires_at_the_jump_and_one_that_is_twice_fires_once(
    zone: str, expression: str, after: str, found: list[str]
) -> None:
    assert local(expression, zone, after, len(found)) == found


def test_the_moments_do_not_depend_on_where_one_asks_from() -> None:
    for zone, expression, after, found in JUMPS:
        table = (cron(expression, tz=zone),)
        first = microseconds_of(datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone)))
        moments = list(islice(moments_after(table, first), len(found)))
        for at in range(first, moments[-1], 7 * 60 * SECOND):
            assert next_moment(table, at) == next(each for each in moments if each > at)


# An independent rule: walk over all minutes of the zone's clocks, in UTC.

MINUTE = timedelta(minutes=1)


def walked(fields: tuple[set[int], set[int]], zone: ZoneInfo, begin: datetime, days: int) -> list[datetime]:
    """The moments at which the clocks show one of these minutes and hours for the first time; or jump over one."""
    found: list[datetime] = []
    shown: datetime | None = None
    latest = begin.astimezone(zone).replace(tzinfo=None)
    at = begin
    for _ in range(days * 24 * 60):
        now = at.astimezone(zone).replace(tzinfo=None)
        skipped = []
        if shown is not None and now > shown + MINUTE:
            count = (now - shown) // MINUTE
            skipped = [shown + MINUTE * number for number in range(1, count)]
        fires = [each for each in (*skipped, now) if each.minute in fields[0] and each.hour in fields[1]]
        if any(each > latest for each in fires):  # else the clocks have shown it before
            found.append(at)
        latest = max(latest, now)
        shown = now
        at += MINUTE
    return found


ZONES = (OSLO, NEW_YORK, LORD_HOWE, SAO_PAULO, KIRITIMATI, APIA, "UTC", "Africa/Casablanca", "Asia/Kathmandu")


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=4),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=6),
    day=st.dates(date(2010, 1, 1), date(2028, 12, 31)),
    is_at_jump=st.booleans(),
)
def test_cron_fires_whenever_the_clocks_show_its_times_first(
    zone: str, minutes: set[int], hours: set[int], day: date, is_at_jump: bool
) -> None:
    info = ZoneInfo(zone)
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if is_at_jump:  # go to the day before the next change of the clocks
        for _ in range(400):
            if (begin + timedelta(days=2)).astimezone(info).utcoffset() != begin.astimezone(info).utcoffset():
                break
            begin += timedelta(days=1)
    table = (cron(f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *", tz=zone),)
    first, last = microseconds_of(begin), microseconds_of(begin + timedelta(days=3))
    expected = [microseconds_of(each) for each in walked((minutes, hours), info, begin, 3)]
    found = moments_between(table, first - 1, last - 1, 10_000)
    assert [each for each in found if each > first] == [each for each in expected if each > first]
    for one, following in pairwise(found):
        assert previous_moment(table, following) == one
        assert next_moment(table, one) == following


# --- several parts, periods -------------------------------------------------------------------------------------------


def test_a_list_has_the_moments_of_all_its_parts_once() -> None:
    table = (cron("0 * * * *"), every("30m"), every(3600))
    hour = 3600 * SECOND
    assert list(islice(moments_after(table, 0), 4)) == [hour // 2, hour, hour + hour // 2, 2 * hour]
    assert previous_moment(table, hour) == hour // 2


def test_a_period_is_counted_from_its_start_and_does_not_drift() -> None:
    start = datetime(2027, 1, 1, 7, 30, tzinfo=UTC)
    table = (every("7m", start=start),)
    at, period = microseconds_of(start), 7 * 60 * SECOND
    assert next_moment(table, 0) == at
    assert next_moment(table, at) == at + period
    assert next_moment(table, at + 1_000_000 * period + 5) == at + 1_000_001 * period
    assert previous_moment(table, at) is None
    assert previous_moment(table, at + 1) == at


@given(period=st.integers(1, 10**6), start=st.integers(-(10**9), 10**9), moment=st.integers(0, 10**10))
def test_a_period_has_one_moment_in_each_period(period: int, start: int, moment: int) -> None:
    table = (every(period, start=moment_of(start * SECOND)),)
    after = next_moment(table, moment * SECOND)
    assert after is not None and after > moment * SECOND
    assert (after - start * SECOND) % (period * SECOND) == 0
    before = previous_moment(table, after)
    assert before == (after - period * SECOND if after > start * SECOND else None)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "after", "found"),
    [
        ("0 0 L * *", "2028-02-01T00:00", ["02-29 00:00+0000", "03-31 00:00+0000"]),
        ("0 0 13 * 5", "2026-03-01T00:00", ["03-06 00:00+0000", "03-13 00:00+0000"]),
        ("0 0 * * 7", "2026-03-01T00:00", ["03-08 00:00+0000", "03-15 00:00+0000"]),
        ("0 12 * feb mon-fri", "2026-02-27T13:00", ["02-01 12:00+0000", "02-02 12:00+0000"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00+0000", "02-29 00:00+0000"]),
        ("0 0 * * 5#1", "2026-03-07T00:00", ["04-03 00:00+0000", "05-01 00:00+0000"]),
    ],
)
def test_cron_reads_what_cron_writes(expression: str, after: str, found: list[str]) -> None:
    assert local(expression, "UTC", after, 2) == found


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: cron("0 9 * *"), "five fields"),
        (lambda: cron("0 9 * * * *"), "five fields"),
        (lambda: cron("61 9 * * *"), "Bad minute"),
        (lambda: cron("0 9 * * mån"), "Bad day-of-week"),
        (lambda: cron("*/0 9 * * *"), "minute"),
        (lambda: cron("0 9 30 2 *"), "Bad day-of-month"),
        (lambda: cron("0 9 31 4,6 *"), "Bad day-of-month"),
        (lambda: cron("@daily"), "five fields"),
        (lambda: cron(5), "five fields"),  # type: ignore[arg-type]
        (lambda: cron("0 9 * * *", tz="Europe/Olso"), "Did you mean 'Europe/Oslo'"),
        (lambda: cron("0 9 * * *", tz="../etc/passwd"), "no time zone"),
        (lambda: cron("0 9 * * *", tz=""), "no time zone"),
        (lambda: cron("0 9 * * *", tz=1), "name such as"),  # type: ignore[arg-type]
        (lambda: every("0.5s"), "one second"),
        (lambda: every("5 parsecs"), "parsecs"),
        (lambda: every("5m", start=datetime(2026, 1, 1)), "time zone"),
    ],
)
def test_a_wrong_schedule_is_refused_where_it_is_written(make: Any, text: str) -> None:
    with pytest.raises(BadArguments, match=text):
        make()


def test_the_text_of_a_timetable_is_that_timetable() -> None:
    table = (cron("0  9 * * 1-5", tz=OSLO), every("90s", start=datetime(2027, 1, 1, tzinfo=UTC)), every(1.5))
    assert from_text(text_of(table)) == table
    assert json.loads(text_of(table)) == [
        {"cron": "0 9 * * 1-5", "tz": OSLO},
        {"every": 90, "start": "2027-01-01T00:00:00+00:00"},
        {"every": 1.5},
    ]
    assert said((every(300), every("2h"), every("7d"), every(1.5))) == "every 5m, every 2h, every 7d, every 1.5s"
    assert said(table[:2]) == "cron 0 9 * * 1-5 (Europe/Oslo), every 90s from 2027-01-01T00:00:00+00:00 on"


@pytest.mark.parametrize(
    "data", [[], None, "0 9 * * *", {"cron": "0 9 * * *", "zone": "UTC"}, {"every": None}, {"every": "5m", "start": 3}]
)
def test_plain_data_that_are_not_a_timetable_are_refused(data: Any) -> None:
    with pytest.raises(BadArguments, match="data"):
        from_plain(data, "data")


def test_a_timetable_ends_where_the_years_do() -> None:
    last = microseconds_of(datetime(9999, 12, 31, 12, tzinfo=UTC))
    assert next_moment((CronTimes("0 9 * * *"),), last) is None


# --- of flows ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_flows() -> Iterator[None]:
    """The flows of a test are gone after it: else their schedules would fire in rehearsals of this process."""
    yield
    forget_tasks([__name__])


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"schedule": "5m"}, "cron"),
        ({"schedule": []}, "empty"),
        ({"schedule": [every("5m"), "daily"]}, "daily"),
        ({"schedule": every("5m"), "overlap": "kill"}, "cancel_previous"),
        ({"schedule": every("5m"), "catch_up": "-1h"}, "catch_up"),
        ({"overlap": "queue"}, "no schedule="),
        ({"catch_up": "2h"}, "no schedule="),
    ],
)
def test_wrong_settings_of_a_schedule_are_refused_where_the_flow_is_defined(how: dict[str, Any], text: str) -> None:
    with pytest.raises(BadOption, match=text):

        @flow(**how)
        def due() -> None: ...


def test_a_parameter_that_the_clock_gives_no_argument_for_is_refused() -> None:
    with pytest.raises(BadOption, match="no argument for city"):

        @flow(schedule=every("5m"))
        def due(firing: Firing, city: str, limit: int = 3) -> None: ...


@pytest.mark.usefixtures("no_flows")
def test_a_flow_knows_its_schedule() -> None:
    @flow(schedule=[every("5m"), cron("0 9 * * *")], overlap="queue", catch_up="2h")
    def due(firing: Firing | None, limit: int = 3) -> None: ...

    found = due.flow_settings
    assert found is not None
    assert found.timetable == (every(300), cron("0 9 * * *"))
    assert (found.overlap, found.catch_up_seconds) == ("queue", 7200)
