"""Rows about the cache: what a batch of look-ups costs when a task has a long history."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from rayflow.record_columns import Columns, Same
from rayflow.records import SINGLE, ReductionRow
from rayflow.store import layout
from rayflow.store.cache.reductions import Reductions
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog
from rayflow.store.write.compaction import write_commit
from rayflow.values.digests import DIGEST_BYTES
from tests.benchmarks.measuring import MIB, Plan, Row

HISTORY, LONG_HISTORY = 2_000_000, 10_000_000
MERGED = 400_000
"""How many reductions a compaction merges into one segment, with the rows of the other tables."""

BATCH = 5_000
ROUNDS = 9
TASK = b"t" * DIGEST_BYTES


def lookups(plan: Plan) -> Row:
    """A batch of look-ups in a task's history of two million reductions, all of them misses."""
    return _lookups(plan, "lookups", HISTORY)


def long_lookups(plan: Plan) -> Row:
    """A batch of look-ups in a task's history of ten million reductions, all of them misses."""
    return _lookups(plan, "lookups-long", LONG_HISTORY)


def _lookups(plan: Plan, name: str, length: int) -> Row:
    count = plan.size(length)
    place = plan.folder(name) / "store"
    written = open_store(place)
    known = [key for keys in _history(written, count) for key in keys]
    store = open_store(place, create=False)
    before = _anonymous_bytes()
    started = time.perf_counter()
    assert store.look_up([(known[0], TASK)])[0], "a reduction is not found"
    first = time.perf_counter() - started
    hits = _milliseconds(store, lambda: random.choices(known, k=BATCH), 1)
    misses = _milliseconds(store, lambda: _keys(BATCH), 0)
    grown = _anonymous_bytes() - before
    appended = _append_microseconds(store)
    segments = [path for path in (place / "segments").rglob("*") if path.is_file()]
    index_bytes = sum(path.stat().st_size for path in segments if path.suffix == ".arrow")
    return Row(
        name,
        f"look-up of {BATCH:,} new keys, {count:,} reductions",
        misses,
        "ms",
        budget="< 10 ms",
        ok=misses < 10,
        beside=(
            f"{BATCH:,} keys that are there: {hits:.1f} ms; the first look-up: {first * 1e3:,.0f} ms",
            f"memory of the process: {grown / MIB:+.0f} MiB; indexes: {index_bytes / count:.0f} B a reduction, on disk",
            f"taking in a reduction of a vector: {appended:.2f} us",
        ),
    )


def _history(store: Store, count: int) -> Iterator[list[bytes]]:
    """Write so many reductions, as compactions leave them. Yields their keys."""
    how = schemas.layouts()["reductions"]
    ids = layout.IdMaker()
    for start in range(0, count, MERGED):
        keys = _keys(min(MERGED, count - start))
        write_commit(store.folder, ids.make(), [{"reductions": pa.concat_tables([_table(how, keys, start)])}])
        yield keys


def _table(how: schemas.TableLayout, keys: list[bytes], start: int) -> pa.Table:
    return schemas.to_arrow(how, _reductions(keys, start))


def _reductions(keys: list[bytes], start: int) -> Columns:
    now = time.time_ns() // 1000 - 10**9
    terms = [b"\x92\x01" + number.to_bytes(4, "big") for number in range(start, start + len(keys))]
    return Columns.of(
        ReductionRow, len(keys), eval_hash=keys, task_hash=Same(TASK), kind=Same(SINGLE), term=terms,
        term_blob=Same(None), task_set=Same(None), call_hash=Same(None), execution_id=Same(f"{start:036d}"),
        wall_seconds=[1e-6 * (number % 97) for number in range(len(keys))], at=range(now, now + len(keys)),
    )


def _keys(count: int) -> list[bytes]:
    data = random.randbytes(DIGEST_BYTES * count)
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


def _milliseconds(store: Store, keys: Callable[[], list[bytes]], found: int) -> float:
    """CPU time of one batch; each key must have so many reductions."""
    taken = []
    for _ in range(ROUNDS):
        questions = [(key, TASK) for key in keys()]
        started = time.process_time()
        answers = store.look_up(questions)
        taken.append(1e3 * (time.process_time() - started))
        assert all(len(rows) == found for rows in answers), "a look-up is answered wrongly"
    return statistics.median(taken)


def _append_microseconds(store: Store) -> float:
    taken = []
    reductions = Reductions(store.folder, Catalog(store.folder), lambda blob: b"")
    for number in range(ROUNDS):
        columns = _reductions(_keys(BATCH), number)
        started = time.process_time()
        reductions.add_columns(columns, time.time_ns() // 1000)
        taken.append(1e6 * (time.process_time() - started) / BATCH)
    return statistics.median(taken)


def _anonymous_bytes() -> int:
    """The process's own memory, without mapped files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024
