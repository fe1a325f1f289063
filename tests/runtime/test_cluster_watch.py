"""A cluster counts as lost when one of its places has not answered for some seconds; nobody waits for it after that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from rayflow.errors import ClusterLost, ClusterUnavailable
from rayflow.runtime.on_ray.connection import cluster_watch
from rayflow.runtime.on_ray.connection.cluster_watch import Silence, Watch, address_of, reach

PLACES = {"its control service": ("gcs", 1), "its raylet": ("raylet", 2)}


class Network:
    """Places that answer or not, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.down: set[str] = set()

    def silence(self) -> Silence:
        return Silence(lambda address: "no answer" if address[0] in self.down else None, lambda: self.now)


def test_a_place_is_silent_since_it_last_answered() -> None:
    network = Network()
    silence = network.silence()
    for now, down, silent in [
        (0, set(), {}), (5, {"gcs"}, {}), (10, {"gcs"}, {"its control service": 5.0}),
        (12, {"gcs", "raylet"}, {"its control service": 7.0}), (13, {"raylet"}, {}),
        (17, {"raylet"}, {"its raylet": 5.0}),
    ]:  # fmt: skip
        network.now, network.down = now, down
        silence.look(PLACES)
        assert {name: seconds for name, (seconds, _) in silence.of_at_least(5).items()} == silent
    silence.look({})
    assert silence.of_at_least(0) == {}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_watch, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(cluster_watch, "TURN_SECONDS", 0.01)


def watch(network: Network) -> tuple[Watch, Callable[[], None]]:
    """A watch, and what makes its cluster lost."""

    def lose() -> None:
        network.down = {"gcs", "raylet"}
        looked = threading.Event()
        while not looked.wait(0.02):
            network.now += cluster_watch.LOST_SECONDS / 4
            if made.lost is not None:
                looked.set()

    made = Watch(PLACES, network.silence())
    return made, lose


@pytest.mark.usefixtures("quick")
def test_an_answer_and_an_error_come_back_from_the_thread_that_has_asked() -> None:
    made, _ = watch(Network())
    assert made.ask(lambda: 3) == 3
    for error in (ValueError("no"), TimeoutError("late"), KeyError("k")):
        with pytest.raises(type(error)) as caught:
            made.ask(lambda error=error: (_ for _ in ()).throw(error))
        assert caught.value is error
    made.stop()


@pytest.mark.usefixtures("quick")
def test_who_waits_for_a_cluster_that_is_lost_is_told_which_place_does_not_answer_and_so_is_who_asks_later() -> None:
    made, lose = watch(Network())
    for_ever = threading.Event()
    threading.Thread(target=lose).start()
    with pytest.raises(ClusterLost, match=r"its control service has not answered for \d+ s \(no answer\)") as lost:
        made.ask(for_ever.wait)
    assert isinstance(lost.value, ClusterUnavailable) and lost.value.exit_code == 2
    with pytest.raises(ClusterLost):
        made.ask(lambda: 1)
    for_ever.set()


def test_a_place_is_reached_while_something_listens_there() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = listening.getsockname()
        assert reach(address) is None
    assert reach(address) == "connection refused"
    assert reach(("no-such-host.invalid", 1)) is not None


@pytest.mark.parametrize(
    ("text", "address"), [("10.0.0.5:6379", ("10.0.0.5", 6379)), ("[::1]:70", ("::1", 70)), ("head:1", ("head", 1))]
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address
