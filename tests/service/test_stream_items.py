"""What bodies write to streams reaches readers while the bodies run, and stays readable afterwards."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import project_in
from services import RunningService
from stream_flows import SOURCE
from waiting import until

from rayflow.client.async_client import AsyncClient
from rayflow.client.client import ClientRun
from rayflow.client.wire import StreamItem


def _started(folder: Path, *flags: str) -> RunningService:
    project = project_in(folder, SOURCE)
    made = RunningService(project, flags=flags)
    project.environment |= {"RAYFLOW_HOME": str(made.home), "RAYFLOW_TOKEN": "the same after a restart"}
    return made.start()


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """An inline service, for the tests that do not end it."""
    made = _started(tmp_path_factory.mktemp("inline"), "--inline")
    yield made
    made.close()


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service on a Ray of its own."""
    made = _started(tmp_path_factory.mktemp("on_ray"), "--grace", "1")
    yield made
    made.stop()  # ends its Ray, too


@pytest.fixture(params=["inline", "on_ray"])
def either(request: pytest.FixtureRequest) -> RunningService:
    """A service, inline or on Ray."""
    found: RunningService = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[RunningService]:
    """An inline service, for a test that kills it."""
    made = _started(tmp_path, "--inline")
    yield made
    made.close()


def read(run: ClientRun, name: str = "tokens", **how: bool | int) -> list[StreamItem]:
    return list(run.stream(name, **how))  # type: ignore[arg-type]  # after or follow


def there(run: ClientRun, count: int) -> list[StreamItem]:
    """The items that are there, when there are so many."""
    until(lambda: len(read(run, follow=False)) >= count)
    return read(run, follow=False)


def test_items_come_while_the_body_runs_and_the_reading_ends_with_the_run(either: RunningService) -> None:
    run = either.client.start("says_until", {"text": "to be", "name": "go"})
    items = run.stream("tokens")
    assert [next(items).value, next(items).value] == ["to", "be"]
    assert run.streams() == {"tokens": 2}
    Path(either.project.path, "go").touch()
    [last] = items
    assert last.value == "end"
    assert run.result(60) == "to be"
    assert (last.number, last.task, last.attempt, last.item) == (3, "flow.says_until", 1, 3)
    assert read(run, after=2) == [last]
    assert read(run, after=3) == []
    assert run.streams() == {"tokens": 3}


def test_an_attempt_that_fails_is_told_from_the_next_one(either: RunningService) -> None:
    run = either.client.start("raises_once")
    assert run.result(60) == "done"
    assert [(item.value, item.attempt, item.item) for item in read(run)] == [
        (0, 1, 1), (1, 1, 2), (2, 1, 3), (0, 2, 1), (1, 2, 2),
    ]  # fmt: skip


def test_what_a_worker_has_written_stays_when_it_dies(on_ray: RunningService) -> None:
    run = on_ray.client.start("dies_once", {"name": "die"})
    assert [item.value for item in there(run, 3)] == [["first", 0], ["first", 1], ["first", 2]]
    Path(on_ray.project.path, "die").touch()
    assert run.result(60) == "done"
    items = read(run)
    assert [item.value for item in items[3:]] == [["second", number] for number in range(5)]
    assert [item.attempt for item in items] == [1] * 3 + [2] * 5
    assert [item.item for item in items] == [1, 2, 3, 1, 2, 3, 4, 5]
    assert len({item.job_id for item in items}) == 1


def test_calls_that_travel_together_are_told_apart(either: RunningService) -> None:
    run = either.client.start("wide", {"count": 200})
    items = read(run, "doubles")
    assert sorted(item.value for item in items) == list(range(200))
    assert {(item.task, item.attempt, item.item) for item in items} == {("flow.double", 1, 1)}
    assert len({item.job_id for item in items}) == 200


def test_bodies_of_a_subrun_write_to_the_run_around_it(either: RunningService) -> None:
    run = either.client.start("inside", {"first": 1000})
    assert [(item.value, item.attempt, item.item) for item in run.stream("doubles")] == [(1000, 1, 1), (1100, 1, 1)]
    assert run.result(60) == [2000, 2200]


def test_ten_thousand_items_come_complete_and_in_order(either: RunningService) -> None:
    began = time.monotonic()
    run = either.client.start("many", {"count": 10_000})
    assert [item.value for item in run.stream("tokens")] == list(range(10_000))
    print(f"10,000 items, from the start to the last one read: {time.monotonic() - began:.2f} s")


def test_a_body_that_awaits_writes_nothing_twice_when_its_service_is_killed(killed: RunningService) -> None:
    run = killed.client.start("steps")
    there(run, 2)
    until(lambda: run.state() == "waiting")
    killed.kill()
    killed.start()
    run = killed.client.get(run.id)
    killed.client.emit("go")
    assert run.result(60) == 2
    items = read(run)
    assert [(item.value, item.attempt, item.item) for item in items] == [("one", 1, 1), ("two", 1, 2), ("three", 1, 3)]
    assert [item.number for item in items] == sorted({item.number for item in items})
    assert [item.value for item in read(run, "doubles")] == [1]


