"""Look-ups by key: in the files of indexes, in memory, and among the rows that wait for a commit."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rayflow.record_columns import Columns, Same
from rayflow.records import ForgottenRow, ReductionRow
from rayflow.store import layout
from rayflow.store.cache.keyed_rows import KeyedRows, Wanted
from rayflow.store.cache.keys import Keys
from rayflow.store.cache.reductions import Reductions
from rayflow.store.exchange.archive import writing
from rayflow.store.exchange.transfer import transfer
from rayflow.store.folders.local import LocalFolder
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.store.write import compaction, key_index, schemas
from rayflow.store.write.catalog import Catalog, StoreWarning
from rayflow.store.write.compaction import write_commit

TASK, OTHER = b"T" * 20, b"O" * 20
HOW = schemas.layouts()["reductions"]
COUNT = 2_500


@pytest.fixture(autouse=True)
def indexes_of_small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of few rows get indexes, too."""
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1)


def key(number: int) -> bytes:
    """Keys that are spread as hashes are."""
    return random.Random(number).randbytes(20)


def reduction(number: int, at: int = 1, task: bytes = TASK, kind: str = "single") -> ReductionRow:
    return ReductionRow(
        eval_hash=key(number),
        task_hash=task,
        kind=kind,
        term=b"term %d" % number,
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id="e",
        wall_seconds=0.5,
        at=at,
    )


def columns(numbers: Sequence[int], at: int | list[int], kind: str | None = "single") -> Columns:
    rows = [reduction(number) for number in numbers]
    kinds = Same(kind) if kind is not None else ["full" if place % 2 else "single" for place in range(len(rows))]
    return Columns.of(
        ReductionRow,
        len(rows),
        eval_hash=[row.eval_hash for row in rows],
        task_hash=Same(TASK),
        kind=kinds,
        term=[row.term for row in rows],
        term_blob=Same(None),
        task_set=Same(None),
        call_hash=Same(None),
        execution_id=Same("e"),
        wall_seconds=Same(0.5),
        at=Same(at) if isinstance(at, int) else at,
    )


def found(store: Store | Reductions, numbers: Sequence[int]) -> list[list[int]]:
    """The times of the reductions of these keys."""
    return [[row.at for row in rows] for rows in store.look_up([(key(number), TASK) for number in numbers])]


