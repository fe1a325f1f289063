"""The commits of a lease are many and small: they are merged beside, then removed, and no reader loses a row."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import FaultyDisk, Killed, use_disk

from rayflow.errors import LeaseLost
from rayflow.records import EventRow, ForgottenRow, ReductionRow
from rayflow.store import layout
from rayflow.store.cache import reductions
from rayflow.store.lease import SERVICE, Lease
from rayflow.store.open import open_store
from rayflow.store.small_commits import GRACE_SECONDS
from rayflow.store.write import compaction, segments


class Kept:
    """A store that commits by a lease, tidied by hand."""

    def __init__(self, url: Path) -> None:
        self.store = open_store(url)
        self.lease = Lease(self.store.folder, "test")
        self.lease.take()
        self.store.commit_by(self.lease, tidies=False)

    def commit(self, *names: str) -> None:
        for name in names:
            self.store.keep([event(name)])

    def files(self) -> set[str]:
        return set(self.store.folder.names(layout.COMMITS))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "store")
    yield made
    made.store.close()
    made.lease.close()


def event(name: str) -> EventRow:
    return EventRow(event_id=name, number=1, at=1, name=name, key=None, data=b"data", data_hash=None)


def reduction(name: str, at: int = 1) -> ReductionRow:
    return ReductionRow(name.encode() * 20, b"t" * 20, "single", b"term", None, None, None, "e", 0.5, at)


def cached(kept: Kept, *names: str) -> list[int]:
    """How many reductions each of these has."""
    return [len(found) for found in kept.store.look_up([(name.encode() * 20, b"t" * 20) for name in names])]


def names_in(url: Any) -> list[str]:
    store = open_store(url, read_only=True)
    counted = store.history().records("SELECT event_id, count(*) AS n FROM raw.events GROUP BY ALL ORDER BY 1")
    assert all(row["n"] == 1 for row in counted), counted
    return [row["event_id"] for row in counted]


def test_small_commits_become_one_and_their_files_stay_for_readers_until_the_grace_is_over(kept: Kept) -> None:
    kept.commit(*"abcdef")
    before = kept.files()
    kept.store.tidy(now=0.0)
    [merged] = kept.files() - before
    assert [commit.id for commit in open_store(kept.store.url).snapshot().commits] == [merged]
    assert names_in(kept.store.url) == [*"abcdef"]
    kept.commit("g")
    kept.store.tidy(now=GRACE_SECONDS - 1)
    assert kept.files() > before
    kept.store.tidy(now=GRACE_SECONDS)
    assert kept.files().isdisjoint(before) and len(kept.files()) == 2
    assert names_in(kept.store.url) == [*"abcdefg"]


def test_the_file_of_the_last_commit_stays_so_that_a_successor_knows_where_the_series_ends(kept: Kept) -> None:
    kept.commit(*"abcd")
    last = max(name for name in kept.files() if layout.series_of(name))
    for now in (0.0, GRACE_SECONDS, 3 * GRACE_SECONDS):
        kept.store.tidy(now=now)
    assert {name for name in kept.files() if layout.series_of(name)} == {last}
    kept.commit("e")
    kept.store.tidy(now=4 * GRACE_SECONDS)
    assert last not in kept.files()
    assert names_in(kept.store.url) == [*"abcde"]


def test_a_sweep_by_another_process_leaves_the_end_of_a_series_and_the_fence(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "GRACE_SECONDS", -1.0)  # everything that was replaced is swept
    kept.commit(*"abcd")
    in_series = sorted(kept.files())
    other = open_store(kept.store.url)
    other.compact()
    other.sweep()
    assert {name for name in kept.files() if layout.series_of(name)} == {in_series[-1]}

    # Even when its heartbeat is lost with the machine, the successor finds the end, and the fence stays.
    other.folder.remove(layout.heartbeat_path(kept.lease.series))
    successor = Lease(other.folder, "successor", seconds=0.1)
    record = Path(other.url, layout.lease_path(SERVICE, 1))
    record.write_text(record.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))  # as if it had ended
    successor.take()
    other.compact()
    other.sweep()
    with pytest.raises(LeaseLost):
        kept.commit("late")
    assert names_in(kept.store.url) == [*"abcd"]
    successor.close()


def test_many_merged_commits_are_merged_in_turn(kept: Kept) -> None:
    for round_ in range(30):
        kept.commit(*[f"{round_:02}-{number}" for number in range(5)])
        kept.store.tidy(now=float(round_))
    assert len(kept.store.snapshot().commits) <= 10
    kept.store.tidy(now=30 + GRACE_SECONDS)
    assert len(kept.files()) <= 12
    assert len(names_in(kept.store.url)) == 150


def test_the_header_of_a_merged_commit_does_not_grow_with_the_commits_that_it_replaces(kept: Kept) -> None:
    kept.commit(*[f"{number:03}" for number in range(300)])
    kept.store.tidy(now=0.0)
    [merged] = kept.store.snapshot().commits
    assert len(merged.replaces) == 300
    assert len(merged.replaces[0]) * 300 > 8000 > merged.body
    assert layout.unpacked_ids(layout.packed_ids(merged.replaces)) == merged.replaces


def test_ids_are_packed_and_unpacked_whatever_they_are() -> None:
    series, other = layout.new_series(), layout.new_series()
    ids = [layout.id_in_series(series, 7, number) for number in (0, 1, 2, 5, 6, 9)]
    ids += [layout.id_in_series(other, 8, number) for number in range(4)]
    maker = layout.IdMaker()
    ids += [maker.make(), maker.make()]
    packed = layout.packed_ids(reversed(ids))
    assert len(packed) == 3 + 1 + 2
    assert layout.unpacked_ids(packed) == tuple(sorted(ids))
    assert layout.unpacked_ids([]) == ()


def test_rows_stay_when_a_merge_is_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(1, 60):
        kept = Kept(tmp_path / f"store-{step}")
        kept.commit(*"abcdef")
        with monkeypatch.context() as patch:
            use_disk(patch, FaultyDisk(step, None))
            try:
                kept.store.tidy(now=0.0)
                kept.store.tidy(now=GRACE_SECONDS)
                ended = True
            except Killed:
                ended = False
        assert names_in(kept.store.url) == [*"abcdef"], step
        if ended:
            break
    else:
        raise AssertionError("the merge never came to its end")
    assert step > 10


def test_what_another_process_has_merged_is_not_merged_again(kept: Kept) -> None:
    kept.commit(*"abcd")
    open_store(kept.store.url).compact()
    kept.store.refresh()
    kept.commit("e")
    kept.store.tidy(now=0.0)
    assert names_in(kept.store.url) == [*"abcde"]
    assert len(kept.store.snapshot().commits) == 2


def test_a_merge_that_a_full_disk_stopped_is_done_later(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.commit(*"abcde")
    with monkeypatch.context() as patch:
        use_disk(patch, FaultyDisk(2, errno.ENOSPC))
        kept.store.tidy(now=0.0)
    assert len(kept.store.snapshot().commits) == 5
    kept.store.tidy(now=1.0)
    assert len(kept.store.snapshot().commits) == 1
    assert names_in(kept.store.url) == [*"abcde"]


def test_a_reduction_of_a_small_commit_is_found_without_reading_the_commit_back(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_read(*_: Any) -> Any:
        raise AssertionError("a commit was read back")

    assert cached(kept, "a") == [0]
    with monkeypatch.context() as patched:
        patched.setattr(segments, "read_intact", not_read)
        for name in "abc":
            kept.store.keep([reduction(name), event(name)])
            assert cached(kept, name) == [1]
        assert cached(kept, *"abcd") == [1, 1, 1, 0]
        kept.store.keep([ForgottenRow(b"a" * 20, None, 2)])
        assert cached(kept, *"abc") == [0, 1, 1]
    assert kept.store.forget(at=5, task_hash=b"t" * 20) == 2
    assert cached(kept, *"abc") == [0, 0, 0]


@pytest.mark.parametrize("most_held", [0, 1, 2, 1000])
def test_reductions_are_found_once_before_and_after_their_small_commits_are_merged(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, most_held: int
) -> None:
    monkeypatch.setattr(reductions, "MOST_HELD", most_held)
    for number, name in enumerate("abcdef"):
        kept.store.keep([reduction(name)])
        assert cached(kept, *"abcdef") == [1] * (number + 1) + [0] * (5 - number)
        if name in "be":
            kept.store.tidy(now=float(number))
            assert cached(kept, *"abcdef") == [1] * (number + 1) + [0] * (5 - number)
    kept.store.keep([reduction("a", at=5)])
    assert cached(kept, *"ab") == [2, 1]
    kept.store.tidy(now=10.0)
    assert cached(kept, *"abcdef") == [2, 1, 1, 1, 1, 1]
