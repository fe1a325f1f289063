"""Small stores with rows of most tables, and blobs that are named in all the ways there are."""

from __future__ import annotations

from typing import Any

from rayflow.lang.terms.codec import dumps
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
from rayflow.store.exchange.references import named_in
from rayflow.store.exchange.transfer import rows_in, term_reader
from rayflow.store.open import Store, open_store
from rayflow.values.refs import Encoded, ValueRef

TASK = b"t" * 20
SET = b"s" * 20


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def execution(name: str, number: int, status: str = "done") -> ExecutionRow:
    return ExecutionRow(
        execution_id=name, life=0, root=b"root", root_blob=None, options="{}", task_table=None, project_dir=None,
        task_name="flow.f", arguments=None, status=status, started_at=number, finished_at=number + 9,
        value_hash=key(number), error=None, jobs=1, computed=1, cached=0, shared=0, failed=0, command=None,
        user=None, host=None, project=None, git_commit=None, rayflow_version="1", python_version="3",
        ray_version=None,
    )  # fmt: skip


def job(name: str, number: int, *, status: str = "done", finished_at: int | None = 9) -> JobRow:
    return JobRow(
        job_id=number.to_bytes(16, "big"), execution_id=name, parent_job_id=None, task_name="flow.f", task_hash=TASK,
        eval_hash=key(number), call_hash=key(number), how="computed", status=status, attempts=1, queued_at=5,
        started_at=6, finished_at=finished_at, wall_seconds=0.25, cpu_seconds=0.125, peak_memory_bytes=1000,
        node="host", pid=7, error=None, traceback=None, story=None,
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
        CallRow(
            call_hash=key(number),
            task_hash=TASK,
            task_name="flow.f",
            args_hash=key(number),
            eval_hash=key(number),
            value_hash=value,
            task_set=SET,
        ),
        TaskSetRow(SET, TASK),
        ArgumentRow(key(number), "x", value, None),
        ReductionRow(
            eval_hash=key(number),
            task_hash=TASK,
            kind="single",
            term=term,
            term_blob=None,
            task_set=None,
            call_hash=None,
            execution_id=name,
            wall_seconds=0.5,
            at=number,
        ),
        ReductionRow(
            eval_hash=key(number),
            task_hash=TASK,
            kind="full",
            term=None,
            term_blob=key(number + 4000),
            task_set=TASK,
            call_hash=key(number),
            execution_id=name,
            wall_seconds=0.5,
            at=number,
        ),
        ValueRow(
            value_hash=value,
            type="bytes",
            format="bytes",
            size_bytes=number,
            inline=None,
            preview=f"value {number}",
        ),
        TaskRow(
            task_hash=TASK,
            task_name="flow.f",
            source="def f(): ...",
            place=None,
            doc=None,
            version=None,
            unresolved=None,
            at=1,
        ),
        TagRow(entity="execution", entity_id=name, key="who", value='"me"', at=number, removed=False),
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


def running_elsewhere(rayflow: Any, pid: int | None = None, host: str = "another-host") -> tuple[Store, str]:
    """Record an execution of some machine that has not ended, in the store of a test's project: the store, its id."""
    rayflow.run("main")
    store = open_store(rayflow.project.path / ".rayflow")
    known = store.history().execution_row("-")
    execution_id = "1" + known.execution_id[1:]
    store.append(
        [known._replace(execution_id=execution_id, status="running", finished_at=None, pid=pid, host=host, jobs=None)]
    )
    store.commit()
    return store, execution_id
