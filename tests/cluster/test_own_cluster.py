"""A run that starts a Ray of its own: what stands on stdout, Ctrl-C at a terminal, what a killed driver leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project
from waiting import until

pytestmark = pytest.mark.ray

FLOW = """
    import os
    import subprocess
    import sys
    import time
    from rayflow import task

    @task
    def greet(name):
        print("hello", name)
        print("careful", name, file=sys.stderr)
        subprocess.run(["echo", f"from a program: {name}"], check=True)
        os.write(1, f"past python: {name}\\n".encode())
        return f"greeted {name}"

    @task
    def read(path):
        with open(path) as file:
            return file.read()

    @task
    def quick(n):
        return n

    @task
    def wait(folder, n, after):
        open(f"{folder}/{n}", "w").close()
        while not os.path.exists(f"{folder}/go"):
            time.sleep(0.05)
        return n

    @task
    def main(folder: str):
        first = quick(1)
        return [first, *(wait(folder, n, first) for n in (1, 2, 3))]
"""


def processes_of(project: Project) -> list[tuple[int, str]]:
    """Processes that carry the project's mark in their environment."""
    found = []
    mark = f"RAYFLOW_TEST_PROJECT={project.path}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue
    return found


@pytest.fixture
def marked(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose processes can be told, on a Ray of their own."""
    folder = Path("/tmp") / f"rf{os.getpid()}{time.monotonic_ns() % 100000}"
    folder.mkdir()
    project.environment.update(
        RAYFLOW_TEST_PROJECT=str(project.path), RAY_TMPDIR=str(folder), RAYFLOW_NUM_CPUS="2", PYTHONUNBUFFERED="1"
    )
    project.write("flow.py", FLOW)
    yield project
    for pid, _ in processes_of(project):
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_stdout_holds_the_answer_alone_and_prints_of_tasks_and_their_programs_are_told_with_their_names(marked):
    done = marked.rayflow("run", "flow.py", "greet", "--name", "Ada", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == "greeted Ada"
    for line in ("hello Ada", "careful Ada", "from a program: Ada", "past python: Ada"):
        assert re.search(rf"greet.*{line}", done.stderr), done.stderr
    assert "(raylet)" not in done.stdout + done.stderr
    assert "INFO worker.py" not in done.stderr
    until(lambda: not processes_of(marked), 20, what="processes stay behind")


def _at_a_terminal(project: Project, *words: str) -> tuple[int, int]:
    """Start the command line as a shell would: on a terminal, in its foreground. Process id and terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.path)
        environment = project.full_environment({"TERM": "dumb"})
        os.execve(sys.executable, [sys.executable, "-m", "rayflow", *words], environment)
    return pid, terminal


def _told_until_end(pid: int, terminal: int, seconds: float) -> tuple[str, int]:
    told = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                told += os.read(terminal, 65536)
                continue
            except OSError:  # the other side was closed
                pass
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            os.close(terminal)
            return told.decode(errors="replace"), os.waitstatus_to_exitcode(status)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"it does not end; it said: {told.decode(errors='replace')}")


def test_ctrl_c_at_a_terminal_keeps_what_is_finished_says_so_and_leaves_nothing_behind(marked):
    folder = marked.path / "marks"
    folder.mkdir()
    pid, terminal = _at_a_terminal(marked, "run", "flow.py", "main", "--folder", str(folder))
    until(lambda: len(list(folder.iterdir())) >= 2, 60, what="the tasks do not begin")
    os.write(terminal, b"\x03")
    told, code = _told_until_end(pid, terminal, 40)
    assert code == 130, told
    assert "what was finished is kept" in told
    found = re.search(r"rayflow resume (\S+)", told)
    assert found, told
    assert marked.sql("select status from executions") == [("cancelled",)]
    assert marked.sql("select count(*) from jobs where task_name = 'flow.quick' and status = 'done'") == [(1,)]
    assert marked.sql("select count(*) from jobs where status = 'open'") == [(0,)]
    until(lambda: not processes_of(marked), 20, what="processes stay behind")
    (folder / "go").touch()
    done = marked.rayflow("resume", found[1], "--inline", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, 1, 2, 3]
    assert marked.sql("select count(*) from executions") == [(1,)]


def test_a_driver_that_is_killed_leaves_no_process_behind_and_its_execution_can_be_taken_up(marked):
    folder = marked.path / "marks"
    folder.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "run", "flow.py", "main", "--folder", str(folder)],
        cwd=marked.path, env=marked.full_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: len(list(folder.iterdir())) >= 2, 60, what="the tasks do not begin")
    counted = "select count(*) from jobs where task_name = 'flow.quick' and status = 'done'"
    until(lambda: marked.sql(counted) == [(1,)], 20, what="what was done is not recorded")
    driver.kill()
    driver.wait()
    # Two helpers of Ray's own try to tell the dead cluster of its death, for a minute; nothing of ours is among them.
    helpers = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    until(
        lambda: all(command.startswith(helpers) for _, command in processes_of(marked)), 30,
        what="processes stay behind",
    )  # fmt: skip
    assert marked.sql("select status from executions") == [("running",)]


