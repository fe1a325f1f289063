"""What nothing refers to is removed, and nothing else, whoever reads and writes meanwhile."""

from __future__ import annotations

import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import FaultyDisk, Killed, use_disk
from small_stores import TASK, contents, execution, filled, is_whole, job, key, put, rows

from rayflow.errors import BlobDamaged
from rayflow.records import ExecutionRow, JobRow, ReductionRow
from rayflow.store import layout
from rayflow.store.exchange import garbage
from rayflow.store.exchange.garbage import Collected, collect
from rayflow.store.open import Store, open_store

_NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory-url", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a store is to be."""
    if request.param == "local":
        return str(tmp_path / "s")
    if request.param == "memory-url":
        return f"memory://garbage-{os.getpid()}-{next(_NUMBERS)}"
    monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / "cache"))
    return f"{request.getfixturevalue('bucket')}/store"


def now() -> int:
    return time.time_ns() // 1000


def recent(store: Store, name: str, number: int, status: str = "done") -> None:
    """An execution of this moment."""
    row = execution(name, number, status)._replace(started_at=now() - 1_000_000, finished_at=now())
    done = job(name, number)._replace(queued_at=now(), finished_at=now())
    others = [each for each in rows(store, name, number) if not isinstance(each, ExecutionRow | JobRow)]
    store.append([row, done, *others])
    store.commit()


def grown_old(store: Store) -> None:
    """Let an hour pass since every compaction."""
    store._compactor.sweep(2**60)


@pytest.mark.slow
def test_blobs_that_no_row_names_are_removed_and_all_others_stay(url: str) -> None:
    store = filled(url)
    for number in (51, 52):
        put(store, number)
    before = contents(store)
    counted = collect(store, dry_run=True, grace_seconds=-1)
    assert (counted.blobs, counted.young) == (2, 0) and store.has_blob(key(51))
    assert collect(open_store(url), grace_seconds=-1) == counted
    assert not store.has_blob(key(51)) and not store.has_blob(key(52))
    assert contents(open_store(url)) == before and is_whole(open_store(url))
    assert collect(store, grace_seconds=-1) == Collected(0, 0, 0, 0, 0)


def test_young_blobs_stay_for_a_day(url: str) -> None:
    store = filled(url, 1)
    put(store, 51)
    assert (collect(store).blobs, collect(store).young) == (0, 1)
    assert store.has_blob(key(51))


def test_what_an_execution_has_written_that_still_runs_stays_unless_it_is_over(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    recent(store, "e1", 1, "running")
    put(store, 51)
    assert collect(store, grace_seconds=-1).young == 1
    assert collect(store, grace_seconds=-1, is_over=lambda row: row["execution_id"] == "e1").blobs == 1


def test_a_blob_that_is_put_again_counts_as_new(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 1)
    put(store, 51)
    path = tmp_path / "s" / layout.blob_path(key(51))
    os.utime(path, (1, 1))
    assert collect(store, dry_run=True).blobs == 1
    put(store, 51)
    assert collect(store).blobs == 0 and path.exists()


def test_a_blob_that_rows_come_to_name_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path / "s", 1)
    put(store, 2)
    real = garbage._Named.read
    turns = itertools.count()

    def read(self: Any) -> None:
        if next(turns) == 1:
            filled(tmp_path / "s", 1, start=2)
        real(self)

    monkeypatch.setattr(garbage._Named, "read", read)
    assert collect(store, grace_seconds=-1).blobs == 0
    assert is_whole(open_store(tmp_path / "s"))


