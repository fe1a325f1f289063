"""What runs is listed, followed and cancelled from another process; what is lost or has ended says so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_stores import running_elsewhere
from waiting import until

from rayflow.store.live.live_files import CancelOrder, LiveFiles
from rayflow.store.live.live_state import LiveState, RunningCall
from rayflow.store.open import open_store
from rayflow.store.store import Store

WAITING = """
    import time
    from pathlib import Path
    from rayflow import task

    @task
    def quick(n):
        return n

    @task
    def held(n):
        try:
            while not Path("go").exists():
                time.sleep(0.02)
        except KeyboardInterrupt:
            time.sleep(2.5)  # it is not interrupted again
            Path("tidy").touch()
            raise
        if Path("bad").exists():
            raise ValueError("not this one")
        return n

    @task
    def main():
        return [quick(1), held(quick(2))]
"""


def now_us() -> int:
    return time.time_ns() // 1000


def state_of(execution_id: str, **changes: Any) -> LiveState:
    tasks = {"flow.train": {"open": 5, "running": 2, "queued": 1, "computed": 40, "failed": 1}}
    call = RunningCall("ab" * 16, "flow.train", "node7", now_us() - 65_000_000)
    state = LiveState(
        execution_id, host="node1", pid=7, shell="ray", started_at=now_us() - 90_000_000, written_at=now_us(),
        next_at=now_us() + 1_000_000, tasks=tasks, waits={"limit db": 2, "worker": 1}, running=(call,),
        rates={"ended": 0.5}, sentences=("flow.gpu cannot start: no node has a GPU.",),
    )  # fmt: skip
    return replace(state, **changes)


def fall_silent(store: Store, execution_id: str) -> None:
    at = time.time() - 60
    os.utime(f"{store.url}/live/{execution_id}", (at, at))


def test_what_runs_is_listed_with_its_host_its_counts_and_when_it_was_heard_from(rayflow: Any) -> None:
    store, running = running_elsewhere(rayflow)
    store.live.write(state_of(running))
    listed = rayflow("log", "--running").out
    assert running[:18] in listed and "node1" in listed and " ago" in listed
    assert "2 running, 1 queued, 2 waiting, 40 computed, 1 failed" in listed and "30.0 jobs a minute" in listed
    [row] = json.loads(rayflow("log", "--running", "--json").out)
    assert row["execution_id"] == running and row["heard_seconds"] < 30
    assert row["live"]["waits"] == {"limit db": 2, "worker": 1}
    shown = rayflow("log", running).out
    assert "runs longest  flow.train for 1 min 5 s on node7 abababababab" in shown
    assert "2 for limit db, 1 for a worker" in shown and "no node has a GPU" in shown
    fall_silent(store, running)
    assert "Nothing runs." in rayflow("log", "--running").out
    assert json.loads(rayflow("log", "--running", "--json").out) == []


def test_an_execution_of_another_machine_that_has_fallen_silent_is_lost_everywhere(rayflow: Any) -> None:
    store, lost = running_elsewhere(rayflow)
    store.live.write(state_of(lost))
    assert "lost" not in rayflow("log").out
    fall_silent(store, lost)
    listed = rayflow("log").out
    assert f"{lost[:18]} is lost: another-host is not heard from. Go on with: rayflow resume {lost[:18]}" in listed
    assert [row["execution_id"] for row in json.loads(rayflow("log", "--status", "lost", "--json").out)] == [lost]
    assert "status      lost" in rayflow("log", lost).out
    followed = rayflow("log", lost, "--follow")
    assert followed.code == 2 and "lost: nothing is heard from it any more" in followed.err
    cancelled = rayflow("cancel", lost)
    assert cancelled.code == 1 and "is lost: nothing of it runs any more" in cancelled.out
    assert store.live.cancel_order(lost) is None


@pytest.mark.parametrize(
    "words", [("log", "--running", "-"), ("log", "--running", "--failed"), ("log", "-", "--follow", "--jobs")]
)
def test_what_is_shown_of_now_takes_no_filters(rayflow: Any, words: tuple[str, ...]) -> None:
    rayflow.run("main")
    assert rayflow(*words).code == 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("done", None, 0),
        ("failed", "builtins.ValueError: no", 1),
        ("failed", "rayflow.errors.WorkerLost: gone", 2),
        ("cancelled", "rayflow.errors.Cancelled: the execution was cancelled by ada: enough", 130),
    ],
)
def test_to_follow_what_has_ended_ends_as_its_run_did(rayflow: Any, status: str, error: str | None, code: int) -> None:
    store, ended = running_elsewhere(rayflow)
    row = store.history().execution_row(ended)
    store.append([row._replace(status=status, error=error, finished_at=now_us(), jobs=1)])
    store.commit()
    followed = rayflow("log", ended, "--follow")
    assert followed.code == code
    assert status in followed.err and (error or "") in followed.err
    lines = [json.loads(line) for line in rayflow("log", ended, "--follow", "--json").out.splitlines()]
    assert [line["status"] for line in lines] == [status]


def test_to_cancel_what_has_ended_says_so_and_to_cancel_twice_does_no_harm(rayflow: Any) -> None:
    rayflow.run("main")
    told = rayflow("cancel", "-", "--reason", "late")
    assert told.code == 1 and "has ended already: it is done" in told.out
    store, ended = running_elsewhere(rayflow)
    store.append([store.history().execution_row(ended)._replace(status="cancelled", finished_at=now_us())])
    store.commit()
    told = rayflow("cancel", ended)
    assert told.code == 0 and "was cancelled already" in told.out
    assert store.live.cancel_order(ended) is None
    assert rayflow("cancel", "nonsense").code == 1


def test_a_request_that_nobody_answers_stands_and_says_so(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflow.cli.cancelling.WAIT_SECONDS", 0.0)
    store, running = running_elsewhere(rayflow)
    store.live.write(state_of(running))
    told = rayflow("cancel", running, "--reason", "wrong\n input", "--json")
    assert told.code == 2 and json.loads(told.out)["status"] == "running"
    order = store.live.cancel_order(running)
    assert isinstance(order, CancelOrder) and order.reason == "wrong input" and order.by.endswith(socket.gethostname())
    assert order.life == 0
    store.live.write(state_of(running, life=2))  # the driver has submitted it again
    rayflow("cancel", running)
    assert store.live.cancel_order(running) == CancelOrder(order.by, life=2)


def test_a_request_to_what_then_seems_lost_stands_for_its_driver(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, running = running_elsewhere(rayflow)
    store.live.write(state_of(running))
    monkeypatch.setattr("rayflow.cli.cancelling.LOOK_SECONDS", 0.0)
    order_cancel = LiveFiles.order_cancel

    def order_and_die(files: LiveFiles, execution_id: str, order: CancelOrder) -> None:
        order_cancel(files, execution_id, order)
        fall_silent(store, execution_id)

    monkeypatch.setattr(LiveFiles, "order_cancel", order_and_die)
    assert rayflow("cancel", running).code == 1
    assert store.live.cancel_order(running) is not None


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(project: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `rayflow` in a project with the tasks above; what it starts ends with the test."""
    project.write("flow.py", WAITING)
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str, to: Path | None = None) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, "-m", "rayflow", *words], cwd=project.path, env=project.full_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if to is None else to.open("w"), stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        begun.append(made)
        return made

    yield start
    for each in begun:
        each.kill()
        each.communicate()