@pytest.fixture(autouse=True)
def sweeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction removes what it has replaced."""
    monkeypatch.setattr(compaction, "GRACE_SECONDS", -60)


def merged(place: Path) -> Store:
    """A store with its reductions in one segment."""
    store = open_store(place)
    store.append(reduction(number) for number in range(COUNT))
    store.commit()
    store.compact()
    return store


def keys_of(place: Path, memory_rows: int = 200_000) -> Keys:
    """What a process that opens the store now has of its keys."""
    folder = LocalFolder(str(place))
    catalog = Catalog(folder)
    catalog.refresh()
    keys = Keys(folder, catalog, memory_rows)
    keys.refresh()
    return keys


def of_keys(keys: Keys, numbers: Sequence[int]) -> list[int]:
    """How many rows each of these keys has."""
    return [len(keys.known(key(number))) for number in numbers]


def reductions_in(place: Path) -> tuple[LocalFolder, Catalog, Reductions]:
    """The cache of an empty store, and what it reads."""
    folder = LocalFolder(str(place))
    catalog = Catalog(folder)
    return folder, catalog, Reductions(folder, catalog, lambda blob: b"")


def files(place: Path, table: str = "reductions_by_key") -> list[Path]:
    return sorted((place / "segments" / table).glob("*"))


# --- the rows of a batch ----------------------------------------------------------------------------------------------

HASHES = some.integers(0, 30).map(key)
ROWS = some.builds(
    ReductionRow,
    eval_hash=HASHES, task_hash=some.sampled_from([TASK, OTHER]), kind=some.sampled_from(["single", "full"]),
    term=some.none() | some.binary(max_size=5), term_blob=some.none() | HASHES,
    task_set=some.none() | some.binary(max_size=40), call_hash=some.none() | HASHES,
    execution_id=some.text(max_size=3), wall_seconds=some.none() | some.floats(width=32, allow_nan=False),
    at=some.integers(0, 2**52), context=some.none() | some.text(max_size=3), since=some.none() | some.integers(0, 9),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(some.lists(ROWS, min_size=1, max_size=60), some.lists(HASHES), some.booleans(), some.integers(0, 3))
def test_a_batch_finds_the_rows_of_the_keys_and_no_others(
    rows: list[ReductionRow], asked: list[bytes], in_a_file: bool, cut: int
) -> None:
    rows = rows + rows[: len(rows) // 3]
    table = schemas.to_arrow(HOW, Columns.of_rows(rows))
    if in_a_file:
        content = key_index.encode(key_index.ordered(table))
        batches = [KeyedRows(batch, frozenset(), is_ordered=True) for batch in key_index.decode(content)]
    else:
        cut = min(cut, len(rows) - 1)
        rows = rows[cut:]
        batches = [KeyedRows(batch, frozenset()) for batch in table.slice(cut).to_batches()]
    # So many keys that those which a batch cannot have are sorted out first.
    for keys in (asked, asked + [key(1_000 + number) for number in range(300)]):
        answers: list[list[ReductionRow]] = [[] for _ in keys]
        for batch in batches:
            for place, row in zip(*batch.find(Wanted(keys)), strict=True):
                answers[place].append(row)
        expected = [sorted((row for row in rows if row.eval_hash == each), key=repr) for each in keys]
        assert [sorted(answer, key=repr) for answer in answers] == expected
    of_tasks = [row for batch in batches for row in batch.of_tasks(frozenset([TASK]))]
    assert sorted(of_tasks, key=repr) == sorted((row for row in rows if row.task_hash == TASK), key=repr)


@pytest.mark.parametrize("values", [100, 200, 40_000])
def test_values_that_repeat_are_codes_as_narrow_as_their_number_allows(values: int) -> None:
    rows = [reduction(number % 500)._replace(execution_id=str(number % values)) for number in range(4 * values)]
    [batch] = key_index.ordered(schemas.to_arrow(HOW, Columns.of_rows(rows)))
    width = {100: pa.int8(), 200: pa.int16(), 40_000: pa.int32()}[values]
    assert batch.schema.field("execution_id").type == pa.dictionary(width, pa.string())
    found = KeyedRows(batch, frozenset(), is_ordered=True).of_tasks(frozenset([TASK]))
    assert sorted(found, key=repr) == sorted(rows, key=repr)


def test_rows_whose_keys_are_no_hashes_get_no_index_and_are_found_in_memory(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(reduction(number)._replace(eval_hash=b"key %d" % number) for number in range(COUNT))
    store.commit()
    store.compact()
    assert not files(tmp_path)
    for asked in (store, Store(LocalFolder(str(tmp_path)), memory_rows=100)):
        assert [len(rows) for rows in asked.look_up([(b"key 7", TASK), (b"key", TASK)])] == [1, 0]


# --- files of indexes -------------------------------------------------------------------------------------------------


def test_a_look_up_in_an_index_reads_no_segment_and_holds_no_row(tmp_path: Path) -> None:
    merged(tmp_path)
    for segment in files(tmp_path, "reductions"):
        segment.write_bytes(bytes(segment.stat().st_size))
    store = open_store(tmp_path)
    assert found(store, [5, COUNT, 7]) == [[1], [], [1]]
    assert store.look_up([(key(5), OTHER)]) == [[]]
    keys = keys_of(tmp_path)
    assert of_keys(keys, [5, COUNT, 7]) == [1, 0, 1]
    assert (keys.in_memory, keys.batches) == (0, 1)


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_an_index_that_cannot_be_read_is_named_and_made_again(tmp_path: Path, fault: str) -> None:
    merged(tmp_path)
    [index] = files(tmp_path)
    if fault == "missing":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-1] + b"?")
    store = open_store(tmp_path)
    with pytest.warns(StoreWarning, match=f"{index.name} is {fault}"):
        assert found(store, [5, COUNT]) == [[1], []]
    [problem] = open_store(tmp_path).check()
    assert problem.path.endswith(index.name) and "makes this index again" in problem.text
    store.compact()
    again = open_store(tmp_path)
    assert found(again, [5, COUNT]) == [[1], []]
    assert again.check() == []
    assert len(files(tmp_path)) == 1 and keys_of(tmp_path).in_memory == 0


def test_a_store_of_a_version_without_indexes_is_answered_and_gets_them_when_it_is_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(compaction, "write_index", lambda *given: None)
        merged(tmp_path)
    assert not files(tmp_path)
    store = open_store(tmp_path)
    assert found(store, [5, COUNT]) == [[1], []]
    assert keys_of(tmp_path).in_memory == COUNT
    assert store.compact().merged == 1
    assert len(files(tmp_path)) == 1
    assert found(store, [5, COUNT]) == [[1], []]
    assert keys_of(tmp_path).in_memory == 0
    assert store.compact().merged == 0


def test_an_index_goes_when_its_segment_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1)
    store = merged(tmp_path)
    [first] = files(tmp_path)
    store.append([reduction(COUNT)])
    store.commit()
    store.compact()
    assert len(files(tmp_path)) == 2
    monkeypatch.setattr(compaction, "GRACE_SECONDS", -60)
    store.sweep()
    [second] = files(tmp_path)
    assert second != first
    second.rename(second.with_name(f"{1:016x}-{'0' * 10}.arrow"))
    assert sorted(problem.kind for problem in store.check()) == ["missing", "orphaned"]


def test_a_copied_store_has_indexes_and_an_exported_file_needs_none(tmp_path: Path) -> None:
    source = merged(tmp_path / "a")
    target = open_store(tmp_path / "b")
    transfer(source, target)
    target.refresh()
    assert found(target, [5, COUNT]) == [[1], []]
    assert len(files(tmp_path / "b")) == 1
    with writing(str(tmp_path / "c.zip")) as archive:
        transfer(source, archive)
        assert not [path for path in archive.folder.sizes("segments") if path.endswith(".arrow")]


# --- rows in memory ---------------------------------------------------------------------------------------------------


def test_no_more_rows_are_held_in_memory_than_is_allowed(tmp_path: Path) -> None:
    writer = open_store(tmp_path)
    folder = LocalFolder(str(tmp_path))
    catalog = Catalog(folder)
    keys = Keys(folder, catalog, memory_rows=100)
    for number in range(0, 1_000, 30):
        writer.append(reduction(each) for each in range(number, number + 30))
        writer.commit()
        catalog.refresh()
        keys.refresh()
        assert of_keys(keys, range(number + 40)) == [1] * (number + 30) + [0] * 10
        assert keys.in_memory <= 100
    assert keys.batches > 1
    assert of_keys(keys_of(tmp_path, 100), range(1_000)) == [1] * 1_000
    writer.compact()
    catalog.refresh()
    keys.refresh()
    assert of_keys(keys, range(1_000)) == [1] * 1_000
    assert (keys.in_memory, keys.batches) == (0, 1)


def test_few_batches_are_searched_however_many_commits_there_are(tmp_path: Path) -> None:
    writer = open_store(tmp_path)
    folder = LocalFolder(str(tmp_path))
    catalog = Catalog(folder)
    keys = Keys(folder, catalog)
    for number in range(120):
        writer.append([reduction(number)])
        writer.commit()
        catalog.refresh()
        keys.refresh()
        assert of_keys(keys, [number, number + 1]) == [1, 0]
    assert keys.batches <= 8 and keys.in_memory == 120
    assert of_keys(keys, range(120)) == [1] * 120


def test_rows_stay_in_memory_when_no_temporary_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    writer = open_store(tmp_path)
    writer.append(reduction(number) for number in range(300))
    writer.commit()
    assert found(Store(LocalFolder(str(tmp_path)), memory_rows=100), range(301)) == [[1]] * 300 + [[]]


# --- rows that wait for a commit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["single", None])
def test_the_rows_of_columns_are_found_before_and_after_their_commit(tmp_path: Path, kind: str | None) -> None:
    folder, catalog, reductions = reductions_in(tmp_path)
    now = time.time_ns() // 1000
    given = [columns(range(40), now, kind), columns(range(20, 60), now, "full")]
    # Some of them are recorded once more, and one is in its columns twice.
    given += [columns([3, 4], now - 5, kind), columns([62, 62, 63], [now - 2, now - 1, now], kind)]
    for each in given:
        assert reductions.add_columns(each, now) is each
    everything: list[Any] = [row for each in given for row in each.rows()]

    def check() -> None:
        questions = [(key(number), TASK) for number in range(65)]
        for (asked, _), rows in zip(questions, reductions.look_up(questions), strict=True):
            assert [row.at for row in rows] == sorted((row.at for row in rows), reverse=True)
            assert set(rows) == {row for row in everything if row.eval_hash == asked}
        times = reductions.times_of(eval_hash=None, task_hashes=[TASK])
        assert len(times) == len({(row.eval_hash, row.kind, row.at) for row in everything})
        assert len(reductions.times_of(eval_hash=key(3), task_hashes=[])) == sum(
            row.eval_hash == key(3) for row in set(everything)
        )

    check()
    table = schemas.to_arrow(HOW, Columns.of_rows(everything))
    commit = write_commit(folder, layout.IdMaker().make(), [{"reductions": table}])
    catalog.add(commit)
    reductions.committed(commit)
    check()


@pytest.mark.parametrize("is_committed", [False, True])
def test_rows_of_columns_are_later_than_what_a_clock_ahead_has_recorded(tmp_path: Path, is_committed: bool) -> None:
    folder, catalog, reductions = reductions_in(tmp_path)
    now = time.time_ns() // 1000
    ahead = now + 3_600_000_000
    recorded = reductions.add(reduction(1, at=ahead), now)
    if is_committed:
        table = schemas.to_arrow(HOW, Columns.of_rows([recorded]))
        commit = write_commit(folder, layout.IdMaker().make(), [{"reductions": table}])
        catalog.add(commit)
        reductions.committed(commit)
    assert found(reductions, [1]) == [[ahead]]
    later = reductions.add_columns(columns([0, 1], now), now)
    assert list(later.column("at")) == [now, ahead + 1]
    assert list(later.column("since")) == [None, now]
    assert found(reductions, [0, 1]) == [[now], [ahead + 1, ahead]]


def test_rows_of_columns_are_later_than_what_was_forgotten_in_the_future(tmp_path: Path) -> None:
    reductions = reductions_in(tmp_path)[2]
    now = time.time_ns() // 1000
    reductions.add_forgotten(ForgottenRow(key(1), None, now + 50))
    later = reductions.add_columns(columns([0, 1], now), now)
    assert list(later.column("at")) == [now, now + 51]
    assert found(reductions, [0, 1]) == [[now], [now + 51]]
