"""What a service begins with is what was recorded: open runs, waits, events, places; and how it is shown and kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_stores import contents, execution, job, key, put
from waiting import until

from rayflow.lang.terms.codec import dumps
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    PlaceRow,
    QueueRow,
    RequestRow,
    Row,
    RunRow,
    StreamItemRow,
    WaitRow,
)
from rayflow.store import layout
from rayflow.store.exchange import garbage
from rayflow.store.exchange.transfer import transfer
from rayflow.store.lease import Lease
from rayflow.store.open import Store, open_store
from rayflow.values.refs import Encoded, ValueRef

ENDED = ("done", "failed", "cancelled")

DAY = 24 * 3600 * 1_000_000

NOW = 1_790_000_000_000_000


def run(run_id: str, number: int, state: str, **more: Any) -> RunRow:
    return RunRow(run_id, number, NOW + number, state, cause="start", **more)


def first(run_id: str, number: int, **more: Any) -> RunRow:
    given = {"id": f"my-{run_id}", "flow": "flow.f", "root": b"root", "input_hash": key(number), "root_run_id": run_id}
    return run(run_id, number, "queued", **{**given, **more})


def wait(run_id: str, place: int, number: int, state: str = "open", **more: Any) -> WaitRow:
    return WaitRow(run_id, key(place), number, NOW + number, state, "event", **more)


def event(name: str, number: int, **more: Any) -> EventRow:
    given = {"name": "order", "key": None, "data": b"data", "data_hash": key(1), "at": NOW + number}
    return EventRow(name, number, **{**given, **more})


def delivery(name: str, number: int, state: str = "delivered", **more: Any) -> DeliveryRow:
    return DeliveryRow(name, "flow.f", number, NOW + number, state, **more)


def place(execution_id: str, number: int, kind: str = "outcome", **more: Any) -> PlaceRow:
    given = {"number": 1, "at": NOW + number, "name": "flow.charge", "is_effect": True, "life": 0, "generation": 0}
    return PlaceRow(execution_id, key(number), kind, **{**given, **more})


def item(execution_id: str, number: int, stream: str = "tokens", **more: Any) -> StreamItemRow:
    given = {"job_id": b"j" * 16, "task_name": "flow.f", "attempt": 1, "item": number, "at": NOW}
    return StreamItemRow(execution_id, stream, number, **{**given, "value": f"[{number}]", **more})


ITEMS = [item("a", 1), item("a", 2), item("a", 5, attempt=2, item=1), item("a", 6, attempt=2, item=2)]

ROWS: list[Row] = [
    first("a", 1),
    event("e1", 2),
    delivery("e1", 3, run_id="b"),
    first("b", 4, event_id="e1", tags='{"x": 1}', priority=3, tie=True, due_at=NOW + DAY),
    run("a", 5, "running", life=0),
    wait("a", 1, 6, deadline_at=NOW + DAY, name="approval"),
    wait("a", 2, 7),
    run("a", 8, "waiting"),
    wait("a", 2, 9, "resolved", outcome=b"answer", cause="event", event_id="e1"),
    run("b", 10, "running", life=0),
    wait("b", 1, 11),
    run("b", 12, "failed", outcome=b"failure", error="ValueError: no"),
    first("c", 13, parent_run_id="a", parent_place=key(3), link="child"),
    run("c", 14, "cancelled", reason="too late"),
    event("e2", 15, due_at=NOW + DAY),
    delivery("e2", 16, "failed", error="it does not fit"),
    RequestRow("r1", 17, NOW + 17, '{"run_id": "b"}', "b"),
    RequestRow("r2", 18, NOW + 18, "true"),
    RequestRow("r3", 19, NOW + 19, "false", "a"),
    *ITEMS,
    item("a", 3, "other"),
    item("b", 4),
]


@pytest.fixture(params=["in one commit", "a commit for each row", "merged", "by a lease"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with these rows. (Their order in the store is not that of their numbers.)"""
    made = open_store(tmp_path / "store")
    if request.param == "by a lease":
        lease = Lease(made.folder, "test")
        lease.take()
        made.commit_by(lease)
    for row in reversed(ROWS):
        made.append([row])
        if request.param != "in one commit":
            made.commit()
    made.commit()
    if request.param == "by a lease":
        until(lambda: len(made.snapshot().commits) < 5)
    if request.param == "merged":
        made.compact()
        made.keep([ROWS[0]])  # one row twice, as racing merges leave it
    yield made
    made.close()


def test_the_rows_of_open_runs_come_back_as_they_were_written(store: Store) -> None:
    records = store.run_records()
    assert records.open_runs() == [row for row in ROWS if isinstance(row, RunRow) and row.run_id == "a"]
    assert records.open_waits() == [ROWS[5]]
    assert records.waits_of(["a", "b"]) == [row for row in ROWS if isinstance(row, WaitRow)]
    assert records.runs_of(["c", "b"]) == [row for row in ROWS if isinstance(row, RunRow) and row.run_id in "bc"]
    assert records.resolved_waits(["a", "b"]) == {"a": {key(2): b"answer"}, "b": {}}
    assert records.recent_events() == [ROWS[1], ROWS[14]]
    assert records.deliveries() == [ROWS[2], ROWS[15]]
    assert records.requests(2) == [ROWS[17], ROWS[18]]
    assert records.latest() == (19, NOW + 19)
    assert [tuple(each[:5]) for each in records.ended_runs()] == [
        ("my-b", "b", key(4), "failed", None),
        ("my-c", "c", key(13), "cancelled", "a"),
    ]


