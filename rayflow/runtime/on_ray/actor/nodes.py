"""Watches the cluster's nodes for the scheduler: which of them do not answer, and which calls no node can run.

In: the bundles in flight. Out: sentences for people, and the bundles that are given up with their node. Never: sends
or ends anything.

Ray reports a silent node after a minute, and the loss of its running tasks after seven, unless the whole cluster was
started with other settings. So the scheduler tries the nodes itself: the raylet of a node that can run its calls has to
accept a connection from here. Both listing and trying the nodes may take long, so a thread does it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rayflow.runtime.on_ray.actor.bundles import Bundle, calls_text
from rayflow.runtime.on_ray.cluster_notes import NO_ANSWER
from rayflow.runtime.on_ray.connection.cluster_watch import Silence
from rayflow.runtime.on_ray.lowering import Shape, missing_from
from rayflow.values.display.user_warnings import warn_user

WAITING_SECONDS = 10.0
"""A Ray task in flight for so long is checked: is there a node that could ever run it?"""

LOOKED_AFTER_SECONDS = 3.0
"""While a Ray task has been in flight for so long, the nodes are tried."""

NODES_SECONDS = 2.0
"""How often, at the most, the cluster is asked for its nodes."""

TOLD_SECONDS = 10.0
"""A node that has been silent for so long is reported, and gets no more calls."""

GONE_SECONDS = 16.0
"""The calls on a node that has been silent for so long are given up, and run elsewhere. With the time until it is tried
next, that is under 20 seconds after its link was cut."""

LEFT_SECONDS = 10.0
"""How long it is reported that a node has left."""


class Nodes:
    """The knowledge of the scheduler about the nodes.

    own: the id of the scheduler's node. asked: gives the nodes, as ray.nodes() does. node_of: the node that runs the
    bundle of a name, or None. news: called from a thread when there is something new. drained: gives the ids of the
    nodes that are being drained: they go on with what they run, and take nothing new.
    """

    def __init__(
        self,
        own: str,
        asked: Callable[[], list[Mapping[str, Any]]],
        node_of: Callable[[str], str | None],
        news: Callable[[], None],
        silence: Silence | None = None,
        drained: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._own = own
        self._asked = asked
        self._node_of = node_of
        self._news = news
        self._silence = silence or Silence()
        self._drained = drained
        self._draining: frozenset[str] = frozenset()
        self._were_drained: set[str] = set()
        self._bundle_names: list[str] = []
        self._apart_names: list[str] = []
        self._were_avoided: set[str] = set()
        self._back: frozenset[str] = frozenset()
        """The nodes alive that got no calls for a time, and answer again."""
        self._where: dict[str, str | None] = {}
        self._known: list[Mapping[str, Any]] = []
        self._left: dict[str, tuple[int, float]] = {}
        self._looked = 0.0
        self._warned_of: set[str] = set()
        self._wanted = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """End the thread."""
        self._is_over = True
        self._wanted.set()

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    def look_after(self, bundles: Iterable[Bundle], *, at_all: bool, moment: float) -> None:
        """Have the nodes tried, when that is due. at_all: also when no bundle has been in flight for long."""
        if moment - self._looked < NODES_SECONDS:
            return
        old = [each for each in bundles if moment - each.sent_at > LOOKED_AFTER_SECONDS]
        if not old and not at_all:
            return
        self._looked = moment
        self._bundle_names = [each.name for each in old]
        self._apart_names = [each.name for each in old if not self._back.isdisjoint(each.avoided)]
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_for_ever, name="rayflow-nodes", daemon=True)
            self._thread.start()
        self._wanted.set()

    def cpus(self) -> float | None:
        """The processors of the nodes that are alive; None before the first look."""
        if not self._known:
            return None
        return float(sum(node["Resources"].get("CPU", 0.0) for node in self._known if node["Alive"]))

    def answering(self) -> tuple[str, ...]:
        """The ids of the nodes that are alive and answer, as far as is known."""
        silent = self._silence.of_at_least(TOLD_SECONDS)
        return tuple([each["NodeID"] for each in self._known if each["Alive"] and each["NodeID"] not in silent])

    def avoided(self) -> tuple[str, ...]:
        """The ids of the nodes that get no calls."""
        return tuple(sorted(self._silence.of_at_least(TOLD_SECONDS)))

    def sentences(self, bundles: Iterable[Bundle], moment: float) -> tuple[str, ...]:
        """Sentences about nodes that do not answer, and about calls that no node can run."""
        silent = self._silence.of_at_least(TOLD_SECONDS)
        there: dict[str, Counter[str]] = {node: Counter() for node in silent}
        for bundle in bundles:
            node = self._where.get(bundle.name)
            if node in there:
                there[node].update(bundle.tasks())
        found = [
            f"The {node} has left the cluster; what ran there runs again: {_calls(count)}."
            for node, (count, at) in self._left.items()
            if time.monotonic() - at < LEFT_SECONDS
        ]
        found += [f"The {self.name_of(node)} does not answer: {_waiting(tasks)}" for node, tasks in there.items()]
        found += [
            f"The {self.name_of(node)} is being drained: it gets no more calls. What runs there has until it leaves."
            for node in sorted(self._draining)
        ]
        for shape, waiting in self._in_flight_for_long(bundles, moment).items():
            why = self._missing_from(shape)
            if why is not None:
                found.append(f"{calls_text(waiting)} cannot start: it {why}.")
        return tuple(found)

    def startable(self, bundles: Iterable[Bundle], moment: float) -> dict[Shape, list[Bundle]]:
        """The bundles that have been in flight for long, and that a node could run, by their shapes."""
        old = self._in_flight_for_long(bundles, moment)
        return {shape: waiting for shape, waiting in old.items() if self._missing_from(shape) is None}

    def _in_flight_for_long(self, bundles: Iterable[Bundle], moment: float) -> dict[Shape, list[Bundle]]:
        """The bundles by their shapes, without those that are being stopped, or are on a node that does not answer."""
        silent = self._silence.of_at_least(TOLD_SECONDS)
        found: dict[Shape, list[Bundle]] = {}
        for bundle in bundles:
            is_old = moment - bundle.sent_at > WAITING_SECONDS and bundle.stopping_since is None
            if is_old and self._where.get(bundle.name) not in silent:
                found.setdefault(bundle.shape, []).append(bundle)
        return found

    def _missing_from(self, shape: Shape) -> str | None:
        """Why no node that answers and takes calls can run a shape; None where one can, or where none is known."""
        silent = self._silence.of_at_least(TOLD_SECONDS)
        out = self._draining | silent.keys()
        answering = [node for node in self._known if node["NodeID"] not in out]
        return missing_from(shape, answering) if answering else None

    def given_up(self, bundles: Iterable[Bundle], moment: float) -> list[tuple[Bundle, str | None]]:
        """The bundles whose node has been silent for too long, each with the reason for people.

        The reason is None for a bundle that was sent before a node fell silent, and that no answering node is known to
        run: it runs on the silent node, or still waits for a worker.
        """
        gone, late = self._silence.of_at_least(GONE_SECONDS), self.given_up_before(moment)
        found: list[tuple[Bundle, str | None]] = []
        for bundle in bundles if gone else ():
            node = self._where.get(bundle.name)
            if node in gone:
                found.append((bundle, f"its {self.name_of(node)} does not answer any more"))
            elif node is None and bundle.name in self._where and bundle.sent_at < late:
                found.append((bundle, None))
        return found

    def waiting_apart(self, bundles: Iterable[Bundle]) -> list[Bundle]:
        """The bundles that must not go to a node which answers again, and that no node is known to run: they wait for
        the others, and would go there if they were sent now."""
        back, where = self._back, self._where
        apart = [each for each in bundles if not back.isdisjoint(each.avoided)] if back else []
        return [each for each in apart if each.stopping_since is None and where.get(each.name, "") is None]

    def given_up_before(self, moment: float) -> float:
        """The moment from which on a node that is given up got no calls; 0 when there is none. Bundles that were sent
        earlier, and have not come back, may be there."""
        gone = self._silence.of_at_least(GONE_SECONDS)
        longest = max((seconds for seconds, _ in gone.values()), default=None)
        return 0.0 if longest is None else moment - longest + TOLD_SECONDS

    def note_loss(self, node: str, calls: int) -> None:
        """A node has left the cluster, with so many calls."""
        before, _ = self._left.get(node, (0, 0.0))
        self._left[node] = before + calls, time.monotonic()

    def was_drained(self, node_id: str | None) -> bool:
        """Whether a node that has left was drained before, so that nothing that ran there is to blame."""
        return node_id in self._were_drained

    def name_of(self, node_id: str) -> str:
        """A node for people."""
        for node in self._known:
            if node["NodeID"] == node_id:
                host = node.get("NodeManagerHostname")
                return f"node {node['NodeManagerAddress']}" + (f" ({host})" if host else "")
        return f"node {node_id[:12]}"

    # --- in a thread --------------------------------------------------------------------------------------------------

    def _look_for_ever(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._is_over:
                return
            try:
                self.look()
            except NO_ANSWER:  # the control service does not answer: the driver notices and reports that
                time.sleep(NODES_SECONDS)
            except Exception as error:  # the thread goes on: the next look may be answered
                self._warn_once("The cluster's nodes cannot be tried, so calls on a silent one wait for it", error)
                time.sleep(NODES_SECONDS)
            self._news()

    def look(self) -> None:
        """Ask for the nodes and try them; when one is silent, ask where each bundle runs; when one answers again, where
        those run that are kept from it."""
        nodes = self._asked()
        self._silence.look(
            {
                node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"])
                for node in nodes
                if node["Alive"] and node["NodeID"] != self._own
            }
        )
        self._known = nodes
        alive = {node["NodeID"] for node in nodes if node["Alive"]}
        self._were_avoided.update(self._silence.of_at_least(TOLD_SECONDS))
        self._back = frozenset((self._were_avoided & alive) - self._silence.of_at_least(0.0).keys())
        is_one_silent = self._silence.of_at_least(TOLD_SECONDS - 2 * NODES_SECONDS)
        self._where = {
            name: self._node_of(name) for name in (self._bundle_names if is_one_silent else self._apart_names)
        }
        self._look_for_drained(alive)

    def _look_for_drained(self, alive: set[str]) -> None:
        """Ask which of the nodes are being drained. This is private to Ray, so another version may lack it: then all
        else is known as before."""
        try:
            self._draining = frozenset(self._drained()) & alive
        except NO_ANSWER:  # the control service has stopped answering since it gave the nodes
            self._draining &= alive
        except Exception as error:
            self._warn_once("Ray does not tell which nodes are being drained, so they get calls as others do", error)
            self._draining = frozenset()
        self._were_drained |= self._draining

    def _warn_once(self, text: str, error: Exception) -> None:
        if text not in self._warned_of:
            self._warned_of.add(text)
            warn_user(f"{text}: {type(error).__name__}: {error}")


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _waiting(tasks: Counter[str]) -> str:
    if not tasks:
        return "no more calls are sent there."
    calls = ", ".join(f"{count} of {name}" if count > 1 else name for name, count in tasks.most_common(3))
    more = " and others" if len(tasks) > 3 else ""
    number = "1 call waits" if tasks.total() == 1 else f"{tasks.total():,} calls wait"
    return f"{number} for it ({calls}{more}). After {GONE_SECONDS:g} s of silence its calls run elsewhere."
