"""Clocks that differ, and that jump: what is forgotten is forgotten, what comes later counts as later."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from evaluations import Flow
from projects import Project
from small_stores import TASK, key

from rayflow.errors import StoreUnavailable
from rayflow.records import ForgottenRow, ReductionRow
from rayflow.runtime.protocol import requests
from rayflow.runtime.protocol.requests import new_execution_id
from rayflow.store import layout
from rayflow.store.folders.local import LocalFolder
from rayflow.store.history.answer_types import Why
from rayflow.store.open import Store, open_store

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets this machine's clock ahead by so many microseconds."""
    real = time.time_ns
    ahead = [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead[0] * 1000)
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
    monkeypatch.setattr(requests, "_latest", 0)

    def put(microseconds: int) -> None:
        ahead[0] = microseconds

    return put


def now() -> int:
    return time.time_ns() // 1000


def reduction(term: bytes, number: int = 1, execution: str = "e") -> ReductionRow:
    return ReductionRow(
        eval_hash=key(number),
        task_hash=TASK,
        kind="single",
        term=term,
        term_blob=None,
        task_set=None,
        call_hash=None,
        execution_id=execution,
        wall_seconds=0.5,
        at=now(),
    )


def terms(store: Store, number: int = 1) -> list[bytes | None]:
    store.refresh()
    return [row.term for row in store.look_up([(key(number), TASK)])[0]]


def record(path: Path, term: bytes, *, looks: bool = True) -> Store:
    """As another process: a store is opened, perhaps asked, and a result is recorded."""
    store = open_store(path)
    store.refresh()
    if looks:
        store.look_up([(key(1), TASK)])
    store.append([reduction(term)])
    store.commit()
    return store


AHEAD = [-DAY, 0, 2 * SECOND, HOUR, 400 * DAY]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("what", ["eval_hash", "task_hash"])
def test_what_a_clock_that_runs_ahead_has_recorded_is_forgotten_and_what_comes_later_counts(
    tmp_path: Path, clock: Callable[[int], None], ahead: int, what: str
) -> None:
    clock(ahead)
    record(tmp_path, b"old")
    clock(0)
    store = open_store(tmp_path)
    assert terms(store) == [b"old"]
    given = {what: key(1) if what == "eval_hash" else TASK}
    assert store.forget(at=now(), **given) == 1
    assert terms(store) == terms(open_store(tmp_path)) == []
    assert store.forget(at=now(), **given) == 0
    for asked in (store, open_store(tmp_path)):
        asked.refresh()
        asked.append([reduction(b"new")])
        asked.commit()
        assert terms(asked)[0] == b"new" and b"old" not in terms(asked)
    assert terms(open_store(tmp_path))[0] == b"new"
    open_store(tmp_path).compact()
    assert set(terms(open_store(tmp_path))) == {b"new"}


@pytest.mark.parametrize("ahead", [2 * SECOND, HOUR, 400 * DAY])
def test_what_is_computed_after_a_forget_whose_time_lies_ahead_counts(
    tmp_path: Path, clock: Callable[[int], None], ahead: int
) -> None:
    record(tmp_path, b"old")
    clock(ahead)
    store = open_store(tmp_path)
    assert store.forget(at=now(), eval_hash=key(1)) == 1
    clock(0)
    assert terms(open_store(tmp_path)) == []
    before = now()
    record(tmp_path, b"new")
    (row,) = open_store(tmp_path).look_up([(key(1), TASK)])[0]
    assert row.term == b"new" and row.at > now() and row.since is not None and before <= row.since <= now()
    clock(2 * ahead)
    assert terms(open_store(tmp_path)) == [b"new"]


