"""Look-ups in long histories, and what rows become on the way to disk."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rayflow.errors import Bug
from rayflow.record_columns import Columns
from rayflow.records import TABLES, ReductionRow, TagRow, ValueRow
from rayflow.store.cache.keyed_rows import KeyedRows
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.remote import RemoteFolder
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.store.write import compaction, schemas
from rayflow.store.write.arrow_columns import to_array
from rayflow.store.write.merged_rows import one_row_a_key

LONG, SHORT = b"L" * 20, b"S" * 20


@pytest.fixture(autouse=True)
def indexes_of_small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of few rows get indexes, too."""
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1)


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def reduction(number: int, task: bytes = LONG, at: int = 1) -> ReductionRow:
    return ReductionRow(
        eval_hash=key(number),
        task_hash=task,
        kind="single",
        term=b"term",
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id="e",
        wall_seconds=0.5,
        at=at,
    )


def in_batches(table: pa.Table) -> list[ReductionRow]:
    """The rows of the tasks LONG and SHORT in a table, as the cache finds them."""
    batches = [KeyedRows(batch, frozenset()) for batch in table.to_batches()]
    return [row for rows in batches for row in rows.of_tasks(frozenset((LONG, SHORT)))]


@pytest.mark.parametrize("compacted", [False, True])
def test_a_task_with_a_long_history_is_asked_in_batches_with_the_same_answers(tmp_path: Path, compacted: bool) -> None:
    writer = open_store(tmp_path / "s")
    writer.append(reduction(number) for number in range(3_000))
    writer.append(reduction(1_000_000 + number, SHORT) for number in range(10))
    writer.append([reduction(5, at=9)])
    writer.commit()
    if compacted:
        writer.compact()
    store = Store(LocalFolder(str(tmp_path / "s")), memory_rows=100)
    questions = [(key(5), LONG), (key(1_000_005), SHORT), (key(99_999), LONG), (key(2_999), LONG)]
    assert [[row.at for row in rows] for rows in store.look_up(questions)] == [[9, 1], [1], [], [1]]
    store.append([reduction(99_999)])
    assert [len(rows) for rows in store.look_up(questions)] == [2, 1, 1, 1]
    store.commit()
    assert [len(rows) for rows in store.look_up(questions)] == [2, 1, 1, 1]


def test_a_task_that_grows_long_while_it_is_loaded_loses_no_answer(tmp_path: Path) -> None:
    store = Store(LocalFolder(str(tmp_path / "s")), memory_rows=10)
    assert store.look_up([(key(0), LONG)]) == [[]]
    for number in range(40):
        store.append([reduction(number)])
        assert all(len(rows) == 1 for rows in store.look_up([(key(n), LONG) for n in range(number + 1)]))
        if number % 7 == 0:
            store.commit()


def test_refreshing_after_a_compaction_by_another_shows_each_reduction_once(tmp_path: Path) -> None:
    writer, reader = open_store(tmp_path / "s"), open_store(tmp_path / "s")
    assert reader.look_up([(key(1), LONG)]) == [[]]
    for at in range(1, 5):
        writer.append([reduction(1, at=at)])
        writer.commit()
        if at == 2:
            reader.refresh()
    writer.compact()
    reader.refresh()
    assert [row.at for row in reader.look_up([(key(1), LONG)])[0]] == [4, 3, 2, 1]


def test_content_addressed_rows_are_written_once_and_the_memory_for_that_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rayflow.records import ValueRow
    from rayflow.store.write import seen_rows as base

    monkeypatch.setattr(base, "REMEMBERED_KEYS", 10)
    store = open_store(":memory:")
    store.append(
        ValueRow(
            value_hash=key(n % 5),
            type="int",
            format="f",
            size_bytes=1,
            inline=b"",
            preview="",
        )
        for n in range(50)
    )
    assert store.pending() == 5
    store.append(
        ValueRow(
            value_hash=key(n),
            type="int",
            format="f",
            size_bytes=1,
            inline=b"",
            preview="",
        )
        for n in range(50)
    )
    assert store.pending() <= 55


def test_a_row_that_does_not_fit_names_its_table_and_column() -> None:
    store = open_store(":memory:")
    store.append(
        [
            TagRow(
                entity="job",
                entity_id="x",
                key="k",
                value=5,
                at=1,
                removed=False,
            )
        ]
    )  # type: ignore[arg-type]
    with pytest.raises(Bug, match=r"tags\.value"):
        store.commit()


def test_a_row_that_does_not_fit_is_dropped_and_all_others_are_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    good = [
        ValueRow(
            value_hash=bytes([number]) * 20,
            type="int",
            format="pickle5",
            size_bytes=3,
            inline=None,
            preview=str(number),
        )
        for number in range(3)
    ]
    bad = good[0]._replace(value_hash=b"x" * 20, size_bytes="three")  # type: ignore[arg-type]
    store.append([good[0], bad, good[1]])
    with pytest.raises(Bug, match=r"values\.size_bytes"):
        store.commit()
    store.append(good[2:])
    store.commit()
    assert store.pending() == 0
    assert store.history().sql("SELECT preview FROM values ORDER BY preview").fetchall() == [("0",), ("1",), ("2",)]


