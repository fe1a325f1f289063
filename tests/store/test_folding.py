"""Arguments and children that lie in the files of calls are shown as those in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayflow.records import ArgumentRow, CallChildRow, CallRow, Row
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import Store, open_store
from rayflow.store.write import schemas
from rayflow.store.write.catalog import StoreWarning

COUNT = 3000
TASK = b"t" * 20


def key(letter: str, number: int) -> bytes:
    return letter.encode() + (number * 7919 % 10_007).to_bytes(19, "big")


def rows(numbers: range = range(COUNT)) -> list[Row]:
    """Calls with none to two arguments, one of which came from two calls, and some that two calls have made."""
    found: list[Row] = []
    for number in numbers:
        call = key("c", number)
        found.append(CallRow(call, TASK, "flow.f", key("a", number), key("e", number), key("v", number), b"s" * 20))
        if number % 5:
            found.append(ArgumentRow(call, "x", key("v", number + 1), None))
        if number % 3 == 0:
            found.append(ArgumentRow(call, "y", key("v", number + 2), key("c", number - 1) if number else None))
            found.append(ArgumentRow(call, "y", key("v", number + 2), key("c", number + 2)))
        found.append(CallChildRow(b"P" * 20, number, call))
        if number % 4 == 0:
            found.append(CallChildRow(b"Q" * 20, number, call))
        if number % 1000 == 0:
            found.append(CallChildRow(call, 0, b"elsewhere".ljust(20)))
            found.append(ArgumentRow(b"elsewhere".ljust(20), str(number), key("v", number), None))
    return found


def shown(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    history = store.history()
    return {name: history.sql(f"FROM {name} ORDER BY ALL").fetchall() for name in schemas.layouts()}


def folded_in(store: Store) -> dict[str, int]:
    return dict(entry for segment in store.snapshot().segments() for entry in segment.folded)


def compacted(place: Path | str) -> Store:
    store = open_store(place)
    store.append(rows())
    store.compact()
    return store


@pytest.mark.parametrize("place", ["local", ":memory:"])  # DuckDB reads the files of one by itself, not of the other
def test_rows_that_are_folded_into_calls_are_shown_as_before(tmp_path: Path, place: str) -> None:
    store = open_store(place if place == ":memory:" else tmp_path / place)
    store.append(rows())
    store.commit()
    before = shown(store)
    assert len(before["arguments"]) == COUNT * 4 // 5 + 2 * COUNT // 3 + 3
    store.compact()
    folded = folded_in(store)
    assert folded == {"call_children": COUNT, "arguments": COUNT - COUNT // 5 + COUNT // 15}
    assert shown(store) == before
    commits = store.snapshot().commits
    for name in folded:
        assert sum(commit.rows(name) for commit in commits) == len(before[name])


def test_folded_rows_are_merged_with_later_ones(tmp_path: Path) -> None:
    store = compacted(tmp_path / "s")
    store.append(rows(range(COUNT, COUNT + 2500)))
    store.commit()
    before = shown(store)
    store.compact()
    [commit] = store.snapshot().commits
    assert dict(commit.segments[0].folded)["call_children"] == COUNT + 2500
    assert shown(store) == before


def test_folded_rows_are_found_by_their_calls(tmp_path: Path) -> None:
    history = compacted(tmp_path / "s").history()
    wanted = key("c", 9).hex()
    for name in ("c", "q"):  # a view, and what our own questions read
        table = "arguments" if name == "c" else "raw.arguments"
        call = "call_hash" if name == "c" else "lower(hex(call_hash))"
        assert history.sql(f"SELECT name FROM {table} WHERE {call} = '{wanted}' ORDER BY ALL").fetchall() == [
            ("x",), ("y",), ("y",)
        ]  # fmt: skip
    found = history.sql(f"SELECT call_hash FROM upstream_of('{wanted}') WHERE distance = 1 ORDER BY 1").fetchall()
    assert found == sorted([(key("c", 8).hex(),), (key("c", 11).hex(),)])


def test_folded_rows_are_copied_to_another_store(tmp_path: Path) -> None:
    store, other = compacted(tmp_path / "s"), open_store(tmp_path / "other")
    transfer(store, other)
    assert shown(other) == shown(store)
    assert folded_in(other) == folded_in(store)


def test_a_damaged_file_of_calls_is_found_by_a_question_about_folded_rows(tmp_path: Path) -> None:
    store = compacted(tmp_path / "s")
    before = shown(store)["arguments"]
    [damaged] = [segment for segment in store.snapshot().segments() if segment.table == "calls"]
    (tmp_path / "s" / damaged.path).write_bytes(b"x" * damaged.size)
    history = open_store(tmp_path / "s").history()
    with pytest.warns(StoreWarning, match=damaged.path):
        left = history.sql("FROM arguments ORDER BY ALL").fetchall()
    assert left == before  # those of the commit that was replaced
