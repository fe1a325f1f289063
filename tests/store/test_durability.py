"""A store survives its writers: every crash point, full disks, torn and damaged files, racing compactions."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty_disk import FaultyDisk, Killed, use_disk

from rayflow.errors import BadConfig, BlobDamaged, NotFound, StoreUnavailable, VersionMismatch
from rayflow.records import JobRow, ReductionRow, ValueRow
from rayflow.store import layout
from rayflow.store.folders import local
from rayflow.store.folders.local import LocalFolder
from rayflow.store.open import Store, open_store
from rayflow.store.write.catalog import StoreWarning
from rayflow.store.write.compaction import GRACE_SECONDS
from rayflow.values.filesystems import atomic_writes, fsync
from rayflow.values.refs import Encoded

TASK = b"t" * 20
HOUR = (GRACE_SECONDS + 1) * 1_000_000


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def rows(number: int) -> list[Any]:
    return [
        ValueRow(
            value_hash=key(number), type="int", format="pickle5", size_bytes=3, inline=None, preview=str(number),
        ),
        JobRow(
            job_id=number.to_bytes(16, "big"), execution_id="e1", parent_job_id=None, task_name="flow.f",
            task_hash=TASK, eval_hash=key(number), call_hash=key(number), how="computed", status="done", attempts=1,
            queued_at=5, started_at=6, finished_at=7, wall_seconds=0.25, cpu_seconds=0.125, peak_memory_bytes=1000,
            node="host", pid=7, error=None, traceback=None, story=None,
        ),
        ReductionRow(
            eval_hash=key(number), task_hash=TASK, kind="single", term=None, term_blob=key(number), task_set=None,
            call_hash=None, execution_id="e1", wall_seconds=0.5, at=number,
        ),
    ]  # fmt: skip


def write_all(store: Store, committed: list[int]) -> None:
    """A little life: blobs, commits, a compaction. `committed` says what was acknowledged."""
    for number in range(3):
        store.put_blob(key(number), Encoded("term", b"x" * number))
        store.append(rows(number))
        store.commit()
        committed.append(number)
    store.compact()
    store._compactor.sweep(2**60)
    store.put_blob(key(99), Encoded("term", b"last"))
    store.append(rows(99))
    store.commit()
    committed.append(99)


def assert_whole(path: Path, committed: list[int]) -> None:
    """Each acknowledged row once, no row without its blob, nothing damaged, and the store goes on."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = open_store(path)
        history = store.history()
        seen = [int(text) for (text,) in history.sql("SELECT preview FROM values").fetchall()]
        jobs = history.sql("SELECT count(*), count(DISTINCT job_id) FROM jobs").fetchall()
        history.close()
        answers = store.look_up([(key(number), TASK) for number in seen])
    assert len(seen) == len(set(seen))
    assert set(committed) <= set(seen)
    assert jobs == [(len(seen), len(seen))]
    assert all(len(found) == 1 and found[0].term is not None for found in answers)
    assert {problem.kind for problem in store.check()} <= {"orphaned"}
    store.append(rows(500))
    store.put_blob(key(500), Encoded("term", b"more"))
    store.commit()
    assert len(open_store(path).look_up([(key(500), TASK)])[0]) == 1


def total_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    disk = FaultyDisk(-1, None)
    use_disk(monkeypatch, disk)
    write_all(open_store(path), [])
    return disk.count


@pytest.mark.slow
def test_a_kill_at_any_point_loses_nothing_that_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = total_steps(tmp_path / "whole", monkeypatch)
    assert steps > 60
    for step in range(1, steps + 1):
        path = tmp_path / str(step)
        committed: list[int] = []
        use_disk(monkeypatch, FaultyDisk(step, None))
        with pytest.raises(Killed):
            write_all(open_store(path), committed)
        use_disk(monkeypatch, os)
        assert_whole(path, committed)
        shutil.rmtree(path)


