"""The scheduler's thread, without a cluster: drivers must never wait for a loop that turns no more."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from rayflow.runtime.cluster import Cluster
from rayflow.runtime.scheduler import Scheduler


class Gone(BaseException):
    """Stands for the end of the process."""


def test_a_scheduler_that_cannot_start_anew_ends_its_process(monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no cluster answers")

    def leave(code: int) -> None:
        raise Gone(code)

    scheduler = Scheduler.__new__(Scheduler)
    scheduler._loop = SimpleNamespace(turn=broken)
    monkeypatch.setattr(scheduler, "_start_anew", broken)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Gone):
        scheduler._turn_for_ever()


def test_a_submission_that_finds_a_dead_actor_late_leaves_the_new_one_alone() -> None:
    cluster = Cluster(SimpleNamespace(), SimpleNamespace())
    old, new = object(), object()
    cluster._actor = old
    cluster.give_up_actor(old)
    assert cluster._actor is None
    cluster._actor = new
    cluster.give_up_actor(old)
    assert cluster._actor is new
