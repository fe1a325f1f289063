"""What living executions say in a store: its size, its age by the folder's clock, requests to cancel."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import StoreUnavailable
from rayflow.store.exchange.garbage import collect
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.history.execution_status import ExecutionStatuses
from rayflow.store.live.live_files import CancelOrder, LiveFiles
from rayflow.store.live.live_state import MOST_BYTES, LiveState, RunningCall, decoded, encoded, totals
from rayflow.store.open import open_store

STATE = LiveState(
    "e1", host="elsewhere", pid=1, shell="ray", written_at=1_000_000, next_at=2_000_000,
    tasks={"flow.f": {"open": 2, "computed": 3}}, waits={"arguments": 1}, rates={"computed": 1.5, "ended": 1.5},
    running=(RunningCall("ab", "flow.f", "node1", 5, 7, 2),), cancelled_by="ada: enough",
)  # fmt: skip


def row_of(**changes: Any) -> dict[str, Any]:
    row = {"execution_id": "e1", "status": "running", "pid": 1, "host": "elsewhere", "life": 0}
    return {**row, "started_at": datetime.now(UTC), **changes}


def test_a_state_is_read_as_it_was_written() -> None:
    assert decoded(encoded(STATE)) == STATE
    files = LiveFiles(MemoryFolder())
    assert files.read("e1") is None
    files.write(STATE)
    assert files.read("e1") == STATE and files.executions() == ["e1"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"execution_id": 1, "written_at": "x"}', b"{}", b'{"running": [1]}']
)
def test_what_is_no_state_is_not_read_as_one(content: bytes) -> None:
    assert decoded(content) is None


def test_what_a_later_rayflow_adds_is_passed_over() -> None:
    later = encoded(STATE).replace(b'{"execution_id"', b'{"mood":"good","execution_id"', 1)
    assert decoded(later.replace(b'"pid":7', b'"pid":7,"gpu":1')) == STATE


def test_a_state_has_at_most_64_kilobytes_however_many_tasks_there_are_and_no_job_is_left_uncounted() -> None:
    tasks = {f"flow.{'task' * 100}{number}": {"open": number, "computed": 1, "failed": 0} for number in range(20_000)}
    running = tuple(RunningCall("ab" * 16, "é" * 5_000, "n" * 500, number) for number in range(3_000))
    large = replace(STATE, tasks=tasks, running=running, sentences=("\x1b" * 9_000,) * 500, cancelled_by="x" * 10**6)
    written = encoded(large)
    assert len(written) <= MOST_BYTES
    known = decoded(written)
    assert known is not None and totals(known.tasks) == totals(tasks)
    assert known.running[0].since == 0, "those that run longest are kept"
    assert any(name.endswith(tuple("0123456789")) or row["open"] > 19_000 for name, row in known.tasks.items())


# --- age --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(str(tmp_path / "store"))


def written_ago(folder: LocalFolder, seconds: float, name: str = "live/e1") -> None:
    at = time.time() - seconds
    os.utime(f"{folder.root}/{name}", (at, at))


def test_an_execution_that_missed_three_of_its_own_intervals_is_lost_from_every_machine(folder: LocalFolder) -> None:
    LiveFiles(folder).write(STATE)
    assert not ExecutionStatuses(folder).is_lost(row_of())
    written_ago(folder, 2.0)
    assert not ExecutionStatuses(folder).is_lost(row_of())
    written_ago(folder, 5.0)
    assert ExecutionStatuses(folder).is_lost(row_of())
    assert ExecutionStatuses(folder).state(row_of()) is None
    assert not ExecutionStatuses(folder).is_lost(row_of(status="done"))
    assert not ExecutionStatuses(folder, patience_seconds=60).is_lost(row_of())
    LiveFiles(folder).write(replace(STATE, next_at=11_000_000))  # it writes every ten seconds
    written_ago(folder, 25.0)
    assert not ExecutionStatuses(folder).is_lost(row_of())


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_the_clock_of_the_folder_tells_the_age_and_not_ours(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """ahead: by how many seconds the clock of this machine is ahead of the folder's."""
    LiveFiles(folder).write(STATE)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    assert not ExecutionStatuses(folder).is_lost(row_of())
    at = real() - 10
    os.utime(f"{folder.root}/live/e1", (at, at))
    assert ExecutionStatuses(folder).is_lost(row_of())
    assert folder.names("tmp") == []


