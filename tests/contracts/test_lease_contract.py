"""What a lease promises on every kind of folder: one holder at a time, and an old one that cannot commit any more."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import LeaseHeld, LeaseLost, StoreUnavailable
from rayflow.records import EventRow
from rayflow.store import layout
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.remote import RemoteFolder
from rayflow.store.lease import SERVICE, Lease
from rayflow.store.store import Store

_NUMBERS = itertools.count()

SECONDS = 10.0


class HandClock:
    """A clock that only goes on when somebody waits. while_waiting: called after each wait."""

    def __init__(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.while_waiting = while_waiting

    def seconds(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.while_waiting()


@pytest.fixture(params=["local", "memory", "memory-url", "s3", "gcs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    match request.param:
        case "local":
            return LocalFolder(str(tmp_path / "store"))
        case "memory":
            return MemoryFolder()
        case "memory-url":
            return RemoteFolder(f"memory://lease-{os.getpid()}-{next(_NUMBERS)}")
    bucket = request.getfixturevalue("bucket" if request.param == "s3" else "gcs_bucket")
    return RemoteFolder(f"{bucket}/store", str(tmp_path / "mirror"))


def event(name: str) -> EventRow:
    return EventRow(event_id=name, number=1, at=1, name=name, key=None, data=None, data_hash=None)


def holder(folder: Folder, text: str, clock: HandClock | None = None) -> tuple[Lease, Store]:
    """A lease that is not taken yet, and a store that commits by it."""
    lease = Lease(folder, text, seconds=SECONDS, clock=clock or HandClock())
    store = Store(folder)
    store.commit_by(lease)
    return lease, store


def recorded(folder: Folder) -> list[str]:
    rows = Store(folder).history().records("SELECT event_id FROM raw.events ORDER BY event_id")
    return [row["event_id"] for row in rows]


def test_a_holder_commits_and_gives_its_lease_back(folder: Folder) -> None:
    first, store = holder(folder, "first")
    first.take()
    store.keep([event("a")])
    store.keep([event("b")])
    store.close()
    first.close()
    second, store = holder(folder, "second")
    second.take()
    store.keep([event("c")])
    store.close()
    assert recorded(folder) == ["a", "b", "c"]
    assert (first.epoch_of(SERVICE), second.epoch_of(SERVICE)) == (None, 2)


def test_a_holder_that_is_alive_keeps_its_lease(folder: Folder) -> None:
    first, store = holder(folder, "the first one")
    first.take()
    second, _ = holder(folder, "second", HandClock(first.renew))
    with pytest.raises(LeaseHeld, match=r"the first one \(process \d+ on .*\) keeps the runs of the store"):
        second.take()
    store.keep([event("a")])
    assert recorded(folder) == ["a"]


def test_a_silent_holder_is_waited_out_and_cannot_commit_afterwards(folder: Folder) -> None:
    first, store = holder(folder, "first")
    first.take()
    store.keep([event("a")])
    clock = HandClock()
    second, successor = holder(folder, "second", clock)
    second.take()
    assert clock.now >= SECONDS
    successor.keep([event("b")])
    for _ in range(2):
        with pytest.raises(LeaseLost, match=r"second .* has taken over"):
            store.keep([event("late")])
    with pytest.raises(LeaseLost):
        first.renew()
    assert first.is_lost and recorded(folder) == ["a", "b"]


def test_a_holder_that_was_stopped_before_its_first_commit_cannot_make_it(folder: Folder) -> None:
    first, store = holder(folder, "first")
    first.take()
    second, successor = holder(folder, "second")
    second.take()
    with pytest.raises(LeaseLost):
        store.keep([event("late")])
    successor.keep([event("b")])
    assert recorded(folder) == ["b"]


def test_a_holder_that_has_nothing_to_commit_finds_that_it_was_replaced_when_it_renews(folder: Folder) -> None:
    first, _ = holder(folder, "first")
    first.take()
    second, _ = holder(folder, "second")
    second.take()
    with pytest.raises(LeaseLost, match=r"second .* has taken over"):
        first.renew()
    second.renew()


def test_a_standby_takes_over_when_the_holder_falls_silent(folder: Folder) -> None:
    first, _ = holder(folder, "first")
    first.take()
    beats = iter(range(30))
    clock = HandClock(lambda: first.renew() if next(beats, None) is not None else None)
    second, _ = holder(folder, "second", clock)
    second.take(wait=1000)
    assert second.epoch_of(SERVICE) == 2 and clock.now >= 30 * SECONDS / 20 + SECONDS


def test_a_lease_of_one_execution_leaves_those_of_others_alone(folder: Folder) -> None:
    first, store = holder(folder, "first")
    first.take("execution-1")
    second, other = holder(folder, "second", HandClock(first.renew))
    second.take("execution-2")
    with pytest.raises(LeaseHeld, match="keeps execution execution-1"):
        second.take("execution-1")
    store.keep([event("a")])
    other.keep([event("b")])
    first.release("execution-1")
    second.take("execution-1")
    assert sorted(second.names) == ["execution-1", "execution-2"]
    store.keep([event("c")])  # it holds nothing, and was given nothing away by force
    assert recorded(folder) == ["a", "b", "c"]


def test_a_released_lease_can_be_taken_again_by_its_holder(folder: Folder) -> None:
    lease, store = holder(folder, "first")
    for epoch in (1, 2, 3):
        lease.take("execution")
        assert lease.epoch_of("execution") == epoch
        store.keep([event(f"event {epoch}")])
        lease.release("execution")
    lease.take("execution")
    lease.release("execution", is_over=True)
    lease.close()
    assert [*folder.sizes(layout.LEASES)] == []
    assert len(recorded(folder)) == 3


# --- lost answers and crashes -----------------------------------------------------------------------------------------


class Unlucky:
    """A folder whose next calls of `create` end in an error, before or after the file was written."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.faults: list[str] = []
        """For each of the next calls: before, after, or fine."""
        self.created: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        fault = self.faults.pop(0) if self.faults else "fine"
        if fault == "before":
            raise StoreUnavailable("no answer")
        is_ours = self._folder.create(path, parts)
        self.created.append(path)
        if fault == "after":
            raise StoreUnavailable("no answer")
        return is_ours


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_holder_recognizes_the_commit_whose_answer_was_lost(folder: Folder, fault: str) -> None:
    unlucky = Unlucky(folder)
    lease, store = holder(unlucky, "first")
    lease.take()
    store.keep([event("a")])
    unlucky.faults = [fault]
    store.append([event("b")])
    with pytest.raises(StoreUnavailable):
        store.commit()
    store.append([event("c")])
    store.commit()
    store.keep([event("d")])
    assert store.pending() == 0
    assert recorded(folder) == ["a", "b", "c", "d"]
    in_series = [name for name in folder.names(layout.COMMITS) if layout.series_of(name)]
    assert len(in_series) == (4 if fault == "after" else 3)


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("step", range(2))
def test_a_taker_that_fails_at_any_step_can_try_again_and_so_can_others(folder: Folder, step: int, fault: str) -> None:
    first, store = holder(folder, "first")
    first.take()
    store.keep([event("a")])
    unlucky = Unlucky(folder)
    second, _ = holder(unlucky, "second")
    second.take("another")  # so that it has probed the folder
    unlucky.faults = ["fine"] * step + [fault]
    with pytest.raises(StoreUnavailable):
        second.take()
    second.take()
    assert second.epoch_of(SERVICE) == 2
    with pytest.raises(LeaseLost):
        store.keep([event("late")])
    third, successor = holder(folder, "third")
    third.take()
    assert third.epoch_of(SERVICE) == 3
    successor.keep([event("b")])
    assert recorded(folder) == ["a", "b"]


