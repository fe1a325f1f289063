"""Whether admission can be explained: a naive reader of all rows, as `keeper_oracle`, of what runs asked for and got.

In: the rows of each turn. Out: an AssertionError about the first thing that cannot be. Never: the keeper's own state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from keeper_oracle import ENDED, Oracle

from rayflow.records import ChargeRow, QueueRow, RunRow


@dataclass
class Asked:
    """A run, as far as admission goes. since: the number of the row since which it waits for a slot; seen: the fairness
    keys of those that were admitted since then."""

    run_id: str
    parent_run_id: str | None
    link: str | None
    queue: str = "default"
    priority: int = 0
    demands: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    cause: str = ""
    generation: int = 0
    ran_in: int | None = None
    has_mutex: bool = False
    since: int = 0
    mutex_since: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def needs(self) -> Any:
        """What it needs beside its queue."""
        throttles = self.demands.get("throttles", []) if self.ran_in is None else []
        return self.queue, self.demands.get("limits", []), throttles

    @property
    def goes_on(self) -> bool:
        """Whether it has run in this generation."""
        return self.ran_in == self.generation


class AdmissionOracle(Oracle):
    """The history, with what admission says in it."""

    def __init__(self, flows: Any) -> None:
        super().__init__(flows)
        self.asked: dict[str, Asked] = {}
        self.slots: dict[str, int | None] = {}
        self.charges: list[ChargeRow] = []

    def turn(self, rows: list[Any], now: int, opened: Any) -> None:
        super().turn(rows, now, opened)
        for run_id in {row.run_id for row in rows if isinstance(row, RunRow) and row.state == "running"}:
            charged = {row.name for row in self.charges if row.run_id == run_id}
            throttles = {each[0] for each in self.asked[run_id].demands.get("throttles", [])}
            assert throttles <= charged, f"{run_id} runs and was not charged"

    def _other(self, row: Any) -> None:
        if isinstance(row, QueueRow):
            self.slots[row.queue] = row.slots
            return
        assert isinstance(row, ChargeRow)
        self.charges.append(row)
        [rate] = [
            each
            for kind in ("throttles", "rates")
            for each in self.asked[row.run_id].demands.get(kind, [])
            if each[0] == row.name
        ]
        assert row.until_at == row.at + rate[2]
        counted = [each for each in self.charges if each.name == row.name and each.until_at > row.at]
        assert len(counted) <= rate[1], f"{row.name} has counted {len(counted)} runs"
        mine = [each for each in self.charges if (each.name, each.run_id) == (row.name, row.run_id)]
        assert len(mine) == 1, f"{row.run_id} was charged twice"

    def _run(self, row: RunRow) -> None:
        super()._run(row)
        run = self.asked.setdefault(row.run_id, Asked(row.run_id, row.parent_run_id, row.link))
        was_waiting = run.state == "queued" and run.cause == "slot"
        if row.demands is not None or not run.state:
            run.demands = json.loads(row.demands or "{}")
            run.queue, run.priority = row.queue or "default", row.priority or 0
        run.generation = run.generation if row.generation is None else row.generation
        if row.state == "running" and run.state != "running":
            self._admitted(run, was_waiting)
        before = run.state if run.cause != "mutex" else "mutex"
        run.state, run.cause = row.state, row.cause
        if row.state == "queued" and row.cause == "slot":
            run.since, run.seen = row.number, []
        if row.state == "running":
            run.ran_in = run.generation
        self._mutex(run, row, before)
        if row.state == "queued" and row.cause == "mutex":
            run.mutex_since = row.number
        if row.cause == "debounced" and row.state == "done":
            target = self.asked[row.next_run_id or ""]
            assert (target.state, target.cause) == ("queued", "debounce"), "it has joined a run that goes on"
            assert target.demands["debounce"][0] == run.demands["debounce"][0], "it has joined another's run"

    def _admitted(self, run: Asked, was_waiting: bool) -> None:
        others = [each for each in self.asked.values() if each is not run]
        running = [each for each in others if each.state == "running"]
        slots = self.slots.get(run.queue)
        in_queue = [each for each in running if each.queue == run.queue]
        assert slots is None or len(in_queue) < slots, f"{len(in_queue) + 1} runs of {slots} slots"
        for name, most in run.demands.get("limits", []):
            held = [each for each in running if name in [limit[0] for limit in each.demands.get("limits", [])]]
            assert len(held) < most, f"{len(held) + 1} runs have {name}, of which {most} may"
        for each in others:
            if each.state != "queued" or each.cause != "slot" or each.needs != run.needs:
                continue
            assert run.goes_on or not each.goes_on, "a new run came before one that goes on"
            if run.goes_on == each.goes_on:
                assert each.priority <= run.priority, "priority does not count"
            if run.goes_on == each.goes_on and run.priority == each.priority:
                mine, its = run.demands.get("fairness"), each.demands.get("fairness")
                is_equal = mine == its or run.goes_on
                is_earlier = not was_waiting or each.since < run.since
                assert not (is_equal and is_earlier), f"{run.run_id} has overtaken {each.run_id}"
        for each in others:
            is_rival = each.state == "queued" and each.cause == "slot" and each.needs == run.needs
            if is_rival and not each.goes_on and not run.goes_on and each.priority == run.priority:
                each.seen.append(run.demands.get("fairness") or "")
        heads: dict[Any, Asked] = {}
        for each in sorted(others, key=lambda one: one.since):
            if each.state == "queued" and each.cause == "slot" and not each.goes_on:
                heads.setdefault((each.needs[0], str(each.needs), each.priority, each.demands.get("fairness")), each)
        for each in heads.values():
            # It was the first of its key all the time, if no run of its key was admitted since it came.
            key = each.demands.get("fairness") or ""
            if key not in each.seen:
                most = max((each.seen.count(other) for other in each.seen), default=0)
                assert most <= 2, f"a key had {most} turns while {key!r} had none"

    def _mutex(self, run: Asked, row: RunRow, before: str) -> None:
        key = run.demands.get("mutex")
        if key is None:
            return
        has = run.state == "running" or (run.state == "queued" and run.cause == "slot")
        keeps = run.state in ("ending", "queued") or (run.state == "waiting" and not run.demands.get("release_on_wait"))
        if has and not run.has_mutex:
            run.has_mutex = True
            holders = [each for each in self.asked.values() if each.has_mutex and each.demands.get("mutex") == key]
            holders.remove(run)
            above = self._above(run)
            assert not holders or any(each.run_id in above for each in holders), f"{key} has two runs"
            if not above:
                waiting = [
                    (not each.goes_on, each.mutex_since)
                    for each in self.asked.values()
                    if (each.state, each.cause, each.demands.get("mutex")) == ("queued", "mutex", key)
                ]
                mine = (not run.goes_on, run.mutex_since if before == "mutex" else row.number)
                assert not waiting or mine < min(waiting), "a run has overtaken those that wait for its mutex"
        elif run.has_mutex and not has and not keeps:
            run.has_mutex = False

    def _above(self, run: Asked) -> list[str]:
        found = []
        while run.link == "child" and run.parent_run_id in self.asked:
            run = self.asked[run.parent_run_id]
            found.append(run.run_id)
        return found

    def end(self, keeper: Any) -> None:
        is_open = {run_id for run_id, rows in self.runs().items() if rows[-1].state not in ENDED}
        for run_id in is_open:
            run = self.asked[run_id]
            if run.state == "queued":
                assert run.cause == "mutex", f"{run_id} is queued for {run.cause} for ever"
                said = keeper.explain(run_id)
                assert said["cause"] == "mutex" and set(said["held_by"]) <= is_open
                assert said["place"] >= 1
        self._end_of_others(keeper, is_open)

    def _end_of_others(self, keeper: Any, is_open: set[str]) -> None:
        assert is_open == {run["run_id"] for run in keeper.runs()}
        for run_id in is_open:
            if self.asked[run_id].state != "queued":
                said = keeper.explain(run_id)
                assert said["waits"], f"{run_id} waits for nothing"
