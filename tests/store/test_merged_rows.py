"""A merge takes one table after the other, a slice of a file at a time, and loses nothing by that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from call_columns import of_calls, scattered_keys
from hypothesis import given, settings
from hypothesis import strategies as some

from rayflow.record_columns import Columns, Same
from rayflow.records import ArgumentRow, JobRow, Row, TagRow
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.open import Store, open_store
from rayflow.store.write import compaction, schemas, segments
from rayflow.store.write.merged_rows import GatheredRows, OrderedRows

COMMITS = 4
CALLS = 700
"""In each commit."""


def calls(numbers: range) -> list[Columns]:
    """Calls whose columns have all kinds of contents."""
    return of_calls(
        numbers,
        scattered_keys,
        of_jobs={
            "how": ["cached" if number % 3 else "computed" for number in numbers],
            "queued_at": [number // 100 for number in numbers],
            "started_at": Same(None),
            "cpu_seconds": Same(None),
            "error": [None if number % 50 else f"error {number}" for number in numbers],
            "ordinal": [number or None for number in numbers],
        },
        of_call_nodes={"at": [None if number % 2 else number for number in numbers]},
    )


def uncompacted(place: Path | str) -> Store:
    """A store of some commits, each of which repeats some rows of the one before."""
    store = open_store(place)
    for number in range(COMMITS):
        # As rows of another process: this one would leave out what it has appended before.
        writer = Store(store.folder)
        writer.append([], calls(range(number * CALLS - min(number, 1) * 100, (number + 1) * CALLS)))
        writer.append([TagRow("job", str(number), "key", "1", number, False)])
        writer.commit()
    return Store(store.folder)


def shown(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    history = store.history()
    return {name: history.sql(f"FROM {name} ORDER BY ALL").fetchall() for name in schemas.layouts()}


@pytest.fixture
def one_table_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "PASS_BYTES", 0)


def test_a_merge_in_many_passes_writes_the_files_of_a_merge_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1_000)
    files: list[dict[str, bytes]] = []
    for most in (0, 1 << 40):
        monkeypatch.setattr(compaction, "PASS_BYTES", most)
        store = uncompacted(tmp_path / str(most))
        assert store.compact().merged == COMMITS
        root = tmp_path / str(most) / "segments"
        found = sorted(path for path in root.rglob("*") if path.is_file())
        files.append({str(path.relative_to(root).parent): path.read_bytes() for path in found})
    assert files[0] == files[1] and {"jobs", "calls", "reductions", "reductions_by_key", "values"} <= files[0].keys()


def test_a_slice_of_a_file_at_a_time_gives_the_file_of_all_rows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = uncompacted(tmp_path / "store")
    before = shown(store)
    monkeypatch.setattr(segments, "ROWS_PER_GROUP", 700)
    store.compact()
    assert shown(Store(store.folder)) == before


@pytest.mark.usefixtures("one_table_at_a_time")
def test_a_merge_takes_less_memory_than_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "ROWS_PER_GROUP", 500)
    store = uncompacted(tmp_path / "store")
    whole = sum(place.size for commit in store.snapshot().commits for place in commit.tables.values())
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        store.compact()
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < whole


@pytest.mark.usefixtures("one_table_at_a_time")
def test_a_commit_that_goes_during_a_merge_is_left_out_and_all_others_are_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = uncompacted(":memory:")
    assert isinstance(store.folder, MemoryFolder)
    lost = store.snapshot().commits[2]
    write = MemoryFolder.write

    def write_and_lose(folder: MemoryFolder, path: str, parts: Sequence[Any]) -> None:
        write(folder, path, parts)
        folder.remove(lost.path)

    monkeypatch.setattr(MemoryFolder, "write", write_and_lose)
    assert store.compact().merged == COMMITS - 1
    [merged] = [commit for commit in store.snapshot().commits if commit.replaces]
    assert lost.id not in merged.replaces and len(merged.replaces) == COMMITS - 1
    assert len(store.history().sql("FROM jobs").fetchall()) >= (COMMITS - 1) * CALLS
    names = {row[2] for row in store.history().sql("SELECT entity, key, entity_id FROM tags").fetchall()}
    assert names == {str(number) for number in range(COMMITS) if number != 2}


HASHES = some.sampled_from([b"A" * 20, b"B" * 20, b"C" * 20])
TEXTS = some.none() | some.sampled_from(["one", "two", "three"])
ARGUMENTS = some.builds(
    ArgumentRow, call_hash=HASHES, name=some.sampled_from(["x", "y", "a"]), value_hash=HASHES,
    source_call_hash=some.none() | HASHES,
)  # fmt: skip
JOBS = some.builds(
    JobRow, job_id=some.sampled_from([b"A" * 16, b"B" * 16, b"C" * 16]), execution_id=some.just("e"),
    parent_job_id=some.none(), task_name=TEXTS, task_hash=some.none(), eval_hash=some.none(), call_hash=some.none(),
    how=TEXTS, status=some.just("done"), attempts=some.just(1), queued_at=some.integers(0, 3), started_at=some.none(),
    finished_at=some.integers(0, 3), wall_seconds=some.none(), cpu_seconds=some.none(), peak_memory_bytes=some.none(),
    node=some.none(), pid=some.none(), error=some.none(), traceback=some.none(), story=some.none(), call=some.none(),
    ordinal=some.none() | some.integers(0, 2), packed_arguments=some.none(), args_hash=some.none(), missed=some.none(),
    label=TEXTS, ready_at=some.none(), sent_at=some.none(), waited_on=some.none(), stage_in_seconds=some.none(),
    stage_out_seconds=some.none(), requested=some.none(),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(some.lists(some.lists(ARGUMENTS, max_size=8), min_size=1, max_size=4) | some.just([[]]), some.integers(1, 5))
def test_gathered_rows_are_those_that_were_given_one_for_each_key(parts: list[list[Row]], size: int) -> None:
    how = schemas.layouts()["arguments"]
    gathered = GatheredRows(how)
    for rows in parts:
        gathered.add(schemas.to_arrow(how, Columns.of_rows(rows)) if rows else how.schema.empty_table())
    ordered = OrderedRows(how, gathered.taken())
    by_key = {(row.call_hash, row.name, row.source_call_hash): row for rows in parts for row in rows}  # type: ignore[union-attr]
    wanted = sorted(by_key, key=lambda key: (key[0], key[1], key[2] is not None, key[2]))
    found = list(_rows(ordered.slices(size)))
    assert ordered.table().schema == how.schema
    assert [(row["call_hash"], row["name"], row["source_call_hash"]) for row in _rows([ordered.table()])] == wanted
    assert sorted(map(repr, found)) == sorted(map(repr, _rows([ordered.table()])))
    assert [(row["call_hash"], row["name"]) for row in found] == sorted((key[0], key[1]) for key in wanted)


@settings(deadline=None, max_examples=40)
@given(some.lists(some.lists(JOBS, min_size=1, max_size=8), min_size=1, max_size=4))
def test_the_latest_of_rows_with_one_key_is_kept_whatever_is_held_as_codes(parts: list[list[Row]]) -> None:
    how = schemas.layouts()["jobs"]
    gathered = GatheredRows(how)
    for rows in parts:
        gathered.add(schemas.to_arrow(how, Columns.of_rows(rows)))
    whole = pa.concat_tables([schemas.to_arrow(how, Columns.of_rows(rows)) for rows in parts])
    packed, plain = OrderedRows(how, gathered.taken()), OrderedRows(how, whole)
    assert packed.table().equals(plain.table())
    assert list(_rows(packed.slices(3))) == list(_rows(plain.slices(100)))
    latest = {row.job_id: row.finished_at for row in sorted((r for rows in parts for r in rows), key=_finished)}  # type: ignore[union-attr]
    assert dict(zip(plain.column("job_id").to_pylist(), _times(plain), strict=True)) == latest


def _finished(row: Any) -> int:
    return int(row.finished_at)


def _times(rows: OrderedRows) -> list[int]:
    found: list[int] = rows.column("finished_at").cast(pa.int64()).to_pylist()
    return found


def _rows(tables: Any) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()
