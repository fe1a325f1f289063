"""The scheduler's thread, without a cluster: drivers must never wait for a loop that turns no more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rayflow import task
from rayflow.config import Config
from rayflow.evaluator import messages
from rayflow.lang.tasks import task_table
from rayflow.record_columns import Columns
from rayflow.records import Row
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import CLOCK
from rayflow.runtime.driver.driver import Driver
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.live.live_board import END_SECONDS
from rayflow.runtime.loop import Loop
from rayflow.runtime.on_ray.actor.scheduler import SchedulerActor, Status
from rayflow.runtime.on_ray.actor.unread_news import UnreadNews
from rayflow.runtime.on_ray.cluster import RayCluster, RaySubmission
from rayflow.runtime.protocol.attempts import WorkerContext, unpack_finish
from rayflow.runtime.protocol.reports import Silent
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.worker.worker import Worker
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.live.live_files import CancelOrder
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.failures import Failure
from rayflow.values.process import waits
from rayflow.version import VERSION


class Gone(BaseException):
    """Stands for the end of the process."""


def test_a_scheduler_that_cannot_start_anew_ends_its_process(monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no cluster answers")

    def leave(code: int) -> None:
        raise Gone(code)

    scheduler = SchedulerActor.__new__(SchedulerActor)
    scheduler._loop = SimpleNamespace()
    monkeypatch.setattr(scheduler, "_turn", broken)
    monkeypatch.setattr(scheduler, "_start_anew", broken)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Gone):
        scheduler._turn_until_rest()


def test_a_submission_that_finds_a_dead_actor_late_leaves_the_new_one_alone() -> None:
    cluster = RayCluster(SimpleNamespace(), SimpleNamespace())
    old, new = object(), object()
    cluster._actor = old
    cluster.give_up_actor(old)
    assert cluster._actor is None
    cluster._actor = new
    cluster.give_up_actor(old)
    assert cluster._actor is new


class Opened:
    """A store, a loop and its carrier, which note what begins and what is posted."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.posted: list[object] = []
        self.outbox = self.store = self.carrier = self
        self.waiting = ()
        self.clock = CLOCK

    def append(self, rows: list[object], columns: object = ()) -> None:
        self.begun.extend(rows)

    def commit(self) -> None: ...

    def refresh(self) -> None: ...

    def wake(self) -> None: ...

    def take_up(self, execution_id: str, surroundings: object) -> None: ...

    def post(self, message: object) -> None:
        self.posted.append(message)

    submit = post


def request(life: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        execution_id="e", life=life, row=SimpleNamespace(rayflow_version=VERSION), masks=(),
        opening_rows=lambda version: [f"life {life}"], submitted=lambda at: "submitted",
    )  # fmt: skip


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerActor]:
    """An actor whose loop's thread ends with the test."""
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.use_base", lambda folder: None)
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.write_warnings", lambda take: None)
    scheduler = SchedulerActor("s3://bucket/results", {})
    waits.stop_listening(scheduler._warned)
    is_over = threading.Event()
    ended = threading.Event()

    def turn() -> None:
        while not is_over.is_set():
            scheduler._turn(scheduler._loop)
        ended.set()

    monkeypatch.setattr(scheduler, "_turn_until_rest", turn)
    yield scheduler
    is_over.set()
    assert scheduler._store is None or ended.wait(20), "the loop's thread has died"


@pytest.fixture
def opened(actor: SchedulerActor, monkeypatch: pytest.MonkeyPatch) -> tuple[SchedulerActor, Opened]:
    """An actor whose loop only does what is posted, at once."""
    fake = Opened()

    def open_it() -> None:
        actor._loop = fake

    def post(action: Callable[[object], None]) -> object:
        done = post_it(action)
        if actor._loop is not None:
            actor._do_posted(actor._loop)
        return done

    post_it = actor._post
    monkeypatch.setattr(actor, "_open", open_it)
    monkeypatch.setattr(actor, "_post", post)
    return actor, fake


