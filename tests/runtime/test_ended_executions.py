"""What the carrier does with answers that are none: those after the end of their execution, and of bundles that gave
way; and with notes that cannot be read."""

from __future__ import annotations

import warnings
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.evaluator.commands import RunTask
from rayflow.runtime.clock import CLOCK
from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.actor import carrier, running_notes
from rayflow.runtime.on_ray.actor.bundles import Bundler
from rayflow.runtime.on_ray.actor.room_claims import RoomClaims
from rayflow.runtime.on_ray.remote import BundleReply
from rayflow.runtime.worker.environment import Descriptions, row_of
from rayflow.testing.playbook import task


def test_a_late_answer_of_an_ended_execution_records_no_environment_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[Any] = []
    bundle = SimpleNamespace(execution_id="e", vectors=[], shape=None, tasks=tuple)
    descriptions = Descriptions()
    contexts: dict[str, Any] = {"e": object()}
    monkeypatch.setattr(carrier.remote, "bundle_reply_in", lambda answer: answer)
    mine: Any = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(record=recorded.append)
    mine._bundler = SimpleNamespace(ended=lambda number: bundle, in_flight={}, next=lambda: None)
    mine._gangs = SimpleNamespace(release=lambda number: None)
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
