"""Files are merged and swept while others read: nobody misses a row, and nobody is told that something is damaged."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from small_stores import TASK, execution, filled, job, key, rows

from rayflow.records import ForgottenRow, HandleRow
from rayflow.store.exchange import garbage
from rayflow.store.exchange.garbage import collect
from rayflow.store.folders import local
from rayflow.store.folders.local import LocalFolder
from rayflow.store.history.history import History
from rayflow.store.open import Store, open_store
from rayflow.store.write import compaction
from rayflow.store.write.catalog import Catalog, StoreWarning

HANDLE = HandleRow(key(1), key(2), key(3), None, "handle", "flow.f", 1)


@pytest.fixture(params=["in commits", "in segments"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of several commits, some of them merged ones."""
    if request.param == "in segments":
        monkeypatch.setattr(compaction, "_SEGMENT_ROWS", 1)
    path = tmp_path / "store"
    made = filled(path, 3)
    made.append([HANDLE, ForgottenRow(key(3), None, 10)])
    made.commit()
    made.compact()
    for number in (4, 5):
        made.append(rows(made, f"e{number}", number))
        made.commit()
    return path


def replaced(path: Path) -> None:
    """As another process an hour later: all is merged, and what was replaced is swept."""
    other = open_store(path)
    other.compact()
    other._compactor.sweep(2**60)


def executions(history: History) -> int:
    return history.answer("SELECT count(DISTINCT execution_id) FROM raw.executions").fetchall()[0][0]


def asked_of_history(store: Store) -> tuple[Callable[[], Any], Any]:
    history = store.history()
    history.refresh()
    return lambda: executions(history), 5


def asked_of_a_listed_history(store: Store) -> tuple[Callable[[], Any], Any]:
    """All is listed, and nothing is read yet."""
    history = store.history()
    history._catalog.refresh()
    real, calls = history._catalog.refresh, []

    def refresh() -> Any:
        calls.append(1)
        return history._catalog.snapshot if len(calls) == 1 else real()

    history._catalog.refresh = refresh  # type: ignore[method-assign]
    return lambda: executions(history), 5


def asked_of_a_held_history(store: Store) -> tuple[Callable[[], Any], Any]:
    history = store.history()
    history.hold()
    return lambda: len(history.executions(limit=None)), 5


def asked_of_the_cache(store: Store) -> tuple[Callable[[], Any], Any]:
    store.refresh()
    questions = [(key(number), TASK) for number in range(1, 6)]
    return lambda: [len(found) for found in store.look_up(questions)], [2, 2, 0, 2, 2]


def asked_of_a_long_cache(store: Store) -> tuple[Callable[[], Any], Any]:
    """Too long to be loaded whole."""
    store._reductions._limit = 1
    return asked_of_the_cache(store)


def counted(store: Store) -> tuple[Callable[[], Any], Any]:
    store.refresh()
    return lambda: len(store._reductions.times_of(eval_hash=None, task_hashes=[TASK])), 8


def asked_of_handles(store: Store) -> tuple[Callable[[], Any], Any]:
    store.refresh()
    return lambda: store.is_current_state(key(2)), True


def taken_in(store: Store) -> tuple[Callable[[], Any], Any]:
    """What others recorded is listed, and read only then."""
    store._catalog.refresh()
    return lambda: (store._reductions.refresh(), store._reductions._forgotten)[1], {key(3): 10}


def merged(store: Store) -> tuple[Callable[[], Any], Any]:
    store.refresh()

    def merge() -> int:
        store._compactor._merge(store._catalog.snapshot.commits)
        return executions(store.history())

    return merge, 5


def checked(store: Store) -> tuple[Callable[[], Any], Any]:
    snapshot = store.snapshot()
    return lambda: [each for each in store._compactor.problems(snapshot) if each.kind != "orphaned"], []


