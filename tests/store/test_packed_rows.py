"""A few rows that are packed are read as the Arrow table that they would have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rayflow.errors import Bug
from rayflow.record_columns import Columns, Same
from rayflow.records import TABLES, RunRow, TagRow, WaitRow
from rayflow.store.open import open_store
from rayflow.store.write import schemas
from rayflow.store.write.packed_rows import MOST_ROWS, packed, unpacked
from rayflow.store.write.segments import SLICE_ROWS, embedded_tables

VALUES: dict[Any, some.SearchStrategy[Any]] = {
    pa.string(): some.text(some.characters(exclude_categories=[])),  # stray halves of characters, too
    pa.binary(): some.binary(max_size=24),
    pa.int64(): some.integers(-(2**63), 2**63 - 1),
    pa.timestamp("us"): some.integers(-(2**63), 2**63 - 1),
    pa.float32(): some.floats(width=32, allow_nan=False) | some.integers(0, 1000),
    pa.bool_(): some.booleans(),
}


@some.composite
def few_rows(draw: Any) -> tuple[schemas.TableLayout, Columns]:
    """Rows of any table, in which each value is there or not, and each column is one of the kinds that there are."""
    layout = schemas.layouts()[draw(some.sampled_from([table.name for table in TABLES]))]
    length = draw(some.integers(1, 4))
    columns: list[Any] = []
    for column in layout.columns:
        value = some.none() | VALUES[column.type]
        values = some.lists(value, min_size=length, max_size=length)
        kinds = [value.map(Same), values.map(tuple), values]
        if column.type == pa.int64():
            kinds.append(some.integers(0, 9).map(lambda first: range(first, first + length)))
        columns.append(draw(some.one_of(kinds)))
    return layout, Columns(layout.table.row, length, tuple(columns))


@settings(max_examples=300, deadline=None)
@given(few_rows())
def test_packed_rows_are_read_as_the_table_that_they_would_have_made(given_rows: tuple[Any, Columns]) -> None:
    layout, rows = given_rows
    found = packed(layout, rows)
    if found is None:  # a text with a character of two halves, or one that looks so
        assert any("\\ud" in ascii(column) or "\\U" in ascii(column) for column in rows.columns)
        return
    assert found.num_rows == rows.length and len(found.content) % 8 == 0
    assert unpacked(layout, memoryview(found.content)).equals(schemas.to_arrow(layout, rows))


def tags(count: int, **others: Any) -> Columns:
    return Columns.of_rows([TagRow(**{**row(number)._asdict(), **others}) for number in range(count)])


def row(number: int) -> TagRow:
    return TagRow("execution", f"e{number}", "key", "value", number, False)


def test_many_rows_are_left_to_arrow() -> None:
    layout = schemas.layouts()["tags"]
    assert packed(layout, tags(MOST_ROWS)) is not None
    assert packed(layout, tags(MOST_ROWS + 1)) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [("key", 3), ("key", b"key"), ("at", "3"), ("at", 2**63), ("at", True), ("removed", 1), ("at", 1.5)],
)
def test_a_value_of_another_class_is_left_to_arrow_which_takes_or_refuses_it(column: str, value: Any) -> None:
    assert packed(schemas.layouts()["tags"], tags(2, **{column: value})) is None


def test_a_column_that_is_too_short_is_left_to_arrow_which_refuses_it() -> None:
    layout, whole = schemas.layouts()["tags"], tags(2)
    assert packed(layout, whole._replace(columns=(whole.columns[0][:1], *whole.columns[1:]))) is None


def test_a_row_that_does_not_fit_is_dropped_and_the_next_commit_keeps_all_others(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append([row(1), row(2)._replace(at="yesterday")])  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(Bug, match=r"tags\.at"):
        store.commit()
    store.commit()
    assert store.history().sql("SELECT entity_id FROM tags").fetchall() == [("e1",)]


def test_a_commit_of_few_rows_of_many_tables_is_small_and_read_back_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    place = b"p" * 20
    store.append(
        [RunRow("r", 1, 5, "running", "wake"), WaitRow("r", place, 2, 5, "resolved", "sleep", "timer"), row(1)]
    )
    store.commit()
    [commit] = open_store(tmp_path / "s").snapshot().commits
    assert commit.size < 800, commit.size
    read = {name: table.num_rows for name, table in embedded_tables(store.folder, commit)}
    assert read == {"run_changes": 1, "wait_changes": 1, "tags": 1}
    [found] = store.history().sql("SELECT run_id, place, number, state, cause, key FROM waits").fetchall()
    assert found == ("r", place.hex(), 2, "resolved", "timer", None)


def test_the_last_rows_of_a_large_commit_may_be_packed_and_are_read_after_the_others(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    count = SLICE_ROWS + 3
    store.append([], [tags(count)])
    store.commit()
    [commit] = store.snapshot().commits
    assert [length % 8 for _, length in commit.tables["tags"].parts] == [0, 0]
    [(_, table)] = embedded_tables(store.folder, commit)
    assert table.column("entity_id").to_pylist() == [f"e{number}" for number in range(count)]
