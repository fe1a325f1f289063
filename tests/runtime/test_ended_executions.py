"""What the carrier does with answers that come after the end of their execution, and with notes that cannot be read."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.runtime.on_ray.actor import carrier
from rayflow.runtime.on_ray.remote import BundleReply
from rayflow.runtime.worker.environment import Descriptions, row_of


def test_a_late_answer_of_an_ended_execution_records_no_environment_and_leaves_nothing_behind() -> None:
    recorded: list[Any] = []
    mine = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(record=recorded.append)  # type: ignore[assignment]
    mine._descriptions = Descriptions()
    row = row_of("3.12.1", "linux", None, None, {})
    reply = BundleReply([], [], [], [], "node", 1, environment=row.environment, described=row)
    bundle: Any = SimpleNamespace(execution_id="e", vectors=[])
    context: Any = object()
    mine._take_replies(bundle, reply, context)
    assert recorded == [row]
    mine._descriptions.forget("e")
    mine._take_replies(bundle, reply, None)
    assert recorded == [row] and mine._descriptions._recorded == {}
    late = row_of("3.13.1", "linux", None, None, {})
    mine._take_replies(bundle, reply._replace(environment=late.environment, described=late), None)
    assert mine._descriptions.new("next", late.environment, None) == [late]


def test_notes_that_cannot_be_read_are_told_once_and_a_lost_cluster_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._bundler = SimpleNamespace(name="b", in_flight={})  # type: ignore[assignment]
    mine._has_warned_of_notes = False
    errors: list[Exception] = [ValueError("odd"), ValueError("odd"), exceptions.RpcError("no answer")]

    def noted_of(owner: str) -> frozenset[str]:
        raise errors.pop()

    monkeypatch.setattr(carrier, "NOTES_SECONDS", 0.0)
    monkeypatch.setattr(carrier.whereabouts, "noted_of", noted_of)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            mine._look_for_notes()
    assert errors == []
    assert [str(each.message) for each in told] == ["The notes about what runs cannot be read: ValueError: odd"]
