"""Actors at rest, without a cluster: each is given to one run of the connection that it belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rayflow.config import Config
from rayflow.runtime.on_ray import cluster
from rayflow.runtime.on_ray.cluster import RayCluster
from rayflow.runtime.on_ray.connection import connecting, kept_actors
from rayflow.runtime.protocol.reports import Silent


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """The node and job of this process's connection, to be changed; nothing rests yet."""
    connection = [("ab" * 28, "job 1")]
    context = SimpleNamespace(get_node_id=lambda: connection[-1][0], get_job_id=lambda: connection[-1][1])
    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: context)
    kept_actors.resting().clear()
    yield connection
    kept_actors.resting().clear()


def test_an_actor_is_given_to_one_run(connected) -> None:
    kept_actors.keep("an actor", "an answer")
    found = kept_actors.take()
    assert found is not None
    assert (found.actor, found.rests) == ("an actor", "an answer")
    assert kept_actors.take() is None


def test_an_actor_of_an_earlier_connection_is_given_to_nobody(connected) -> None:
    kept_actors.keep("an actor", "an answer")
    connected.append(("ab" * 28, "job 2"))
    assert kept_actors.take() is None
    kept_actors.keep("another", "an answer")
    connected.append(("cd" * 28, "job 2"))
    assert kept_actors.take() is None


def test_few_actors_rest_at_a_time(connected) -> None:
    for number in range(kept_actors.MOST_KEPT):
        assert kept_actors.is_room()
        kept_actors.keep(number, "an answer")
    assert not kept_actors.is_room()
    kept_actors.take()
    assert kept_actors.is_room()


def test_a_forked_process_neither_gets_nor_drops_an_actor_of_its_parent(connected, monkeypatch) -> None:
    kept_actors.keep("an actor", "an answer")
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert kept_actors.take() is None
    monkeypatch.setattr(os, "getpid", lambda: parent)
    assert kept_actors.take() is not None


class Remote:
    """What Ray starts, which notes that it was asked for. Its handle and its answer are its name."""

    def __init__(self, what: Callable[..., Any], asked: list[str]) -> None:
        self._name = what.__name__
        self._asked = asked

    def options(self, **_: Any) -> Remote:
        return self

    def remote(self, *_: Any) -> Any:
        self._asked.append(self._name)
        return SimpleNamespace(future=list) if self._name == "start_up" else self._name


@pytest.fixture
def asked(connected, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a cluster."""
    asked: list[str] = []

    def ask(self: RayCluster, call: Callable[[], Any], what: str = "") -> Any:
        return call()

    def dead(rests: str, timeout: float) -> None:
        if rests == "is dead":
            raise cluster.exceptions.ActorDiedError

    monkeypatch.setattr(connecting, "is_connected", lambda: True)
    monkeypatch.setattr(connecting, "watch", lambda before: None)
    monkeypatch.setattr(RayCluster, "ask", ask)
    monkeypatch.setattr(cluster.ray, "remote", lambda what: Remote(what, asked))
    monkeypatch.setattr(cluster.ray, "get", dead)
    monkeypatch.setattr(cluster.ray, "kill", lambda actor: asked.append(f"the end of {actor}"))
    return asked


def actor_of(keeps_actor: bool) -> Any:
    made = RayCluster(Config("/p", "/p/.rayflow"), Silent(), keeps_actor)
    assert made.actor() == made.actor()
    return made.actor()


def test_a_worker_starts_beside_a_new_actor_and_not_beside_one_that_has_rested(asked: list[str]) -> None:
    assert actor_of(keeps_actor=True) == "SchedulerActor"
    assert asked == ["SchedulerActor", "start_up"]
    kept_actors.keep("rested", "rests")
    assert actor_of(keeps_actor=True) == "rested"
    assert len(asked) == 2


def test_a_scheduler_of_its_own_takes_no_actor_that_rests(asked: list[str]) -> None:
    kept_actors.keep("rested", "rests")
    assert actor_of(keeps_actor=False) == "SchedulerActor"
    assert kept_actors.take() is not None


def test_an_actor_that_does_not_rest_as_it_should_is_ended(asked: list[str]) -> None:
    kept_actors.keep("rested", "rests")
    kept_actors.keep("broken", "is dead")
    assert actor_of(keeps_actor=True) == "rested"
    assert asked == ["the end of broken"]
