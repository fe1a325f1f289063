"""A service that is killed at random moments while it keeps runs, and what must hold at the end.

In: a seed, how many kills. Out: nothing; a failed assertion that says what was lost, or done twice. Never: sleeps where
there is something to wait for.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from crash_flows import FLOWS, SOURCE, Doing, doings_in
from services import RunningService
from waiting import until

from rayflow.client.client import Client
from rayflow.errors import NoOpenAsk, ServiceUnavailable

T = TypeVar("T")

PATIENCE_SECONDS = 300
"""How long the service may be away: a machine that is shared may stand still for minutes."""


class Kill(NamedTuple):
    """One death of a process. before, after: nanoseconds since the epoch between which it happened."""

    before: int
    after: int


class CrashDrive:
    """Starts runs, emits events, answers questions, while another thread kills the service and starts it again.

    kill: ends something that runs (by default the service's process), and sees to it that a service runs again.
    """

    def __init__(self, service: RunningService, seed: int, *, kill: Callable[[], None] | None = None) -> None:
        self.service = service
        self.kills: list[Kill] = []
        self.started: dict[str, tuple[str, str]] = {}
        """The flow and the run id of each run that was started, by name."""
        self._random = random.Random(seed)
        self._kill = kill or self._kill_service
        self._killer_error: BaseException | None = None
        self._has_answered = threading.Event()
        self._left: list[str] = []
        """Names of runs to which nobody has said "go" yet."""
        service.project.write("flow.py", SOURCE)

    def play(self, kills: int, runs_per_kill: int = 3) -> None:
        """Start the service, kill it so often, and look at what has come of all runs."""
        self.service.start()
        killer = threading.Thread(target=self._kill_often, args=(kills,))
        killer.start()
        most = kills * runs_per_kill + len(FLOWS)
        while killer.is_alive():
            if len(self.started) < most:
                self._start_one()
            self._help_some()
            time.sleep(self._random.uniform(0.0, 0.2))  # the pace of the world outside
        killer.join()
        if self._killer_error is not None:
            raise self._killer_error
        self._end_all()

    def persist(self, ask: Callable[[Client], T]) -> T:
        """Ask the service until it answers, whoever dies meanwhile."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = ask(self.service.client)
                self._has_answered.set()
                return answer
            except ServiceUnavailable:
                assert time.monotonic() < end, self.service.log.read_text()[-4000:]

    # --- the world outside --------------------------------------------------------------------------------------------

    def _start_one(self) -> None:
        name = f"r{len(self.started):03}"
        names = list(FLOWS)
        flow = names[len(self.started)] if len(self.started) < len(names) else self._random.choice(names)
        by_id = None if self._random.random() < 0.5 else f"id of {name}"
        self.started[name] = (flow, self._started(flow, name, by_id))
        if FLOWS[flow].hears:
            self._left.append(name)

    def _started(self, flow: str, name: str, by_id: str | None) -> str:
        """Start a run; its id. by_id: the id that it gets from here; None: the client makes one for its request, which
        it sends again by itself while the service is away."""
        arguments = {"name": name}
        if by_id is not None:
            return self.persist(lambda client: client.start(flow, arguments, id=by_id)).id
        try:
            return self.service.client.start(flow, arguments).id
        except ServiceUnavailable:
            return self._found_or_started(flow, name)

    def _found_or_started(self, flow: str, name: str) -> str:
        """The id of a run whose start had no answer: the run is there, or it is not."""
        known = self.persist(lambda client: client.runs(flow=flow, limit=1000))
        found = [each["run_id"] for each in known if repr(name) in each["arguments"] and not each["parent_run_id"]]
        assert len(found) <= 1, found
        return found[0] if found else self._started(flow, name, f"id of {name}")

    def _help_some(self) -> None:
        """Say "go" to a run, and answer a question, as people do: sooner or later."""
        if self._left and self._random.random() < 0.3:
            self._say_go(self._left.pop(self._random.randrange(len(self._left))))
        if self._random.random() < 0.2:
            self._answer_all()

    def _say_go(self, name: str) -> None:
        self.persist(lambda client: client.emit("go", f"for {name}", key=name, id=f"go {name}"))

    def _answer_all(self) -> None:
        for asked in self.persist(Client.asks):
            try:
                self._answer(asked["run_id"], asked["place"])
            except NoOpenAsk:
                pass  # the answer that had no reply was taken, and the run has ended

    def _answer(self, run_id: str, place: str) -> None:
        self.persist(lambda client: client.get(run_id).answer(7, place=place))

    # --- death --------------------------------------------------------------------------------------------------------

    def _kill_often(self, kills: int) -> None:
        chance = random.Random(self._random.random())
        try:
            for _ in range(kills):
                if chance.random() < 0.25:  # while it recovers
                    time.sleep(chance.uniform(0.0, 3.0))
                else:
                    until(self.service.is_up, PATIENCE_SECONDS)
                    self._has_answered.clear()
                    self._has_answered.wait(20)  # else a slow machine would see nothing but recoveries
                    time.sleep(chance.uniform(0.0, 1.5))
                before = time.time_ns()
                self._kill()
                self.kills.append(Kill(before, time.time_ns()))
                if self.service.process is None:
                    self.service.start(waits=False)
            until(self.service.is_up, PATIENCE_SECONDS)
        except BaseException as error:
            self._killer_error = error

    def _kill_service(self) -> None:
        self.service.kill()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end_all(self) -> None:
        for name in self._left:
            self._say_go(name)
        ids = [run_id for flow, run_id in self.started.values() if FLOWS[flow].is_asked]
        for run_id in ids:
            until(partial(self._answered, run_id))
        wrong = [told for name in self.started if (told := self._wrong_value(name)) is not None]
        assert not wrong, "\n".join(wrong)
        until(lambda: all(each["state"] in ("done", "failed", "cancelled") for each in self._all_runs()))

    def _answered(self, run_id: str) -> bool:
        self._answer_all()
        return self.persist(lambda client: client.get(run_id).state()) in ("done", "failed", "cancelled")

    def _all_runs(self) -> list[dict[str, Any]]:
        return self.persist(lambda client: client.runs(limit=10_000))

    def _wrong_value(self, name: str) -> str | None:
        flow, run_id = self.started[name]
        expected = FLOWS[flow]
        try:
            value = self.persist(lambda client: client.get(run_id).result(60))
        except LookupError as error:
            value = error.args[0] if expected.is_failed else error
        except TimeoutError as error:
            value = f"{error}: {self.persist(lambda client: client.get(run_id).explain())}"
        return None if value == expected.value(name) else f"{flow} {name}, run {run_id}: {value!r}"

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Each effect was done, and again only if a kill came between; its outcome is recorded once."""
        doings = doings_in(self.service.project.path / "ledger.jsonl")
        wrong = [*self._wrongly_done(doings), *self._done_in_vain(doings), *self._wrongly_recorded(doings)]
        assert not wrong, "\n".join(wrong)

    def again(self) -> int:
        """How many doings were second ones."""
        doings = doings_in(self.service.project.path / "ledger.jsonl")
        return sum(len(each) - 1 for each in doings.values())

    def _wrongly_done(self, doings: dict[str, list[Doing]]) -> list[str]:
        known: set[str] = set()
        wrong = []
        for name, (flow, _) in self.started.items():
            possible = FLOWS[flow].does(name)
            known.update(what for whats in possible for what in whats)
            if not any(set(whats) <= doings.keys() for whats in possible):
                wrong.append(f"{flow} {name} has not done all of {possible}")
            if len(possible) > 1 and sum(not doings.keys().isdisjoint(whats) for whats in possible) > 1:
                wrong.append(f"{flow} {name} has done several of {possible}")
        return [*wrong, *[f"nobody asked for {what!r}" for what in doings if what not in known]]

    def _done_in_vain(self, doings: dict[str, list[Doing]]) -> list[str]:
        """Between two doings of one effect something was killed."""
        wrong = []
        for what, lines in doings.items():
            if len({line.key for line in lines}) != 1:
                wrong.append(f"{what!r} was done under several keys: {lines}")
            for one, next_one in pairwise(lines):
                if not any(kill.after >= one.at and kill.before <= next_one.at for kill in self.kills):
                    wrong.append(f"{what!r} was done twice, and nothing was killed between: {lines}")
        return wrong

    def _wrongly_recorded(self, doings: dict[str, list[Doing]]) -> list[str]:
        """Each effect has one outcome, no start after it, and as many starts as doings, at least."""
        rows = self.service.project.sql(
            "SELECT execution_id, hex(place), kind, arguments, recorded_at FROM places WHERE is_effect ORDER BY 5"
        )
        by_place: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        for execution_id, place, *row in rows:
            by_place[execution_id, place].append(row)
        wrong = []
        starts: Counter[str] = Counter()
        for at, found in by_place.items():
            kinds = [kind for kind, _, _ in found]
            if kinds.count("outcome") != 1 or kinds[-1] != "outcome":
                wrong.append(f"{at} is recorded as {kinds}")
            starts[at[0]] += kinds.count("started")
        done = Counter(line.run for lines in doings.values() for line in lines)
        return [
            *wrong,
            *[f"run {run}: {count} doings, {starts[run]} starts" for run, count in done.items() if count > starts[run]],
        ]
