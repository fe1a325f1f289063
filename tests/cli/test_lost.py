"""An execution whose driver died is shown as lost, with what to do; one that runs is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from small_stores import running_elsewhere

from rayflow.values.filesystems.atomic_writes import is_alive


def ended_process() -> int:
    """The id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def opened(rayflow: Any, pid: int | None, host: str) -> str:
    """Record an execution that was begun by this process, and never ended."""
    store, execution_id = running_elsewhere(rayflow, pid, host)
    store.close()
    return execution_id


def test_a_running_execution_whose_process_is_gone_is_lost(rayflow: Any) -> None:
    lost = opened(rayflow, ended_process(), socket.gethostname())
    listed = rayflow("log").out
    [line] = [line for line in listed.splitlines() if line.startswith(lost[:18]) and "is lost" not in line]
    assert " lost " in line and " running " not in line
    assert f"{lost[:18]} is lost: its process is gone. Go on with: rayflow resume {lost[:18]}" in listed
    shown = rayflow("log", lost).out
    assert "status      lost" in shown and f"rayflow resume {lost[:18]}" in shown
    assert {row["execution_id"]: row["lost"] for row in json.loads(rayflow("log", "--json").out)}[lost] is True
    assert json.loads(rayflow("log", lost, "--json").out)["execution"]["lost"] is True
    done = rayflow("resume", lost[:18], "--inline")
    assert done.code == 0, done.err
    assert "lost" not in rayflow("log").out


@pytest.mark.parametrize("where", ["here", "elsewhere", "unknown"])
def test_a_running_execution_that_may_live_is_not_lost(rayflow: Any, where: str) -> None:
    if where == "here":
        running = opened(rayflow, os.getpid(), socket.gethostname())
    else:
        running = opened(rayflow, ended_process() if where == "elsewhere" else None, "another-host")
    assert "lost" not in rayflow("log").out
    assert json.loads(rayflow("log", running, "--json").out)["execution"]["lost"] is False


def test_a_run_records_its_process(rayflow: Any) -> None:
    rayflow.run("main")
    assert rayflow.ids("select pid from executions") == [str(os.getpid())]


def test_a_process_that_has_ended_and_is_not_collected_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    child.wait()
    assert is_alive(os.getpid()) and is_alive(1)
