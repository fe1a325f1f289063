"""Small stores with rows of most tables, and blobs that are named in all the ways there are."""

from __future__ import annotations

from typing import Any

from rayflow.lang.codec import dumps
from rayflow.records import (
    TABLES,
    ArgumentRow,
    CallRow,
    ExecutionRow,
    JobRow,
    LogRow,
    ReductionRow,
    Row,
    TagRow,
    TaskRow,
    TaskSetRow,
    ValueRow,
)
from rayflow.store.references import named_in
from rayflow.store.store import Store, open_store
from rayflow.store.transfer import rows_in, term_reader
from rayflow.values.refs import Encoded, ValueRef

TASK = b"t" * 20
SET = b"s" * 20


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def execution(name: str, number: int, status: str = "done") -> ExecutionRow:
    return ExecutionRow(
        name, 0, b"root", None, "{}", None, None, "flow.f", None, status, number, number + 9, key(number), None, 1, 1,
        0, 0, 0, None, None, None, None, None, "1", "3", None,
    )  # fmt: skip


def job(name: str, number: int, *, status: str = "done", finished_at: int | None = 9) -> JobRow:
    return JobRow(
        number.to_bytes(16, "big"), name, None, "flow.f", TASK, key(number), key(number), "computed", status, 1,
        5, 6, finished_at, 0.25, 0.125, 1000, "host", 7, None, None, None,
    )  # fmt: skip


def put(store: Store, number: int) -> bytes:
    store.put_blob(key(number), Encoded("bytes", b"", (b"x" * number,)))
    return key(number)


def rows(store: Store, name: str, number: int) -> list[Row]:
    """One execution of one call whose value, term and prints are blobs; the term holds one more."""
    value, printed, inner = put(store, number), put(store, number + 1000), put(store, number + 2000)
    term = dumps([ValueRef(inner, "numpy.ndarray", 9, "bytes")])
    long_term = dumps([ValueRef(put(store, number + 3000), "numpy.ndarray", 9, "bytes")])
    store.put_blob(key(number + 4000), Encoded("bytes", b"", (long_term,)))
    return [
        execution(name, number),
        job(name, number),
        CallRow(key(number), TASK, "flow.f", key(number), key(number), value, SET),
        TaskSetRow(SET, TASK),
        ArgumentRow(key(number), "x", value, None),
        ReductionRow(key(number), TASK, "single", term, None, None, None, name, 0.5, number),
        ReductionRow(key(number), TASK, "full", None, key(number + 4000), TASK, key(number), name, 0.5, number),
        ValueRow(value, "bytes", "bytes", number, None, f"value {number}"),
        TaskRow(TASK, "flow.f", "def f(): ...", None, None, None, None, 1),
        TagRow("execution", name, "who", '"me"', number, False),
        LogRow(number.to_bytes(16, "big"), 1, "stdout", None, printed),
    ]


def filled(url: Any, count: int = 3, start: int = 1) -> Store:
    store = open_store(url)
    for number in range(start, start + count):
        store.append(rows(store, f"e{number}", number))
        store.commit()
    return store


def contents(store: Store) -> dict[str, list[Any]]:
    """The rows of every table, as people see them. (In one query: there are tests that ask hundreds of times.)"""
    history = store.history()
    rows_of = (f'(SELECT list(each) FROM "{table.name}" AS each) AS "{table.name}"' for table in TABLES)
    (found,) = history.sql(f"SELECT {', '.join(rows_of)}").fetchall()
    history.close()
    return {
        table.name: sorted((tuple(row.values()) for row in rows or ()), key=repr)
        for table, rows in zip(TABLES, found, strict=True)
    }


def is_whole(store: Store) -> bool:
    """Whether the store has everything that its rows name, also inside of terms."""
    named: set[bytes] = set()
    for commit in store.snapshot().commits:
        for name, table in rows_in(store.folder, commit):
            named |= named_in({name: table}, term_reader(store))
    return all(map(store.has_blob, named))