@pytest.mark.slow
def test_a_full_disk_at_any_point_is_told_and_the_rows_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = total_steps(tmp_path / "whole", monkeypatch)
    for step in range(1, steps + 1, 3):
        path = tmp_path / str(step)
        use_disk(monkeypatch, os)
        store = open_store(path)
        use_disk(monkeypatch, FaultyDisk(step, errno.ENOSPC))
        told = 0
        messages: list[str] = []
        waiting: list[int] = []
        for number in range(4):
            for _ in range(2):
                try:
                    store.put_blob(key(number), Encoded("term", b"x" * number))
                    break
                except StoreUnavailable:
                    told += 1
            store.append(rows(number))
            try:
                store.commit()
            except StoreUnavailable as error:
                told += 1
                messages.append(str(error))
                waiting.append(store.pending())
        store.commit()
        assert store.pending() == 0
        assert told <= 1
        assert all(str(path) in message and "full" in message for message in messages)
        assert all(waiting)
        use_disk(monkeypatch, os)
        assert_whole(path, list(range(4)))
        shutil.rmtree(path)


def filled(path: Path, count: int = 20) -> Store:
    store = open_store(path)
    for number in range(count):
        store.put_blob(key(number), Encoded("term", b"x"))
        store.append(rows(number))
        store.commit()
    return store


def big(path: Path, count: int = 2_500) -> Store:
    store = open_store(path)
    store.put_blob(key(0), Encoded("term", b"x"))
    for number in range(count):
        value, job, reduction = rows(number)
        store.append([value._replace(inline=b"v"), job, reduction._replace(term_blob=key(0))])
    store.commit()
    store.compact()
    return store


def previews(path: Path) -> int:
    (count,) = open_store(path).history().sql("SELECT count(*) FROM values").fetchall()[0]
    return int(count)


@pytest.mark.parametrize("keep", [0, 1, 7, 40, 0.5, 0.99, -1])
def test_a_torn_commit_is_named_and_the_rest_stays_readable(tmp_path: Path, keep: float) -> None:
    filled(tmp_path / "s", 5)
    commits = sorted((tmp_path / "s" / "commits").iterdir())
    content = commits[2].read_bytes()
    length = int(len(content) * keep) if 0 < keep < 1 else int(keep) % len(content) if keep >= 0 else len(content) - 1
    commits[2].write_bytes(content[:length])
    with pytest.warns(StoreWarning, match=commits[2].name):
        assert previews(tmp_path / "s") == 4
    with pytest.warns(StoreWarning):
        assert [problem.path for problem in open_store(tmp_path / "s").check()] == [f"commits/{commits[2].name}"]


