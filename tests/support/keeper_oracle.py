"""Whether what the keeper has written can be explained by an order of requests: a naive reader of all rows.

In: the rows of each turn. Out: an AssertionError about the first thing that cannot be. Never: the keeper's own state or
functions; it looks through the whole history for each question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rayflow.keeper.commands import RequestReply
from rayflow.keeper.requests import EmitRequested, FlowSpec, WaitOpened
from rayflow.keeper.run_states import MOVES, WAIT_MOVES
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import DeliveryRow, EventRow, RequestRow, RunRow, WaitRow

ENDED = ("done", "failed", "cancelled")
Place = tuple[str, bytes]


class Oracle:
    """The history. moves: every move of a run, and of a wait, that was seen."""

    def __init__(self, flows: Mapping[str, FlowSpec]) -> None:
        self.flows = flows
        self.rows: list[Any] = []
        self.moves: set[tuple[str | None, str]] = set()
        self.wait_moves: set[tuple[str | None, str]] = set()
        self.answered: dict[str, Any] = {}
        """The answers to requests that have an id, as recorded."""

    # --- questions ----------------------------------------------------------------------------------------------------

    def runs(self) -> dict[str, list[RunRow]]:
        """The rows of each run."""
        found: dict[str, list[RunRow]] = {}
        for row in self.rows:
            if isinstance(row, RunRow):
                found.setdefault(row.run_id, []).append(row)
        return found

    def waits(self) -> dict[Place, WaitRow]:
        """The last row of each wait."""
        return {(row.run_id, row.place): row for row in self.rows if isinstance(row, WaitRow)}

    def open_waits(self) -> dict[Place, WaitRow]:
        """The row that opened each open wait."""
        return {place: row for place, row in self.waits().items() if row.state == "open"}

    def seen(self) -> dict[str, int]:
        """For each event that may be taken, the number from which on it is seen."""
        found = {}
        for row in self.rows:
            if isinstance(row, EventRow) and (row.due_at is None or row.due_at <= row.at):
                found[row.event_id] = row.number
            elif isinstance(row, DeliveryRow) and row.state == "due":
                assert row.event_id not in found, f"{row.event_id} was due twice"
                found[row.event_id] = row.number
        return found

    def event(self, event_id: str) -> EventRow:
        """An event."""
        return next(row for row in self.rows if isinstance(row, EventRow) and row.event_id == event_id)

    def takers(self, event_id: str) -> list[DeliveryRow]:
        """The deliveries of an event to waits."""
        return [row for row in self.rows if isinstance(row, DeliveryRow) and row.event_id == event_id and row.place]

    def chain(self, run_id: str) -> str:
        """The first run of a chain."""
        first = self.runs()[run_id][0]
        return first.chain_run_id or run_id

    def generation_of(self, run_id: str) -> dict[bytes, int]:
        """The generation of a run in which each of its waits got its last state."""
        found, generation = {}, 0
        for row in self.rows:
            if isinstance(row, RunRow) and row.run_id == run_id and row.generation is not None:
                generation = row.generation
            elif isinstance(row, WaitRow) and row.run_id == run_id:
                found[row.place] = generation
        return found

    # --- a turn -------------------------------------------------------------------------------------------------------

    def turn(self, rows: list[Any], now: int, opened: Mapping[Place, WaitOpened]) -> None:
        """The rows of a turn have come."""
        number = self.rows[-1].number if self.rows else 0
        for row in rows:
            number += 1
            assert row.number == number, "a number is missing, or stands twice"
            assert row.at <= now and (not self.rows or row.at >= self.rows[-1].at), "time went back"
            if isinstance(row, RunRow):
                self._run(row)
            elif isinstance(row, WaitRow):
                self._wait(row, opened)
            elif isinstance(row, EventRow):
                assert not any(isinstance(each, EventRow) and each.event_id == row.event_id for each in self.rows)
            elif isinstance(row, RequestRow):
                assert row.request_id not in self.answered, f"{row.request_id} was done twice"
                self.answered[row.request_id] = json.loads(row.answer)
            elif isinstance(row, DeliveryRow):
                self._delivery(row)
            else:
                self._other(row)
            self.rows.append(row)
        if rows:
            self._between(rows, now)

    def _other(self, row: Any) -> None:
        """A row that this reader knows nothing of."""
        raise AssertionError(f"a row that nobody has asked for: {row}")

    def _run(self, row: RunRow) -> None:
        before = self.runs().get(row.run_id)
        state = before[-1].state if before else None
        assert row.state in MOVES[state], f"{row.run_id} went from {state} to {row.state}"
        self.moves.add((state, row.state))
        if before is None:
            self._first(row)
        elif row.life is not None:
            assert row.life > max(each.life or 0 for each in before), f"{row.run_id} has no new life"
        if before is not None and row.cause == "parent":
            assert before[0].link == "child" or before[0].tie, "a run was stopped with one that it does not hang on"
        if row.state in ENDED:
            assert not any(place[0] == row.run_id for place in self.open_waits()), f"{row.run_id} ends and waits"
            assert row.outcome is not None
            by = [each.cause for each in before or () if each.state == "ending"]
            if state == "ending" and before is not None:
                last = [each for each in before if each.state != "ending"][-1].number
                first = next(each.cause for each in before if each.state == "ending" and each.number > last)
                assert row.state == ("failed" if first == "timeout" else "cancelled"), f"{by}, but {row.state}"

    def _first(self, row: RunRow) -> None:
        if row.id is not None:
            others = [rows for rows in self.runs().values() if rows[0].id == row.id]
            going_on = [rows for rows in others if rows[-1].next_run_id != row.run_id and not rows[-1].next_run_id]
            assert not going_on, f"the id {row.id} has two runs"
        parent = self.runs().get(row.parent_run_id or "")
        if row.link in ("child", "spawn") and parent is not None:
            if row.chain_run_id is None:
                assert parent[-1].state not in ENDED, "a run that has ended has started another"
                wait = self.open_waits().get((row.parent_run_id or "", row.parent_place or b""))
                assert wait is not None, "nobody has asked for this child"
            assert row.seen_from == parent[0].seen_from, "a child sees other events than its root"
        elif row.link == "event":
            seen = self.seen()[row.event_id or ""]
            assert row.seen_from == seen + 1 or row.chain_run_id, "it sees the event that has started it"
            if row.tie and row.chain_run_id is None and parent is not None:
                event = self.event(row.event_id or "")
                emitted = self.waits()[event.run_id or "", event.place or b""]
                opened = [each for each in self.rows if isinstance(each, WaitRow) and each.is_cleanup]
                is_of_cleanup = any((each.run_id, each.place) == (emitted.run_id, emitted.place) for each in opened)
                stops = [each.cause for each in parent if each.number > event.number and each.state == "ending"]
                assert is_of_cleanup or not stops, "the run that emitted a tied event was stopped"
        elif row.link == "hook":
            assert parent is not None and parent[-1].state in ("failed", "cancelled")

    def _wait(self, row: WaitRow, opened: Mapping[Place, WaitOpened]) -> None:
        place = row.run_id, row.place
        before = self.waits().get(place)
        assert row.state in WAIT_MOVES[before and before.state], f"{before and before.state} to {row.state}"
        self.wait_moves.add((before and before.state, row.state))
        run = self.runs()[row.run_id]
        assert run[-1].state not in (*ENDED, "scheduled"), f"a wait of a run that is {run[-1].state}"
        if row.state == "open":
            asked = opened[place]
            assert row.kind == asked.kind
            if before is not None and before.state != "open":
                assert self.generation_of(row.run_id)[row.place] < max(each.generation or 0 for each in run)
                assert before.state == "closed" or before.error is not None, "a value is asked for again"
            if before is not None and before.state == "open":
                assert row.target_run_id not in (None, before.target_run_id), "an open wait is opened again"
                assert row.deadline_at == before.deadline_at, "a deadline moves"
            if run[-1].state == "ending":
                assert row.is_cleanup, "a run that was stopped begins something"
            if row.kind == "event" and asked.since == "run":
                assert row.seen_from == run[0].seen_from
            if row.kind == "event" and asked.since == "now":
                assert row.seen_from == row.number
            if before is None and asked.delay_us is not None:
                assert row.deadline_at == row.at + asked.delay_us
        elif row.state == "resolved":
            assert before is not None and row.outcome is not None
            assert (row.error is not None) == (type(unpack_outcome(row.outcome)).__name__ == "Failure")
            self._resolved(row, before)

    def _resolved(self, row: WaitRow, opened: WaitRow) -> None:
        if row.cause == "timer":
            assert opened.deadline_at is not None and opened.deadline_at <= row.at, "its time has not come"
        elif row.cause == "event":
            last = self.rows[-1]
            assert isinstance(last, DeliveryRow) and (last.run_id, last.place) == (row.run_id, row.place)
            value: Any = unpack_outcome(row.outcome or b"")
            assert value._args[0] == row.event_id == last.event_id
        elif row.cause == "answer":
            assert opened.kind == "ask"
        elif row.cause == "run" and opened.kind in ("child", "join") and row.error is None:
            target = self.runs()[opened.target_run_id or ""]
            assert target[-1].state == "done" and target[-1].outcome == row.outcome, "another outcome than the run's"
            assert target[-1].next_run_id is None, "the chain goes on"

    def _delivery(self, row: DeliveryRow) -> None:
        event = self.event(row.event_id)
        if row.state == "due":
            assert event.due_at is not None and event.due_at <= row.at, "an event came before its time"
        if row.place is None:
            earlier = [
                each.state
                for each in self.rows
                if isinstance(each, DeliveryRow) and (each.event_id, each.target) == (row.event_id, row.target)
            ]
            assert not row.target or earlier in ([], ["pending"]), f"{row.target} had {row.event_id} already"
            return
        place = row.run_id or "", row.place
        wait = self.open_waits()[place]
        assert self.fits(row.event_id, wait), "an event went to a wait that it does not fit"
        chain = self.chain(place[0])
        for other in self.open_waits().values():
            if self.chain(other.run_id) == chain and other.number < wait.number:
                assert not self.fits(row.event_id, other), "an earlier wait of this run wanted the event"
        for other_id, seen in self.seen().items():
            if seen < self.seen()[row.event_id]:
                assert not self.fits(other_id, wait), "the wait wanted an earlier event"

    def fits(self, event_id: str, wait: WaitRow) -> bool:
        """Whether an open wait takes an event."""
        if wait.kind != "event":
            return False
        event = self.event(event_id)
        if event.name != wait.name or wait.key not in (None, event.key):
            return False
        if wait.condition is not None and not loads(event.data or b"") > 5:
            return False
        if self.seen().get(event_id, -1) < (wait.seen_from or 0):
            return False
        takers = self.takers(event_id)
        if wait.is_exclusive and any(row.is_exclusive for row in takers):
            return False
        return self.chain(wait.run_id) not in [self.chain(row.run_id or "") for row in takers]

    # --- between turns ------------------------------------------------------------------------------------------------

    def _between(self, rows: list[Any], now: int) -> None:
        runs, open_waits, seen = self.runs(), self.open_waits(), self.seen()
        for wait in open_waits.values():
            assert wait.deadline_at is None or wait.deadline_at > now, "a deadline has come and nothing happened"
            assert wait.kind in ("sleep", "sleep_until", "event", "ask", "child", "join"), f"a {wait.kind} stays open"
            for event_id in seen:
                assert not self.fits(event_id, wait), f"nobody gave {event_id} to a wait that wants it"
            target = runs.get(wait.target_run_id or "")
            if target is not None and target[-1].state in ENDED:
                assert target[-1].number < wait.number, "a run has ended and who waits for it does not hear"
        for run_id in {row.run_id for row in rows if isinstance(row, RunRow)}:
            self._after(run_id, runs, rows)
        joined: set[str | None] = set()
        for rows in runs.values():
            if rows[-1].cause == "debounced" or rows[0].run_id in joined:
                joined.add(rows[-1].next_run_id)
        for wait in open_waits.values():
            if wait.kind == "child" and wait.target_run_id in runs and wait.target_run_id not in joined:
                assert runs[wait.target_run_id][0].parent_run_id == wait.run_id, "it waits for another's child"
        for row in rows:
            if isinstance(row, WaitRow) and row.kind == "child" and (row.state == "closed" or row.cause == "timer"):
                opened = [each for each in self.rows if isinstance(each, WaitRow) and each.state == "open"]
                mine = [each for each in opened if (each.run_id, each.place) == (row.run_id, row.place)][-1]
                child = runs.get(mine.target_run_id or "")
                if child is not None and child[0].parent_run_id == row.run_id:
                    since = [each.state for each in child if each.number > row.number]  # it may be retried at once
                    is_over = {child[-1].state, *since} & {*ENDED, "ending"}
                    assert is_over, "nothing waits for a child that goes on"

    def _after(self, run_id: str, runs: dict[str, list[RunRow]], turn: list[Any]) -> None:
        mine = runs[run_id]
        last, first = mine[-1], mine[0]
        stops = [row for row in turn if isinstance(row, RunRow) and row.run_id == run_id]
        by = ("cancel", "parent", "timeout", "again")
        before = [row.state for row in mine if row not in turn][-1:]
        at_once = [row for row in stops if row.state in ("cancelled", "failed") and before == ["queued"]]
        is_stopped = any(row.cause in by for row in (*at_once, *(row for row in stops if row.state == "ending")))
        if is_stopped:
            is_again = bool(at_once) or any(row.cause == "again" for row in stops)
            for rows in runs.values():
                child = rows[0]
                if child.parent_run_id != run_id or not (child.link == "child" or child.tie):
                    continue
                opened = [each for each in self.rows if isinstance(each, WaitRow) and each.state == "open"]
                waits = [each for each in opened if (each.run_id, each.place) == (run_id, child.parent_place)]
                by_parent = [each for each in turn if isinstance(each, RunRow) and each.cause == "parent"]
                if not is_again and waits and waits[-1].is_cleanup and (run_id, waits[-1].place) in self.open_waits():
                    assert rows[-1] not in by_parent, "a cancel has ended a child of the clean-up"
                elif is_again or not (waits and waits[-1].is_cleanup):
                    since = [row.state for row in rows if row in turn]  # it may be retried at once
                    is_over = {rows[-1].state, *since} & {*ENDED, "ending"}
                    assert is_over, f"{run_id} was stopped and its child was not"
        spec = self.flows.get(first.flow or "")
        if last.state in ("failed", "cancelled") and spec is not None and spec.on_failure and last in turn:
            hooks = [rows[0] for rows in runs.values() if rows[0].link == "hook" and rows[0].parent_run_id == run_id]
            ends = [row for row in mine if row.state in ("failed", "cancelled")]
            assert len(hooks) == len(ends), f"{run_id} ended {len(ends)} times and has {len(hooks)} hooks"

    # --- answers, and the end -----------------------------------------------------------------------------------------

    def met(self, incoming: list[Any]) -> list[WaitOpened]:
        """The requests that have to open a failed wait anew, if this is what the next turn takes in."""
        found = []
        for request in incoming:
            if isinstance(request, WaitOpened):
                rows = self.runs().get(request.run_id, [])
                wait = self.waits().get((request.run_id, request.place))
                generation = max((row.generation or 0 for row in rows), default=0)
                if wait is None or wait.error is None or rows[-1].state not in ("running", "waiting"):
                    continue
                if self.generation_of(request.run_id)[request.place] < generation:
                    found.append(request)
        return found

    def reply(self, reply: RequestReply, emits: list[EmitRequested]) -> None:
        """Somebody was answered: what was said must be committed. emits: all requests to emit, so far."""
        if (by := f"by {reply.request}") in self.answered:
            assert (reply.error, reply.answer) == (None, self.answered[by]), f"{by} gets two answers: {reply}"
        mine = [each for each in emits if each.request == reply.request]
        if mine and reply.error is None:
            assert self.event(mine[0].event_id).data_hash == mine[0].data_hash, "an id has two contents"
            rivals = [each for each in emits if each.event_id == mine[0].event_id]
            by_run = self.event(mine[0].event_id).run_id
            if all(each.strict and each.due_at is None for each in rivals) and by_run is None:
                failed = [row for row in self.rows if isinstance(row, DeliveryRow) and row.state == "failed"]
                assert not [row for row in failed if row.event_id == mine[0].event_id], "a strict event does not fit"
        if isinstance(reply.answer, dict) and "run_id" in reply.answer and "is_new" in reply.answer:
            assert reply.answer["run_id"] in self.runs(), "an answer names a run that is not committed"
        if isinstance(reply.answer, dict) and "event_id" in reply.answer:
            self.event(reply.answer["event_id"])

    def end(self, keeper: Any) -> None:
        """Everything has come to its end: a run that has not ended waits for what never comes, and says so."""
        states = {run_id: rows[-1].state for run_id, rows in self.runs().items()}
        is_open = {run_id for run_id, state in states.items() if state not in ENDED}
        assert is_open == {run["run_id"] for run in keeper.runs()}
        deliveries = {(row.event_id, row.target): row for row in self.rows if isinstance(row, DeliveryRow)}
        assert not [row for row in deliveries.values() if row.state == "pending"], "an event was not delivered"
        for run_id in is_open:
            said = keeper.explain(run_id)
            assert states[run_id] in ("waiting", "ending"), f"{run_id} is {states[run_id]} for ever"
            assert said["waits"], f"{run_id} waits for nothing"
            for wait in said["waits"]:
                assert wait["kind"] in ("event", "child", "join"), f"{run_id} waits for a {wait['kind']} for ever"
                assert wait.get("target_run_id") is None or wait["target_run_id"] in is_open
