"""The final values that call nodes tell: in the files of indexes, in memory, and after what the store has forgotten."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rayflow.lang.terms.codec import dumps
from rayflow.record_columns import Columns
from rayflow.records import ArgumentRow, CallRow, ReductionRow, TaskSetRow
from rayflow.store import layout
from rayflow.store.folders.local import LocalFolder
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.store.write import compaction, schemas
from rayflow.store.write.catalog import StoreWarning
from rayflow.store.write.key_index import TOLD_VALUES, ordered
from rayflow.values.digests import digest
from rayflow.values.refs import Encoded

TASK, BELOW = digest("task"), digest("below")
MEMBERS = sorted([TASK, BELOW])
SET = digest("task_set", *MEMBERS)
COUNT = 2_500


@pytest.fixture(autouse=True)
def sweeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction removes what it has replaced, and makes indexes of few rows."""
    monkeypatch.setattr(compaction, "GRACE_SECONDS", -60)
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1)


def key(number: int) -> bytes:
    return digest("key", b"%d" % number)


def call(number: int, at: int | None = 5, since: int | None = None, node: int | None = None) -> CallRow:
    """A call node. node: its number, if that is not the number of its call."""
    return CallRow(
        call_hash=digest("call", key(number if node is None else node)), task_hash=TASK, task_name="flow.f",
        args_hash=key(number), eval_hash=key(number), value_hash=key(number), task_set=SET,
        term=None if at is None else dumps(number if node is None else node), at=at, since=since,
    )  # fmt: skip


SETS = [TaskSetRow(SET, member) for member in MEMBERS]


def told(store: Store, *numbers: int, task: bytes = TASK) -> list[list[ReductionRow]]:
    return store.told_values([(key(number), task) for number in numbers])


def made(place: Path, *rows: CallRow | TaskSetRow) -> Store:
    store = open_store(place)
    store.append([*SETS, *rows])
    store.commit()
    return store


def index_of_calls(place: Path) -> list[Path]:
    return sorted((place / "segments" / "calls_by_key").glob("*"))


def test_a_told_value_is_a_shallow_reduction_with_all_tasks_below(tmp_path: Path) -> None:
    store = made(tmp_path, call(1, at=9, since=7), call(2, at=None))
    [[row], untold, unknown] = told(store, 1, 2, 3)
    assert row == ReductionRow(
        eval_hash=key(1), task_hash=TASK, kind="full", term=dumps(1), term_blob=None, task_set=b"".join(MEMBERS),
        call_hash=call(1).call_hash, execution_id="", wall_seconds=None, at=9, since=7,
    )  # fmt: skip
    assert untold == unknown == []
    assert told(store, 1, task=BELOW) == [[]]


def test_the_latest_of_several_values_comes_first_and_each_node_once(tmp_path: Path) -> None:
    store = made(tmp_path, call(1, at=5, node=10), call(1, at=7, node=11))
    store.append([call(1, at=9, node=10)])
    store.commit()
    for _ in range(2):
        assert [row.at for row in told(store, 1)[0]] == [9, 7]
        store.compact()
        store = open_store(tmp_path)


def test_a_node_that_is_recorded_again_without_its_value_keeps_it(tmp_path: Path) -> None:
    made(tmp_path, call(1))
    store = made(tmp_path, call(1, at=None))
    store.compact()
    assert [row.at for row in told(open_store(tmp_path), 1)[0]] == [5]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_values_of_many_calls_are_found_among_those_that_tell_none(tmp_path: Path, compacted: bool) -> None:
    store = made(tmp_path, *(call(number, at=5 if number % 5 == 0 else None) for number in range(COUNT)))
    if compacted:
        store.compact()
    for each in (store, open_store(tmp_path), Store(LocalFolder(str(tmp_path)), memory_rows=10)):
        assert [len(rows) for rows in told(each, *range(1_000))] == [1, 0, 0, 0, 0] * 200
    assert len(index_of_calls(tmp_path)) == compacted


def test_an_index_has_the_calls_that_tell_their_value_alone() -> None:
    rows = [call(number, at=5 if number % 5 == 0 else None) for number in range(100)]
    [batch] = ordered(schemas.to_arrow(schemas.layouts()["calls"], Columns.of_rows(rows)), TOLD_VALUES)
    assert batch.num_rows == 20 and "args_hash" not in batch.schema.names


def test_a_store_whose_calls_tell_nothing_is_merged_once(tmp_path: Path) -> None:
    store = made(tmp_path, *(call(number, at=None) for number in range(COUNT)))
    assert store.compact().written == 1
    assert index_of_calls(tmp_path) == []
    assert store.compact().written == 0
    assert told(store, 1) == told(open_store(tmp_path), 1) == [[]]


