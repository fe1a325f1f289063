"""Stores exchange what they have recorded: whole or by execution, again and again, through kills and damage."""

from __future__ import annotations

import itertools
import os
import shutil
import warnings
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, Killed, use_disk
from small_stores import SET, TASK, contents, execution, filled, is_whole, job, key, put

from rayflow.errors import StoreUnavailable
from rayflow.lang.terms.codec import dumps
from rayflow.records import (
    TABLES,
    ArgumentRow,
    CallChildRow,
    CallRow,
    ValueRow,
)
from rayflow.store import layout
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import Store, open_store
from rayflow.store.write.catalog import StoreWarning

_NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory-url", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where another store is to be."""
    if request.param == "local":
        return str(tmp_path / "other")
    if request.param == "memory-url":
        return f"memory://transfer-{os.getpid()}-{next(_NUMBERS)}"
    monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / "cache"))
    return f"{request.getfixturevalue('bucket')}/store"


@pytest.mark.slow
def test_a_whole_store_is_copied_there_and_back(url: str, tmp_path: Path) -> None:
    source = filled(tmp_path / "s")
    done = transfer(source, open_store(url))
    assert (done.executions, done.blobs, done.missing) == (3, 15, 0)
    other = open_store(url)
    assert contents(other) == contents(source)
    assert is_whole(other)
    assert other.check() == [] and other.dangling() == []
    back = open_store(tmp_path / "back")
    assert transfer(other, back).blobs == 15
    assert contents(back) == contents(source)
    assert is_whole(back)


def test_copying_again_copies_only_what_is_new(url: str, tmp_path: Path) -> None:
    source = filled(tmp_path / "s")
    transfer(source, open_store(url))
    again = transfer(source, open_store(url))
    assert (again.rows, again.blobs, again.commits) == ({}, 0, 0)
    filled(tmp_path / "s", 1, start=7)
    more = transfer(open_store(tmp_path / "s"), open_store(url))
    assert (more.executions, more.rows["jobs"], more.blobs) == (1, 1, 5)
    assert contents(open_store(url)) == contents(source)