def test_of_two_takers_that_fail_one_after_the_other_each_holder_is_fenced(folder: Folder) -> None:
    first, store = holder(folder, "first")
    first.take()
    store.keep([event("a")])
    unlucky = Unlucky(folder)
    second, stopped = holder(unlucky, "second")
    second.take("another")
    unlucky.faults = ["fine", "before"]  # it has the next epoch, and is stopped before its fence
    with pytest.raises(StoreUnavailable):
        second.take()
    third, successor = holder(folder, "third")
    third.take()
    with pytest.raises(LeaseLost):
        second.take()
    for late in (store, stopped):
        with pytest.raises(LeaseLost):
            late.keep([event("late")])
    successor.keep([event("b")])
    assert recorded(folder) == ["a", "b"]


def test_a_holder_that_commits_while_it_is_fenced_has_its_commits_seen_or_refused(folder: Folder) -> None:
    """The old holder commits each time that the new one is about to create a fence."""
    first, store = holder(folder, "first")
    first.take()
    busy = Unlucky(folder)
    second, _ = holder(busy, "second")
    second.take("another")
    names = iter(["a", "b"])
    create = busy.create

    def with_commits(path: str, parts: Sequence[Any]) -> bool:
        if path.startswith(layout.COMMITS) and (name := next(names, None)):
            store.keep([event(name)])
        return create(path, parts)

    busy.create = with_commits  # type: ignore[method-assign]
    second.take()
    with pytest.raises(LeaseLost):
        store.keep([event("late")])
    assert recorded(folder) == ["a", "b"]


def test_a_store_that_creates_a_file_twice_is_refused(folder: Folder) -> None:
    class Forgetful(Unlucky):
        def create(self, path: str, parts: Sequence[Any]) -> bool:
            self._folder.write(path, parts)
            return True

    lease = Lease(Forgetful(folder), "first")
    with pytest.raises(StoreUnavailable, match="does not refuse to create a file that exists already"):
        lease.take()
    assert folder.names(layout.lease_directory(SERVICE)) == []