def test_an_attempt_that_dies_with_the_service_is_told_from_the_next_one(killed: RunningService) -> None:
    run = killed.client.start("dies_once", {"name": "die"})
    before = there(run, 3)
    Path(killed.project.path, "die").touch()
    assert killed.process is not None
    assert killed.process.wait(60) == 1
    killed.start()
    run = killed.client.get(run.id)
    assert run.result(60) == "done"
    items = read(run, after=before[-1].number)
    assert [item.value for item in items] == [["second", number] for number in range(5)]
    assert {item.attempt for item in items} == {2}
    every = read(run)
    assert [item.number for item in every] == sorted({item.number for item in every})
    # Items that no commit has kept may be gone; no other item has their numbers.
    assert all(item in before + items for item in every)


def test_a_reader_follows_over_a_restart_of_the_service(killed: RunningService) -> None:
    run = killed.client.start("hears")
    items = run.stream("tokens")
    assert [next(items).value, next(items).value] == ["a", "b"]
    until(lambda: run.state() == "waiting")  # then a commit has what came before
    port = killed.address.port
    killed.kill()
    killed.start(port=port or 0)
    killed.client.emit("go")
    assert [item.value for item in items] == ["heard"]


def test_a_reader_that_stops_keeps_nobody_waiting(inline: RunningService) -> None:
    run = inline.client.start("many", {"count": 5_000})
    items = run.stream("tokens")
    assert next(items).value == 0
    assert run.result(60) == 5_000
    assert [item.value for item in items] == list(range(1, 5_000))


def test_a_reader_of_a_run_that_waits_gets_the_end_with_its_cancel(inline: RunningService) -> None:
    run = inline.client.start("hears")
    until(lambda: run.state() == "waiting")
    found: list[StreamItem] = []
    reader = threading.Thread(target=lambda: found.extend(run.stream("tokens")))
    reader.start()
    there(run, 2)
    assert run.cancel("enough")
    reader.join(60)
    assert not reader.is_alive()
    assert [item.value for item in found] == ["a", "b"]


def test_the_asynchronous_client_reads_the_same(inline: RunningService) -> None:
    async def read_all() -> list[object]:
        async with AsyncClient(inline.address) as client:
            run = await client.start("main")
            found = [item.value async for item in run.stream("tokens")]
            assert await run.streams() == {"tokens": 2}
            assert [item.number async for item in run.stream("tokens", after=1, follow=False)] == [2]
            return found

    assert asyncio.run(read_all()) == ["hello", "there"]


def test_server_sent_events_go_on_from_the_last_one(inline: RunningService) -> None:
    run = inline.client.start("main")
    run.result(60)
    connection = http.client.HTTPConnection(inline.address.host, inline.address.port, timeout=60)
    headers = {"Authorization": f"Bearer {inline.address.token}", "Accept": "text/event-stream", "Last-Event-ID": "1"}
    connection.request("GET", f"/api/runs/{run.id}/streams/tokens", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    item, end = answer.read().decode().strip().split("\n\n")
    assert item.splitlines()[:2] == ["id: 2", "event: item"]
    assert json.loads(item.splitlines()[2].removeprefix("data: "))["value"] == "there"
    assert end.splitlines()[0] == "event: end"
    connection.close()


def test_the_command_line_prints_a_stream(inline: RunningService) -> None:
    run = inline.client.start("main")
    run.result(60)
    assert inline.project.rayflow("runs", "stream", run.id, "tokens").stdout.splitlines() == ["hello", "there"]
    assert inline.project.rayflow("runs", "stream", run.id, "tokens", "--joined").stdout == "hellothere\n"
    [last] = inline.project.rayflow(
        "runs", "stream", run.id, "tokens", "--follow", "--after", "1", "--json"
    ).stdout.splitlines()
    assert json.loads(last)["value"] == "there"
    assert "tokens" in inline.project.rayflow("runs", "stream", run.id).stdout
    missing = inline.project.rayflow("runs", "stream", run.id, "other")
    assert "Nothing has written to the stream 'other' of this run. Its streams are: tokens" in missing.stderr


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=x", "wait=x", "after=9223372036854775807"])
def test_a_cursor_that_cannot_be_is_refused(inline: RunningService, query: str) -> None:
    run = inline.client.start("main")
    connection = http.client.HTTPConnection(inline.address.host, inline.address.port, timeout=60)
    headers = {"Authorization": f"Bearer {inline.address.token}"}
    connection.request("GET", f"/api/runs/{run.id}/streams/tokens?{query}", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"]["type"] == "BadArguments"
    connection.close()
