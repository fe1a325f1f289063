"""What the carrier does with answers that are none: those after the end of their execution, and of bundles that gave
way; and with notes that cannot be read."""

from __future__ import annotations

import warnings
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.evaluator.commands import RunTask, Stop
from rayflow.runtime.clock import CLOCK
from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.actor import carrier, running_notes
from rayflow.runtime.on_ray.actor.bundles import Bundle, Bundler
from rayflow.runtime.on_ray.actor.room_claims import RoomClaims
from rayflow.runtime.on_ray.lowering import shape_of
from rayflow.runtime.on_ray.remote import BundleReply
from rayflow.runtime.worker.environment import Descriptions, row_of
from rayflow.testing.playbook import task


def test_a_late_answer_of_an_ended_execution_records_no_environment_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[Any] = []
    bundle = Bundle(1, "e", shape_of({}), [RunTask(1, 1, "e", b"j", task("lab.f", "x"), {}, {})])
    descriptions = Descriptions()
    contexts: dict[str, Any] = {"e": object()}
    monkeypatch.setattr(carrier.remote, "bundle_reply_in", lambda answer: answer)
    mine: Any = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(record=recorded.append)
    mine._bundler = SimpleNamespace(
        ended=lambda number: bundle, in_flight={}, next=lambda: None, note_size=lambda name, large: None
    )
    mine._gangs = SimpleNamespace(release=lambda number: None)
    mine._items = SimpleNamespace(finish=lambda bundle, take: None)
    mine._checks = SimpleNamespace(work=lambda: False)
    mine._autos = SimpleNamespace(take_waiting=list)
    mine._environments = SimpleNamespace(note_answer=lambda shape: None)
    mine._claims = SimpleNamespace(note_served=lambda shape, moment: None)
    mine._checked = float("inf")
    mine._returned, mine._contexts, mine._descriptions = {}, contexts, descriptions

    def answered(python: str) -> bytes:
        """An answer that tells an environment comes. Gives the environment's key."""
        row = row_of(python, "linux", None, None, {})
        reply = BundleReply([], [], [], [], "node", 1, environment=row.environment, described=row)
        mine._completed = deque([(1, reply)])
        mine._sent = {1: SimpleNamespace(refs=("outcome", None))}
        mine.work(0.0)
        return row.environment

    answered("3.12.1")
    assert [row.python for row in recorded] == ["3.12.1"]
    del contexts["e"]
    descriptions.forget("e")
    late = answered("3.13.1")
    assert [row.python for row in recorded] == ["3.12.1"]
    (row,) = descriptions.new("e", late, None)
    assert row.python == "3.13.1", "it is known, but not taken as recorded"


def test_notes_that_cannot_be_read_are_told_once_and_a_lost_cluster_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = running_notes.RunningNotes("b", trade=lambda: None)
    errors: list[Exception] = [ValueError("odd"), ValueError("odd"), exceptions.RpcError("no answer")]

    def noted_of(owner: str) -> frozenset[str]:
        raise errors.pop()

    monkeypatch.setattr(running_notes, "NOTES_SECONDS", 0.0)
    monkeypatch.setattr("rayflow.runtime.on_ray.whereabouts.noted_of", noted_of)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(len(errors)):
            notes.look([])
            assert notes.thread is not None
            notes.thread.join(30)
    assert errors == []
    assert [str(each.message) for each in told] == ["The notes about what runs cannot be read: ValueError: odd"]