def live_state(folder: Path, is_so: Callable[[LiveState], bool]) -> LiveState:
    """The state of the one execution that lives in a project's store, once it is so."""

    def found() -> LiveState | None:
        if not (folder / ".rayflow" / "live").exists():
            return None
        live = open_store(folder / ".rayflow", read_only=True).live
        states = [live.read(execution_id) for execution_id in live.executions()]
        return next((state for state in states if state is not None and is_so(state)), None)

    state: LiveState = until(found)
    return state


def is_held(state: LiveState) -> bool:
    return any(call.task == "flow.held" for call in state.running) and bool(state.tasks["flow.quick"]["computed"])


@pytest.mark.slow
@pytest.mark.parametrize("is_bad", [False, True], ids=["done", "failed"])
def test_an_execution_is_followed_from_another_process_to_its_end(project: Any, waiting: Any, is_bad: bool) -> None:
    run = waiting("run", "--inline", "flow.py", "main")
    live_state(project.path, is_held)
    listed = project.path / "listed"
    follow = waiting("log", "-", "--follow", to=listed)
    until(lambda: "flow.quick(n=2) = 2" in listed.read_text())
    if is_bad:
        (project.path / "bad").touch()
    (project.path / "go").touch()
    err, out = follow.communicate(timeout=60)[1], listed.read_text()
    assert ("flow.main() = [1, 2]" in out) is not is_bad
    assert ("failed in" if is_bad else "done in") in err and (not is_bad or "ValueError: not this one" in err)
    assert follow.returncode == run.wait(timeout=60) == int(is_bad)
    assert list((project.path / ".rayflow" / "live").iterdir()) == []


@pytest.mark.slow
def test_an_execution_in_a_long_body_is_cancelled_from_another_process_and_says_by_whom_and_why(
    project: Any, waiting: Any
) -> None:
    run = waiting("run", "--inline", "flow.py", "main")
    state = live_state(project.path, is_held)
    cancel = waiting("cancel", "-", "--reason", "wrong input")
    again = waiting("cancel", state.execution_id)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and out == "" and (project.path / "tidy").exists()
    assert "was cancelled by " in err and "rayflow resume" in err
    assert "is cancelled; what was finished is kept" in cancel.communicate(timeout=60)[0] and cancel.returncode == 0
    assert again.wait(timeout=60) == 0
    [(status, error)] = project.sql("select status, error from executions")
    assert status == "cancelled" and "was cancelled by " in error
    assert project.sql("select status from jobs where task_name = 'flow.quick'") == [("done",)] * 2
    assert list((project.path / ".rayflow" / "live").iterdir()) == []
    (project.path / "go").touch()
    resumed = waiting("resume", "-", "--inline")
    assert resumed.communicate(timeout=60)[0].strip() == "[1, 2]"
