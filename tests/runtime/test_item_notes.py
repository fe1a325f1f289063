"""Items travel from a worker to its scheduler in notes: complete, in order, bounded, and the rest with the answer."""

from __future__ import annotations

import fnmatch
import json
import threading
import time
from collections.abc import Iterator

import pytest
from waiting import until

from rayflow.runtime.on_ray import cluster_notes, item_notes
from rayflow.runtime.on_ray.item_notes import ItemPump, NotedItems
from rayflow.runtime.protocol.stream_items import WrittenItems

JOB = b"j" * 16


class Notes(dict[str, str]):
    """The cluster's key-value store. is_lost: nobody answers any more."""

    is_lost = False

    def check(self) -> None:
        if self.is_lost:
            raise RuntimeError("the cluster is lost")

    def write(self, key: str, text: str) -> None:
        self.check()
        self[key] = text

    def read(self, key: str) -> str | None:
        self.check()
        return self.get(key)

    def remove(self, key: str) -> None:
        self.check()
        self.pop(key, None)

    def keys_of(self, prefix: str) -> list[str]:
        self.check()
        return fnmatch.filter(list(self), prefix + "*")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    made = Notes()
    monkeypatch.setattr(cluster_notes, "write", made.write)
    monkeypatch.setattr(cluster_notes, "read", made.read)
    monkeypatch.setattr(cluster_notes, "remove", made.remove)
    monkeypatch.setattr(cluster_notes, "keys", made.keys_of)
    return made


def item(number: int, text: str = "", body: str = "b") -> WrittenItems:
    return WrittenItems(JOB, "flow.f", 1, body, False, "s", number, (text or str(number),), (number,))


class Scheduler:
    """Has one bundle in flight, w1_a, and takes its items."""

    def __init__(self) -> None:
        self.taken: list[WrittenItems] = []
        self.noted = NotedItems("w1", lambda: ({"w1_a": self.taken.append}, time.monotonic() - 9))

    def texts(self) -> list[str]:
        return [text for written in self.taken for text in written.texts]


@pytest.fixture
def scheduler(notes: Notes) -> Iterator[Scheduler]:
    made = Scheduler()
    yield made
    made.noted.stop()


def test_items_come_while_the_bundle_runs_and_the_rest_with_its_answer(notes: Notes, scheduler: Scheduler) -> None:
    pump = ItemPump()
    pump.begin("w1_a")
    scheduler.noted.look()
    for number in range(1, 101):
        pump.take(item(number))
    until(lambda: len(scheduler.texts()) == 100)
    pump.take(item(101))
    left, count = pump.end()
    scheduler.noted.finish("w1_a", scheduler.taken.append)
    assert [*scheduler.texts(), *(text for each in left for text in each.texts)] == [str(n) for n in range(1, 102)]
    assert count >= 1
    assert notes == {}
    assert scheduler.taken[0].job_id == JOB


def test_a_scheduler_that_does_not_look_makes_bodies_wait_in_the_end(
    notes: Notes, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_notes, "MOST_NOTES", 3)
    monkeypatch.setattr(item_notes, "NOTE_BYTES", 1000)
    monkeypatch.setattr(item_notes, "MOST_WAITING_BYTES", 5000)
    monkeypatch.setattr(item_notes, "GATHER_SECONDS", 0.001)
    pump = ItemPump()
    pump.begin("w1_a")
    written: list[int] = []

    def body() -> None:
        for number in range(1, 101):
            pump.take(item(number, "x" * 200))
            written.append(number)

    thread = threading.Thread(target=body)
    thread.start()
    until(lambda: len(notes) == 3)
    thread.join(0.3)
    assert thread.is_alive()
    assert len(written) < 50
    scheduler.noted.look()
    thread.join(60)
    assert not thread.is_alive()
    left, _ = pump.end()
    scheduler.noted.finish("w1_a", scheduler.taken.append)
    assert len(scheduler.texts()) + sum(len(each.texts) for each in left) == 100


def test_without_an_answer_from_the_cluster_items_go_with_the_answer(notes: Notes) -> None:
    notes.is_lost = True
    pump = ItemPump()
    pump.begin("w1_a")
    pump.take(item(1))
    time.sleep(3 * item_notes.GATHER_SECONDS)  # so that the pump has tried
    pump.take(item(2))
    left, count = pump.end()
    assert [each.texts for each in left] == [("1", "2")]
    assert count == 0


def test_items_come_out_of_a_note_as_they_went_in(notes: Notes, scheduler: Scheduler) -> None:
    inside = item(1, "ä")._replace(execution_id="around")  # a job that the bundle does not know: of a subrun
    pump = ItemPump()
    pump.begin("w1_a")
    pump.take(inside)
    until(lambda: notes)
    scheduler.noted.finish("w1_a", scheduler.taken.append)
    assert scheduler.taken == [inside]


def test_the_notes_of_a_worker_that_has_died_are_handed_on(notes: Notes, scheduler: Scheduler) -> None:
    pump = ItemPump()
    pump.begin("w1_a")
    pump.take(item(1))
    until(lambda: notes)
    scheduler.noted.finish("w1_a", scheduler.taken.append)
    assert scheduler.texts() == ["1"]
    assert notes == {}


def test_a_scheduler_leaves_the_notes_of_others_and_removes_old_ones(notes: Notes, scheduler: Scheduler) -> None:
    body = [(JOB.hex(), *item(1)[1:])]
    notes["items:w2_a:00000000"] = json.dumps([int(time.time()), body])
    notes["items:w3_a:00000000"] = json.dumps([int(time.time() - item_notes.STALE_SECONDS - 9), body])
    notes["items:w1_a:00000000"] = json.dumps([int(time.time()), body])
    scheduler.noted.look()
    until(lambda: len(notes) == 1)
    assert list(notes) == ["items:w2_a:00000000"]
    assert scheduler.texts() == ["1"]


def test_what_comes_after_the_bundle_has_ended_goes_nowhere(notes: Notes) -> None:
    pump = ItemPump()
    pump.begin("w1_a")
    pump.end()
    pump.take(item(1))
    pump.begin("w1_b")
    assert pump.end() == ((), 0)


def test_a_forked_process_sends_nothing(notes: Notes) -> None:
    pump = ItemPump()
    pump.begin("w1_a")
    pump.forked()
    pump.take(item(1))
    assert pump.end() == ((), 0)