@settings(max_examples=60, deadline=None)
@given(
    some.one_of(
        some.tuples(some.just(pa.string()), some.lists(some.none() | some.text())),
        some.tuples(some.just(pa.binary()), some.lists(some.none() | some.binary())),
        some.tuples(some.just(pa.bool_()), some.lists(some.none() | some.booleans())),
        some.tuples(some.just(pa.int64()), some.lists(some.none() | some.integers(-(2**63), 2**63 - 1))),
        some.tuples(some.just(pa.float32()), some.lists(some.none() | some.floats(width=32, allow_nan=False))),
    )
)
def test_columns_come_back_as_they_went_in(column: tuple[pa.DataType, list[object]]) -> None:
    kind, values = column
    array = to_array(tuple(values), kind)
    array.validate(full=True)
    expected = values
    if kind == pa.string():
        expected = [None if text is None else text.encode("utf-8", "replace").decode() for text in values]  # type: ignore[attr-defined]
    assert array.to_pylist() == expected


def test_every_record_class_has_a_documented_column_for_each_field() -> None:
    for table in TABLES:
        columns = schemas.layouts()[table.name].columns
        assert tuple(column.name for column in columns) == table.row._fields  # type: ignore[attr-defined]
        assert all(column.documentation for column in columns)
        assert set(table.key) | set(table.order) <= {column.name for column in columns}


@settings(max_examples=80, deadline=None)
@given(
    some.lists(
        some.tuples(
            some.integers(0, 3), some.sampled_from("ab"), some.none() | some.integers(0, 3), some.integers(0, 2)
        )
    )
)
def test_merging_keeps_one_row_a_key_and_the_later_one(given_rows: list[tuple[int, str, int | None, int]]) -> None:
    from rayflow.records import ExecutionRow

    how = schemas.layouts()["executions"]
    blank = ExecutionRow(
        "", 0, None, None, "", None, None, None, None, "", 0, None, None, None, *[None] * 10, "v", "p", None
    )  # type: ignore[arg-type, call-arg]
    rows = [
        blank._replace(execution_id=f"{number}{name}", finished_at=at, life=life)
        for number, name, at, life in given_rows
    ]
    if not rows:
        return
    kept = one_row_a_key(how, schemas.to_arrow(how, Columns.of_rows(rows))).to_pylist()
    expected: dict[str, tuple[int, int]] = {}
    for row in rows:
        order = (row.life, -1 if row.finished_at is None else row.finished_at)
        expected[row.execution_id] = max(expected.get(row.execution_id, (-1, -1)), order)
    found = {
        row["execution_id"]: (row["life"], -1 if row["finished_at"] is None else row["finished_at"].microsecond)
        for row in kept
    }
    assert len(kept) == len(found)
    assert found == expected


def test_reductions_come_back_from_arrow_as_they_were() -> None:
    rows = [
        reduction(1, at=1_700_000_000_000_001),
        reduction(2)._replace(term=None, term_blob=key(3), wall_seconds=None),
    ]
    assert in_batches(schemas.to_arrow(schemas.layouts()["reductions"], Columns.of_rows(rows))) == rows


def test_a_store_far_away_is_mirrored_file_by_file_and_survives_without_its_mirror(tmp_path: Path) -> None:
    url = f"memory://mirrored-{os.getpid()}"
    mirror = tmp_path / "mirror"
    open_store(url)
    writer = Store(RemoteFolder(url, str(mirror)))
    writer.append(reduction(number) for number in range(2_500))
    writer.commit()
    writer.compact()
    assert len(list((mirror / "segments" / "reductions").iterdir())) == 1
    other = tmp_path / "other"
    reader = Store(RemoteFolder(url, str(other)))
    assert len(reader.look_up([(key(7), LONG)])[0]) == 1
    assert reader.history().sql("SELECT count(*) FROM reductions").fetchall() == [(2_500,)]
    (commit,) = (other / "commits").iterdir()
    commit.write_bytes(commit.read_bytes()[:-3])
    (segment,) = (other / "segments" / "reductions").iterdir()
    (index,) = (other / "segments" / "reductions_by_key").iterdir()
    for file in (segment, index):
        file.write_bytes(bytes(file.stat().st_size))
    # What is damaged near by and whole far away is fetched again, without a word.
    reader = Store(RemoteFolder(url, str(other)))
    assert len(reader.look_up([(key(7), LONG)])[0]) == 1
    assert index.read_bytes().startswith(b"ARROW1")
    assert reader.history().sql("SELECT count(*) FROM reductions").fetchall() == [(2_500,)]
    assert segment.read_bytes().startswith(b"PAR1")
    assert not writer.due(1_000_000)
    writer.append([reduction(1, at=5)])
    assert not writer.due(1_000_000)
    assert not writer.due(5_900_000)
    assert writer.due(6_000_000)


def test_a_mirror_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    url = f"memory://unmirrored-{os.getpid()}"
    open_store(url)
    (tmp_path / "file").write_text("in the way")
    store = Store(RemoteFolder(url, str(tmp_path / "file" / "mirror")))
    store.append([reduction(1)])
    store.commit()
    again = Store(RemoteFolder(url, str(tmp_path / "file" / "mirror")))
    assert len(again.look_up([(key(1), LONG)])[0]) == 1


def test_a_reduction_of_an_older_store_has_read_no_context() -> None:
    layout = schemas.layouts()["reductions"]
    older = schemas.to_arrow(layout, Columns.of_rows([reduction(1)])).drop_columns(["context"])
    assert [row.context for row in in_batches(schemas.fit(layout, older))] == [None]
