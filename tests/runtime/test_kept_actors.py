"""Actors at rest, without a cluster: each is given to one run of the connection that it belongs to."""

from __future__ import annotations

import os

import pytest

from rayflow.runtime.on_ray.connection import kept_actors


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The connection of this process, to be changed; nothing rests yet."""
    connection = [("node", "job 1")]
    monkeypatch.setattr(kept_actors, "_connection", lambda: connection[-1])
    monkeypatch.setattr(kept_actors, "_kept", {})
    return connection


def test_an_actor_is_given_to_one_run(connected) -> None:
    kept_actors.keep("an actor", "an answer")
    found = kept_actors.take()
    assert found is not None
    assert (found.actor, found.rests) == ("an actor", "an answer")
    assert kept_actors.take() is None


def test_an_actor_of_an_earlier_connection_is_given_to_nobody(connected) -> None:
    kept_actors.keep("an actor", "an answer")
    connected.append(("node", "job 2"))
    assert kept_actors.take() is None
    kept_actors.keep("another", "an answer")
    connected.append(("another node", "job 2"))
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
