"""The board writes what executions say of themselves, whatever their loops do, and hears who cancels them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import waiting

from rayflow.errors import StoreUnavailable
from rayflow.runtime.listener import LiveCounts
from rayflow.runtime.live.live_board import LiveBoard
from rayflow.runtime.live.rates import Rates
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.folders.protocol import Folder
from rayflow.store.live.live_files import CancelOrder, LiveFiles
from rayflow.store.live.live_state import RunningCall

pytestmark = pytest.mark.quick

CALL = RunningCall("ab", "flow.f", "node1", 5)


@pytest.fixture(autouse=True)
def quick_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflow.store.live.live_files.LOCAL_SECONDS", 0.01)


until = partial(waiting.until, seconds=20, pause_seconds=0.002)


class Shell:
    """A board with one execution, and what it was told."""

    def __init__(self, folder: Folder, execution_id: str = "e1", life: int = 0, first_life: int = 0) -> None:
        self.board = LiveBoard(folder, "ray")
        self.files = LiveFiles(folder)
        self.orders: list[CancelOrder] = []
        self.warnings: list[str] = []
        self.begin(execution_id, life, first_life)

    def begin(self, execution_id: str, life: int = 0, first_life: int = 0) -> None:
        self.board.begin(
            execution_id, life=life, first_life=first_life, started_at=1, cancel=self.orders.append,
            running=lambda: {"e1": [CALL]}, warned=self.warnings.append,
        )  # fmt: skip

    def state(self, execution_id: str = "e1") -> Any:
        return self.files.read(execution_id)


def test_a_state_is_written_at_once_and_again_while_the_loop_is_silent() -> None:
    shell = Shell(MemoryFolder())
    first = until(shell.state)
    assert (first.host, first.pid, first.shell, first.running) == (os.uname().nodename, os.getpid(), "ray", (CALL,))
    assert until(lambda: shell.state().written_at > first.written_at)
    assert shell.state().counted_at == first.counted_at, "the counts are not right for a later moment"
    shell.board.take({"e1": LiveCounts(9, {"flow.f": {"open": 2}}, {"worker": 2}, ("no node has a GPU",))})
    state = until(lambda: (found := shell.state()).counted_at == 9 and found)
    assert (state.tasks, state.waits, state.sentences) == (
        {"flow.f": {"open": 2}}, {"worker": 2}, ("no node has a GPU",)
    )  # fmt: skip
    shell.board.end("e1")
    assert shell.state() is None


def test_each_execution_of_a_board_has_a_state_and_the_thread_ends_with_the_last() -> None:
    shell = Shell(MemoryFolder())
    shell.begin("e2")
    until(lambda: shell.state() and shell.state("e2"))
    assert shell.state("e2").running == ()
    shell.board.end("e1")
    later = shell.state("e2").written_at
    until(lambda: shell.state("e2").written_at > later)
    shell.board.leave()
    until(lambda: not any(each.name == "rayflow-live" for each in threading.enumerate()))
    assert shell.state() is None
    assert shell.state("e2") is not None, "its end is not recorded: its silence tells"
    shell.begin("e3")
    until(lambda: shell.state("e3"))
    shell.board.end("e3")


def test_who_asks_for_the_end_is_heard_and_the_state_says_so() -> None:
    shell = Shell(MemoryFolder())
    until(shell.state)
    shell.files.order_cancel("e1", CancelOrder("ada@lab", "enough"))
    until(lambda: len(shell.orders) > 2)  # a body that was about to begin is asked again
    assert set(shell.orders) == {CancelOrder("ada@lab", "enough")}
    assert until(lambda: shell.state().cancelled_by) == "ada@lab: enough"
    shell.board.end("e1")
    assert shell.files.cancel_order("e1") is None


@pytest.mark.parametrize(
    ("asked", "first_life", "life", "is_obeyed"),
    [
        (0, 0, 0, True),
        (0, 0, 1, True),  # the driver has submitted it again, after its scheduler has died
        (0, 1, 1, False),  # somebody has resumed it
        (1, 1, 2, True),
        (1, 2, 3, False),
        (None, 0, 1, True),  # of an unknown life
        (None, 1, 1, False),
    ],
)
@pytest.mark.parametrize("age", [1, 300])
def test_a_request_ends_the_life_that_it_means_and_those_that_its_driver_begins_and_no_resumed_one(
    tmp_path: Path, asked: int | None, first_life: int, life: int, is_obeyed: bool, age: float
) -> None:
    folder = LocalFolder(str(tmp_path))
    LiveFiles(folder).order_cancel("e1", CancelOrder("ada", life=asked))
    at = time.time() - age
    os.utime(tmp_path / "live" / "e1.cancel", (at, at))
    shell = Shell(folder, "e1", life, first_life)
    first = until(shell.state)
    until(lambda: shell.state().written_at > first.written_at)
    assert bool(shell.orders) is is_obeyed
    assert (shell.files.cancel_order("e1") is not None) is is_obeyed
    shell.board.end("e1")


def test_a_request_to_a_resumed_life_is_obeyed_also_if_nobody_knows_which_life_it_means() -> None:
    shell = Shell(MemoryFolder(), "e1", 1, 1)
    until(shell.state)
    shell.files.order_cancel("e1", CancelOrder("ada"))
    until(lambda: shell.orders)
    shell.board.end("e1")


class Held(MemoryFolder):
    """Holds up the thread that writes the state of the execution e0, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.is_writing, self.may_go_on = threading.Event(), threading.Event()

    def overwrite(self, path: str, parts: Any) -> None:
        if path.endswith("e0") and self.is_held:
            self.is_writing.set()
            assert self.may_go_on.wait(20)
        super().overwrite(path, parts)