SCRIPT = """
    import asyncio
    import linecache
    import numpy
    from rayflow import Scheduler, run, task
    import rayflow

    @task
    def is_even(n):
        return True if n == 0 else is_odd(n - 1)

    @task
    def is_odd(n):
        return False if n == 0 else is_even(n - 1)

    @task
    def power(base, exponent):
        return 1 if exponent == 0 else times(base, of_two(exponent - 1))

    @task
    def times(a, b):
        return a * b

    of_two = power.partial(2)

    @task
    def array(n):
        return numpy.arange(n, dtype=numpy.int64)

    @task
    def where(a):
        import ray
        lies = False
        for line in open("/proc/self/maps"):
            first, last = (int(number, 16) for number in line.split()[0].split("-"))
            lies = lies or "plasma" in line and first <= a.ctypes.data < last
        return float(a.sum()), a.flags.writeable, lies

    class Box:
        def __init__(self, n):
            self.n = n

    @task
    async def opened(box):
        await asyncio.sleep(0)
        return box.n

    def cell(number, text, space):
        name = f"<ipython-input-{number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), space)

    def resident():
        return int(open("/proc/self/statm").read().split()[1]) * 4096

    if __name__ == "__main__":
        told = {}
        told["even"] = run(is_even(9))
        told["power"] = run(power(2, 5))
        told["box"] = run(opened(Box(7)))
        before = resident()
        told["array"] = run(where(array(12_000_000)))
        told["driver grew"] = resident() - before
        space = globals()
        cell(1, "@task\\ndef answer(n):\\n    return n + 1\\n", space)
        told["cell"] = run(answer(1))
        cell(2, "@task\\ndef answer(n):\\n    return n + 100\\n", space)
        told["cell again"] = run(answer(1))
        cell(3, "@task\\ndef twice(n):\\n    return answer(n) + answer(n)\\n", space)

        async def inside():
            return run(twice(1)), run(opened(Box(8)), inline=True)

        told["loop"] = asyncio.run(inside())
        import json
        print(json.dumps(told))
"""


def test_tasks_of_a_script_and_of_notebook_cells_travel_by_value(marked):
    marked.write("script.py", SCRIPT)
    done = marked.python("script.py")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["even"] is False
    assert told["power"] == 32
    assert told["box"] == 7
    total, writeable, lies_in_the_object_store = told["array"]
    assert total == sum(range(12_000_000))
    assert not writeable
    assert lies_in_the_object_store
    assert told["driver grew"] < 64 * 1024 * 1024
    assert told["cell"] == 2
    assert told["cell again"] == 101
    assert told["loop"] == [202, 8]


def test_a_ray_that_is_kept_warm_is_joined_by_its_project_and_by_who_names_it_and_stops_when_told(marked, tmp_path):
    marked.environment["XDG_RUNTIME_DIR"] = str(Path(marked.environment["RAY_TMPDIR"]))
    up = marked.rayflow("up")
    assert up.returncode == 0, up.stderr
    try:
        again = marked.rayflow("up")
        assert again.returncode == 0
        done = marked.rayflow("run", "flow.py", "greet", "--name", "Bea", "--json")
        assert json.loads(done.stdout) == "greeted Bea", done.stderr
        assert "joining" in done.stderr
        # Its workers stand where it was started; a body's relative paths are those of the run all the same.
        (marked.path / "note.txt").write_text("here")
        done = marked.rayflow("run", "flow.py", "read", "--path", "note.txt", "--json")
        assert json.loads(done.stdout) == "here", done.stderr
        # Another project's run joins it by its address alone, whatever its user has set for clusters of others.
        other = Project(tmp_path / "other", {**marked.environment, "RAY_AUTH_MODE": "disabled"})
        other.write("rayflow.toml", "")
        other.write("flow.py", FLOW)
        address = up.stdout.partition("Ray is up at ")[2].partition(" ")[0]
        named = other.rayflow("run", "flow.py", "quick", "--n", "1", "--json", "--address", address)
        assert named.stdout == "1\n" and f"joining the Ray of `rayflow up` at {address}" in named.stderr
        alone = other.rayflow("run", "flow.py", "quick", "--n", "2", "--json")
        assert alone.stdout == "2\n" and "starting Ray on this machine" in alone.stderr
        assert f"stays up at {address}" in other.rayflow("down").stdout
    finally:
        down = marked.rayflow("down")
    assert down.returncode == 0, down.stderr
    until(lambda: not processes_of(marked), 20, what="processes stay behind")
    assert marked.rayflow("down").returncode == 0