@pytest.mark.slow
def test_old_executions_are_forgotten_and_what_only_they_needed_goes_when_readers_are_done(url: str) -> None:
    store = filled(url)
    recent(store, "new", 9)
    month = datetime.now(UTC) - timedelta(days=30)
    assert collect(store, older_than=month, dry_run=True).forgotten == 3
    assert len(contents(store)["executions"]) == 4
    first = collect(store, older_than=month, grace_seconds=-1)
    assert (first.forgotten, first.blobs) == (3, 0)
    left = open_store(url)
    assert [row[0] for row in contents(left)["executions"]] == ["new"]
    assert left.look_up([(key(1), TASK)]) == [[]] and len(left.look_up([(key(9), TASK)])[0]) == 2
    assert left.has_blob(key(1)) and left.dangling() == []
    grown_old(left)
    second = collect(open_store(url), older_than=month, grace_seconds=-1)
    assert (second.forgotten, second.blobs) == (0, 15)
    assert not left.has_blob(key(1)) and is_whole(open_store(url))
    assert left.check() == []


def test_what_a_younger_execution_has_used_is_not_forgotten(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    row = execution("new", 9)._replace(started_at=now(), finished_at=now())
    cached = job("new", 2)._replace(job_id=b"n" * 16, how="cached", queued_at=now(), finished_at=now())
    store.append([row, cached])
    store.forget(at=1, eval_hash=key(3))
    assert collect(store, older_than=datetime.now(UTC) - timedelta(days=1), grace_seconds=-1).forgotten == 3
    left = open_store(tmp_path / "s")
    assert len(left.look_up([(key(2), TASK)])[0]) == 2
    assert len(contents(left)["forgotten"]) == 1
    grown_old(left)
    collect(left, grace_seconds=-1)
    assert is_whole(open_store(tmp_path / "s"))


def test_executions_whose_results_came_after_those_of_a_clock_that_was_ahead_are_forgotten(tmp_path: Path) -> None:
    """Such results count as of the future, and say beside that when they were computed."""
    store = filled(tmp_path / "s")
    ahead = now() + 400 * 86_400_000_000
    last = ReductionRow(
        eval_hash=key(1),
        task_hash=TASK,
        kind="single",
        term=b"term",
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id="old",
        wall_seconds=0.5,
        at=ahead,
        since=7,
    )
    store.append([execution("old", 7), last])
    store.commit()
    assert collect(store, older_than=datetime.now(UTC) - timedelta(days=30), dry_run=True).forgotten == 4


def test_an_execution_that_runs_is_not_forgotten(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    recent(store, "e1", 1, "running")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert collect(store, older_than=tomorrow).forgotten == 0
    assert collect(store, older_than=tomorrow, is_over=lambda row: True).forgotten == 1


def test_a_damaged_store_keeps_its_blobs_and_its_executions(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    put(store, 51)
    commit = min((tmp_path / "s" / "commits").iterdir())
    commit.write_bytes(commit.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=commit.name):
        result = collect(open_store(tmp_path / "s"), grace_seconds=-1)
    assert result.blobs == 0 and commit.name in str(result.unread)
    with pytest.warns(UserWarning, match=commit.name), pytest.raises(BlobDamaged, match="store check"):
        collect(open_store(tmp_path / "s"), older_than=datetime.now(UTC))


@pytest.mark.slow
def test_a_kill_at_any_point_leaves_a_whole_store_and_the_next_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scene(step: int) -> tuple[FaultyDisk, Path]:
        use_disk(monkeypatch, os)
        path = tmp_path / str(step)
        store = filled(path, 2)
        recent(store, "new", 9)
        put(store, 51)
        disk = FaultyDisk(step, None)
        use_disk(monkeypatch, disk)
        try:
            collect(store, older_than=datetime.now(UTC) - timedelta(days=1), grace_seconds=-1)
        except Killed:
            pass
        use_disk(monkeypatch, os)
        return disk, path

    steps = scene(0)[0].count
    assert steps > 5
    for step in range(1, steps + 1):
        _, path = scene(step)
        store = open_store(path)
        assert is_whole(store)
        assert {row[0] for row in contents(store)["executions"]} >= {"new"}
        assert {problem.kind for problem in store.check()} <= {"orphaned"}
        collect(store, older_than=datetime.now(UTC) - timedelta(days=1), grace_seconds=-1)
        assert [row[0] for row in contents(open_store(path))["executions"]] == ["new"]
        assert is_whole(open_store(path)) and not store.has_blob(key(51))