def test_the_end_of_an_earlier_life_takes_nothing_from_a_later_one_and_waits_for_nothing() -> None:
    folder = Held()
    shell = Shell(folder, "e0")
    shell.begin("e1")
    until(lambda: shell.state("e0") and shell.state())
    folder.is_held = True
    assert folder.is_writing.wait(20)
    ending = threading.Thread(target=shell.board.end, args=("e1", 20))
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    shell.begin("e1", life=1)
    shell.files.order_cancel("e1", CancelOrder("ada", life=0))
    ending.join(10)
    assert not ending.is_alive(), "the file is that of the later life"
    folder.may_go_on.set()
    assert until(lambda: shell.orders) and shell.state().life == 1
    shell.board.await_end("e1")
    assert shell.state(), "it has not ended"
    shell.board.end("e1")
    shell.board.end("e0")
    assert folder.names("live") == []


def test_an_error_of_one_execution_is_told_once_and_the_board_goes_on() -> None:
    shell = Shell(MemoryFolder())
    until(shell.state)
    told: list[str] = []
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise ZeroDivisionError("what nobody expects")

    def begin(execution_id: str, warned: Callable[[str], None]) -> None:
        shell.board.begin(
            execution_id, life=0, first_life=0, started_at=1, cancel=shell.orders.append, running=dict, warned=warned,
            commit=broken,
        )  # fmt: skip

    def closed(text: str) -> None:
        raise BrokenPipeError(text)

    begin("e2", told.append)
    begin("e3", closed)
    until(lambda: len(calls) > 6)
    assert len(told) == 1 and "ZeroDivisionError: what nobody expects" in told[0]
    shell.files.order_cancel("e2", CancelOrder("ada"))
    before = shell.state().written_at
    until(lambda: shell.state().written_at > before)
    for name in ("e1", "e2", "e3"):
        shell.board.end(name)
        assert shell.state(name) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_died_is_replaced() -> None:
    shell = Shell(MemoryFolder())
    until(shell.state)
    endings: list[type[BaseException]] = [SystemExit, SystemExit]

    def running() -> Any:
        if endings:
            raise endings.pop()
        return {}

    def begin(execution_id: str) -> None:
        shell.board.begin(
            execution_id, life=0, first_life=0, started_at=1, cancel=shell.orders.append, running=running,
            warned=shell.warnings.append,
        )  # fmt: skip

    def is_dead() -> bool:
        return not any(each.name == "rayflow-live" for each in threading.enumerate())

    begin("e2")
    until(is_dead)
    begin("e3")
    until(is_dead)
    shell.board.end("e1")
    assert shell.state() is None, "the end of an execution starts it again, too"
    until(lambda: shell.state("e2") and shell.state("e3"))
    shell.board.end("e2")
    shell.board.end("e3")


def test_a_store_that_cannot_be_written_is_told_once_and_nothing_fails() -> None:
    class Full(MemoryFolder):
        tries = 0

        def overwrite(self, path: str, parts: Any) -> None:
            self.tries += 1
            if self.tries < 4:
                raise StoreUnavailable("the disk is full")
            super().overwrite(path, parts)

    shell = Shell(Full())
    until(shell.state)
    assert len(shell.warnings) == 1 and "seems lost" in shell.warnings[0]
    shell.board.end("e1")


def test_a_slow_store_gets_longer_intervals() -> None:
    class Slow(MemoryFolder):
        def overwrite(self, path: str, parts: Any) -> None:
            time.sleep(0.02)
            super().overwrite(path, parts)

    shell = Shell(Slow())
    assert until(lambda: (found := shell.state()) and found.interval_seconds > 0.1 and found)
    shell.board.end("e1")


def test_a_rate_is_of_the_last_ten_seconds() -> None:
    rates = Rates()
    assert rates.of({}, 100.0) == {}
    tasks = {"f": {"computed": 30, "cached": 10, "open": 7}}
    assert rates.of(tasks, 110.0) == {"computed": 3.0, "cached": 1.0, "ended": 4.0}
    for moment in range(111, 130):
        rates.of(tasks, float(moment))
    assert rates.of(tasks, 130.0) == {}
