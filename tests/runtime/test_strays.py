"""Processes that leave the group of the script that started them, and environments that are too long for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project
from waiting import until

from rayflow import script
from rayflow.errors import BadArguments, ScriptFailed, TaskTimeout
from rayflow.runtime.worker.scripts.strays import end_strays, processes, strays_of

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="this system does not tell of processes")

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        os.chdir("/")
        time.sleep(SECONDS)
    os._exit(0)
os.wait()
"""

WAYS = {
    "setsid": "setsid sleep SECONDS &",
    "setsid --fork": "setsid --fork sleep SECONDS",
    "nohup": "nohup sleep SECONDS >/dev/null 2>&1 &",
    "setsid nohup": "setsid nohup sleep SECONDS >/dev/null 2>&1 < /dev/null & disown",
    "a daemon": f"{sys.executable} -c '{DAEMON}'",
    "in a group of its own": "set -m; sleep SECONDS & set +m",
    "one that does not listen": "setsid bash -c 'trap \"\" TERM HUP INT; sleep SECONDS; sleep SECONDS' &",
    "one that starts others": "setsid bash -c 'while sleep 0.05; do setsid sleep SECONDS & done' >&- 2>&- &",
    "a script in a script": f"{sys.executable} INNER &",
}

_numbers = iter(range(1000))


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flow:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Flow(project)
    made.write("from rayflow import task\n")
    return made


def command_of(flow: Flow, way: str) -> tuple[str, Callable[[], list[str]]]:
    """The command, and what tells which of its processes are alive."""
    seconds = f"9{os.getpid()}.{next(_numbers)}"
    inner = flow.project.write(
        "inner.py",
        f"""
        from rayflow import run, script
        run(script("setsid --fork sleep {seconds}; sleep {seconds}"), inline=True)
        """,
    )

    def alive() -> list[str]:
        found = subprocess.run(["pgrep", "-af", seconds], capture_output=True, text=True, check=False)
        return found.stdout.splitlines()

    return WAYS[way].replace("SECONDS", seconds).replace("INNER", str(inner)), alive


@pytest.mark.parametrize("way", WAYS)
def test_a_script_that_has_finished_leaves_no_process(flow: Flow, way: str) -> None:
    command, alive = command_of(flow, way)
    wait = "sleep 1.5" if way == "a script in a script" else "sleep 0.2"
    assert flow.run(script(f"{command}\n{wait}\necho done")) == "done\n"
    until(lambda: not alive())
    told = "".join(flow.watching.lines)
    if way not in ("nohup", "a script in a script"):
        assert "left processes in the background, which were ended: " in told


@pytest.mark.parametrize("way", WAYS)
def test_a_script_that_is_stopped_leaves_no_process(flow: Flow, way: str) -> None:
    command, alive = command_of(flow, way)
    started = time.monotonic()
    timeout = 2.0 if way == "a script in a script" else 0.5
    with pytest.raises(TaskTimeout):
        flow.run(script(f"{command}\nsleep 60", timeout=timeout))
    assert time.monotonic() - started < 10
    until(lambda: not alive())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["setsid --fork", "a daemon", "one that does not listen", "a script in a script"])
def test_a_process_that_ends_in_a_script_leaves_none(flow: Flow, way: str, number: signal.Signals) -> None:
    command, alive = command_of(flow, way)
    flow.project.write("command.txt", f"{command}\nsleep 60")
    flow.project.write(
        "go.py",
        """
        from rayflow import run, script
        run(script(open("command.txt").read()), inline=True)
        """,
    )
    process = subprocess.Popen([sys.executable, "go.py"], cwd=flow.project.path, stderr=subprocess.DEVNULL)
    until(alive)
    time.sleep(0.2)
    process.send_signal(number)
    process.wait(20)
    until(lambda: not alive())


def test_only_processes_with_the_mark_are_ended() -> None:
    before = processes()
    ours = subprocess.Popen(["sleep", "60"], env={**os.environ, "RAYFLOW_SCRIPT": "outer:abcdef"})
    theirs = subprocess.Popen(["sleep", "60"], env={**os.environ, "RAYFLOW_SCRIPT": "outer"})
    try:
        until(lambda: [each.pid for each in strays_of("abcdef", before)] == [ours.pid])
        assert strays_of("abcdef", processes()) == [], "it was there before"
        assert [each.name for each in end_strays("abcdef", before)] == ["sleep"]
        assert ours.wait(5) == -signal.SIGKILL
        assert theirs.poll() is None
    finally:
        for each in (ours, theirs):
            each.kill()
            each.wait()


class TestLimits:
    def test_a_variable_that_is_too_long_is_named(self, flow: Flow) -> None:
        with pytest.raises(BadArguments) as caught:
            flow.run(script("true", env={"SHORT": "x", "LONG": "x" * 200_000}))
        assert "The environment variable LONG of script(env=...) is 200,006 bytes long" in str(caught.value)
        assert "takes at most 131,072 of one" in str(caught.value)
        assert "Write a long text to a file" in str(caught.value)

    def test_a_variable_of_the_process_that_is_too_long_is_named(
        self, flow: Flow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INHERITED", "x" * 150_000)
        with pytest.raises(BadArguments, match="variable INHERITED of the environment of this process is 150,0"):
            flow.run(script("true"))

    def test_variables_that_are_too_long_together_are_named(self, flow: Flow) -> None:
        many = {f"V{number}": "x" * 130_000 for number in range(80)}
        with pytest.raises(BadArguments, match=r"together more than the system takes.* V\d+ \(130,00\d, of script"):
            flow.run(script("true", env=many))

    def test_what_is_within_the_limits_works(self, flow: Flow) -> None:
        assert flow.run(script("printf %s ${#LONG}", env={"LONG": "x" * 131_000})) == "131000"
        assert flow.run(script(f"true {'x' * 3_000_000}; echo done")) == "done\n", "a command is a file"

    @pytest.mark.parametrize("name", ["", "A=B", "A\0"])
    def test_what_is_no_name_is_refused(self, flow: Flow, name: str) -> None:
        with pytest.raises(BadArguments, match="is no name of an environment variable"):
            flow.run(script("true", env={name: "x"}))

    def test_a_text_with_a_null_character_is_refused(self, flow: Flow) -> None:
        with pytest.raises(BadArguments, match="text of NULL holds a null"):
            flow.run(script("true", env={"NULL": "a\0b"}))

    def test_a_file_that_is_no_program_is_named(self, flow: Flow) -> None:
        program = flow.project.path / "program"
        program.write_bytes(b"\x7fELF no program")
        program.chmod(0o755)
        with pytest.raises(ScriptFailed, match=r"program cannot be run on .*: Exec format error"):
            flow.run(script(f"#!{program}\ntrue"))
