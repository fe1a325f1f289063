"""Two services of one store: one keeps it, the other says so, or waits and goes on."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_flows import SOURCE, doings_in
from projects import Project
from services import RunningService
from waiting import until

from rayflow.store.open import open_store


@pytest.fixture
def both(project: Project) -> Iterator[Callable[..., RunningService]]:
    """Makes services of one project and one user, each with its own log."""
    project.write("flow.py", SOURCE)
    made: list[RunningService] = []

    def another(*flags: str) -> RunningService:
        service = RunningService(project, flags=("--inline", *flags))
        service.log = project.path.parent / f"service{len(made)}.log"
        made.append(service)
        return service

    yield another
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.process.send_signal(signal.SIGCONT)
        service.close()


def ended(service: RunningService, seconds: float = 60) -> int:
    """The exit code of a service that ends by itself."""
    assert service.process is not None
    return service.process.wait(seconds)


def test_a_second_service_says_who_keeps_the_store_also_where_it_has_the_same_port(
    both: Callable[..., RunningService],
) -> None:
    first = both().start()
    assert first.process is not None
    second = both("--port", str(first.address.port)).start(waits=False)
    assert ended(second) == 2
    said = second.log.read_text()
    assert f"rayflow serve (process {first.process.pid} on" in said
    assert "end that one first" in said
    assert first.client.runs() == []


@pytest.mark.parametrize("where", [("--port", "TAKEN"), ("--host", "198.51.100.7"), ("--host", "nobody.invalid")])
def test_a_service_that_cannot_listen_says_so_and_what_to_do_and_gives_the_lease_back(
    both: Callable[..., RunningService], where: tuple[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = both(*(text.replace("TAKEN", str(port)) for text in where)).start(waits=False)
        assert ended(service) == 2
        said = service.log.read_text()
        at = f"127.0.0.1:{port}" if where[0] == "--port" else where[1]
        assert f"Nothing can listen at {at}" in said
        assert "with --port or --host" in said
        assert "Traceback" not in said
        assert not list(service.home.rglob("*.json"))
        began = time.monotonic()
        assert both().start().client.runs() == []
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_standby_goes_on_when_the_first_service_ends(
    both: Callable[..., RunningService], number: signal.Signals
) -> None:
    first = both().start()
    run = first.client.start("hears", {"name": "a"})
    until(lambda: first.client.get(run.id).state() == "waiting")
    assert first.process is not None
    second = both("--standby").start(waits=False)
    until(lambda: second.process is not None and (second.log.exists()))
    time.sleep(1.0)  # so that it waits for the lease: nothing tells when
    assert not second.is_up()
    began = time.monotonic()
    first.process.send_signal(number)
    until(second.is_up, 30, 0.01)
    took = time.monotonic() - began
    print(f"after {number.name} the standby answers in {took:.2f} s")
    assert took < 10  # half a second on a quiet machine
    second.client.emit("go", "for a", key="a")
    assert second.client.get(run.id).result(60) == ["did a before", "for a", "did a after"]


def test_a_standby_that_is_told_to_end_does_so_and_leaves_the_first_service_alone(
    both: Callable[..., RunningService],
) -> None:
    first = both().start()
    second = both("--standby").start(waits=False)
    process = second.process
    assert process is not None
    until(lambda: handles(process.pid, signal.SIGTERM))
    time.sleep(0.5)  # so that it waits for the lease: nothing tells when
    process.terminate()
    assert ended(second) == 0
    assert "Traceback" not in second.log.read_text()
    assert first.client.runs() == []


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal. (As the first one of a container it needs one.)"""
    [caught] = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_service_that_is_killed_and_started_again_answers_within_seconds(
    both: Callable[..., RunningService],
) -> None:
    first = both().start()
    run = first.client.start("hears", {"name": "a"})
    until(lambda: first.client.get(run.id).state() == "waiting")
    first.kill()
    began = time.monotonic()
    first.start()
    first.client.emit("go", "for a", key="a")
    assert first.client.get(run.id).result(60)[2] == "did a after"
    took = time.monotonic() - began
    print(f"killed, started and done in {took:.2f} s")
    assert took < 15  # under three on a quiet machine


@pytest.mark.parametrize("place", ["a folder", "a bucket"])
def test_a_service_that_was_stopped_past_its_lease_does_nothing_more(
    request: pytest.FixtureRequest, project: Project, both: Callable[..., RunningService], place: str
) -> None:
    """The bodies of six effects are sent in one turn. The first service is stopped in one of the first bodies; another
    one takes over and does them all. Continued, the first one does not begin those that it had still before it."""
    project.edit("flow.py", 'return [do(f"{name} {number}", 0.01)', 'return [do(f"{name} {number}", 0.5)')
    ledger = project.path / "ledger.jsonl"
    is_bucket = place == "a bucket"
    url = f"{request.getfixturevalue('bucket')}/runs" if is_bucket else str(project.path / ".rayflow")
    first = both("--store", url).start()
    assert first.process is not None
    refused = both("--store", url).start(waits=False)
    assert ended(refused) == 2
    assert f"rayflow serve (process {first.process.pid} on" in refused.log.read_text()
    run = first.client.start("many", {"name": "a"})
    until(lambda: len(doings_in(ledger)) >= 2, pause_seconds=0.01)
    os.kill(first.process.pid, signal.SIGSTOP)
    begun = doings_in(ledger)
    second = both("--store", url, "--standby", "--port", str(first.address.port)).start()  # the first one still has it
    assert second.client.get(run.id).result(60) == [f"did a {number}" for number in range(6)]
    before = doings_in(ledger)
    recorded = rows_in(url)

    os.kill(first.process.pid, signal.SIGCONT)
    assert ended(first) == 2
    said = first.log.read_text()
    seconds = 20 if is_bucket else 6
    assert f"has taken over from this process, which was silent for more than {seconds} seconds" in said
    assert "Traceback" not in said
    assert doings_in(ledger) == before
    assert rows_in(url) == recorded
    assert [len(lines) for lines in before.values()].count(2) >= 1  # what the first one had begun
    assert all(len(lines) <= (2 if what in begun else 1) for what, lines in before.items())
    for pid in (first.process.pid, second.process.pid if second.process else 0):
        assert any(each.pid == pid for lines in before.values() for each in lines)
    assert second.client.runs()[0]["state"] == "done"


def rows_in(url: str) -> list[int]:
    """How many rows there are of what has happened to the runs, and at their places."""
    history = open_store(url).history()
    return [history.records(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in ("run_changes", "places")]
