"""A service starts runs by the clock: each moment once, through kills; and people ask it for its schedules."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from projects import project_in
from services import RunningService
from waiting import until

from rayflow import every
from rayflow.client.async_client import AsyncClient, AsyncSchedules
from rayflow.client.client import ClientSchedules

FLOW = """
    from rayflow import Firing, effect, every, flow

    @effect
    def note(moment: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(moment + "\\n")
        return moment

    @flow(schedule=every("1s"), overlap="queue")
    def tick(firing: Firing):
        return note(firing.moment.isoformat())

    @flow(schedule=every("1h"))
    def hourly(city: str = "Oslo", firing: Firing | None = None):
        return f"{city} {firing.moment.isoformat() if firing else ''}"
"""

SECOND = 1_000_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with schedules. One of them fires each second."""
    project = project_in(tmp_path_factory.mktemp("schedules"), FLOW)
    made = RunningService(project)
    project.environment["RAYFLOW_HOME"] = str(made.home)
    made.start()
    yield made
    made.close()


def started(service: RunningService) -> list[int]:
    """The moments of `tick` that have a run, oldest first."""
    firings = service.client.schedules.show("tick", limit=1_000)["firings"]
    return sorted(each["moment"] for each in firings if each["state"] == "started")


def test_each_second_has_one_run_though_the_service_is_killed_between_them(service: RunningService) -> None:
    until(lambda: len(started(service)) >= 2)
    before = started(service)
    service.kill()
    service.start()
    until(lambda: started(service)[-1] >= before[-1] + 4 * SECOND)
    service.client.schedules.pause("tick")
    until(lambda: not service.client.schedules.show("tick")["queued"])

    moments = started(service)
    assert moments == list(range(moments[0], moments[-1] + SECOND, SECOND)), "a second has no run, or has two"
    assert moments[: len(before)] == before
    until(lambda: not service.client.schedules.show("tick")["runs"])
    runs = service.client.runs(flow="flow.tick", limit=1_000)
    assert sorted(run["moment"] for run in runs) == moments
    assert {run["state"] for run in runs} == {"done"}
    assert {run["schedule"] for run in runs} == {"flow.tick"}


def test_both_clients_of_schedules_have_the_same_methods() -> None:
    def methods(of: type) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert methods(ClientSchedules) == methods(AsyncSchedules)


def test_the_asynchronous_client_asks_for_schedules(service: RunningService) -> None:
    async def main() -> Any:
        async with AsyncClient(service.address) as client:
            of = client.schedules
            made = await of.put("often", "hourly", every("10m"), arguments={"city": "Bergen"}, overlap="allow")
            run = await of.trigger("often")
            value = await run.result(60)
            known = await of.backfill("often", datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=25))
            paused, resumed = await of.pause("often"), await of.resume("often")
            listed = [each["schedule"] for each in await of.list()]
            coming = await of.next("often", 2)
            shown = await of.show("often")
            deleted = await of.delete("often")
            return made, value, known, paused, resumed, listed, coming, shown, deleted

    made, value, known, paused, resumed, listed, coming, shown, deleted = asyncio.run(main())
    assert (made["when"], made["arguments"]) == ("every 10m", {"city": "Bergen"})
    assert value.startswith("Bergen 20")
    assert len(known["moments"]) in (2, 3)
    assert (paused["state"], resumed["state"], deleted["state"]) == ("paused", "active", "deleted")
    assert listed == ["flow.hourly", "flow.tick", "often"]
    assert coming[1] - coming[0] == 600 * SECOND
    assert [each["cause"] for each in shown["changes"]] == ["put", "pause", "resume"]


