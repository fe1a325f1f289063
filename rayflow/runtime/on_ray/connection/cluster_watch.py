"""Watches whether the cluster that this process is connected to is still there.

In: the addresses of the cluster's parts that this process needs. Out: the reason why the cluster is lost, if it is; the
results of calls to Ray. Never: decides what happens to an execution.

If the control service is gone, Ray says nothing for a minute and then ends the process. If the raylet of this node is
gone, Ray waits for ever. So a thread tries the addresses. A caller that needs an answer from Ray waits here, and not in
Ray.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeAlias, TypeVar

from rayflow.errors import ClusterLost

T = TypeVar("T")

PERIOD_SECONDS = 1.0
"""How often each address is tried."""

PROBE_SECONDS = 3.0
"""How long an address may take to accept a connection."""

PROBES = 16
"""How many addresses are tried at a time."""

LOST_SECONDS = 10.0
"""The time after which an address that accepts no connection counts as lost."""

TURN_SECONDS = 0.2
"""How often a caller that waits for an answer checks whether the cluster is lost."""

Address: TypeAlias = tuple[str, int]


def reach(address: Address, seconds: float = PROBE_SECONDS) -> str | None:
    """The reason why no connection to an address can be made; None if one can."""
    try:
        with socket.create_connection(address, timeout=seconds):
            return None
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()


class Silence:
    """Notes since when addresses have not answered, and why.

    probe: gives why an address cannot be reached, or None. clock: monotonic seconds.
    """

    def __init__(
        self,
        probe: Callable[[Address], str | None] = reach,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._since: dict[str, tuple[float, str]] = {}

    def look(self, places: Mapping[str, Address]) -> None:
        """Try each address. places: addresses by name. Names that are no longer there are forgotten."""
        with ThreadPoolExecutor(PROBES) as pool:
            list(pool.map(self._try, places.keys(), places.values()))
        for name in self._since.keys() - places.keys():
            del self._since[name]

    def _try(self, name: str, address: Address) -> None:
        begun = self._clock()
        why = self._probe(address)
        if why is None:
            self._since.pop(name, None)
        else:
            since, _ = self._since.get(name, (begun, ""))
            self._since[name] = since, why

    def of_at_least(self, seconds: float) -> dict[str, tuple[float, str]]:
        """The names of addresses that have been silent for at least so long, each with its seconds and the reason."""
        now = self._clock()
        return {name: (now - since, why) for name, (since, why) in list(self._since.items()) if now - since >= seconds}


class Watch:
    """Watches the addresses that this process needs, until it is stopped.

    places: addresses by a name for people. lost: why the cluster is lost, or None.
    """

    def __init__(self, places: Mapping[str, Address], silence: Silence | None = None) -> None:
        self.places = dict(places)
        self._silence = silence or Silence()
        self._over = threading.Event()
        self.lost: str | None = None
        threading.Thread(target=self._watch, name="rayflow-watch", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            try:
                self._silence.look(self.places)
            except RuntimeError:
                if threading.main_thread().is_alive():
                    raise
                return  # the interpreter ends, and starts no more threads
            silent = self._silence.of_at_least(LOST_SECONDS)
            for what in filter(silent.__contains__, self.places):  # in order: the most important one first
                seconds, why = silent[what]
                self.lost = f"{what} has not answered for {seconds:.0f} s ({why})"
                return

    def stop(self) -> None:
        """End the watch."""
        self._over.set()

    def ask(self, call: Callable[[], T]) -> T:
        """Make a call to Ray in another thread, and give its result.

        Raises the error of the call, and ClusterLost as soon as the cluster is lost.
        """
        if self.lost is not None:
            raise ClusterLost(self.lost)
        answer = answer_of(call)
        while not wait([answer], TURN_SECONDS).done:
            if self.lost is not None:
                raise ClusterLost(self.lost)
        return answer.result()


def answer_of(call: Callable[[], T]) -> Future[T]:
    """The future result of a call that may never return. The call runs in another thread."""
    answer: Future[T] = Future()

    def carry_out() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=carry_out, name="rayflow-ask", daemon=True).start()
    return answer


def address_of(text: str) -> Address:
    """Host and port of an address such as 10.0.0.5:6379 or [::1]:6379."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