def test_a_forgotten_row_of_the_future_that_was_there_already_hides_nothing_later(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append([reduction(b"old"), ForgottenRow(TASK, "flow.f", now() + DAY)])
    store.commit()
    assert terms(open_store(tmp_path)) == []
    record(tmp_path, b"new")
    assert terms(open_store(tmp_path)) == [b"new"]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("looks", [True, False], ids=["asked before", "not asked"])
def test_a_result_that_is_computed_later_is_the_newer_one(
    tmp_path: Path, clock: Callable[[int], None], ahead: int, looks: bool
) -> None:
    clock(ahead)
    record(tmp_path, b"first")
    clock(0)
    record(tmp_path, b"second", looks=looks)
    record(tmp_path, b"third", looks=looks)
    assert terms(open_store(tmp_path)) == [b"third", b"second", b"first"]
    open_store(tmp_path).compact()
    assert terms(open_store(tmp_path)) == [b"third", b"second", b"first"]


def test_without_clocks_that_run_ahead_times_are_recorded_as_they_are(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rows = [reduction(b"a"), reduction(b"b", 2)._replace(at=5)]
    store.append(rows)
    store.forget(at=now(), eval_hash=key(1))
    store.append([reduction(b"c")])
    store.commit()
    found = [row for rows in open_store(tmp_path).look_up([(key(1), TASK), (key(2), TASK)]) for row in rows]
    assert [(row.term, row.since) for row in found] == [(b"c", None), (b"b", None)] and found[1].at == 5


@pytest.mark.parametrize(
    ("age", "is_cached"),
    [(0, True), (3000, True), (3700, False), (-30, True), (-90, False), (-3000, False), (-86400 * 400, False)],
)
def test_a_result_counts_only_for_as_long_as_it_is_told_whatever_clock_recorded_it(
    project: Project, clock: Callable[[int], None], age: int, is_cached: bool
) -> None:
    flow = Flow(project)
    flow.write("""
    from rayflow import task

    @task(cache_for="1h")
    def main():
        with open("ran", "a") as stream:
            stream.write("x")
    """)
    ran = project.path / "ran"
    clock(DAY * 500)
    flow.call("main")
    clock(DAY * 500 + age * SECOND)
    flow.call("main")
    assert ran.read_text() == ("x" if is_cached else "xx")
    flow.call("main")  # what was computed now counts for the next run
    assert ran.read_text() == ("x" if is_cached else "xx")


def test_ids_of_one_process_never_go_back(clock: Callable[[int], None]) -> None:
    ids, maker = [], layout.IdMaker()
    commits = []
    for ahead in (0, DAY, -DAY, HOUR, 0):
        clock(ahead)
        ids.append(new_execution_id()[:13])
        commits.append(maker.make())
    assert ids == sorted(set(ids)) and commits == sorted(commits) and len(set(commits)) == 5


@pytest.mark.parametrize("behind", [0, 2 * HOUR, 400 * DAY])
def test_what_was_just_replaced_is_not_swept_since_a_clock_was_behind(
    tmp_path: Path, clock: Callable[[int], None], behind: int
) -> None:
    clock(-behind)
    for number in range(3):
        record(tmp_path, bytes([number]))
    open_store(tmp_path).compact()
    clock(0)
    assert open_store(tmp_path).sweep() == {}
    clock(2 * HOUR)
    assert len(open_store(tmp_path).sweep()) == 3


def test_what_was_replaced_is_swept_although_a_clock_was_ahead(tmp_path: Path, clock: Callable[[int], None]) -> None:
    clock(400 * DAY)
    record(tmp_path, b"ahead")
    clock(0)
    record(tmp_path, b"now")
    open_store(tmp_path).compact()
    assert open_store(tmp_path).sweep() == {}
    clock(2 * HOUR)
    assert len(open_store(tmp_path).sweep()) == 2
    assert terms(open_store(tmp_path)) == [b"now", b"ahead"]


@pytest.mark.parametrize("ahead", [-DAY, HOUR])
@pytest.mark.parametrize("is_forgotten", [False, True])
@pytest.mark.parametrize("cached", [True, False])
def test_states_of_handles_that_come_after_those_of_a_clock_that_was_ahead_count(
    project: Project, clock: Callable[[int], None], ahead: int, is_forgotten: bool, cached: bool
) -> None:
    flow = Flow(project)
    flow.write("""
    from rayflow import Handle, task

    class Db(Handle):
        pass

    @task
    def a(db):
        return db

    @task
    def b(db):
        return db
    """)
    module = flow.module
    clock(ahead)
    flow.run(module.a(module.Db("x")))
    clock(0)
    if is_forgotten:
        assert open_store(project.path / ".rayflow").forget(at=now(), task_name="flow.a")
    flow.run(module.b(module.a(module.Db("x"))), cache=cached)
    for name in ("b", "a", "b"):  # a alone answers, too: nothing has outdated it
        call = module.a(module.Db("x"))
        flow.run(module.b(call) if name == "b" else call)
        assert not flow.computed()


def test_why_finds_what_came_after_results_of_a_clock_that_was_ahead(
    project: Project, clock: Callable[[int], None]
) -> None:
    flow = Flow(project)
    flow.write("""
    from rayflow import get_context, task

    @task(check_valid="shallow")
    def main():
        return get_context("x")
    """)

    known: set[str] = set()

    def why(x: int, cache: bool = False) -> Why:
        """Of a new run."""
        flow.run(flow.module.main(), context={"x": x}, cache=cache)
        (job,) = {row[0] for row in project.sql("select job_id from jobs")} - known
        known.add(job)
        with closing(open_store(project.path / ".rayflow").history()) as history:
            return history.why(job)

    why(0)
    clock(HOUR)
    why(1)
    clock(0)
    third = why(2)
    assert third.context_changes == ("x",)
    fourth = why(2, cache=True)
    assert fourth.reduction is not None
    assert fourth.reduction["execution_id"] in (third.job["execution_id"], fourth.job["execution_id"])


def test_rows_that_cannot_be_kept_are_taken_back_as_they_were_recorded(
    tmp_path: Path, clock: Callable[[int], None]
) -> None:
    clock(HOUR)
    record(tmp_path, b"ahead")
    clock(0)
    folder = LocalFolder(str(tmp_path))
    store = Store(folder)
    store.append([reduction(b"mine", 2)])

    def full(path: str, parts: Any) -> None:
        raise StoreUnavailable("the disk is full")

    folder.write = full  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        store.keep([reduction(b"new"), reduction(b"new", 3)])
    assert store.pending() == 1