def test_the_command_line_asks_for_schedules(service: RunningService) -> None:
    def say(*words: str) -> str:
        done = service.project.rayflow("schedules", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = say("put", "nightly", "hourly", "--cron", "0 3 * * *", "--tz", "Europe/Oslo", "--arguments", '{"city": "B"}')
    assert made.startswith("nightly: active, cron 0 3 * * * (Europe/Oslo); next 20")
    assert ["flow.hourly", "active", "every", "1h"] in [line.split()[:4] for line in say().splitlines()]
    assert [each["schedule"] for each in json.loads(say("--json"))][:3] == ["flow.hourly", "flow.tick", "nightly"]
    assert len(say("next", "nightly", "--count", "3").splitlines()) == 3
    assert say("pause", "nightly").startswith("nightly: paused")
    assert say("next", "nightly").startswith("It fires no more, or is paused")
    run = service.client.get(say("trigger", "nightly").strip())
    assert run.result(60).startswith("B 20")
    assert json.loads(say("trigger", "nightly", "--at", "2026-01-01T02:00Z", "--json"))["is_new"]
    assert "the schedule nightly fired for 20" in service.project.rayflow("runs", "show", run.id).stdout
    assert "new firings" in say("backfill", "nightly", "--from", "3d")
    assert say("resume", "nightly").startswith("nightly: active")
    shown = say("show", "nightly")
    assert 'starts   flow.hourly with {"city": "B"}' in shown
    assert "started: run" in shown
    assert say("delete", "nightly").startswith("nightly: deleted")
    wrong = service.project.rayflow("schedules", "put", "s", "hourly", "--cron", "0 3 * *")
    assert (wrong.returncode, "five fields" in wrong.stderr) == (1, True)
    assert "Say when" in service.project.rayflow("schedules", "put", "s", "hourly").stderr


def test_the_command_line_lists_events_with_their_times(service: RunningService) -> None:
    service.client.emit("news", {"from": "Oslo"})
    done = service.project.rayflow("events")
    assert done.returncode == 0, done.stderr
    assert "Oslo" in done.stdout


def test_schedules_and_firings_are_tables(service: RunningService) -> None:
    [(state, when)] = service.project.sql("SELECT state, timetable FROM schedules WHERE schedule = 'flow.tick'")
    assert (state, json.loads(when)) == ("paused", [{"every": 1}])
    many = service.project.sql("SELECT count(*), count(DISTINCT run_id) FROM firings WHERE state = 'started'")
    runs = service.project.sql("SELECT count(*) FROM runs WHERE schedule IS NOT NULL")
    assert many[0][0] == many[0][1] == runs[0][0] > 4


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "s", {}),
        ("PUT", "s", {"flow": 3, "timetable": {"every": "5m"}}),
        ("PUT", "s", {"flow": "hourly", "timetable": "5m"}),
        ("PUT", "s", {"flow": "hourly", "timetable": {"every": "5m"}, "arguments": [1]}),
        ("PUT", "s", {"flow": "hourly", "timetable": {"every": "5m"}, "overlap": []}),
        ("PUT", "s", {"flow": "hourly", "timetable": {"every": "5m"}, "catch_up": {}}),
        ("PUT", "s", {"flow": "hourly", "timetable": {"every": "5m", "start": True}}),
        ("POST", "hourly/trigger", {"moment": "now"}),
        ("POST", "hourly/trigger", {"moment": True}),
        ("POST", "hourly/trigger", {"moment": 10**30}),
        ("POST", "hourly/backfill", {}),
        ("POST", "hourly/backfill", {"first": 1.5}),
        ("POST", "hourly/backfill", {"first": 5, "last": 3}),
        ("GET", "hourly/next?count=x", None),
    ],
)
def test_a_wrong_request_for_a_schedule_is_refused_and_the_service_goes_on(
    service: RunningService, method: str, path: str, body: Any
) -> None:
    address = service.address
    connection = HTTPConnection(address.host, address.port, timeout=60)
    headers = {"authorization": f"Bearer {address.token}", "content-type": "application/json"}
    connection.request(method, f"/api/schedules/{path}", None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    assert (response.status, error["type"]) == (400, "BadArguments"), error
    assert service.client.schedules.show("hourly")["state"] == "active"
    connection.close()


def test_many_triggers_of_one_moment_at_once_are_one_run(service: RunningService) -> None:
    moment = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(service.client.schedules.trigger("hourly", moment)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len({run.id for run in found}) == 1