@pytest.mark.parametrize("when", ["before it came", "while the store is opened"])
def test_an_execution_that_is_cancelled_before_it_has_begun_does_not_begin(opened, monkeypatch, when: str) -> None:
    scheduler, fake = opened
    if when == "before it came":
        scheduler.cancel("e", 1, "SIGINT")
    else:
        open_it = scheduler._open
        monkeypatch.setattr(scheduler, "_open", lambda: (scheduler.cancel("e", 1, "SIGINT"), open_it())[1])
    scheduler.submit(request(life=1), SimpleNamespace(project_dir="/p"))
    assert (fake.begun, fake.posted, scheduler.wait("e", 0.0).known) == ([], [], False)


def test_an_execution_that_is_resumed_after_it_was_cancelled_before_it_had_begun_runs(opened) -> None:
    scheduler, fake = opened
    scheduler.cancel("e", 1, "SIGINT")
    scheduler.submit(request(life=2), SimpleNamespace(project_dir="/p"))
    assert (fake.begun, fake.posted, scheduler.wait("e", 0.0).known) == (["life 2"], ["submitted"], True)
    scheduler.cancel("e", 2, "SIGINT")
    assert type(fake.posted[-1]) is messages.CancelRequested


def test_an_execution_whose_scheduler_has_died_is_cancelled_again_where_it_is_taken_up_again(monkeypatch) -> None:
    asked: list[tuple[object, ...]] = []
    unknown = Status(False, {}, (), (), None)

    def note(name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *given: asked.append((name, *given)) or unknown)

    actor = SimpleNamespace(submit=note("submit"), wait=note("wait"), cancel=note("cancel"))
    submission = RaySubmission.__new__(RaySubmission)
    submission._request, submission.execution_id, submission._surroundings = request(), "e", None
    submission._is_cancelled, submission._cancelled_by = False, None
    submission._error = submission._finish = None
    monkeypatch.setattr(submission, "_again", lambda call, died=None: call(actor))
    submission.cancel()
    submission._poll(None)
    assert [each[0] for each in asked] == ["cancel", "wait", "submit", "cancel"]
    assert [each[2] for each in asked if each[0] == "cancel"] == [0, 1], "of the life that is meant"


