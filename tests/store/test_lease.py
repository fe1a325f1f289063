"""Leases of real processes: killed, stopped and woken again, and many that ask at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, Killed, use_disk
from waiting import until

from rayflow.errors import LeaseHeld, LeaseLost, StoreUnavailable
from rayflow.records import EventRow
from rayflow.store import layout
from rayflow.store.exchange import garbage
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.lease import SERVICE, Lease, left_files
from rayflow.store.open import Store, open_store

HOLDER = """
import sys, time
from rayflow.errors import LeaseLost
from rayflow.records import EventRow
from rayflow.store.lease import Lease
from rayflow.store.open import open_store

store = open_store(sys.argv[1])
lease = Lease(store.folder, "a process of its own", seconds=float(sys.argv[2]))
lease.take()
lease.renew_beside()
store.commit_by(lease)
number = 0
try:
    while True:
        store.keep([EventRow(f"held-{number:06}", number, 1, "x", None, None, None)])
        print(number, flush=True)
        number += 1
except LeaseLost:
    print("lost", flush=True)
"""
"""Commits without end, and says each time that it has: that stands for what may be sent only then."""


class Process:
    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, url, str(seconds)], stdout=subprocess.PIPE, text=True
        )
        self.read_until(5)

    def read_until(self, number: int) -> None:
        assert self.process.stdout is not None
        while int(self.process.stdout.readline()) < number:
            pass

    def rest(self) -> list[str]:
        """What it still says, until it ends."""
        output, _ = self.process.communicate(timeout=60)
        return output.split()


Start = Callable[[float], Process]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return open_store(tmp_path / "store").url


@pytest.fixture
def start(url: str) -> Iterator[Callable[[float], Process]]:
    started: list[Process] = []

    def start(seconds: float) -> Process:
        started.append(Process(url, seconds))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def event(name: str) -> EventRow:
    return EventRow(event_id=name, number=1, at=1, name=name, key=None, data=None, data_hash=None)


def recorded(url: str) -> list[str]:
    rows = open_store(url).history().records("SELECT DISTINCT event_id FROM raw.events ORDER BY 1")
    return [row["event_id"] for row in rows]


def taken(url: str, seconds: float = 5.0) -> tuple[Lease, Store]:
    store = open_store(url)
    lease = Lease(store.folder, "successor", seconds=seconds)
    lease.take()
    store.commit_by(lease, tidies=False)
    return lease, store


@pytest.mark.slow
def test_the_lease_of_a_killed_process_of_this_machine_is_free_at_once(start: Start, url: str) -> None:
    holder = start(20.0)
    with pytest.raises(LeaseHeld, match=r"a process of its own \(process \d+"):
        Lease(open_store(url).folder, "second").take()
    holder.process.kill()
    said = holder.rest()
    began = time.monotonic()
    lease, store = taken(url)
    assert time.monotonic() - began < 15
    assert {f"held-{int(number):06}" for number in said} <= set(recorded(url))
    store.keep([event("mine")])
    assert "mine" in recorded(url)
    store.close()
    lease.close()


@pytest.mark.slow
def test_a_stopped_process_that_wakes_up_late_commits_and_says_nothing_more(start: Start, url: str) -> None:
    holder = start(1.0)
    holder.process.send_signal(signal.SIGSTOP)
    lease, store = taken(url)
    before = recorded(url)
    store.keep([event("mine")])
    holder.process.send_signal(signal.SIGCONT)
    said = holder.rest()
    assert said[-1] == "lost"
    assert {f"held-{int(number):06}" for number in said[:-1]} <= set(before)
    assert recorded(url) == [*before, "mine"]
    store.close()
    lease.close()


def test_of_many_that_ask_at_once_one_gets_the_lease(url: str) -> None:
    open_store(url)
    leases = [Lease(open_store(url).folder, f"taker {number}", seconds=2.0) for number in range(8)]
    for lease in leases:
        lease.renew_beside()

    def is_taken(lease: Lease) -> bool:
        try:
            lease.take()
        except (LeaseHeld, LeaseLost):
            return False
        return True

    with ThreadPoolExecutor(len(leases)) as pool:
        won = list(pool.map(is_taken, leases))
    assert won.count(True) == 1
    assert [lease.names for lease, has in zip(leases, won, strict=True) if has] == [(SERVICE,)]
    for lease in leases:
        lease.close()


def test_a_holder_renews_beside_as_long_as_it_lives(url: str) -> None:
    lease, store = taken(url, seconds=0.4)
    lease.renew_beside()
    path = Path(url, layout.heartbeat_path(lease.series))
    first = path.read_bytes()
    until(lambda: path.read_bytes() != first)
    with pytest.raises(LeaseHeld):
        Lease(store.folder, "second", seconds=0.4).take()
    store.close()
    lease.close()
    assert not path.exists()
    second, store = taken(url)
    assert second.epoch_of(SERVICE) == 2
    store.close()
    second.close()


def test_a_holder_that_was_stopped_between_its_commit_and_the_answer_is_told_that_it_has_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is there, and its successor has seen it. But nothing may be sent that depends on it."""

    store = open_store(url)
    lease = Lease(store.folder, "first", seconds=0.3)
    successor = Lease(open_store(url).folder, "successor")
    lease.take()
    successor.take("another")
    store.commit_by(lease, tidies=False)
    link = os.link
    links = []

    def late(*args: str) -> None:
        """Takes longer than the lease lasts."""
        link(*args)
        links.append(args)
        if len(links) == 1:
            successor.take()

    monkeypatch.setattr("rayflow.store.folders.local.os.link", late)
    with pytest.raises(LeaseLost):
        store.keep([event("seen")])
    assert recorded(url) == ["seen"] and lease.is_lost
    successor.close()


