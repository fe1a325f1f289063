"""A runtime environment that does not come is told, and in the end is an error."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from rayflow.runtime.clock import CLOCK
from rayflow.runtime.on_ray.actor import carrier, environments
from rayflow.runtime.on_ray.actor.bundles import Bundle
from rayflow.runtime.on_ray.actor.environments import Environments, most_seconds
from rayflow.runtime.on_ray.actor.held_gangs import HeldGangs
from rayflow.runtime.on_ray.actor.nodes import Nodes
from rayflow.runtime.on_ray.actor.room_claims import RoomClaims
from rayflow.runtime.on_ray.environment_trouble import Trouble
from rayflow.runtime.on_ray.lowering import Shape, shape_of


class FakeRay:
    """Takes what is sent into environments; answers nothing until told to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.answered: set[int] = set()
        self.cancelled: list[int] = []

    def options(self, **options: Any) -> FakeRay:
        self.sent.append(options)
        return self

    def remote(self) -> int:
        return len(self.sent)

    def wait(self, refs: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return [ref for ref in refs if ref in self.answered], []

    def cancel(self, ref: int, force: bool) -> None:
        self.cancelled.append(ref)


class FakeNodes:
    """Nodes that answer at once what is wrong there; None is one that leaves the cluster instead."""

    def __init__(self, known: dict[str, Trouble | None]) -> None:
        self.known = known
        self.asked: list[tuple[str, float]] = []

    def ids(self) -> tuple[str, ...]:
        return tuple(self.known)

    def ask(self, node: str, environment: Mapping[str, Any], seconds: float) -> Future[Trouble]:
        self.asked.append((node, seconds))
        answer: Future[Trouble] = Future()
        known = self.known[node]
        if known is None:
            answer.set_exception(exceptions.NodeDiedError("gone"))
        else:
            answer.set_result(known)
        return answer


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(environments, "ray", fake)
    monkeypatch.setattr(environments, "_nothing", fake)
    return fake


def nowhere(run: str) -> None:
    """No run is known to run."""


class Entry:
    name = "flow.f"
    is_effect = False


class Attempt:
    entry = Entry
    execution_id = "e"
    job, attempt = 1, 1


def bundles_in(runtime_env: dict[str, Any] | None, calls: int = 1) -> dict[Shape, list[Bundle]]:
    shape = shape_of({"runtime_env": runtime_env, "num_cpus": 3, "memory": "1GiB"})
    return {shape: [Bundle(1, "e", shape, [Attempt] * calls)]}  # type: ignore[list-item]


SECRET = {"env_vars": {"TOKEN": "hush-hush"}, "working_dir": "s3://b/x.zip"}
ENVIRONMENTS = [{"pip": ["lxml"]}, {"py_executable": "/no/python"}, SECRET]


@pytest.mark.parametrize("runtime_env", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("calls", [1, 3])
def test_an_environment_that_does_not_come_is_told_and_ends_its_calls_at_last(
    ray: FakeRay, runtime_env: dict[str, Any], calls: int
) -> None:
    known, old = Environments(nowhere), bundles_in(runtime_env, calls)
    assert known.look_at(old, 10.0) == ([], [])
    assert known.look_at(old, 11.0) == ([], [])
    (sentence,), in_vain = known.look_at(old, 16.0)
    assert sentence.startswith("flow.f and 2 more calls cannot" if calls == 3 else "flow.f cannot")
    told = str({**runtime_env, "env_vars": ["TOKEN"]} if "env_vars" in runtime_env else runtime_env)
    assert told in sentence and in_vain == [] and "hush-hush" not in sentence
    (sent,) = ray.sent
    assert sent["runtime_env"] == runtime_env and sent["num_cpus"] == 0 and not sent["memory"]
    sentences, ((bundle, reason),) = known.look_at(old, 11.0 + most_seconds(runtime_env))
    assert sentences == [] and [bundle] == next(iter(old.values()))
    assert told in reason and "cannot be made" in reason and "hush-hush" not in reason
    failed = environments.impossible_text(runtime_env, "pip got 'hush-hush'")
    assert told in failed and ("pip got <value of TOKEN>" in failed) is ("env_vars" in runtime_env)
    known.abandon()
    assert ray.cancelled == [1]


def test_the_calls_of_an_environment_that_does_not_come_end_together_whatever_else_they_ask_for(ray: FakeRay) -> None:
    known, old = Environments(nowhere), bundles_in({"pip": ["lxml"]})
    ((shape, (first,)),) = old.items()
    other = replace(shape, num_cpus=1.0)
    both = {**old, other: [replace(first, number=2, shape=other)]}
    known.look_at(old, 10.0)
    (sentence,), _ = known.look_at(both, 16.0)
    assert sentence.startswith("flow.f and 1 more call")
    _, in_vain = known.look_at(both, 731.0)
    assert [bundle.number for bundle, _ in in_vain] == [1, 2]
    _, in_vain = known.look_at(both, 732.0)
    assert len(in_vain) == 2 and len(ray.sent) == 1, "a later call gets the same verdict"
    ray.answered.add(1)
    assert known.look_at(both, 733.0) == ([], []), "until the environment comes after all"


@pytest.mark.parametrize("runtime_env", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("moment", [16.0, 100_000.0])
def test_no_call_is_told_or_ended_of_an_environment_in_which_one_is_known_to_run(
    ray: FakeRay, runtime_env: dict[str, Any], moment: float
) -> None:
    known, old = Environments({"long": "a node"}.get), bundles_in(runtime_env)
    ((shape, (waits,)),) = old.items()
    other = replace(shape, num_cpus=1.0)
    old[other] = [replace(waits, number=2, shape=other, name="long")]
    for at in (10.0, moment, moment + 1000.0):
        assert known.look_at(old, at) == ([], [])
    del old[other]
    assert known.look_at(old, moment + 2000.0) == ([], []), "also when the one that ran has ended"


@pytest.mark.parametrize("how", ["the question is answered", "a call has answered", "nothing is asked for"])
def test_an_environment_that_is_there_is_not_told(ray: FakeRay, how: str) -> None:
    known, old = Environments(nowhere), bundles_in(None if how == "nothing is asked for" else {"pip": ["lxml"]})
    known.look_at(old, 10.0)
    if how == "the question is answered":
        ray.answered.add(1)
    elif how == "a call has answered":
        known.note_answer(next(iter(old)))
    for moment in (20.0, 2000.0):
        assert known.look_at(old, moment) == ([], [])
    assert len(ray.sent) == (how != "nothing is asked for")


FAILED, LACKS, FINE = Trouble(("ERROR: none",)), Trouble((), "needs podman"), Trouble()


@pytest.mark.parametrize(
    ("nodes", "seconds", "says"),
    [
        ([FAILED], 26, "its installation fails: ERROR: none"), ([FAILED], 20, None),
        ([Trouble(("ERROR: one", "ERROR: two"))], 7, "its installation fails: ERROR: two"),
        ([FINE, FAILED, LACKS], 26, "ERROR: none"), ([LACKS, LACKS], 7, "cannot be made: needs podman"),
        ([LACKS, FINE], 100, None), ([FINE], 100, None), ([], 100, None),
        ([LACKS, None], 100, None),
    ],
)  # fmt: skip
def test_the_nodes_tell_early_that_an_environment_cannot_come(
    ray: FakeRay, nodes: list[Trouble | None], seconds: float, says: str | None
) -> None:
    fake = FakeNodes(dict(zip("abc", nodes, strict=False)))
    known, old = Environments(nowhere, fake.ids, fake.ask), bundles_in({"pip": ["lxml"]})
    for moment in (10.0, 15.5, 10.5 + seconds):
        _, in_vain = known.look_at(old, moment)
        assert moment > 16 or not in_vain
    assert [says in reason for _, reason in in_vain] == ([True] if says else [])
    assert {waited for _, waited in fake.asked} <= {15.5, 10.5 + seconds}, "failures count since the calls were sent"


def test_no_node_is_asked_about_variables_alone(ray: FakeRay) -> None:
    fake = FakeNodes({"a": FAILED})
    known, old = Environments(nowhere, fake.ids, fake.ask), bundles_in({"env_vars": {"A": "1"}})
    for moment in (10.0, 16.0, 60.0):
        assert known.look_at(old, moment)[1] == []
    assert fake.asked == []


def test_what_is_still_asked_is_ended_when_nobody_waits(ray: FakeRay) -> None:
    known = Environments(nowhere)
    known.look_at(bundles_in({"pip": ["lxml"]}), 10.0)
    known.abandon()
    known.abandon()
    assert ray.cancelled == [1]


@pytest.mark.parametrize(
    ("runtime_env", "seconds"),
    [({"pip": []}, 720), ({"env_vars": {}}, 120), ({"pip": [], "config": {"setup_timeout_seconds": 30}}, 150),
     ({"pip": [], "config": {"setup_timeout_seconds": -1}}, float("inf"))],
)  # fmt: skip
def test_an_environment_has_the_time_that_ray_gives_it(runtime_env: dict[str, Any], seconds: float) -> None:
    assert most_seconds(runtime_env) == seconds


def test_options_that_ray_refuses_are_told_without_the_values_of_variables() -> None:
    posted: list[Any] = []
    mine = carrier.RayCarrier.__new__(carrier.RayCarrier)

    def refuses(bundle: Bundle, with_context: bool) -> Any:
        raise ValueError("no such thing: {'TOKEN': 'hush-hush'}")

    ((bundle,),) = bundles_in(SECRET).values()
    coming = iter([bundle, None])
    mine._sent_bundle = refuses  # type: ignore[method-assign]
    mine._bundler = SimpleNamespace(  # type: ignore[assignment]
        next=lambda: next(coming), ended=lambda number: None
    )
    mine._gangs = HeldGangs()
    mine._sent = {}
    mine._loop = SimpleNamespace(post=posted.append, clock=CLOCK)  # type: ignore[assignment]
    mine.run_vectors([])  # sends what is ready
    (raised,) = posted
    assert "'env_vars': ['TOKEN']" in raised.failure.summary and "hush-hush" not in raised.failure.summary
    assert raised.failure.summary.endswith("no such thing: {'TOKEN': <value of TOKEN>}")


def test_a_call_that_waits_in_vain_ends_and_one_that_no_node_can_hold_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posted: list[Any] = []
    cancelled: list[Any] = []
    asked: list[Any] = []

    def look_at(old: Any, moment: float) -> Any:
        asked.extend(old)
        return ["it waits."], [(bundle, "it waits in vain") for bundles in old.values() for bundle in bundles]

    node = {
        "NodeID": "a", "Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 1,
        "Resources": {"CPU": 4.0, "memory": 1e12}, "Labels": {},
    }  # fmt: skip
    nodes = Nodes("a", lambda: [node], lambda run: None, lambda: None)
    nodes.look()
    monkeypatch.setattr(carrier, "ray", SimpleNamespace(cancel=lambda ref, force: cancelled.append(ref)))
    mine = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._loop = SimpleNamespace(post=posted.append, clock=CLOCK)  # type: ignore[assignment]
    mine._nodes = nodes
    mine._environments = SimpleNamespace(look_at=look_at, is_there=lambda shape: False)  # type: ignore[assignment]
    mine._notes = SimpleNamespace(names=frozenset())  # type: ignore[assignment]
    mine._claims = RoomClaims(lambda shape: "")
    mine._sent = {1: SimpleNamespace(refs=("the call", None))}  # type: ignore[dict-item]
    fits = bundles_in({"pip": ["lxml"]}, 2)
    (shape,) = fits
    large = replace(shape, num_gpus=1.0)
    flying = [*fits[shape], Bundle(2, "e", large, [Attempt], sent_at=0.0)]  # type: ignore[list-item]
    mine._look_at_waiting(flying, 50.0)
    assert asked == [shape]
    told, waits = mine.waiting
    assert told.startswith("flow.f cannot start: it asks for CPU=3, GPU=1") and waits == "it waits."
    assert [(type(event).__name__, event.reason, event.fatal) for event in posted] == [
        ("WorkerGone", "it waits in vain", True)
    ] * 2
    assert cancelled == ["the call"]


def test_the_note_of_a_run_is_taken_away_when_its_node_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(carrier.whereabouts, "forget", forgotten.append)
    monkeypatch.setattr(carrier, "ray", SimpleNamespace(cancel=lambda ref, force: None))
    mine = carrier.RayCarrier.__new__(carrier.RayCarrier)
    mine._bundler = SimpleNamespace(ended=lambda number: None)  # type: ignore[assignment]
    mine._gangs = HeldGangs()
    mine._loop = SimpleNamespace(post=lambda event: None, clock=CLOCK)  # type: ignore[assignment]
    mine._sent = {1: SimpleNamespace(refs=("the call", None), inputs=[])}  # type: ignore[dict-item]
    mine._items = SimpleNamespace(finish=lambda bundle, take: None)  # type: ignore[assignment]
    ((bundle,),) = bundles_in(None).values()
    mine._give_up(replace(bundle, name="a bundle"), "its node does not answer any more")
    assert forgotten == ["a bundle"]