def test_what_the_scheduler_waits_for_is_told_to_its_driver(monkeypatch) -> None:
    monkeypatch.setattr(waits, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(waits, "_reported_at", {})
    scheduler = SchedulerActor("s3://bucket/results", {})
    told: tuple[str, ...] = ()
    end = time.monotonic() + 20
    with waits.waiting("an answer to: read s3://bucket/results/format"):
        while not told and time.monotonic() < end:
            told = scheduler.wait("an execution", 0.0).warnings
    waits.stop_listening(scheduler._warned)
    assert [text.partition(" s for ")[2] for text in told] == ["an answer to: read s3://bucket/results/format."]


def test_what_an_execution_has_to_tell_is_told_to_who_waits_for_it(opened) -> None:
    scheduler, _ = opened
    for name in "ab":
        scheduler._requests[name] = request()
    for name in "abc":
        scheduler._job_ended(SimpleNamespace(execution_id=name))
        scheduler._warned_of(name, f"of {name}")
    scheduler._warned("of the scheduler")
    for name, more in (("a", ("of the scheduler",)), ("b", ()), ("c", ())):
        status = scheduler.wait(name, 0.0)
        is_known = name != "c"
        assert [row.execution_id for row in status.ended] == [name] * is_known
        assert status.warnings == (*more, *[f"of {name}"] * is_known)
        assert (scheduler.wait(name, 0.0).ended, scheduler.wait(name, 0.0).warnings) == ((), ())


def test_what_could_not_be_recorded_of_an_execution_is_told_to_its_own_driver(opened, monkeypatch) -> None:
    scheduler, fake = opened
    for name in "ab":
        scheduler._requests[name] = SimpleNamespace(closing_row=lambda finish: "row", masks=())

    def refuse(store: object, rows: list[object], warned: Callable[[str], None]) -> None:
        warned("not recorded")

    finish = SimpleNamespace(_replace=lambda at: finish, by_task={})
    fake.finished = {"b": finish}
    fake.lines_of, fake.forget = lambda name: 0, lambda name: None
    scheduler._loop = fake
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.commit_last", refuse)
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.pack_finish", lambda finish: finish)
    scheduler._finish(fake)
    assert [scheduler.wait(name, 0.0).warnings for name in "ab"] == [(), ("not recorded",)]


class OneThreadStore(Store):
    """Notes the threads that change it."""

    def __init__(self) -> None:
        super().__init__(MemoryFolder())
        self.threads: set[str] = set()

    def append(self, rows: Sequence[Row], columns: Sequence[Columns] = ()) -> None:
        self.threads.add(threading.current_thread().name)
        super().append(rows, columns)

    def commit(self) -> None:
        self.threads.add(threading.current_thread().name)
        super().commit()

    def refresh(self) -> None:
        self.threads.add(threading.current_thread().name)
        super().refresh()

    def compact(self, execution_id: str | None = None) -> Any:
        self.threads.add(threading.current_thread().name)
        return super().compact(execution_id)


class InProcessCarrier(InlineCarrier):
    """Runs calls in the loop's thread, in place of Ray; notes the threads that change it."""

    waiting: tuple[str, ...] = ()

    def __init__(self, loop: Loop, **_: object) -> None:
        super().__init__(loop, Worker(WorkerContext(None, (), ":memory:", task_table()), loop.store))
        self.threads: set[str] = set()

    def take_up(self, execution_id: str, surroundings: WorkerContext) -> None:
        self.threads.add(threading.current_thread().name)

    def forget(self, execution_id: str) -> None:
        self.threads.add(threading.current_thread().name)
        super().forget(execution_id)

    def lines_of(self, execution_id: str) -> int:
        return 0


@task(name="doubled", namespace="actor", cache=False)
def doubled(n: int) -> int:
    return 2 * n


def requested(driver: Driver, *calls: Any) -> Request:
    return driver._request(list(calls), RunSettings())


def test_whatever_the_actors_threads_ask_the_loop_s_thread_alone_does_it(actor, monkeypatch) -> None:
    """Several drivers' threads submit, wait, cancel and release at the same time, without a cluster."""
    store = OneThreadStore()
    monkeypatch.setattr("rayflow.runtime.on_ray.remote.open_here", lambda url: store)
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.RayCarrier", InProcessCarrier)
    driver = Driver(Config("/p", ":memory:"), Silent(), open_store(":memory:"))
    outcomes: dict[int, object] = {}
    errors: list[BaseException] = []

    def drive(number: int) -> None:
        try:
            for turn in range(5):
                wanted = requested(driver, doubled(10 * number + turn), doubled(number))
                name = wanted.execution_id
                if turn == 3:
                    actor.cancel(name, 0)
                actor.submit(wanted, driver.worker_context(wanted))
                actor.submit(wanted, driver.worker_context(wanted))  # the answer to the first was lost
                if turn == 4:
                    actor.cancel(name, 0)
                while (status := actor.wait(name, 5.0)).known and status.finish is None:
                    assert status.error is None, status.error
                outcomes[10 * number + turn] = unpack_finish(status.finish).outcome if status.known else None
                actor.release(name)
                assert not actor.wait(name, 5.0).known
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors, errors
    for number, outcome in outcomes.items():
        if number % 10 == 3:
            assert outcome is None, "it was cancelled before it came"
        elif number % 10 == 4 and isinstance(outcome, Failure):
            assert outcome.is_cancelled
        else:
            assert outcome == [2 * number, 2 * (number // 10)]
    assert len(outcomes) == 30
    assert store.threads | actor._loop.carrier.threads == {"rayflow-loop"}


class StuckFolder(MemoryFolder):
    """A slow store: what is removed from it takes until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_removing, self.may_go_on = threading.Event(), threading.Event()

    def remove(self, path: str) -> None:
        if path.startswith("live/"):
            self.is_removing.set()
            assert self.may_go_on.wait(20)
        super().remove(path)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A driver whose actor runs calls in its own process."""
    monkeypatch.setattr("rayflow.runtime.on_ray.actor.scheduler.RayCarrier", InProcessCarrier)
    return Driver(Config("/p", ":memory:"), Silent(), open_store(":memory:"))


def test_to_release_an_execution_in_a_slow_store_does_not_hold_up_the_others(actor, driver, monkeypatch) -> None:
    folder = StuckFolder()
    monkeypatch.setattr("rayflow.runtime.on_ray.remote.open_here", lambda url: Store(folder))
    first, second = requested(driver, doubled(1)), requested(driver, doubled(2))
    actor.submit(first, driver.worker_context(first))
    while actor.wait(first.execution_id, 5.0).finish is None:
        pass
    releasing = threading.Thread(target=actor.release, args=(first.execution_id,))
    releasing.start()
    assert folder.is_removing.wait(20)
    while actor.wait(first.execution_id, 0.01).known:
        pass
    began = time.monotonic()
    actor.submit(second, driver.worker_context(second))
    while (finish := actor.wait(second.execution_id, 5.0).finish) is None:
        pass
    assert unpack_finish(finish).outcome == [4]
    assert time.monotonic() - began < END_SECONDS / 2
    assert releasing.is_alive(), "it waits until the file is removed"
    folder.may_go_on.set()
    releasing.join(20)
    assert not releasing.is_alive()


@pytest.mark.parametrize("who", ["the driver", "a person"])
def test_a_request_to_cancel_is_obeyed_where_the_driver_submits_again_and_not_where_a_person_resumes(
    actor, driver, monkeypatch, who: str
) -> None:
    store = Store(MemoryFolder())
    monkeypatch.setattr("rayflow.store.live.live_files.LOCAL_SECONDS", 0.01)
    monkeypatch.setattr("rayflow.runtime.on_ray.remote.open_here", lambda url: store)
    heard: list[tuple[int, str]] = []
    monkeypatch.setattr(actor, "cancel", lambda _, life, by: heard.append((life, by)))
    wanted = requested(driver, doubled(1))
    name = wanted.execution_id
    run = Worker.run

    def run_when_heard(worker: Worker, *given: Any, **named: Any) -> Any:
        end = time.monotonic() + 20
        while not heard and store.live.cancel_order(name) is not None:
            assert time.monotonic() < end
            time.sleep(0.002)
        return run(worker, *given, **named)

    monkeypatch.setattr(Worker, "run", run_when_heard)
    store.live.order_cancel(name, CancelOrder("ada", life=0))
    if who == "the driver":
        wanted.life += 1
    else:
        wanted = Request(name, wanted.root, wanted.table, wanted.settings, wanted.row, life=1)
    actor.submit(wanted, driver.worker_context(wanted))
    while actor.wait(name, 5.0).finish is None:
        pass
    assert set(heard) == ({(1, "ada")} if who == "the driver" else set())


def test_what_nobody_asks_for_does_not_grow_and_how_much_was_lost_is_known() -> None:
    untold: UnreadNews[int] = UnreadNews(most=3)
    for number in range(10):
        untold.add("a", number)
    untold.add("b", 1)
    assert untold.take("a") == ((7, 8, 9), 7)
    assert (untold.take("a"), untold.take("b")) == (((), 0), ((1,), 0))


def test_all_executions_are_counted_from_one_look_at_what_is_in_flight(tmp_path) -> None:
    from rayflow.runtime.loop import Loop
    from rayflow.store.open import open_store

    looks: list[int] = []
    carrier = SimpleNamespace(running=lambda: looks.append(1) or {"a": {"f": 2}, "b": {"f": 1}})
    loop = Loop(open_store(str(tmp_path / "store")), lambda _: carrier)
    for name in "abc":
        loop.evaluator.executions[name] = SimpleNamespace(tally=SimpleNamespace(by_task={"f": {"running": 5}}))
    told = {name: (row["f"]["running"], row["f"]["queued"]) for name, row in loop.explain_all().items()}
    assert (told, len(looks)) == ({"a": (2, 3), "b": (1, 4), "c": (0, 5)}, 1)