def test_a_holder_killed_at_any_point_of_a_commit_leaves_it_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for step in range(1, 40):
        url = open_store(tmp_path / f"store-{step}").url
        _, store = taken(url)
        store.keep([event("a")])
        with monkeypatch.context() as patch:
            use_disk(patch, FaultyDisk(step, None))
            try:
                store.keep([event("b")])
                is_told = True
            except Killed:
                is_told = False
        as_if_ended(url)
        second, successor = taken(url)
        found = recorded(url)
        assert found == ["a", "b"] if is_told else found in (["a"], ["a", "b"])
        successor.keep([event("c")])
        with pytest.raises(LeaseLost):
            store.keep([event("late")])
        assert recorded(url) == [*found, "c"]
        seen.add((is_told, len(found)))
        second.close()
        if is_told:
            break
    assert seen == {(False, 1), (False, 2), (True, 2)}


def as_if_ended(url: str) -> None:
    """Let the records of the lease name a process that is no more."""
    for record in Path(url, layout.lease_directory(SERVICE)).glob("*"):
        record.write_text(record.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))


def test_a_commit_that_a_power_failure_left_empty_is_put_aside_by_the_successor(url: str) -> None:
    _, store = taken(url)
    for name in "ab":
        store.keep([event(name)])
    last = max(store.folder.names(layout.COMMITS))
    Path(url, layout.commit_path(last)).write_bytes(b"")
    as_if_ended(url)
    second, successor = taken(url)
    successor.keep([event("c")])
    assert recorded(url) == ["a", "c"]
    assert [problem for problem in successor.check() if problem.kind != "orphaned"] == []
    successor.close()
    second.close()


def test_a_record_of_a_lease_that_a_power_failure_left_empty_holds_nobody_up(url: str) -> None:
    _, store = taken(url)
    store.keep([event("a")])
    Path(url, layout.lease_path(SERVICE, 2)).write_bytes(b"")
    as_if_ended(url)
    second, successor = taken(url)
    assert second.epoch_of(SERVICE) == 3
    successor.keep([event("b")])
    with pytest.raises(LeaseLost):
        store.keep([event("late")])
    assert recorded(url) == ["a", "b"]
    second.close()


def test_a_collection_removes_the_leases_of_forgotten_executions_and_heartbeats_without_a_record(url: str) -> None:
    lease, store = taken(url)
    lease.take("execution")
    for name in ("gone", "lost"):
        store.folder.write(layout.lease_path(name, 1), [b"{}"])
    for series in ("l00000000a", "l00000000b"):
        store.folder.write(layout.heartbeat_path(series), [b"{}"])
    os.utime(f"{url}/{layout.heartbeat_path('l00000000a')}", (1, 1))
    os.utime(f"{url}/{layout.heartbeat_path(lease.series)}", (1, 1))
    assert left_files(store.folder, {"gone"}) == [layout.lease_path("gone", 1), layout.heartbeat_path("l00000000a")]
    assert garbage.collect(store, dry_run=True).files == 1
    assert garbage.collect(store).files == 1
    assert left_files(store.folder) == []
    lease.renew()
    store.close()
    lease.close()


def test_a_closed_lease_commits_nothing_more(url: str) -> None:
    lease, store = taken(url)
    store.keep([event("a")])
    lease.close()
    with pytest.raises(LeaseLost, match="given back"):
        store.keep([event("b")])
    assert recorded(url) == ["a"]


def test_a_disk_without_hard_links_can_have_no_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("rayflow.store.folders.local.os.link", link)
    with pytest.raises(StoreUnavailable, match="two processes could keep the same runs"):
        Lease(open_store(url).folder, "first").take()


def test_a_lease_in_memory_works_as_on_a_disk() -> None:
    folder = MemoryFolder()
    store = Store(folder)
    lease = Lease(folder, "first")
    lease.take()
    store.commit_by(lease)
    store.keep([event("a")])
    store.close()
    lease.close()
    assert [row["event_id"] for row in store.history().records("SELECT event_id FROM raw.events")] == ["a"]
