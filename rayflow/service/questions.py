"""What a service asks its store, and how it tells of runs.

In: ids, filters. Out: rows to begin with; runs and events as plain data, with sentences for people. Never: changes
anything.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rayflow.errors import NotFound
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.demands import told
from rayflow.keeper.folding import JOINED, MOST_ANSWERED
from rayflow.lang.events.moments import microseconds_of
from rayflow.lang.packing.realize import realized
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import TaskCall, render
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import PlaceRow, RunRow, StreamItemRow, WaitRow
from rayflow.runtime.keeping.keeper_turn import ENDED
from rayflow.service.run_queries import RunFilter, ids_statement, page_statement, run_statement
from rayflow.service.stats import stats
from rayflow.store.store import Store
from rayflow.values.encoding.encoding import decode, decode_inline
from rayflow.values.refs import ValueRef

if TYPE_CHECKING:
    from rayflow.store.history.history import History

EVENTS_KEPT_SECONDS = 30 * 24 * 3600
"""How long an event can still be taken, and its id is protected."""


class Questions:
    """The questions of one service. Any thread may ask."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _history(self) -> History:
        """One history for all questions: it reads the records of a commit once."""
        return self._store.history()

    def listed_jobs(self, run_ids: Iterable[str] = ()) -> dict[str, list[bytes]]:
        """The jobs that are recorded as open, by run, of the runs that have not ended.

        run_ids: ids that others hold. The answer has the same objects, instead of equal ones.
        """
        records = self._store.run_records()
        try:
            known = {run_id: run_id for run_id in run_ids}
            return {known.get(run_id, run_id): jobs for run_id, jobs in records.listed_jobs().items()}
        finally:
            records.close()

    def recovered(self, now: int) -> requests.Recovered:
        """What the keeper begins with."""
        if not self._store.snapshot().commits:
            return requests.Recovered(at=now)
        records = self._store.run_records()
        try:
            since = now - EVENTS_KEPT_SECONDS * 1_000_000
            runs = records.open_runs()
            ids = list(dict.fromkeys(row.run_id for row in runs))
            number, at = records.latest()
            return requests.Recovered(
                at=now,
                runs=runs,
                waits=records.waits_of(ids),
                events=records.recent_events(since),
                deliveries=records.deliveries(since),
                ended=[
                    requests.EndedRun(
                        each.id, each.run_id, each.input_hash or b"", each.state, each.parent_run_id,
                        each.next_run_id if each.cause == JOINED else None,
                    )
                    for each in records.ended_runs()
                    if each.id is not None
                ],
                latest_number=number,
                latest_at=at,
                schedules=records.schedules(),
                firings=records.open_firings(),
                requests=records.requests(MOST_ANSWERED),
                queues=records.queues(),
                charges=records.charges(now),
                rounds=records.rounds(),
            )
        finally:
            records.close()

    def places(self, run_ids: Collection[str]) -> Iterator[PlaceRow]:
        """What has happened at the places of these runs: of one after another."""
        records = self._store.run_records()
        try:
            yield from records.places(run_ids)
        finally:
            records.close()

    def recalled(self, order: orders.Recall, now: int) -> requests.Recalled:
        """The rows of a run that has ended."""
        records = self._store.run_records()
        try:
            return requests.Recalled(
                now, order.run_id, tuple(records.runs_of([order.run_id])), tuple(records.waits_of([order.run_id]))
            )
        finally:
            records.close()

    def recalled_firings(self, order: orders.RecallFirings, now: int) -> requests.FiringsRecalled:
        """The firings of a schedule between two moments."""
        records = self._store.run_records()
        try:
            found = records.firings_between(order.schedule, order.first, order.last)
        finally:
            records.close()
        return requests.FiringsRecalled(now, order.schedule, order.first, order.last, found)

    def fork_source(self, run_id: str) -> tuple[RunRow, list[PlaceRow], list[WaitRow]]:
        """What a fork of a run comes from: the first row of the run, what has happened at its places, and all rows of
        its waits. Raises NotFound."""
        records = self._store.run_records()
        try:
            rows = records.runs_of([run_id])
            if not rows:
                raise NotFound(f"There is no run {run_id} in this store.")
            return rows[0], records.places_of([run_id])[run_id], records.waits_of([run_id])
        finally:
            records.close()

    def places_of(self, run_id: str) -> list[PlaceRow]:
        """What has happened at the places of one run."""
        records = self._store.run_records()
        try:
            return records.places_of([run_id])[run_id]
        finally:
            records.close()

    def last_of(self, run_id: str) -> RunRow | None:
        """The last row of a run; None if there is no such run."""
        records = self._store.run_records()
        try:
            rows = records.runs_of([run_id])
        finally:
            records.close()
        return rows[-1] if rows else None

    def end_of(self, run_id: str) -> RunRow | None:
        """The last row of a run that has ended; None for one that has not. Of a chain, that of its last run. Raises
        NotFound."""
        last = self.last_of(run_id)
        if last is None:
            raise NotFound(f"There is no run {run_id} in this store.")
        while last.next_run_id is not None:
            following = self.last_of(last.next_run_id)
            if following is None:
                return None
            last = following
        return last if last.state in ENDED else None

    # --- for people ---------------------------------------------------------------------------------------------------

    def run_id(self, text: str) -> str:
        """The run that a text names: its id, the id that its starter gave it, or the beginning of its id."""
        found = self._history.records(
            "SELECT run_id FROM raw.run_changes WHERE id = $text OR starts_with(run_id, $text) "
            "GROUP BY run_id ORDER BY any_value(id) = $text DESC NULLS LAST, run_id = $text DESC, min(number) DESC "
            "LIMIT 1",
            {"text": text},
        )
        if not found:
            raise NotFound(f"There is no run {text!r} in this store. `rayflow runs` lists them.")
        return str(found[0]["run_id"])

    def runs(self, wanted: RunFilter, *, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """The runs that a filter means, newest first. before: only those that were requested before this number, which
        is the `number` of a run."""
        found = self._history.records(*page_statement(wanted, before, limit))
        # Two commits may have one row.
        return [_plain_run(row) for row in {row["run_id"]: row for row in found}.values()]

    def ids(self, wanted: RunFilter) -> list[tuple[str, int]]:
        """The ids and numbers of all runs that a filter means, oldest first."""
        return [(row["run_id"], row["number"]) for row in self._history.records(*ids_statement(wanted))]

    def describe(
        self, run_id: str, explained: Mapping[str, Any] | None, waits: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """A run as plain data, with its open waits and why it is where it is."""
        rows = self._history.records(run_statement(), {"run_id": run_id})
        if not rows:
            raise NotFound(f"There is no run {run_id} in this store.")
        told = with_explanation(_plain_run(rows[0]), explained)
        still_open = () if told["state"] in ENDED else waits
        return {**told, "waits": [{**wait, "explanation": wait_text(wait)} for wait in still_open]}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The transitions of a run and of its waits, and its effects, in order. The first tells the arguments of its
        call; the outcome of an effect tells its value."""
        records = self._store.run_records()
        try:
            rows: list[dict[str, Any]] = [
                {"at": row.at, "what": "run", "state": row.state, "cause": row.cause, "about": row.reason}
                | _given(row)
                for row in records.runs_of([run_id])
            ]
            for wait in records.waits_of([run_id]):
                told = {"at": wait.at, "what": wait.kind, "state": wait.state, "cause": wait.cause, "about": wait.name}
                rows.append({**told, "place": wait.place.hex()})
            for place in records.places_of([run_id])[run_id]:
                if place.is_effect:
                    about = place.error or place.arguments
                    told = {"at": place.at, "what": place.name, "state": place.kind, "cause": None, "about": about}
                    rows.append({**told, "place": place.place.hex(), **_value_of(place)})
        finally:
            records.close()
        return sorted(rows, key=lambda row: row["at"])

    def streams_of(self, run_id: str) -> dict[str, int]:
        """The recorded streams of a run, with the numbers of their last items."""
        records = self._store.run_records()
        try:
            # They come in the order of the numbers.
            return {each.stream: each.number for each in records.streams_of(run_id)}
        finally:
            records.close()

    def stream_items(self, run_id: str, stream: str, after: int, limit: int, size: int) -> list[StreamItemRow]:
        """The recorded items of a stream after a number: at most so many, and no more when they have so many
        characters."""
        records = self._store.run_records()
        try:
            return records.stream_items(run_id, stream, after, limit, size)
        finally:
            records.close()

    def event(self, event_id: str) -> dict[str, Any] | None:
        """An event and its deliveries; None if there is none."""
        rows = self._history.records("SELECT * FROM events WHERE event_id = $id", {"id": event_id})
        deliveries = self._history.records(
            "SELECT target, state, run_id, error FROM deliveries WHERE event_id = $id", {"id": event_id}
        )
        if not rows:
            return None
        found = _plain(rows[0])
        found["data"] = self._data(rows[0]["data"], with_blobs=True)
        return {**found, "status": "past", "deliveries": [_plain(row) for row in deliveries]}

    def events(self, *, name: str | None, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """The latest events, newest first. before: only those that were accepted before the one with this number."""
        rows = self._history.records(
            'SELECT DISTINCT event_id, number, "at", name, "key", data, due_at, run_id FROM raw.events '
            "WHERE ($name IS NULL OR name = $name) AND ($before IS NULL OR number < $before) "
            "ORDER BY number DESC LIMIT $limit",
            {"name": name, "before": before, "limit": limit},
        )
        return [{**_plain(row), "data": self._data(row["data"], with_blobs=False)} for row in rows]

    def plain_value(self, outcome: bytes) -> Any:
        """The value of a packed outcome as JSON can have it; large parts of it as short texts."""
        return self._plain_form(unpack_outcome(outcome), with_blobs=False)

    def _data(self, packed: Any, *, with_blobs: bool) -> Any:
        """An event's data as JSON can have it. with_blobs: with the large parts, too; else these are short texts."""
        return None if packed is None else self._plain_form(loads(bytes(packed)), with_blobs=with_blobs)

    def _plain_form(self, term: Any, *, with_blobs: bool) -> Any:
        def fetch(ref: ValueRef) -> Any:
            if ref.inline is not None:
                return decode_inline(ref)
            return decode(self._store.get_blob(ref.digest)) if with_blobs else render(ref)

        return plain_form(realized(term, fetch))

    def stats(self, now: int) -> dict[str, Any]:
        """How many runs there are, how many begin and end, what waits longest. now: microseconds since the epoch."""
        return stats(self._history, now)

    def firings(self, schedule: str, *, limit: int) -> list[dict[str, Any]]:
        """The latest firings of a schedule, newest first."""
        rows = self._history.records(
            "SELECT * FROM firings WHERE schedule = $schedule "
            "ORDER BY coalesce(last_moment, moment) DESC, number DESC LIMIT $limit",
            {"schedule": schedule, "limit": limit},
        )
        return [_plain(row) for row in rows]

    def schedule_changes(self, schedule: str) -> list[dict[str, Any]]:
        """What has become of a schedule, in order."""
        rows = self._history.records(
            "SELECT recorded_at AS at, state, cause, timetable, overlap, catch_up_us / 1e6 AS catch_up_seconds, "
            "arguments FROM schedule_changes WHERE schedule = $schedule ORDER BY number",
            {"schedule": schedule},
        )
        return [_plain(row) for row in rows]


def _given(row: RunRow) -> dict[str, Any]:
    """The arguments of the call that a run is of: a list of those by position, and those by name."""
    root = None if row.root is None else loads(row.root)
    if not isinstance(root, TaskCall):
        return {}
    named = {name: plain_form(value) for name, value in (root._kwargs or {}).items()}
    return {"given": {"positional": [plain_form(value) for value in root._args], "named": named}}


def _value_of(place: PlaceRow) -> dict[str, Any]:
    """The value at a place, under its name, where there is one."""
    if place.value_hash is None or place.outcome is None:
        return {}
    return {"value": plain_form(unpack_outcome(place.outcome))}


def _plain_run(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run as JSON can have it: tags as an object."""
    tags = row["tags"]
    return {**_plain(row), "tags": None if tags is None else json.loads(tags)}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON can have it: times in microseconds since the epoch. The time of a row is called as in the
    keeper's answers."""
    return {
        "at" if name == "recorded_at" else name: microseconds_of(cell.replace(tzinfo=datetime.UTC))
        if isinstance(cell, datetime.datetime)
        else cell
        for name, cell in row.items()
    }


def plain_form(term: Any) -> Any:
    """A symbolic value as JSON can have it."""
    if term is None or isinstance(term, bool | int | float | str):
        return term
    if isinstance(term, list | tuple):
        return [plain_form(each) for each in term]
    if isinstance(term, dict) and all(isinstance(key, str) for key in term):
        return {key: plain_form(each) for key, each in term.items()}
    return render(term)


# --- sentences --------------------------------------------------------------------------------------------------------


def with_explanation(run: dict[str, Any], explained: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run with the sentence that says why it is where it is. explained: as the keeper does; None if it has ended.

    A run may end, or be retried, between the two looks. What is recorded of its end counts; else the keeper's state.
    """
    if run["state"] in ENDED:
        explained = None
    elif explained is not None:
        run = {**run, "state": explained["state"]}
    return {**run, "explanation": run_text(run, explained)}


def run_text(run: Mapping[str, Any], explained: Mapping[str, Any] | None) -> str:
    """Why a run is where it is."""
    if explained is None:
        reason = run.get("error") or run.get("reason")
        return f"{run['state']}: {reason}" if reason else str(run["state"])
    cause = explained["cause"]
    if cause in _QUEUED:
        return _QUEUED[cause](explained)
    waits = [wait_text(each) for each in explained.get("waits", ())]
    if cause == "due":
        return f"it starts at {moment_text(explained['at'])}"
    if cause == "missing code":
        return f"the loaded code lacks {', '.join(explained['tasks'])}: load it, or cancel the run"
    if cause == "ending":
        why = f" ({explained['reason']})" if explained.get("reason") else ""
        by = _ENDED_BY[explained["by"]]
        return f"it is being ended by {by}{why}" + (f", and waits for {waits[0]}" if waits else "")
    if cause == "waits" and waits:
        more = f", and {len(waits) - 1} more" if len(waits) > 1 else ""
        return f"it waits for {waits[0]}{more}"
    return "it runs"


_ENDED_BY = {"cancel": "a cancel", "parent": "the run that started it", "timeout": "its timeout"}


def _mutex_text(explained: Mapping[str, Any]) -> str:
    held_by = ", ".join(explained["held_by"])
    place = explained["place"]
    return f"it waits for the mutex {explained['mutex']!r}, which run {held_by} holds; its place is {place}"


def _queue_text(explained: Mapping[str, Any]) -> str:
    slots = f"{explained['used']} of {explained['slots']} slots are used"
    return f"it waits in the queue {explained['queue']!r}, of which {slots}; its place is {explained['place']}"


_QUEUED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "key": lambda said: f"the keys are computed that {said['flow']} asks for",
    "debounce": lambda said: f"other starts may join it until {moment_text(said['until'])}",
    "mutex": _mutex_text,
    "queue": _queue_text,
    "throttle": lambda said: f"the throttle of {told(said['name'])} holds it until {moment_text(said['until'])}",
    "limit": lambda said: f"it waits for others of {told(said['name'])}: {said['most']} at a time",
}
"""Sentences for the causes of a run that is queued."""


def wait_text(wait: Mapping[str, Any]) -> str:
    """What a wait waits for."""
    kind, until = wait["kind"], wait.get("deadline_at")
    by = f", until {moment_text(until)}" if until is not None else ""
    if kind in ("sleep", "sleep_until"):
        return f"the time: {moment_text(until)}" if until is not None else "the time"
    if kind == "event":
        key = f" with the key {wait['key']!r}" if wait.get("key") is not None else ""
        return f"the event {wait.get('name')!r}{key}{by}"
    if kind == "ask":
        return f"an answer to {wait.get('prompt')!r}{by}"
    if kind in ("child", "join"):
        state = f", which is {wait['target_state']}" if wait.get("target_state") else ""
        return f"the run {wait.get('target_run_id')}{state}{by}"
    return f"{kind}{by}"


def moment_text(us: int) -> str:
    """A moment, in UTC."""
    return datetime.datetime.fromtimestamp(us / 1_000_000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