READERS = [
    asked_of_history, asked_of_a_listed_history, asked_of_a_held_history, asked_of_the_cache, asked_of_a_long_cache,
    counted, asked_of_handles, taken_in, merged, checked,
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_what_is_replaced_between_listing_and_reading_is_read_from_what_stands_in_its_place(
    store: Path, reader: Callable[[Store], tuple[Callable[[], Any], Any]]
) -> None:
    opened = open_store(store)
    question, answer = reader(opened)
    replaced(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert question() == answer
    assert not [each for each in opened.snapshot().problems if each.kind != "orphaned"]


@pytest.mark.parametrize("reader", [asked_of_history, asked_of_the_cache])
def test_what_is_missing_and_was_not_replaced_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any
) -> None:
    monkeypatch.setattr(compaction, "_SEGMENT_ROWS", 1)
    made = filled(tmp_path, 5)
    made.compact()
    made._compactor.sweep(2**60)  # else what was merged is shown again
    opened = open_store(tmp_path)
    question, answer = reader(opened)
    for commit in opened.snapshot().commits:
        for file in (*commit.segments, *commit.indexes):
            if file.table in ("executions", "reductions"):
                (tmp_path / file.path).unlink()
    with pytest.warns(StoreWarning, match="is missing and is left out"):
        assert question() != answer


def test_a_file_that_goes_while_a_folder_is_listed_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(str(tmp_path))
    for name in "abcd":
        folder.write(f"blobs/{name}", [b"x"])
    real = os.scandir

    class Going:
        def __init__(self, path: str) -> None:
            self.entries = sorted(real(path), key=lambda entry: entry.name)

        def __enter__(self) -> Any:
            os.unlink(tmp_path / "blobs" / "b")
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(local.os, "scandir", Going)
    assert set(folder.sizes("blobs")) == {"blobs/a", "blobs/c", "blobs/d"}


# --- a collection while a run begins ----------------------------------------------------------------------------------


def now() -> int:
    return time.time_ns() // 1000


def begins(path: Path) -> None:
    """An execution of this moment is recorded by somebody else."""
    other = open_store(path)
    row = execution("new", 9, "running")._replace(started_at=now(), finished_at=None)
    others = rows(other, "new", 9)[2:]
    other.append([row, job("new", 9)._replace(queued_at=now(), finished_at=now()), *others])
    other.commit()


MOMENTS: dict[str, tuple[Any, str, int]] = {
    "before it asks who runs": (History, "executions", 1),
    "while it lists commits": (Catalog, "refresh", 1),
    "while it lists commits again": (Catalog, "refresh", 2),
    "before its first question": (History, "answer", 1),
    "before its second question": (History, "answer", 2),
    "before it looks for blobs": (LocalFolder, "ages", 1),
}
"""What a collection is about to do, for the so many-th time."""


@pytest.mark.parametrize("older_than", [False, True], ids=["plain", "forgetting"])
@pytest.mark.parametrize("moment", [*MOMENTS, "while it reads what belongs to whom"])
def test_an_execution_that_begins_during_a_collection_stays_whole(
    store: Path, monkeypatch: pytest.MonkeyPatch, moment: str, older_than: bool
) -> None:
    of, name, count = MOMENTS.get(moment, (History, "answer", 5 if older_than else 1))
    real, calls = getattr(of, name), []

    def then(self: Any, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            begins(store)
        return real(self, *given, **named)

    monkeypatch.setattr(of, name, then)
    collect(open_store(store), older_than=datetime.now(UTC) if older_than else None, grace_seconds=-1)
    monkeypatch.undo()
    assert len(calls) >= count
    opened = open_store(store)
    assert not [each for each in opened.check() if each.kind != "orphaned"]
    assert opened.dangling() == []
    history = opened.history()
    assert history.execution("new")["status"] == "running"
    assert [len(found) for found in opened.look_up([(key(9), TASK)])] == [2]
    assert executions(history) == (1 if older_than else 6)


def test_a_collection_goes_on_while_files_that_were_replaced_are_swept(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were listed: to see what they name."""
    open_store(store).compact()
    real, read = garbage.rows_in, []

    def rows_of(folder: Any, commit: Any) -> Any:
        if not read:
            open_store(store)._compactor.sweep(2**60)
            other = open_store(store)
            other.refresh()
            other._compactor.sweep(2**60)
        read.append(commit.id)
        return real(folder, commit)

    monkeypatch.setattr(garbage, "rows_in", rows_of)
    assert collect(open_store(store)).blobs == 0 and read