def test_a_changed_byte_in_a_commit_is_found(tmp_path: Path) -> None:
    filled(tmp_path / "s", 3)
    commit = min((tmp_path / "s" / "commits").iterdir())
    content = bytearray(commit.read_bytes())
    content[len(content) // 2] ^= 1
    commit.write_bytes(content)
    with pytest.warns(StoreWarning, match="checksum"):
        assert previews(tmp_path / "s") == 2


@pytest.mark.parametrize("is_swept", [False, True])
def test_a_damaged_segment_is_named_and_the_rest_stays_readable(tmp_path: Path, is_swept: bool) -> None:
    store = big(tmp_path / "s")
    if is_swept:
        store._compactor.sweep(2**60)
    (segment,) = (tmp_path / "s" / "segments" / "values").iterdir()
    content = segment.read_bytes()
    segment.write_bytes(content[:50] + bytes(len(content) - 100) + content[-50:])
    history = open_store(tmp_path / "s").history()
    with pytest.warns(StoreWarning, match="values"):
        # What the compaction replaced is shown in its place, for as long as it is there.
        found = history.sql("SELECT count(DISTINCT preview) FROM values").fetchall()
    assert found == [(0 if is_swept else 2_500,)]
    assert history.sql("SELECT count(*) FROM jobs").fetchall() == [(2_500,)]
    with pytest.warns(StoreWarning, match="values"):
        assert [problem.kind for problem in open_store(tmp_path / "s").check()] == ["damaged"]


@pytest.mark.parametrize("cut", [True, False])
def test_what_a_broken_compaction_replaced_is_shown_again(tmp_path: Path, cut: bool) -> None:
    big(tmp_path / "s")
    for segment in (tmp_path / "s" / "segments" / "reductions").iterdir():
        if cut:
            segment.write_bytes(segment.read_bytes()[:-10])
        else:
            segment.unlink()
    with pytest.warns(StoreWarning, match="reductions"):
        found = open_store(tmp_path / "s").look_up([(key(7), TASK)])
    assert [row.at for row in found[0]] == [7]
    with pytest.warns(StoreWarning):
        assert previews(tmp_path / "s") == 2_500


def test_a_damaged_blob_is_an_error_with_its_path(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 2)
    blob = tmp_path / "s" / layout.blob_path(key(1))
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(BlobDamaged, match=key(1).hex()):
        store.get_blob(key(1))
    with pytest.warns(StoreWarning, match="damaged"):
        assert [len(found) for found in store.look_up([(key(0), TASK), (key(1), TASK)])] == [1, 0]
    assert any(problem.path == layout.blob_path(key(1)) for problem in store.check())


def test_a_blob_that_was_cut_short_is_mended_by_the_next_put(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 1)
    blob = tmp_path / "s" / layout.blob_path(key(0))
    blob.write_bytes(blob.read_bytes()[:5])
    store.put_blob(key(0), Encoded("term", b"x"))
    assert store.get_blob(key(0)).header == b"x"


def test_a_blob_that_a_record_names_and_that_is_not_there_is_found(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 3)
    (tmp_path / "s" / layout.blob_path(key(1))).unlink()
    assert [(problem.kind, problem.path) for problem in store.check()] == [("missing", layout.blob_path(key(1)))]


def test_a_container_kept_by_its_reduction_alone_is_not_missing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append(
        [
            ValueRow(
                value_hash=key(1),
                type="list",
                format="term",
                size_bytes=100_000,
                inline=None,
                preview="[...]",
            )
        ]
    )
    store.commit()
    assert store.check() == []


def test_compactions_that_race_lose_nothing_and_show_nothing_twice(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    first, second = open_store(tmp_path / "s"), open_store(tmp_path / "s")
    first.refresh()
    second.refresh()
    assert first._compactor.compact().merged == 20
    assert second._compactor.compact().merged == 20
    assert len(open_store(tmp_path / "s").snapshot().commits) == 2
    assert previews(tmp_path / "s") == 20
    assert [len(found) for found in open_store(tmp_path / "s").look_up([(key(n), TASK) for n in range(20)])] == [1] * 20
    open_store(tmp_path / "s").compact()
    assert len(open_store(tmp_path / "s").snapshot().commits) == 1
    assert previews(tmp_path / "s") == 20


def test_replaced_files_stay_for_an_hour_and_a_reader_keeps_its_snapshot(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    reader = open_store(tmp_path / "s")
    reader.refresh()
    store.compact()
    now = layout.id_time(store.snapshot().commits[-1].id)
    assert store._compactor.sweep(now + HOUR // 2) == 0
    assert len(list((tmp_path / "s" / "commits").iterdir())) == 21
    assert all(len(found) == 1 for found in reader.look_up([(key(number), TASK) for number in range(20)]))
    assert store._compactor.sweep(now + HOUR) == 20
    assert len(list((tmp_path / "s" / "commits").iterdir())) == 1
    assert previews(tmp_path / "s") == 20
    assert store.check() == []


def test_sweeping_in_any_order_of_compactions_never_brings_old_commits_back(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 4)
    for number in range(4, 8):
        store.compact()
        store.append(rows(number))
        store.put_blob(key(number), Encoded("term", b"x"))
        store.commit()
    store.compact()
    last = store.snapshot().commits[-1]
    assert len(store.snapshot().commits) == 1
    assert len(last.replaces) == len(list((tmp_path / "s" / "commits").iterdir())) - 1
    store._compactor.sweep(layout.id_time(last.id) + HOUR)
    assert [path.name for path in (tmp_path / "s" / "commits").iterdir()] == [last.id]


def test_what_a_crashed_compaction_left_is_an_orphan_and_is_swept(tmp_path: Path) -> None:
    store = big(tmp_path / "s")
    stray = tmp_path / "s" / layout.segment_path("values", f"{1:016x}-{'0' * 10}")
    stray.write_bytes(b"half")
    (tmp_path / "s" / "tmp" / "leftover").write_bytes(b"")
    assert [problem.kind for problem in store.check()] == ["orphaned", "orphaned"]
    assert previews(tmp_path / "s") == 2_500
    os.utime(tmp_path / "s" / "tmp" / "leftover", (1, 1))
    store._compactor.sweep(layout.id_time(store.snapshot().commits[-1].id) + HOUR)
    assert store.check() == []


def test_two_writers_may_interleave_as_they_like(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "s"), open_store(tmp_path / "s")
    for number in range(0, 30, 2):
        for store, mine in ((one, number), (other, number + 1)):
            store.put_blob(key(mine), Encoded("term", b"x"))
            store.append(rows(mine))
            if mine % 3:
                store.commit()
            if mine % 11 == 0:
                store.compact()
    one.close()
    other.close()
    assert previews(tmp_path / "s") == 30
    one.refresh()
    assert all(len(found) == 1 for found in one.look_up([(key(number), TASK) for number in range(30)]))


def test_a_writer_that_goes_on_for_long_keeps_the_number_of_commits_small(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 130)
    assert len(open_store(tmp_path / "s").snapshot().commits) < 10
    assert all(len(found) == 1 for found in store.look_up([(key(number), TASK) for number in range(130)]))


def test_a_newer_layout_is_refused_with_both_versions(tmp_path: Path) -> None:
    filled(tmp_path / "s", 1)
    (tmp_path / "s" / "format").write_text('{"version": 99}')
    with pytest.raises(VersionMismatch, match=f"99.*up to {layout.LAYOUT_VERSION}"):
        open_store(tmp_path / "s")
    (tmp_path / "s" / "format").write_text("garbage")
    with pytest.raises(VersionMismatch, match="restore"):
        open_store(tmp_path / "s")


def test_a_folder_with_something_else_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadConfig, match=r"thesis\.tex"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_that_is_not_there_is_made_only_when_asked(tmp_path: Path) -> None:
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(NotFound, match="no store"):
            open_store(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()
    open_store(tmp_path / "s")
    assert (tmp_path / "s" / ".gitignore").read_text() == "*\n"
    open_store(f"file://{tmp_path}/s", create=False)


def test_a_place_that_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfig, match="/file is a file: a store is a folder"):
        open_store(tmp_path / "file" / "s")


def test_ids_of_one_writer_grow_even_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "time", SimpleNamespace(time_ns=iter([5_000, 3_000, 3_000, 9_000]).__next__))
    ids = layout.IdMaker()
    made = [ids.make(), ids.make(), ids.make(), ids.make(after=f"{50:016x}-{'f' * 10}")]
    assert made == sorted(made)
    assert layout.id_time(made[-1]) == 51


def test_the_name_of_every_directory_is_synced_before_a_file_in_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those above the store too, where they are made for it; by the next process once more, in case."""
    synced: list[str] = []
    for module in (local, atomic_writes):
        monkeypatch.setattr(module, "sync", lambda path: (synced.append(path), fsync.sync(path)))
    root = tmp_path / "far" / "new" / "store"
    folder = LocalFolder(str(root))
    folder.write("segments/jobs/one", [b"x"])
    above = {str(tmp_path / name) for name in ("far/new", "far", ".")}
    inside = {str(root / name) for name in (".", "segments", "segments/jobs")}
    assert set(synced) == {str(Path(path)) for path in above | inside}
    synced.clear()
    folder.write("segments/jobs/two", [b"x"])
    assert synced == [str(root / "segments" / "jobs")]
    synced.clear()
    LocalFolder(str(root)).write("segments/jobs/three", [b"x"])
    assert set(synced) == {str(Path(path)) for path in inside}


def test_a_folder_may_be_named_relative_to_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = LocalFolder("far/store")
    folder.write("segments/one", [b"x"])
    monkeypatch.chdir("/")
    assert bytes(folder.read("segments/one")) == b"x" and (tmp_path / "far" / "store" / "segments" / "one").exists()