@pytest.mark.slow
def test_it_does_not_matter_how_either_side_has_merged_its_files(url: str, tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s", 12), open_store(url)
    transfer(source, other)
    other.compact()
    assert transfer(source, open_store(url)).rows == {}
    other._compactor.sweep(2**60)
    assert transfer(source, open_store(url)).rows == {}
    source.compact()
    assert transfer(source, open_store(url)).rows == {}
    assert transfer(open_store(url), source).rows == {}


def test_one_execution_comes_with_all_that_it_refers_to_and_nothing_else(url: str, tmp_path: Path) -> None:
    source = filled(tmp_path / "s")
    done = transfer(source, open_store(url), ["e2"])
    assert (done.executions, done.blobs, done.commits) == (1, 5, 1)
    other = open_store(url)
    found = contents(other)
    assert [row[0] for row in found["executions"]] == ["e2"]
    assert {name: len(rows) for name, rows in found.items() if rows} == {
        "executions": 1, "jobs": 1, "calls": 1, "task_sets": 1, "arguments": 1, "reductions": 2, "values": 1,
        "tasks": 1, "tags": 1, "logs": 1,
    }  # fmt: skip
    assert is_whole(other)
    assert other.check() == [] and other.dangling() == []
    assert len(other.look_up([(key(2), TASK)])[0]) == 2
    assert transfer(source, open_store(url), ["e2", "e3"]).executions == 1


def test_calls_come_along_that_a_cached_call_made_in_another_execution(tmp_path: Path) -> None:
    source = open_store(tmp_path / "s")
    depth = 10_000
    source.append(
        CallRow(
            call_hash=key(n),
            task_hash=TASK,
            task_name="flow.f",
            args_hash=key(n),
            eval_hash=key(n),
            value_hash=key(n),
            task_set=SET,
        )
        for n in range(depth)
    )
    source.append(CallChildRow(key(n), 0, key(n + 1)) for n in range(depth - 1))
    source.append(
        ValueRow(
            value_hash=key(n),
            type="int",
            format="term",
            size_bytes=3,
            inline=dumps(n),
            preview=str(n),
        )
        for n in range(depth)
    )
    source.append([execution("old", 1), job("old", 5)._replace(job_id=b"o" * 16), execution("new", 2), job("new", 0)])
    # What a call below came from was made by yet another call.
    source.append([ArgumentRow(key(depth - 1), "x", key(1), key(depth + 1))])
    source.append(
        [
            CallRow(
                call_hash=key(depth + 1),
                task_hash=TASK,
                task_name="flow.g",
                args_hash=key(1),
                eval_hash=key(1),
                value_hash=key(depth + 1),
                task_set=SET,
            )
        ]
    )
    source.commit()
    other = open_store(tmp_path / "other")
    done = transfer(source, other, ["new"])
    assert done.rows["calls"] == depth + 1
    assert done.rows["jobs"] == 1
    assert other.dangling() == []


def test_what_was_forgotten_does_not_come_with_an_execution_and_spares_what_is_there(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s", 2), filled(tmp_path / "other", 1, start=5)
    source.forget(at=10**15, task_hash=TASK)
    transfer(source, other, ["e1"])
    other.refresh()
    assert other.look_up([(key(1), TASK)]) == [[]]
    assert len(other.look_up([(key(5), TASK)])[0]) == 2
    transfer(source, other)
    assert open_store(tmp_path / "other").look_up([(key(1), TASK), (key(5), TASK)]) == [[], []]


def test_a_closing_row_follows_its_opening_row_and_not_the_other_way_round(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "one"), open_store(tmp_path / "other")
    one.append([job("e1", 1, status="open", finished_at=None)])
    one.commit()
    assert transfer(one, other).rows == {"jobs": 1}
    one.append([job("e1", 1)])
    one.commit()
    assert transfer(one, other).rows == {"jobs": 1}
    other.compact()
    assert transfer(one, open_store(tmp_path / "other")).rows == {}
    assert open_store(tmp_path / "other").history().sql("SELECT status FROM jobs").fetchall() == [("done",)]


def test_a_dry_run_counts_and_writes_nothing(url: str, tmp_path: Path) -> None:
    source = filled(tmp_path / "s")
    counted = transfer(source, None, dry_run=True)
    other = open_store(url)
    assert transfer(source, other, dry_run=True) == counted
    assert other.snapshot().commits == () and other.folder.sizes(layout.BLOBS) == {}
    assert transfer(source, other) == counted


@pytest.mark.slow
def test_a_kill_at_any_point_of_a_copy_leaves_whole_rows_and_the_next_copy_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = filled(tmp_path / "s", 1)
    whole = contents(source)

    def copy(step: int) -> FaultyDisk:
        disk = FaultyDisk(step, None)
        path = tmp_path / str(step)
        use_disk(monkeypatch, os)
        other = open_store(path)
        use_disk(monkeypatch, disk)
        try:
            transfer(source, other)
        finally:
            use_disk(monkeypatch, os)
        return disk

    steps = copy(-1).count
    assert steps > 40
    saved = 0
    for step in range(1, steps + 1):
        with pytest.raises(Killed):
            copy(step)
        path = tmp_path / str(step)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other = open_store(path)
            assert is_whole(other)
            assert {problem.kind for problem in other.check()} <= {"orphaned"}
            seen = contents(other)
            assert seen in (whole, {table.name: [] for table in TABLES})
            done = transfer(source, other)
        saved += done.present
        assert done.blobs + done.present in (0, 5)
        assert contents(other) == whole and is_whole(other)
        shutil.rmtree(path)
    assert saved > steps


def test_two_copies_at_a_time_and_writers_on_both_sides_lose_nothing_and_show_nothing_twice(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s", 4), filled(tmp_path / "other", 1, start=9)
    late = iter([lambda: transfer(source, open_store(tmp_path / "other")), lambda: filled(tmp_path / "s", 1, start=6)])

    def report(done: int, total: int, size: int) -> None:
        next(late, lambda: filled(tmp_path / "other", 1, start=20 + next(_NUMBERS)))()

    transfer(source, other, report=report)
    transfer(source, other)
    found = contents(open_store(tmp_path / "other"))
    names = [row[0] for row in found["executions"]]
    assert len(names) == len(set(names)) and {"e1", "e2", "e3", "e4", "e6", "e9"} <= set(names)
    assert is_whole(open_store(tmp_path / "other"))


def test_a_damaged_blob_is_not_handed_on_and_a_damaged_segment_stops_the_copy(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s"), open_store(tmp_path / "other")
    damaged = tmp_path / "s" / layout.blob_path(key(2))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (tmp_path / "s" / layout.blob_path(key(1))).unlink()
    done = transfer(source, other)
    assert (done.missing, done.blobs) == (2, 13)
    assert not other.has_blob(key(1)) and not other.has_blob(key(2))

    source.append(
        ValueRow(
            value_hash=key(n),
            type="int",
            format="term",
            size_bytes=3,
            inline=b"v",
            preview=str(n),
        )
        for n in range(10_000, 13_000)
    )
    source.compact()
    (segment,) = (tmp_path / "s" / "segments" / "values").iterdir()
    content = segment.read_bytes()
    segment.write_bytes(content[:50] + bytes(len(content) - 100) + content[-50:])
    with pytest.raises(StoreUnavailable, match="store check"):
        transfer(open_store(tmp_path / "s"), open_store(tmp_path / "third"))


def test_a_blob_that_was_cut_short_there_is_replaced(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s"), open_store(tmp_path / "other")
    half = tmp_path / "other" / layout.blob_path(key(1))
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    transfer(source, other)
    assert other.get_blob(key(1)) == source.get_blob(key(1))


def test_a_blob_that_lay_there_for_long_counts_as_new_when_rows_come_to_name_it(url: str, tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s", 1), open_store(url)
    put(other, 1)
    aged(other, layout.blob_path(key(1)))
    done = transfer(source, other)
    assert done.missing == 0
    assert (other.folder.age_seconds(layout.blob_path(key(1))) or 0) < 1000


def aged(store: Store, path: str) -> None:
    """Let a blob look as if it had been written two days ago, as far as that can be done."""
    if not store.folder.remote:
        os.utime(f"{store.url}/{path}", (os.path.getmtime(f"{store.url}/{path}") - 200_000,) * 2)


def test_a_damaged_commit_is_named_and_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "s", 5)
    commits = sorted((tmp_path / "s" / "commits").iterdir())
    commits[2].write_bytes(commits[2].read_bytes()[:-5])
    with pytest.warns(StoreWarning, match=commits[2].name):
        done = transfer(open_store(tmp_path / "s"), open_store(tmp_path / "other"))
    assert done.executions == 4
