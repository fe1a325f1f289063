"""Rows that are appended as columns are recorded as the same rows one by one would be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from call_columns import TASK, jobs, keys, of_calls, values
from hypothesis import given, settings
from hypothesis import strategies as some

from rayflow.errors import Bug, StoreUnavailable
from rayflow.record_columns import Columns, Same
from rayflow.records import CallChildRow, JobRow, TagRow, ValueRow
from rayflow.runtime.draft import Draft
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.open import Store, open_store
from rayflow.store.store import COMMIT_JOBS
from rayflow.store.write import schemas
from rayflow.store.write.arrow_columns import repeated, to_array
from rayflow.store.write.segments import embedded_tables


def recorded(store: Store, table: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = store.history().sql(f"FROM {table} ORDER BY ALL").fetchall()
    return found


def test_columns_are_recorded_as_the_same_rows_one_by_one() -> None:
    by_column, by_row = open_store(":memory:"), open_store(":memory:")
    for numbers in (range(3), range(3, 5), range(2, 9)):
        by_column.append([], of_calls(numbers))
        by_row.append(row for each in of_calls(numbers) for row in each.rows())
        assert by_column.pending() == by_row.pending()
    assert by_column.pending() == 3 * 12 + 3 * 9  # what is not content-addressed is there twice
    for store in (by_column, by_row):
        store.commit()
        assert store.pending() == 0
    for table in schemas.layouts():
        assert recorded(by_column, table) == recorded(by_row, table), table
    assert by_column.snapshot().commits[0].executions == ("e1", "e2")
    questions = [(key, TASK) for key in keys("e", range(10))]
    assert by_column.look_up(questions) == by_row.look_up(questions)
    assert [len(found) for found in by_column.look_up(questions)] == [1] * 9 + [0]


def test_rows_and_columns_of_one_table_make_one_commit() -> None:
    store = open_store(":memory:")
    store.append(values([1, 2]).rows(), [values([2, 3]), values([3, 4])])
    store.append(values([4, 5]).rows())
    store.commit()
    assert sorted(row[5] for row in recorded(store, "values")) == ["2", "4", "№ 1", "№ 3", "№ 5"]
    assert store.snapshot().commits[0].rows("values") == 5


def test_a_key_that_stands_twice_in_one_column_is_recorded_once() -> None:
    store = open_store(":memory:")
    store.append([], [values([1, 2, 1, 1])])
    assert store.pending() == 2


def test_the_calls_below_a_call_are_recorded_once_as_columns_or_rows() -> None:
    store = open_store(":memory:")
    count = 1_500

    def below(letter: bytes) -> Columns:
        return Columns(CallChildRow, count, (Same(letter * 20), range(count), keys("c", range(count))))

    store.append(below(b"Q").rows(), [below(b"P")])
    store.append([], [below(b"P"), below(b"Q"), below(b"R")])
    assert store.pending() == 3 * count
    store.commit()
    assert len(recorded(store, "call_children")) == 3 * count


def test_the_memory_for_keys_of_columns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow.store.write import seen_rows as base

    monkeypatch.setattr(base, "REMEMBERED_KEYS", 10)
    store = open_store(":memory:")
    for numbers in (range(6), range(4, 9), range(3), range(20, 40)):
        store.append([], [values(numbers)])
    assert store.pending() == 6 + 3 + 0 + 20
    store.append([], [values(range(20, 40))])
    assert store.pending() == 29 + 20  # more than are remembered: none of them are


def test_a_commit_is_due_when_the_jobs_in_columns_are_many() -> None:
    store = open_store(":memory:")
    store.append([], [jobs(range(COMMIT_JOBS - 1))])
    assert not store.due(0)
    store.append(jobs([COMMIT_JOBS]).rows())
    assert store.due(0)


def test_columns_that_wait_are_due_after_a_while() -> None:
    store = open_store(":memory:")
    assert not store.due(0)
    store.append([], [values([1])])
    assert not store.due(1)
    assert store.due(10_000_000)


def test_a_row_of_columns_that_does_not_fit_is_dropped_and_all_others_are_kept() -> None:
    store = open_store(":memory:")
    sizes: list[Any] = [3, "three", 3]
    fields = values([1, 2, 3]).columns
    store.append(values([4]).rows(), [Columns(ValueRow, 3, (*fields[:3], sizes, *fields[4:]))])
    with pytest.raises(Bug, match=r"values\.size_bytes"):
        store.commit()
    store.commit()
    assert sorted(row[5] for row in recorded(store, "values")) == ["4", "№ 1", "№ 3"]


def test_a_value_of_a_whole_column_that_does_not_fit_names_its_column() -> None:
    store = open_store(":memory:")
    store.append([], [Columns.of(
        TagRow, 2, entity=Same("job"), entity_id=["x", "y"], key=Same("k"), value=Same(5), at=Same(1),
        removed=Same(False),
    )])  # fmt: skip
    with pytest.raises(Bug, match=r"tags\.value"):
        store.commit()
    assert store.pending() == 0


def test_a_column_that_is_too_short_is_refused() -> None:
    store = open_store(":memory:")
    store.append([], [Columns(TagRow, 2, (Same("job"), ["x"], Same("k"), Same("1"), Same(1), Same(False)))])
    with pytest.raises(Bug, match=r"tags\.entity_id: 1 values for 2 rows"):
        store.commit()


def test_a_commit_beside_others_records_nothing_while_one_of_them_appends_what_belongs_together() -> None:
    store = open_store(":memory:")
    with ThreadPoolExecutor(1) as beside:
        with store.together():
            store.append(values([1]).rows())
            beside.submit(store.commit_beside).result()
            assert store.pending() == 1
            store.append(values([2]).rows())
        beside.submit(store.commit_beside).result()
    assert (store.pending(), len(recorded(store, "values"))) == (0, 2)


def test_what_a_commit_beside_others_has_to_drop_is_told_by_the_next_commit() -> None:
    store = open_store(":memory:")
    store.append([values([1]).rows()[0]._replace(size_bytes="three")])
    store.commit_beside()
    assert store.pending() == 0
    store.commit_beside()
    with pytest.raises(Bug, match=r"values\.size_bytes"):
        store.commit()
    store.commit()


def test_a_commit_beside_others_says_that_the_store_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(MemoryFolder())
    store.append(values([1]).rows())
    with monkeypatch.context() as patched:
        patched.setattr(store.folder, "write", full)
        with pytest.raises(StoreUnavailable):
            store.commit_beside()
    store.commit()
    assert len(recorded(store, "values")) == 1


def full(path: str, parts: Any) -> None:
    raise StoreUnavailable("the disk is full")


def test_columns_that_cannot_be_committed_wait_for_the_next_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(MemoryFolder())
    store.append([], [jobs([1, 2])])
    with monkeypatch.context() as patched:
        patched.setattr(store.folder, "write", full)
        with pytest.raises(StoreUnavailable):
            store.commit()
    assert store.pending() == 2
    store.commit()
    assert len(recorded(store, "jobs")) == 2


def test_columns_that_cannot_be_kept_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(MemoryFolder())
    store.append([], [values([1])])
    with monkeypatch.context() as patched:
        patched.setattr(store.folder, "write", full)
        with pytest.raises(StoreUnavailable):
            store.keep(jobs([1]).rows(), [values([2, 3])])
    assert store.pending() == 1
    store.keep([], [values([2, 3])])
    assert len(recorded(store, "values")) == 3 and not recorded(store, "jobs")


def test_a_draft_keeps_columns() -> None:
    store = open_store(":memory:")
    opening = jobs([1])
    store.append(row._replace(finished_at=None, status="open") for row in _job_rows(jobs([1, 2])))
    store.commit()
    draft = Draft(store)
    draft.append([], [opening, values([1])])
    assert [row.job_id for row in draft.open_jobs("e1")] == keys("j", [2], 16)
    assert not recorded(store, "values")
    draft.keep()
    assert len(recorded(store, "values")) == 1


def _job_rows(columns: Columns) -> list[JobRow]:
    return [row for row in columns.rows() if isinstance(row, JobRow)]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", pa.string()), ("text", pa.string()), ("tëxt", pa.string()), (None, pa.string()), (b"", pa.binary()),
        (b"\0" * 20, pa.binary()), (2**62, pa.int64()), (-1, pa.timestamp("us")), (0.1, pa.float32()),
        (True, pa.bool_()), (False, pa.bool_()),
    ],
)  # fmt: skip
def test_a_value_that_all_rows_have_makes_the_array_that_its_repetition_makes(
    value: Any, kind: pa.DataType, length: int
) -> None:
    array = repeated(value, length, kind)
    array.validate(full=True)
    assert array.equals(to_array([value] * length, kind))


def test_the_rows_of_a_commit_of_several_slices_are_read_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    numbers = range(6000)
    store.append([], of_calls(numbers))
    store.commit()
    [commit] = open_store(tmp_path / "s").snapshot().commits
    assert len(commit.tables["jobs"].parts) > 3
    assert commit.size < 6000 * 150  # the six hashes of a call, once each, and a little
    read = dict(embedded_tables(store.folder, commit))
    for each in of_calls(numbers):
        [how] = [how for how in schemas.layouts().values() if how.table.row is each.row]
        assert read[how.name].equals(schemas.to_arrow(how, each)), how.name


@settings(max_examples=60, deadline=None)
@given(some.lists(some.integers(0, 30), min_size=1, max_size=8), some.integers(1, 25))
def test_groups_of_parts_have_the_same_rows_in_order_and_are_full_but_the_last(lengths: list[int], most: int) -> None:
    parts = [of_calls(range(place * 100, place * 100 + length))[0] for place, length in enumerate(lengths)]
    groups = list(Columns.grouped(parts, most))
    assert [row for group in groups for row in group.rows()] == [row for part in parts for row in part.rows()]
    assert [group.length for group in groups[:-1]] == [most] * (len(groups) - 1)
    assert all(len(column) == group.length for group in groups for column in group.columns if type(column) is not Same)


def test_the_rows_of_tables_of_different_lengths_are_read_back_from_the_slices_of_one_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    first, *_, last = of_calls(range(7000))
    fewer = [first.chosen(range(3)), last]
    store.append([], fewer)
    store.commit()
    [commit] = open_store(tmp_path / "s").snapshot().commits
    read = dict(embedded_tables(store.folder, commit))
    for each in fewer:
        [how] = [how for how in schemas.layouts().values() if how.table.row is each.row]
        assert read[how.name].equals(schemas.to_arrow(how, each)), how.name
