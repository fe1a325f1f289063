"""What must hold of the rows of schedules, their firings and runs, by another way of counting than the keeper's.

In: the rows of each turn. Out: an AssertionError that says what cannot be explained. Never: looks into the keeper.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rayflow.keeper.ids import derived_run_id, firing_id
from rayflow.keeper.schedule_states import FIRING_MOVES, SCHEDULE_MOVES
from rayflow.keeper.schedules import LATE_US
from rayflow.lang.events.timetables import from_text, moments_between
from rayflow.records import FiringRow, RunRow, ScheduleRow

ENDED = ("done", "failed", "cancelled")


@dataclass
class Known:
    """A schedule, as its rows say. decided: the clock has decided all moments up to this one."""

    row: ScheduleRow
    decided: int
    queued: list[int] = field(default_factory=list)
    pending: set[int] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    states: dict[int, str] = field(default_factory=dict)

    def is_occupied(self) -> bool:
        """Whether something of it has not ended."""
        return bool(self.queued or self.pending or self.runs)


class ScheduleOracle:
    """The history. moves, firing_moves: every move that was seen. decisions: what firings by the clock have come to."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self.runs: dict[str, list[RunRow]] = {}
        self.moves: set[tuple[str | None, str]] = set()
        self.firing_moves: set[tuple[str | None, str]] = set()
        self.decisions: set[tuple[str, str, bool]] = set()
        self._rows: list[Any] = []
        self._batch: list[FiringRow] = []
        self._decided: dict[str, int] = {}

    def turn(self, rows: list[Any], now: int) -> None:
        """Read the rows of one turn, at whose end it is so late."""
        batch = [row for row in rows if isinstance(row, FiringRow) and row.kind == "time"]
        self._batch = [row for row in batch if row.cause not in ("late", "paused")]
        self._rows = rows
        self._decided = {name: known.decided for name, known in self.known.items()}
        for row in rows:
            if isinstance(row, ScheduleRow):
                self._schedule(row)
            elif isinstance(row, FiringRow):
                self._firing(row)
            elif isinstance(row, RunRow):
                self._run(row)
        for name, known in self.known.items():
            if known.row.state == "active":
                left = moments_between(from_text(known.row.timetable), known.decided, now, 10)
                assert not left, f"{name} has not fired for {left}"
            assert not known.queued or known.pending or known.runs, f"nothing lets {name} go on"

    # --- schedules ----------------------------------------------------------------------------------------------------

    def _schedule(self, row: ScheduleRow) -> None:
        known = self.known.get(row.schedule)
        before = known.row.state if known else None
        assert row.state in SCHEDULE_MOVES[before], f"{row.schedule} went from {before} to {row.state}"
        self.moves.add((before, row.state))
        assert row.moments_after == row.at
        if known is None:
            self.known[row.schedule] = Known(row, row.at)
            return
        if before in ("active", "paused") and row.state in ("active", "paused") and not (
            before == "paused" and row.state == "paused" and row.cause == "pause"
        ):  # fmt: skip
            left = moments_between(from_text(known.row.timetable), known.decided, row.at, 10)
            assert not left, f"{row.schedule} has changed, and {left} are not decided"
        if row.cause in ("code", "put") and row.state in ("active", "paused"):
            assert bool(row.is_paused) == bool(known.row.is_paused and before != "deleted"), "a change loses the pause"
        known.row, known.decided = row, max(known.decided, row.at)

    # --- firings ------------------------------------------------------------------------------------------------------

    def _firing(self, row: FiringRow) -> None:
        known = self.known[row.schedule]
        many = [row.moment]
        if row.last_moment is not None:
            many = moments_between(from_text(known.row.timetable), row.moment - 1, row.last_moment, 100_000)
            assert (many[0], many[-1]) == (row.moment, row.last_moment)
            assert row.many == len(many), "a series is counted wrongly"
        by_clock = row.kind == "time" and (row.last_moment is not None or row.moment > known.decided)
        for moment in many:
            if row.last_moment is None or known.states.get(moment) not in ("pending", "started", "failed", "skipped"):
                assert row.cause != "trigger" or row.state == "pending", "nothing has triggered it"
                self._moves(known, moment, row)
        if by_clock:
            self._by_clock(known, row, many)
        elif row.kind == "backfill" and row.state in ("pending", "queued") and row.moment not in known.queued:
            expected = "queued" if known.is_occupied() and known.row.overlap != "allow" else "pending"
            assert row.state == expected, "a backfilled firing does not wait for its turn"
        was_queued = row.moment in known.queued
        if was_queued and row.state == "pending" and row.cause != "trigger":
            assert known.queued[0] == row.moment, "a firing has overtaken another"
            assert not known.runs and not known.pending, "a firing has not waited for its turn"
        if row.last_moment is None:
            known.pending.discard(row.moment)
            if was_queued:
                known.queued.remove(row.moment)
            if row.state == "queued":
                known.queued.append(row.moment)
            elif row.state == "pending":
                known.pending.add(row.moment)
        if row.state == "started":
            run_id = derived_run_id(firing_id(row.schedule, row.moment))
            assert row.run_id == run_id
            assert run_id not in self.runs, f"{row.schedule} has two runs for {row.moment}"
            mine = [each for each in self._rows if isinstance(each, RunRow) and each.run_id == run_id]
            assert mine and (mine[0].schedule, mine[0].moment) == (row.schedule, row.moment), "it has no run"
        if row.state == "skipped" and row.cause in ("gone", "deleted"):
            assert known.row.state == row.cause

    def _moves(self, known: Known, moment: int, row: FiringRow) -> None:
        before = known.states.get(moment)
        assert row.state in FIRING_MOVES[before], f"{row.schedule}: {moment} went from {before} to {row.state}"
        self.firing_moves.add((before, row.state))
        known.states[moment] = row.state

    def _by_clock(self, known: Known, row: FiringRow, many: list[int]) -> None:
        """The clock has decided a moment, or a series."""
        due = moments_between(from_text(known.row.timetable), known.decided, many[-1], 100_000)
        assert due == many, f"{row.schedule} decides {many}, and {due} come next"
        known.decided = many[-1]
        horizon = row.at - max(known.row.catch_up_us, LATE_US)
        if row.cause == "paused":
            assert known.row.state == "paused" and row.state == "skipped" and many[-1] <= row.at
            return
        assert known.row.state == "active", f"{row.schedule} fires, and is {known.row.state}"
        assert many[-1] <= row.at, "it fires before its time"
        assert (row.state == "missed") == (row.cause == "late") == (many[-1] < horizon), "too late, or not"
        if row.cause in ("late", "trigger"):
            return
        before = self._decided.get(row.schedule, 0)
        together = {each.moment for each in self._batch if each.schedule == row.schedule and each.moment > before}
        is_made_up = len(together) > 1 or row.at - row.moment > LATE_US
        overlap = known.row.overlap
        if overlap == "allow" or not known.is_occupied():
            expected = "pending"
        elif overlap == "queue" or is_made_up:
            expected = "queued"
        else:
            expected = "skipped" if overlap == "skip" else "pending"
        assert row.state == expected, f"{row.schedule} ({overlap}): {row.state} instead of {expected}"
        self.decisions.add((overlap, row.state, is_made_up))
        if overlap == "cancel_previous" and known.is_occupied() and expected == "pending":
            last = {each.run_id: each.state for each in self._rows if isinstance(each, RunRow)}
            for run_id in known.runs:
                state = last.get(run_id, self.runs[run_id][-1].state)
                assert state in ("ending", *ENDED), f"run {run_id} goes on beside the next one"

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _run(self, row: RunRow) -> None:
        rows = self.runs.setdefault(row.run_id, [])
        rows.append(row)
        first = rows[0]
        if first.chain_run_id is not None:
            assert first.schedule == self.runs[first.chain_run_id][0].schedule, "a chain has left its schedule"
        assert first.schedule is not None and first.moment is not None, "a run without a schedule"
        known = self.known[first.schedule]
        if len(rows) == 1 and first.chain_run_id is None:
            assert first.id == firing_id(first.schedule, first.moment), "a run of a schedule has another id"
            assert known.states[first.moment] == "started", "a run of a schedule without a firing"
        if row.state in ENDED:
            known.runs.discard(row.run_id)
        else:
            known.runs.add(row.run_id)

    # --- answers, and the end -----------------------------------------------------------------------------------------

    def reply(self, answer: Any) -> None:
        """Somebody was answered: what was said is committed."""
        if isinstance(answer, dict) and "moments" in answer:
            known = self.known[answer["schedule"]]
            for moment in answer["moments"]:
                assert known.states[moment] in ("pending", "queued"), "a backfill says more than it does"
        elif isinstance(answer, dict) and "is_new" in answer and "moment" in answer:
            assert answer["run_id"] in self.runs, "an answer names a run that is not committed"
            assert self.known[answer["schedule"]].states[answer["moment"]] == "started"

    def end(self, keeper: Any) -> None:
        """Everything has come to its end: nothing waits for ever."""
        for name, known in self.known.items():
            assert not known.is_occupied(), f"{name} still has {known.queued}, {known.pending}, {known.runs}"
            said = keeper.schedule(name)
            assert (said["state"], said["decided_to"]) == (known.row.state, known.decided)