def test_an_index_of_calls_needs_so_many_that_tell_their_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "INDEXED_ROWS", COUNT // 5 + 1)
    store = made(tmp_path, *(call(number, at=5 if number % 5 == 0 else None) for number in range(COUNT)))
    for count in (0, 1):
        assert store.compact().written == 1 and store.compact().written == 0
        assert len(index_of_calls(tmp_path)) == count
        assert [len(rows) for rows in told(open_store(tmp_path), 5, 6)] == [1, 0]
        store.append([call(COUNT)])
        store.commit()


def test_a_node_keeps_its_value_and_its_folded_argument_when_it_is_recorded_again_without(tmp_path: Path) -> None:
    for at in (None, 5, None):
        store = open_store(tmp_path)
        calls = [call(number, at=at) for number in range(COUNT)]
        store.append([*SETS, *calls, *(ArgumentRow(each.call_hash, "x", each.value_hash, None) for each in calls)])
        store.compact()
    [segment] = [each for each in store.snapshot().segments() if each.table == "calls"]
    assert (segment.rows, segment.rows_of("arguments")) == (COUNT, COUNT)
    counts = "SELECT count(*), count(term) FROM calls JOIN arguments USING (call_hash)"
    assert store.history().sql(counts).fetchall() == [(COUNT, COUNT)]
    assert [row.at for row in told(open_store(tmp_path), 1)[0]] == [5]


def test_a_value_that_comes_after_its_node_is_recorded_although_vectors_have_had_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(SETS, [Columns.of_rows([call(1, at=None)])])
    store.append([call(1)])
    store.append([], [Columns.of_rows([call(1, at=None)])])
    store.commit()
    assert [row.at for row in told(store, 1)[0]] == [5]


def test_a_damaged_index_is_not_believed_and_its_segment_is_read(tmp_path: Path) -> None:
    made(tmp_path, *(call(number) for number in range(COUNT))).compact()
    [index] = index_of_calls(tmp_path)
    index.write_bytes(index.read_bytes()[:-9] + b"\0" * 9)
    with pytest.warns(StoreWarning, match=index.name):
        assert [len(rows) for rows in told(open_store(tmp_path), 1, 2)] == [1, 1]


def test_a_set_of_tasks_that_is_not_whole_answers_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append([call(1), SETS[0]])
    store.commit()
    assert told(store, 1) == [[]]
    store.append([SETS[1]])
    store.commit()
    assert len(told(store, 1)[0]) == 1
    store.append([TaskSetRow(SET, digest("another"))])
    store.commit()
    assert told(store, 1) == [[]]


def test_a_large_value_is_read_from_its_blob_and_without_the_blob_there_is_no_answer(tmp_path: Path) -> None:
    packed = dumps(list(range(10_000)))
    name = digest("term", packed)
    store = made(tmp_path, call(1)._replace(term=None, term_blob=name))
    with pytest.warns(StoreWarning, match="missing"):
        assert told(store, 1) == [[]]
    store.put_blob(name, Encoded("bytes", b"", (packed,)))
    assert told(store, 1)[0][0].term == packed
    assert name in store.history().named_blobs()


@pytest.mark.parametrize("forgotten", [key(1), key(99), TASK, BELOW])
def test_nothing_older_than_the_last_forgetting_is_told(tmp_path: Path, forgotten: bytes) -> None:
    store = made(tmp_path, call(1, at=90, since=50), call(2, at=90, since=51), call(3, at=50), call(4, at=51))
    store.forget(at=50, eval_hash=forgotten)
    # One of them is from a clock that is ahead of the one that forgets: so all of them may be older.
    assert told(store, 1, 2, 3, 4) == [[], [], [], []]
    store.append([call(5, at=95, since=91), call(6, at=95, since=90)])
    store.commit()
    for each in (store, open_store(tmp_path)):
        assert [len(rows) for rows in told(each, 5, 6)] == [1, 0]


def test_a_value_from_a_clock_that_runs_ahead_is_forgotten_too(tmp_path: Path) -> None:
    now = time.time_ns() // 1000
    store = made(tmp_path, call(1, at=now + 3_600_000_000))
    store.forget(at=now, eval_hash=key(1))
    assert told(store, 1) == told(open_store(tmp_path), 1) == [[]]


def test_values_that_wait_for_a_commit_are_not_told_and_those_of_others_are_after_a_refresh(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    assert told(other, 1) == [[]]
    store.append([*SETS, call(1)])
    assert told(store, 1) == [[]]
    store.commit()
    assert len(told(store, 1)[0]) == 1
    assert told(other, 1) == [[]]
    other.refresh()
    assert len(told(other, 1)[0]) == 1


def test_the_files_are_named_after_their_table() -> None:
    assert layout.index_path("calls", "x").startswith("segments/calls_by_key/")