def test_a_bundle_that_gave_way_is_ready_again_as_it_was_and_counts_as_no_attempt() -> None:
    posted: list[Any] = []
    mine: Any = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(post=posted.append, clock=CLOCK)
    mine._bundler = bundler = Bundler(1)
    mine._gangs = SimpleNamespace(release=lambda number: None)
    mine._items = SimpleNamespace(finish=lambda bundle, take: None)
    mine._checks = SimpleNamespace(work=lambda: False)
    mine._autos = SimpleNamespace(take_waiting=list)
    mine._send, mine._returned, mine._checked = (lambda: None), {}, float("inf")
    mine._contexts, mine._claims = {"e": object()}, RoomClaims(lambda shape: "")
    alone, plain = (RunTask(job, 1, "e", b"j", task("lab.f", "x"), {}, {}) for job in (1, 2))
    bundler.add(plain)
    bundler.add(alone, alone=True)

    def gives_way(number: int) -> None:
        mine._sent = {number: SimpleNamespace(refs=("outcome", None), inputs=[])}
        mine._completed = deque([(number, remote.GIVES_WAY)])
        mine.work(0.0)

    def sent() -> list[tuple[int, bool]]:
        found: list[tuple[int, bool]] = []
        while (bundle := bundler.next()) is not None:
            if len(found) < 2:
                gives_way(bundle.number)
            found.append((bundle.calls[0].job, bundle.alone))
        return found

    assert sent() == [(1, True), (1, True), (1, True), (2, False)]
    assert posted == []
    mine._contexts = {}
    (bundle, *_) = bundler.in_flight.values()
    gives_way(bundle.number)
    assert [(each.job, each.reason) for each in posted] == [(1, "stopped before it started")]


def test_a_bundle_of_two_executions_goes_on_for_one_of_them_and_is_stopped_if_it_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posted: list[Any] = []
    cancelled: list[Any] = []
    monkeypatch.setattr(carrier.ray, "cancel", lambda ref, force: cancelled.append((ref, force)))
    monkeypatch.setattr(carrier.whereabouts, "forget", lambda name: None)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(carrier, "time", SimpleNamespace(monotonic=lambda: clock.now))
    mine: Any = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(post=posted.append, clock=CLOCK)
    mine._bundler = bundler = Bundler(1, shares=lambda one, other: True)
    mine._gangs = SimpleNamespace(release=lambda number: None)
    mine._items = SimpleNamespace(finish=lambda bundle, take: None)
    mine._checks = SimpleNamespace(work=lambda: False, send_again=lambda late: None)
    mine._autos = SimpleNamespace(take_waiting=list, drop=lambda stopped: ())
    mine._nodes = SimpleNamespace(
        look_after=lambda bundles, at_all, moment: None, cpus=lambda: 1.0, given_up_before=lambda moment: 0.0,
        given_up=lambda bundles, moment: (), waiting_apart=lambda bundles: (),
    )  # fmt: skip
    mine._send, mine._returned, mine._operations, mine.waiting = (lambda: None), {}, {}, ()
    mine._look_at_waiting = lambda bundles, moment: None
    mine._completed, mine._checked = deque(), 0.0
    mine._contexts, mine._claims = {"one": 1, "two": 1}, SimpleNamespace(note_served=lambda shape, moment: None)
    bundler.note_seconds("lab.f", 0.0001)
    for job, name in enumerate(["one", "two", "one", "two"]):
        bundler.add(RunTask(job, 1, name, b"j", task("lab.f", "x"), {}, {}))
    (bundle,) = (bundler.next(), bundler.next())[:1]
    assert bundle is not None and len(bundle) == 4
    mine._sent = {bundle.number: SimpleNamespace(refs=("outcome", None), inputs=[])}

    def cancelled_after(seconds: float) -> list[Any]:
        clock.now += seconds
        mine.work(0.0)
        return cancelled

    mine.stop([Stop(0, 1)])
    assert cancelled_after(100) == [], "the execution may want its other attempt"
    mine.stop([Stop(0, 1), Stop(2, 1)])
    assert cancelled_after(1) == []
    assert cancelled_after(100) == [("outcome", False)]
    mine._completed = deque([(bundle.number, exceptions.TaskCancelledError())])
    mine.work(0.0)
    assert [(type(each).__name__, each.job, each.reason) for each in posted] == [
        ("WorkerGone", 0, "stopped"),
        ("WorkerGone", 2, "stopped"),
    ]
    again = bundler.next()
    assert again is not None and [(each.job, each.attempt) for each in again.attempts] == [(1, 1), (3, 1)]
