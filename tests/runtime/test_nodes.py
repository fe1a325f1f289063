"""What the scheduler does about nodes that do not answer, and what it says of calls that wait for one."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.errors import RayflowWarning
from rayflow.runtime.on_ray.actor import nodes as subject
from rayflow.runtime.on_ray.actor.bundles import Bundle
from rayflow.runtime.on_ray.actor.nodes import Nodes
from rayflow.runtime.on_ray.connection.cluster_watch import Silence
from rayflow.runtime.on_ray.lowering import away_from, shape_of
from rayflow.runtime.on_ray.ray_errors import lost_node, lost_node_id, reason_of


@dataclass
class World:
    """Nodes a (the scheduler's), b and c; which are silent; which run is noted where; and a clock."""

    silent: set[str] = field(default_factory=set)
    noted: dict[str, str] = field(default_factory=dict)
    now: float = 0.0
    draining: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        silence = Silence(lambda address: "no answer" if address[0] in self.silent else None, lambda: self.now)
        self.nodes = Nodes("a", self.asked, self.noted.get, lambda: None, silence, lambda: self.draining)

    def asked(self) -> list[Any]:
        return [
            {"NodeID": name, "Alive": True, "NodeManagerAddress": name, "NodeManagerPort": 1,
             "NodeManagerHostname": f"host-{name}", "Resources": {"CPU": 4.0 if name == "b" else 2.0}, "Labels": {}}
            for name in "abc"
        ]  # fmt: skip

    def after(self, seconds: float, bundles: list[Bundle]) -> Nodes:
        """Time passes; the nodes are looked at every two seconds meanwhile."""
        self.nodes._bundle_names = [bundle.name for bundle in bundles]
        for _ in range(int(seconds / 2)):
            self.nodes.look()
            self.now += 2
        self.nodes.look()
        return self.nodes


def test_a_drained_node_is_told_and_counts_neither_for_what_waits_nor_against_what_ran_there() -> None:
    world = World()
    only_b = bundle("1", num_cpus=4)
    assert world.after(12, [only_b]).sentences([only_b], 12.0) == ()
    world.draining = {"b", "gone before"}
    assert world.after(2, [only_b]).sentences([only_b], 14.0) == (
        "The node b (host-b) is being drained: it gets no more calls. What runs there has until it leaves.",
        "flow.step cannot start: it asks for CPU=4; the most that a node has is CPU=2.",
    )
    world.draining = set()
    nodes = world.after(2, [])
    assert nodes.was_drained("b") and not nodes.was_drained("c") and not nodes.was_drained(None)
    text = "Task failed. Node IP: 10.0.0.2, node ID: 0a1b. This can happen if the node was preempted"
    assert (lost_node_id(ValueError(text)), lost_node_id(ValueError("another"))) == ("0a1b", None)


def bundle(name: str, *names: str, sent_at: float = 0.0, **options: Any) -> Bundle:
    attempts: list[Any] = [
        SimpleNamespace(entry=SimpleNamespace(name=each), execution_id="execution") for each in names or ("flow.step",)
    ]
    return Bundle(1, "execution", shape_of(options), attempts, sent_at, name=name)


def test_a_node_that_is_silent_is_told_with_the_calls_that_wait_for_it_and_given_up_later() -> None:
    world = World(noted={"1": "b", "2": "c", "3": "b"})
    flying = [bundle("1"), bundle("2"), bundle("3", "flow.a", "flow.a", "flow.b")]
    nodes = world.after(4, flying)
    world.silent = {"b"}
    assert world.after(8, flying).sentences(flying, world.now) == ()
    assert nodes.avoided() == ()
    [told] = world.after(4, flying).sentences(flying, world.now)
    assert told.startswith("The node b (host-b) does not answer: 4 calls wait for it (2 of flow.a, flow.step, flow.b).")
    assert nodes.avoided() == ("b",) and nodes.given_up(flying, world.now) == []
    given_up = world.after(8, flying).given_up(flying, world.now)
    assert [(each.name, reason) for each, reason in given_up] == [
        ("1", "its node b (host-b) does not answer any more"), ("3", "its node b (host-b) does not answer any more"),
    ]  # fmt: skip
    world.silent = set()
    assert world.after(2, flying).avoided() == () and nodes.sentences(flying, world.now) == ()


def test_what_waits_and_was_kept_from_a_node_that_answers_again_is_sent_again_and_what_runs_is_not() -> None:
    world = World(silent={"b"}, noted={"runs": "c"})
    flying = [bundle("runs"), bundle("waits"), bundle("stopped"), bundle("sent before")]
    flying[2].stopping_since = 30.0
    assert world.after(12, flying).avoided() == ("b",)
    for each in flying[:3]:
        each.avoided = world.nodes.avoided()

    def waiting() -> list[str]:
        world.nodes._looked = -100.0
        world.nodes._thread = threading.current_thread()  # no look but ours
        world.nodes.look_after(flying, at_all=False, moment=100.0)
        return [each.name for each in world.after(2, flying).waiting_apart(flying)]

    assert waiting() == []
    world.silent = set()
    world.after(2, flying)
    assert waiting() == ["waits"]
    world.silent = {"b"}
    assert waiting() == []


def test_a_call_that_no_node_that_answers_runs_is_made_again_without_a_word_unless_it_was_sent_later() -> None:
    world = World(silent={"b"}, noted={"noted": "c"})
    flying = [bundle("lost"), bundle("noted"), bundle("later", sent_at=15.0)]
    nodes = world.after(22, flying)
    assert [(each.name, reason) for each, reason in nodes.given_up(flying, world.now)] == [("lost", None)]


def test_nothing_is_given_up_where_all_nodes_answer_or_one_has_been_silent_for_a_short_time_only() -> None:
    world = World()
    assert world.after(22, []).given_up_before(world.now) == 0.0
    world.silent = {"b"}
    assert world.after(12, []).given_up_before(world.now) == 0.0
    assert world.after(10, []).given_up_before(world.now) == 22 + subject.TOLD_SECONDS


def test_a_silent_node_is_none_that_could_run_a_call() -> None:
    world = World(silent={"b", "c"})
    flying = [bundle("1", resources={"CPU": 1})]
    waiting = [bundle("1", "flow.wide", num_cpus=3)]
    [*_, told] = world.after(12, waiting).sentences(waiting, world.now)
    assert told == "flow.wide cannot start: it asks for CPU=3; the most that a node has is CPU=2."
    assert len(world.after(12, flying).sentences(flying, world.now)) == 2, "the silent ones"


def test_nothing_is_asked_while_no_call_takes_long() -> None:
    world = World()
    looks: list[int] = []
    world.nodes._look_for_ever = lambda: looks.append(1)  # type: ignore[method-assign]
    world.nodes.look_after([bundle("1", sent_at=99.0)], at_all=False, moment=100.0)
    assert world.nodes._thread is None
    world.nodes.look_after([bundle("1", sent_at=90.0)], at_all=False, moment=100.0)
    assert world.nodes._thread is not None
    world.nodes.stop()


def test_that_a_node_has_left_with_its_calls_is_told_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    nodes = world.after(2, [])
    nodes.note_loss("node 10.0.0.7", 1)
    nodes.note_loss("node 10.0.0.7", 3)
    assert nodes.sentences([], 0) == ("The node 10.0.0.7 has left the cluster; what ran there runs again: 4 calls.",)
    monkeypatch.setattr(subject, "LEFT_SECONDS", 0.0)
    assert nodes.sentences([], 0) == ()


@pytest.mark.parametrize(
    ("options", "selector"),
    [
        ({}, {"ray.io/node-id": "!in(b,c)"}),
        ({"scheduling_strategy": "SPREAD"}, {"ray.io/node-id": "!in(b,c)"}),
        ({"label_selector": {"zone": "x"}}, {"zone": "x", "ray.io/node-id": "!in(b,c)"}),
        ({"label_selector": {"ray.io/node-id": "b"}}, {"ray.io/node-id": "b"}),
        ({"scheduling_strategy": object()}, None),
    ],
)
def test_a_task_is_kept_away_from_silent_nodes_unless_its_node_was_chosen(options: Any, selector: Any) -> None:
    assert away_from(options, ("b", "c")).get("label_selector") == selector
    assert away_from(options, ()) is options


def test_the_node_that_left_is_named_as_ray_names_it() -> None:
    from ray.exceptions import NodeDiedError

    told = "Task failed because the node it was running on is dead or unavailable. Node IP: 10.0.0.7, node ID: ab12."
    assert lost_node(NodeDiedError(told)) == "node 10.0.0.7"
    assert reason_of(NodeDiedError(told)) == ("its node 10.0.0.7 left the cluster", False)
    assert reason_of(NodeDiedError("gone")) == ("its node left the cluster", False)


def test_a_ray_that_does_not_tell_what_is_drained_is_told_once_and_silent_nodes_are_given_up_as_before() -> None:
    def drained() -> set[str]:
        raise AttributeError("no get_draining_nodes")

    world = World(silent={"b"}, noted={"1": "b"})
    world.nodes._drained = drained
    flying = [bundle("1")]
    with pytest.warns(RayflowWarning) as told:
        given_up = world.after(20, flying).given_up(flying, world.now)
    assert [each.name for each, _ in given_up] == ["1"]
    assert [str(each.message) for each in told] == [
        "Ray does not tell which nodes are being drained, so they get calls as others do: AttributeError: "
        "no get_draining_nodes"
    ]


def test_a_node_stays_drained_while_the_control_service_does_not_say() -> None:
    def unanswered() -> set[str]:
        raise exceptions.RpcError("no answer")

    world = World(draining={"b"})
    world.after(2, [])
    world.nodes._drained = unanswered
    assert world.after(2, []).sentences([], world.now)[0].startswith("The node b (host-b) is being drained")


def test_a_look_at_the_nodes_that_fails_is_told_once_unless_the_cluster_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "NODES_SECONDS", 0.0)
    errors: list[Exception] = [KeyError("NodeID"), KeyError("NodeID"), exceptions.RpcError("no answer")]
    looked = threading.Semaphore(0)

    def asked() -> list[Any]:
        raise errors.pop()

    nodes = Nodes("a", asked, lambda run: None, looked.release)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for moment in range(len(errors)):
            nodes.look_after([], at_all=True, moment=1.0 + moment)
            assert looked.acquire(timeout=30)
    nodes.stop()
    (only,) = told
    assert str(only.message).startswith("The cluster's nodes cannot be tried") and errors == []
