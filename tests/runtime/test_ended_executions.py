"""What the carrier does with answers that come after the end of their execution, and with notes that cannot be read."""

from __future__ import annotations

import warnings
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.runtime.on_ray.actor import carrier
from rayflow.runtime.on_ray.remote import BundleReply
from rayflow.runtime.worker.environment import Descriptions, row_of


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
    mine: Any = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._bundler = SimpleNamespace(name="b", in_flight={1: "a bundle"}, cpus=1.0)
    mine._running = SimpleNamespace(look=lambda bundles, noted, cpus: {})
    mine._looking_for_notes, mine._has_warned_of_notes, mine._noted = None, False, frozenset()
    errors: list[Exception] = [ValueError("odd"), ValueError("odd"), exceptions.RpcError("no answer")]

    def noted_of(owner: str) -> frozenset[str]:
        raise errors.pop()

    monkeypatch.setattr(carrier, "NOTES_SECONDS", 0.0)
    monkeypatch.setattr(carrier.whereabouts, "noted_of", noted_of)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(len(errors)):
            mine.running()
            mine._looking_for_notes.join(30)
    assert errors == []
    assert [str(each.message) for each in told] == ["The notes about what runs cannot be read: ValueError: odd"]