def test_the_items_of_a_stream_come_in_order_from_a_cursor_on_and_in_parts(store: Store) -> None:
    records = store.run_records()
    assert records.stream_items("a", "tokens", 0, 100, 1000) == ITEMS
    assert records.stream_items("a", "tokens", 2, 1, 1000) == ITEMS[2:3]
    assert records.stream_items("a", "tokens", 0, 100, 4) == ITEMS[:2]  # each has three characters
    assert records.stream_items("a", "tokens", 6, 100, 1000) == []
    assert records.streams_of("a") == [
        ("other", b"j" * 16, 1, 3, 3), ("tokens", b"j" * 16, 1, 2, 2), ("tokens", b"j" * 16, 2, 6, 2),
    ]  # fmt: skip
    assert records.streams_of("c") == []


def test_events_are_recent_by_when_they_were_accepted_and_by_when_they_are_due(store: Store) -> None:
    records = store.run_records()
    assert records.recent_events(NOW + 3) == [ROWS[14]]
    assert records.deliveries(NOW + 3) == [ROWS[15]]
    assert records.recent_events(NOW + DAY + 1) == [] == records.deliveries(NOW + DAY + 1)


def test_a_run_that_was_retried_is_open_again(store: Store) -> None:
    store.keep([run("b", 20, "queued", generation=1)])
    assert {row.run_id for row in store.run_records().open_runs()} == {"a", "b"}
    assert [each.run_id for each in store.run_records().ended_runs()] == ["c"]


def test_what_admission_has_recorded_comes_back_once(store: Store) -> None:
    charges = [ChargeRow("throttle:f:0:", 18 + each, NOW, "a", NOW + 100 * each) for each in (0, 1)]
    queue = QueueRow("q", 17, NOW + 17, 4, "set")
    demands = '{"fairness": "x"}'
    ran = [run("a", 20 + turn, "running", queue="q", priority=0, turn=turn, demands=demands) for turn in (1, 2)]
    store.keep([queue, *charges, *ran])
    store.keep([queue, charges[1]])  # as racing merges leave it
    records = store.run_records()
    assert records.queues() == [queue]
    assert records.charges(NOW + 50) == [charges[1]]
    assert records.rounds() == [("q", 0, 2, "x")]
    assert records.latest()[0] == 22


def test_a_store_without_runs_begins_with_nothing(tmp_path: Path) -> None:
    records = open_store(tmp_path / "store").run_records()
    assert records.latest() == (0, 0)
    assert [*records.open_runs(), *records.open_waits(), *records.recent_events(), *records.ended_runs()] == []
    assert records.requests(9) == []
    assert records.places_of(["a"]) == {"a": []} and records.places_of([]) == {}


