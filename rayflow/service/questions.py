"""What a service asks its store, and how it tells of runs.

In: ids, filters. Out: rows to begin with; runs and events as plain data, with sentences for people. Never: changes
anything.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rayflow.errors import NotFound
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import render
from rayflow.records import PlaceRow, RunRow
from rayflow.runtime.keeping.keeper_turn import ENDED
from rayflow.store.store import Store

EVENTS_KEPT_SECONDS = 30 * 24 * 3600
"""How long an event can still be taken, and its id is protected."""

_RUNS = """
WITH known_runs AS (
    SELECT run_id, min(recorded_at) AS created_at, max(recorded_at) AS changed_at, arg_max(state, number) AS state,
        arg_max(cause, number) AS cause, arg_max(id, number) AS id, arg_max(flow, number) AS flow,
        arg_max(arguments, number) AS arguments, arg_max(reason, number) AS reason, arg_max(error, number) AS error,
        arg_max(due_at, number) AS due_at, arg_max(parent_run_id, number) AS parent_run_id,
        arg_max(link, number) AS link, arg_max(event_id, number) AS event_id, arg_max(tags, number) AS tags,
        arg_max(generation, number) AS generation
    FROM run_changes GROUP BY run_id)
"""


class Questions:
    """The questions of one service. Any thread may ask."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
                    requests.EndedRun(each.id, each.run_id, each.input_hash or b"", each.state, each.parent_run_id)
                    for each in records.ended_runs()
                    if each.id is not None
                ],
                latest_number=number,
                latest_at=at,
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
        history = self._store.history()
        try:
            found = history.records(
                f"{_RUNS} SELECT run_id FROM known_runs "
                "WHERE id = $text OR run_id = $text OR starts_with(run_id, $text) "
                "ORDER BY id = $text DESC NULLS LAST, run_id = $text DESC, created_at DESC LIMIT 1",
                {"text": text},
            )
        finally:
            history.close()
        if not found:
            raise NotFound(f"There is no run {text!r} in this store. `rayflow runs` lists them.")
        return str(found[0]["run_id"])

    def runs(self, *, state: str | None, flow: str | None, limit: int) -> list[dict[str, Any]]:
        """The latest runs, newest first."""
        history = self._store.history()
        try:
            rows = history.records(
                f"{_RUNS} SELECT * FROM known_runs "
                "WHERE ($state IS NULL OR state = $state) "
                "AND ($flow IS NULL OR flow = $flow OR ends_with(flow, '.' || $flow)) "
                "ORDER BY created_at DESC, run_id DESC LIMIT $limit",
                {"state": state, "flow": flow, "limit": limit},
            )
        finally:
            history.close()
        return [_plain(row) for row in rows]

    def describe(
        self, run_id: str, explained: Mapping[str, Any] | None, waits: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """A run as plain data, with its open waits and why it is where it is."""
        history = self._store.history()
        try:
            rows = history.records(
                f"{_RUNS} SELECT * FROM known_runs WHERE run_id = $run_id",
                {"run_id": run_id},
            )
        finally:
            history.close()
        if not rows:
            raise NotFound(f"There is no run {run_id} in this store.")
        told = with_explanation(_plain(rows[0]), explained)
        return {**told, "waits": [{**wait, "explanation": wait_text(wait)} for wait in waits]}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The transitions of a run and of its waits, and its effects, in order."""
        records = self._store.run_records()
        try:
            rows: list[dict[str, Any]] = [
                {"at": row.at, "what": "run", "state": row.state, "cause": row.cause, "about": row.reason}
                for row in records.runs_of([run_id])
            ]
            for wait in records.waits_of([run_id]):
                told = {"at": wait.at, "what": wait.kind, "state": wait.state, "cause": wait.cause, "about": wait.name}
                rows.append({**told, "place": wait.place.hex()})
            for place in records.places_of([run_id])[run_id]:
                if place.is_effect:
                    about = place.error or place.arguments
                    told = {"at": place.at, "what": place.name, "state": place.kind, "cause": None, "about": about}
                    rows.append({**told, "place": place.place.hex()})
        finally:
            records.close()
        return sorted(rows, key=lambda row: row["at"])

    def event(self, event_id: str) -> dict[str, Any] | None:
        """An event and its deliveries; None if there is none."""
        history = self._store.history()
        try:
            rows = history.records("SELECT * FROM events WHERE event_id = $id", {"id": event_id})
            deliveries = history.records(
                "SELECT target, state, run_id, error FROM deliveries WHERE event_id = $id", {"id": event_id}
            )
        finally:
            history.close()
        if not rows:
            return None
        found = _plain(rows[0])
        found["data"] = _shown(found["data"])
        return {**found, "status": "past", "deliveries": [_plain(row) for row in deliveries]}

    def events(self, *, name: str | None, limit: int) -> list[dict[str, Any]]:
        """The latest events, newest first."""
        history = self._store.history()
        try:
            rows = history.records(
                "SELECT event_id, number, recorded_at AS at, name, key, data, due_at, run_id FROM events "
                "WHERE $name IS NULL OR name = $name ORDER BY number DESC LIMIT $limit",
                {"name": name, "limit": limit},
            )
        finally:
            history.close()
        return [{**_plain(row), "data": _shown(row["data"])} for row in rows]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON can have it: times in microseconds since the epoch."""
    return {
        name: int(cell.replace(tzinfo=datetime.UTC).timestamp() * 1_000_000)
        if isinstance(cell, datetime.datetime)
        else cell
        for name, cell in row.items()
    }


def _shown(packed: Any) -> Any:
    """An event's data as JSON can have it: plain data as they are, all else as text."""
    if packed is None:
        return None
    return plain_form(loads(bytes(packed)))


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
    """A run with the sentence that says why it is where it is. explained: as the keeper does; None if it has ended."""
    return {**run, "explanation": run_text(run, explained)}


def run_text(run: Mapping[str, Any], explained: Mapping[str, Any] | None) -> str:
    """Why a run is where it is."""
    if explained is None:
        reason = run.get("error") or run.get("reason")
        return f"{run['state']}: {reason}" if reason else str(run["state"])
    cause = explained["cause"]
    waits = [wait_text(each) for each in explained.get("waits", ())]
    if cause == "due":
        return f"it starts at {moment_text(explained['at'])}"
    if cause == "missing code":
        return f"the loaded code lacks {', '.join(explained['tasks'])}: load it, or cancel the run"
    if cause == "ending":
        why = f" ({explained['reason']})" if explained.get("reason") else ""
        return f"it is being ended by {explained['by']}{why}" + (f", and waits for {waits[0]}" if waits else "")
    if cause == "waits" and waits:
        more = f", and {len(waits) - 1} more" if len(waits) > 1 else ""
        return f"it waits for {waits[0]}{more}"
    return "it runs"


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