def test_where_the_folder_cannot_be_asked_for_its_time_clocks_may_differ_by_minutes(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    LiveFiles(folder).write(STATE)

    def refused(path: str, parts: Any) -> None:
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(folder, "overwrite", refused)
    written_ago(folder, 60.0)
    assert not ExecutionStatuses(folder).is_lost(row_of())
    written_ago(folder, 600.0)
    assert ExecutionStatuses(folder).is_lost(row_of())


def test_an_execution_that_says_nothing_is_taken_for_alive_on_another_machine(folder: LocalFolder) -> None:
    assert not ExecutionStatuses(folder).is_lost(row_of())
    assert ExecutionStatuses(folder).state(row_of()) is None


@pytest.mark.parametrize("life", [0, 1])
@pytest.mark.parametrize("seen", ["long before this process", "now", "by nobody"])
def test_a_process_that_has_only_the_number_of_the_driver_is_not_taken_for_it(
    folder: LocalFolder, seen: str, life: int
) -> None:
    """A container that starts again has the same name and the same numbers."""
    mine = {"host": socket.gethostname(), "pid": os.getpid()}
    written_at = round((time.time() - 30 * 86400 * (seen != "now")) * 1_000_000)
    begun = datetime.now(UTC) - timedelta(days=30)
    if seen != "by nobody":
        LiveFiles(folder).write(replace(STATE, life=life, written_at=written_at, next_at=written_at, **mine))
        written_ago(folder, 3600.0)  # a process that is stopped for an hour is not lost
    is_lost = seen == "long before this process" or (seen == "by nobody" and life == 0)
    assert ExecutionStatuses(folder).is_lost(row_of(life=life, started_at=begun, **mine)) is is_lost
    assert not ExecutionStatuses(folder).is_lost(row_of(life=life + 1, started_at=begun, **mine)), "another driver"


def test_a_scheduler_of_this_machine_whose_number_another_process_has_got_is_lost(folder: LocalFolder) -> None:
    LiveFiles(folder).write(replace(STATE, host=socket.gethostname(), pid=os.getpid()))
    assert ExecutionStatuses(folder).is_lost(row_of())
    LiveFiles(folder).write(
        replace(STATE, host=socket.gethostname(), pid=os.getpid(), written_at=round(time.time() * 1_000_000))
    )
    assert not ExecutionStatuses(folder).is_lost(row_of())


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "wrong \x1b input: 'é'"])
def test_a_request_to_cancel_stands_until_it_is_dropped(folder: LocalFolder, reason: str) -> None:
    files = LiveFiles(folder)
    assert files.cancel_order("e1") is None
    files.order_cancel("e1", CancelOrder("ada@lab", reason))
    files.order_cancel("e1", CancelOrder("ada@lab", reason, 3))
    assert files.cancel_order("e1") == CancelOrder("ada@lab", reason, 3)
    assert files.executions() == []
    files.drop_order("e1")
    files.drop_order("e1")
    assert files.cancel_order("e1") is None


def test_what_is_of_a_later_life_stays_when_an_earlier_one_ends(folder: LocalFolder) -> None:
    files = LiveFiles(folder)
    files.write(replace(STATE, life=1))
    files.order_cancel("e1", CancelOrder("ada", life=0))
    files.remove("e1", 0)
    assert sorted(folder.names("live")) == ["e1", "e1.cancel"], "its driver may obey the request in a later life"
    files.order_cancel("e1", CancelOrder("ada", life=2))
    files.remove("e1", 1)
    assert folder.names("live") == ["e1.cancel"]
    files.remove("e1", 2)
    assert folder.names("live") == []


def test_a_request_that_cannot_be_read_is_a_request(folder: LocalFolder) -> None:
    folder.overwrite("live/e1.cancel", [b"{"])
    assert LiveFiles(folder).cancel_order("e1") is not None


def test_a_collection_removes_what_ended_executions_have_left(folder: LocalFolder) -> None:
    store = open_store(folder.root)
    for name in ("gone", "young"):
        store.live.write(replace(STATE, execution_id=name))
        store.live.order_cancel(name, CancelOrder("ada"))
    for name in ("live/gone", "live/gone.cancel"):
        written_ago(folder, 2 * 3600, name)
    assert collect(store, dry_run=True).files == 2
    assert sorted(folder.names("live")) == ["gone", "gone.cancel", "young", "young.cancel"]
    assert collect(store).files == 2
    assert sorted(folder.names("live")) == ["young", "young.cancel"]