def test_places_come_back_in_the_order_in_which_it_happened_with_their_blobs(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    large = b"packed" * 1000
    store.put_blob(key(7), Encoded("bytes", b"", (large,)))
    written = [
        place("a", 1, "started"),
        place("a", 2, "outcome", outcome=b"small", value_hash=key(9), arguments="x=1"),
        place("a", 3, "term", outcome_blob=key(7), parent=key(1), job_id=b"j" * 16),
        place("a", 4, "outcome", outcome_blob=key(8)),
        place("b", 1, "decision", outcome=b"0"),
    ]
    store.keep([*reversed(written), place("other", 1)])
    found = store.run_records().places_of(["a", "b", "none"])
    assert found == {
        "a": [written[0], written[1], written[2]._replace(outcome=large), written[3]],
        "b": [written[4]],
        "none": [],
    }


def test_runs_waits_and_deliveries_are_shown_as_they_are_now(store: Store) -> None:
    history = store.history()
    shown = history.records("SELECT run_id, state, error, reason, priority, tie, life FROM runs ORDER BY run_id")
    assert [tuple(row.values()) for row in shown] == [
        ("a", "waiting", None, None, None, None, 0),
        ("b", "failed", "ValueError: no", None, 3, True, 0),
        ("c", "cancelled", None, "too late", None, None, None),
    ]
    [run_b] = history.records("SELECT * FROM runs WHERE run_id = 'b'")
    assert (run_b["outcome"], run_b["input_hash"], run_b["number"]) == (b"failure", key(4).hex(), 12)
    assert run_b["ended_at"] == run_b["changed_at"] > run_b["created_at"]
    assert run_b["due_at"] == datetime.fromtimestamp((NOW + DAY) / 1e6, UTC)
    waits = history.records(
        "SELECT run_id, place, state, cause, name, ended_at IS NULL AS is_open FROM waits ORDER BY 1, 2"
    )
    assert [(row["run_id"], row["place"], row["state"], row["is_open"]) for row in waits] == [
        ("a", key(1).hex(), "open", True),
        ("a", key(2).hex(), "resolved", False),
        ("b", key(1).hex(), "open", True),
    ]
    deliveries = history.records("SELECT event_id, state, error FROM deliveries ORDER BY 1")
    assert [tuple(row.values()) for row in deliveries] == [
        ("e1", "delivered", None),
        ("e2", "failed", "it does not fit"),
    ]
    assert history.records("SELECT count(*) AS n FROM run_changes")[0]["n"] == 8
    assert history.records("SELECT event_id FROM events ORDER BY number")[0]["event_id"] == "e1"


def test_the_error_of_a_run_that_was_retried_is_not_shown_any_more(store: Store) -> None:
    store.keep([run("b", 20, "running", generation=1)])
    [shown] = store.history().records("SELECT state, error, outcome, ended_at, generation FROM runs WHERE run_id = 'b'")
    assert tuple(shown.values()) == ("running", None, None, None, 1)


# --- copies, and what is forgotten ------------------------------------------------------------------------------------


def with_blobs(store: Store, name: str, number: int) -> list[Row]:
    """A run with its execution, whose rows name blobs in all the ways there are."""

    def ref(more: int) -> bytes:
        return dumps([ValueRef(put(store, number + more), "numpy.ndarray", 9, "bytes")])

    store.put_blob(key(number + 900), Encoded("bytes", b"", (ref(800),)))
    return [
        execution(name, number),
        job(name, number),
        first(name, number, root=ref(100)),
        run(name, number + 1, "done", outcome=ref(200)),
        wait(name, 1, number + 2, given=ref(300)),
        wait(name, 1, number + 3, "resolved", outcome=ref(400), event_id=f"event-{name}"),
        event(f"event-{name}", number + 4, data=ref(500)),
        delivery(f"event-{name}", number + 5, run_id=name),
        RequestRow(f"request-{name}", number + 6, NOW, "true", name),
        place(name, 1, outcome=ref(600)),
        place(name, 2, outcome_blob=key(number + 900)),
        item(name, number),
    ]


BLOBS = 8
"""How many blobs the rows of such a run name, those in terms included."""


def test_a_run_is_copied_with_its_execution_and_all_blobs_that_its_rows_name(tmp_path: Path) -> None:
    source = open_store(tmp_path / "s")
    source.keep([*with_blobs(source, "one", 10), *with_blobs(source, "two", 20)])
    chosen, whole = open_store(tmp_path / "chosen"), open_store(tmp_path / "whole")
    done = transfer(source, chosen, ["one"])
    assert (done.executions, done.missing, done.rows["run_changes"], done.rows["events"]) == (1, 0, 2, 1)
    assert done.rows["requests"] == 1
    assert len(chosen.folder.sizes(layout.BLOBS)) == BLOBS
    assert transfer(source, whole).rows["delivery_changes"] == 2
    assert contents(whole) == contents(source)
    assert len(whole.folder.sizes(layout.BLOBS)) == len(source.folder.sizes(layout.BLOBS)) == 2 * BLOBS
    assert transfer(source, whole).rows == {}


def age_all(store: Store, seconds: float) -> None:
    for path in store.folder.sizes(layout.BLOBS):
        os.utime(f"{store.url}/{path}", (time.time() - seconds,) * 2)


def test_the_blobs_that_runs_name_are_kept_and_those_of_forgotten_runs_are_not(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.keep([*with_blobs(store, "one", 10), *with_blobs(store, "two", 20), first("waits", 50, root=dumps([1]))])
    put(store, 77)
    age_all(store, 3 * 24 * 3600)
    assert garbage.collect(store).blobs == 1
    later = datetime.fromtimestamp(NOW / 1e6, UTC) + timedelta(days=400)
    store.keep([run("two", 60, "running", life=1)])
    collected = garbage.collect(store, older_than=later)
    assert collected.forgotten == 1  # "two" was retried, and "waits" has never ended
    kept = store.history().records("SELECT run_id FROM runs ORDER BY run_id")
    assert [row["run_id"] for row in kept] == ["two", "waits"]
    assert {row["execution_id"] for row in store.history().records("SELECT execution_id FROM places")} == {"two"}
    assert [row["number"] for row in store.history().records("SELECT number FROM stream_items")] == [20]
    assert len(store.history().records("SELECT * FROM events")) == 2  # they may be of use to other runs


def test_a_wait_without_its_run_and_a_delivery_without_its_event_are_dangling(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.keep([*ROWS[:1], *ROWS[1:3]])
    assert store.dangling() == []
    store.keep([wait("lost", 1, 20), delivery("lost", 21)])
    assert [problem.text.split(":")[0] for problem in store.dangling()] == [
        "runs whose waits are recorded and they are not",
        "events whose deliveries are recorded and they are not",
    ]
