"""What every store promises, whatever its folder is."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayflow.errors import BlobMissing, StoreUnavailable
from rayflow.records import CallRow, ForgottenRow, JobRow, ReductionRow, ValueRow
from rayflow.store.folders.layered import LayeredFolder
from rayflow.store.open import Store, open_store
from rayflow.values.encoding.encoding import decode, encode
from rayflow.values.refs import Encoded

_NUMBERS = itertools.count()

TASK = b"t" * 20
OTHER_TASK = b"o" * 20
EXECUTION = "0190-1"


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def reduction(
    number: int, *, task: bytes = TASK, at: int = 1, term: bytes | None = b"term", blob: bytes | None = None
) -> ReductionRow:
    return ReductionRow(
        eval_hash=key(number), task_hash=task, kind="single", term=term, term_blob=blob, task_set=None,
        call_hash=None, execution_id=EXECUTION, wall_seconds=0.5, at=at,
    )


def job(number: int, *, status: str = "done", finished_at: int | None = 9, execution: str = EXECUTION) -> JobRow:
    return JobRow(
        job_id=number.to_bytes(16, "big"), execution_id=execution, parent_job_id=None, task_name="flow.f",
        task_hash=TASK, eval_hash=key(number), call_hash=key(number), how="computed", status=status, attempts=1,
        queued_at=5, started_at=6, finished_at=finished_at, wall_seconds=0.25, cpu_seconds=0.125,
        peak_memory_bytes=1000, node="host", pid=7, error=None, traceback=None, story=None,
    )  # fmt: skip


def call(number: int, task: bytes, name: str = "flow.f") -> CallRow:
    return CallRow(
        call_hash=key(number), task_hash=task, task_name=name, args_hash=key(0), eval_hash=key(0), value_hash=key(0),
        task_set=key(0),
    )


def value(number: int) -> ValueRow:
    return ValueRow(
        value_hash=key(number), type="int", format="pickle5", size_bytes=3, inline=b"abc", preview=str(number),
    )


@pytest.fixture(params=["local", "memory-url", "memory", "layered", "s3", "gcs"])
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Store]]:
    """Opens one and the same store, each time as another process would: with what was committed, and nothing else."""
    opened: list[Store] = []
    if request.param in ("memory", "layered"):
        folder = open_store(":memory:").folder
        if request.param == "layered":
            folder = LayeredFolder(folder)
        yield lambda: Store(folder)
        return
    if request.param == "local":
        url = str(tmp_path / "store")
    elif request.param in ("s3", "gcs"):
        url = f"{request.getfixturevalue('bucket' if request.param == 's3' else 'gcs_bucket')}/store"
        monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / "cache"))
    else:
        url = f"memory://contract-{os.getpid()}-{next(_NUMBERS)}"

    def make() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield make


def test_what_is_committed_is_seen_by_whoever_opens_the_store(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.append([reduction(1), job(1), value(1)])
    store.commit()
    assert reopen().look_up([(key(1), TASK)]) == [[reduction(1)]]


def test_what_is_appended_and_not_committed_is_seen_by_nobody_else(reopen: Callable[[], Store]) -> None:
    reopen().append([reduction(1), job(1), value(1)])
    assert reopen().look_up([(key(1), TASK)]) == [[]]
    assert reopen().snapshot().commits == ()


def test_what_is_appended_is_seen_here_before_it_is_committed(reopen: Callable[[], Store]) -> None:
    store = reopen()
    assert store.look_up([(key(1), TASK)]) == [[]]
    store.append([reduction(1), reduction(2, task=OTHER_TASK)])
    assert store.look_up([(key(1), TASK), (key(2), OTHER_TASK)]) == [[reduction(1)], [reduction(2, task=OTHER_TASK)]]
    assert store.pending() == 2
    store.commit()
    assert store.pending() == 0
    assert store.look_up([(key(1), TASK), (key(2), OTHER_TASK)]) == [[reduction(1)], [reduction(2, task=OTHER_TASK)]]


@pytest.mark.slow
def test_answers_come_in_the_order_of_the_questions_and_newest_first(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.append([reduction(1, at=1), reduction(2, at=5), reduction(1, at=9), reduction(1, at=4)])
    store.commit()
    answers = reopen().look_up([(key(2), TASK), (key(3), TASK), (key(1), TASK), (key(1), OTHER_TASK)])
    assert [[row.at for row in rows] for rows in answers] == [[5], [], [9, 4, 1], []]


def test_a_refresh_shows_what_others_committed_since(reopen: Callable[[], Store]) -> None:
    reader, writer = reopen(), reopen()
    assert reader.look_up([(key(1), TASK)]) == [[]]
    writer.append([reduction(1)])
    writer.commit()
    reader.refresh()
    assert reader.look_up([(key(1), TASK)]) == [[reduction(1)]]


def test_a_commit_of_nothing_leaves_no_file(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.commit()
    assert store.snapshot().commits == ()


def test_a_term_in_a_blob_is_filled_in_and_a_missing_one_is_a_miss(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.put_blob(key(77), Encoded("term", b"a long term"))
    store.append([reduction(1, term=None, blob=key(77)), reduction(2, term=None, blob=key(78))])
    store.commit()
    with pytest.warns(UserWarning, match="missing"):
        first, second = reopen().look_up([(key(1), TASK), (key(2), TASK)])
    assert [row.term for row in first] == [b"a long term"]
    assert second == []


def test_a_blob_comes_back_as_it_was_put(reopen: Callable[[], Store]) -> None:
    store = reopen()
    thing = {"a": [1, 2.5, "x"], "b": b"y" * 500_000}
    assert not store.has_blob(key(5))
    store.put_blob(key(5), encode(thing))
    store.put_blob(key(5), encode(thing))
    assert store.has_blob(key(5))
    assert decode(reopen().get_blob(key(5))) == thing


def test_a_blob_that_is_not_there_says_so(reopen: Callable[[], Store]) -> None:
    with pytest.raises(BlobMissing, match=key(6).hex()):
        reopen().get_blob(key(6))


def test_forgotten_reductions_are_left_out_and_younger_ones_are_not(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.append([reduction(1, at=10), reduction(1, at=30), reduction(2, at=10), reduction(3, task=OTHER_TASK, at=10)])
    store.commit()
    assert store.forget(eval_hash=key(1), at=20) == 2  # one is of a clock that runs ahead
    store.append([reduction(1, at=31)])
    store.commit()
    questions = [(key(1), TASK), (key(2), TASK), (key(3), OTHER_TASK)]
    for asked in (store, reopen()):
        assert [[row.at for row in rows] for rows in asked.look_up(questions)] == [[31], [10], [10]]
    assert store.forget(task_hash=TASK, at=40) == 2
    assert store.forget(task_hash=TASK, at=40) == 0
    assert [len(rows) for rows in reopen().look_up(questions)] == [0, 0, 1]


def test_a_task_is_forgotten_by_name_in_all_its_versions(reopen: Callable[[], Store]) -> None:
    store = reopen()
    for number, task in enumerate((TASK, OTHER_TASK)):
        store.append([reduction(number, task=task), call(number, task)])
    store.append([reduction(9, task=b"z" * 20), call(9, b"z" * 20, name="flow.g")])
    store.commit()
    assert store.forget(task_name="flow.f", at=50) == 2
    found = reopen().look_up([(key(0), TASK), (key(1), OTHER_TASK), (key(9), b"z" * 20)])
    assert [len(rows) for rows in found] == [0, 0, 1]


def test_a_row_appended_twice_is_counted_once_and_the_closing_row_of_a_job_wins(reopen: Callable[[], Store]) -> None:
    for status, finished in (("open", None), ("done", 9), ("open", None)):
        store = reopen()
        store.append([job(1, status=status, finished_at=finished), value(1), value(1), job(2)])
        store.commit()
    history = reopen().history()
    assert history.sql("SELECT status, count(*) FROM jobs GROUP BY ALL ORDER BY ALL").fetchall() == [("done", 2)]
    assert history.sql("SELECT count(*) FROM values").fetchall() == [(1,)]


def test_jobs_that_nobody_has_closed_are_found_as_they_were_recorded(reopen: Callable[[], Store]) -> None:
    store = reopen()
    left = job(1, status="open", finished_at=None)
    store.append([left, job(2, status="open", finished_at=None), job(3), job(4, status="open", execution="0190-2")])
    store.commit()
    store.append([job(2), left])
    found = store.open_jobs(EXECUTION)
    assert [row[: len(left)] for row in found] == [left]
    store.append([found[0]._replace(status="cancelled", finished_at=9)])
    assert store.open_jobs(EXECUTION) == []


@pytest.mark.slow
def test_compaction_changes_nothing_that_can_be_seen(reopen: Callable[[], Store]) -> None:
    for number in range(20):
        store = reopen()
        store.append([job(number), job(number + 1), value(number % 3), reduction(number), reduction(number, at=5)])
        store.commit()
    questions = [(key(number), TASK) for number in range(21)]
    query = "SELECT * FROM jobs ORDER BY job_id"
    before = reopen().look_up(questions), reopen().history().sql(query).fetchall()
    reader = reopen()
    reader.refresh()
    result = reopen().compact()
    assert result.merged >= 16
    assert len(reopen().snapshot().commits) < 5
    for asked in (reader, reopen()):
        assert asked.look_up(questions) == before[0]
        asked.refresh()
        assert asked.look_up(questions) == before[0]
        assert asked.history().sql(query).fetchall() == before[1]
    assert reopen().check() == []


@pytest.mark.slow
def test_a_commit_is_due_after_an_interval_or_many_jobs(reopen: Callable[[], Store]) -> None:
    store = reopen()
    now = time.time_ns() // 1000
    assert not store.due(now)
    store.append([job(1)])
    assert not store.due(now)
    assert store.due(now + 5_000_000)
    store.commit()
    assert not store.due(now + 10_000_000)
    store.append(job(number) for number in range(5_000))
    assert store.due(now)


def test_rows_that_must_not_wait_make_a_commit_due_at_once(reopen: Callable[[], Store]) -> None:
    store = reopen()
    now = time.time_ns() // 1000
    store.append([value(1)])
    assert not store.due(now)
    store.append([job(1)], at_once=True)
    assert store.due(now)
    store.commit()
    assert reopen().history().sql("SELECT count(*) FROM jobs, values").fetchall() == [(1,)]
    store.append([], at_once=True)
    assert not store.due(now)
    store.append([job(2)])
    assert not store.due(now)


def test_forget_takes_exactly_one_key(reopen: Callable[[], Store]) -> None:
    with pytest.raises(ValueError, match="one of"):
        reopen().forget(at=1)


def test_a_forgotten_row_that_is_appended_counts_at_once(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.append([reduction(1, at=3), ForgottenRow(key(1), None, 3)])
    assert store.look_up([(key(1), TASK)]) == [[]]


def test_a_closed_store_has_kept_what_was_waiting(reopen: Callable[[], Store]) -> None:
    store = reopen()
    store.append([reduction(1)])
    store.close()
    assert reopen().look_up([(key(1), TASK)]) == [[reduction(1)]]


def test_a_read_only_store_refuses_to_write(tmp_path: Path) -> None:
    open_store(tmp_path / "store").close()
    store = open_store(tmp_path / "store", read_only=True)
    store.append([reduction(1)])
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.commit()
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.put_blob(key(1), Encoded("term", b"x"))
