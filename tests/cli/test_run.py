"""`rayflow run`, carried out in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow import config
from rayflow.__main__ import main
from rayflow.cli.evaluation import evaluate


def test_the_result_is_all_there_is_on_stdout(rayflow: Any) -> None:
    done = rayflow.run("main")
    assert (done.code, done.out) == (0, "'Hello, World!'\n")
    assert "loading\n" in done.err
    assert "[get_planet] asking\n" in done.err
    assert "3 jobs, 3 computed" in done.err


def test_the_second_run_is_cached_and_says_so(rayflow: Any) -> None:
    rayflow.run("main")
    again = rayflow("run", rayflow.file, "main")  # without --inline: nothing has to run, so nothing is started
    assert again.out == "'Hello, World!'\n"
    assert "asking" not in again.err
    assert "3 jobs, 3 cached" in again.err
    assert f"  {rayflow.namespace}.get_planet  1 cached" in again.err
    fresh = rayflow.run("main", "--no-cache")
    assert "3 jobs, 3 computed" in fresh.err


def test_one_argument_changes_what_depends_on_it(rayflow: Any) -> None:
    rayflow.run("main")
    done = rayflow.run("main", "--greet", "Hi")
    assert done.out == "'Hi, World!'\n"
    assert "2 computed, 1 cached" in done.err
    assert rayflow.run("greeter", "--greet", "Hello", "--thing", "Mars").out == "'Hello, Mars!'\n"


def test_main_may_be_left_out(rayflow: Any) -> None:
    assert rayflow.run("--greet=Hi").out == "'Hi, World!'\n"


def test_json_is_the_only_line_of_stdout(rayflow: Any) -> None:
    done = rayflow.run("add", "--n", "3", "--xs", "1", "2", "--verbose", "--other-one", "7", "--json")
    assert json.loads(done.out) == {"n": 3, "xs": [1.0, 2.0], "verbose": True, "other_one": 7}
    assert done.out.count("\n") == 1


def test_options_of_the_run_may_stand_anywhere(rayflow: Any) -> None:
    here = rayflow.file
    for words in (["--json", here, "main"], [here, "--json", "main"], [here, "main", "--json"], [here, "--json"]):
        assert rayflow("run", "--inline", *words).out == '"Hello, World!"\n'


def test_behind_its_name_a_tasks_own_arguments_win(rayflow: Any) -> None:
    done = rayflow.run("--store", "elsewhere", "store", "--store", "mine", "--no-cache", "--json")
    assert json.loads(done.out) == ["mine", True]
    assert (rayflow.project.path / "elsewhere").is_dir()


def test_a_store_is_named_once_when_it_is_new(rayflow: Any) -> None:
    first, second = rayflow.run("main"), rayflow.run("main")
    assert f"results are kept in {rayflow.project.path}/.rayflow" in first.err
    assert "results are kept" not in second.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "--m", "3"], "add has no argument --m. Did you mean --n?"),
        (["main", "--inlnie"], "main has no argument --inlnie. Did you mean --inline?"),
        (["add", "--n", "x"], "--n: 'x' is not an int."),
        (["add"], "add needs --n (int)."),
        (["ad"], "has no task 'ad'. Did you mean"),
        (["main", "--option", "retires=2"], "there is no task option 'retires'. Did you mean 'retries'?"),
        (["main", "a", "b"], "'b' is one too many"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_1(rayflow: Any, words: list[str], message: str) -> None:
    rayflow.path.write_text(rayflow.path.read_text().replace("print(", "str(").replace(", **more: int", ""))
    done = rayflow.run(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ") and message in done.err
    assert len(done.err.splitlines()) == 1


def test_a_file_that_is_not_there_offers_the_nearest(rayflow: Any) -> None:
    done = rayflow("run", rayflow.file.replace("flow", "flwo"))
    assert done.code == 1
    assert f"Did you mean {rayflow.file}?" in done.err


def test_a_module_that_does_not_import_shows_the_users_frames_only(rayflow: Any) -> None:
    rayflow.path.write_text("def f():\n    return 1 / 0\n\nf()\n")
    done = rayflow.run("main")
    assert done.code == 1
    assert "ZeroDivisionError" in done.err and "line 2, in f" in done.err
    assert "importlib" not in done.err and "rayflow/cli" not in done.err


def test_a_task_that_cannot_be_one_is_shown_where_the_user_wrote_it(rayflow: Any) -> None:
    rayflow.path.write_text("from rayflow import task\n\n@task\ndef main():\n    yield 1\n")
    done = rayflow.run("main")
    assert done.code == 1
    assert "line 3, in <module>" in done.err and "generator" in done.err
    assert "rayflow/lang" not in done.err


def test_a_failure_shows_the_users_traceback_and_the_others_in_short(rayflow: Any) -> None:
    done = rayflow.run("several", "--n", "30")
    name = rayflow.namespace
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert f"error: {name}.fail failed: ValueError: no 0" in lines
    assert f"  {name}.several(n=30)" in lines and f"  {name}.fail(i=0)" in lines
    assert '    raise ValueError(f"no {i}")' in lines
    assert "rayflow/cli" not in done.err
    assert sum(line.startswith("also failed: ") for line in lines) == 19
    [rest] = [line for line in lines if line.startswith("... and 10 more; `rayflow log ")]
    assert rest.endswith(" --failed` lists them")
    [hint] = [line.split()[-1] for line in lines if line.startswith("  rayflow log ")]
    assert "no 0" in rayflow("log", hint).out


def test_a_bug_is_asked_to_be_reported(rayflow: Any) -> None:
    rayflow.path.write_text(
        "from rayflow import task\nfrom rayflow.errors import Bug, StoreUnavailable\n\n"
        "@task\ndef ours():\n    raise Bug('lost count')\n\n"
        "@task\ndef world():\n    raise StoreUnavailable('disk full')\n"
    )
    ours, world = rayflow.run("ours"), rayflow.run("world")
    assert (ours.code, world.code) == (3, 2)
    assert "Please report it" in ours.err and "Please report it" not in world.err


def test_help_lists_a_tasks_arguments_with_types_and_defaults(rayflow: Any) -> None:
    done = rayflow("run", rayflow.file, "add", "--help")
    assert done.code == 0
    assert f"Usage: rayflow run {rayflow.file} add --n VALUE [--xs VALUE ...] [--verbose/--no-verbose]" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["--n", "VALUE", "int;", "required"] in lines
    assert ["--xs", "VALUE", "...", "list[float];", "default:", "()"] in lines
    assert any(line[:1] == ["--no-cache"] for line in lines)
    assert "Greets somebody." in rayflow("run", rayflow.file, "greeter", "--help").out
    assert "greeter" in rayflow("run", rayflow.file, "--help").out


def test_help_of_a_file_without_main_lists_its_tasks(rayflow: Any) -> None:
    rayflow.path.write_text(rayflow.path.read_text().replace("def main(", "def other("))
    done = rayflow("run", rayflow.file, "--help")
    assert done.code == 0
    assert "greeter" in done.out and "Greets somebody." in done.out


def test_prints_of_other_processes_do_not_reach_stdout(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.write(
        "noisy.py",
        "import os\nfrom rayflow import task\n\n@task\ndef main():\n    os.system('echo child')\n    return 1\n",
    )
    assert main(["run", "--inline", "noisy.py"]) == 0
    out, err = capfd.readouterr()
    assert out == "1\n"
    assert "child" in err


def test_a_long_result_is_shortened_and_whole_as_json(rayflow: Any) -> None:
    done = rayflow.run("wide", "--n", "3000")
    assert len(done.out) < 3000
    assert "--json prints all of it" in done.err
    assert json.loads(rayflow.run("wide", "--n", "3000", "--json").out) == list(range(3000))


# --- as processes -----------------------------------------------------------------------------------------------------

_SLOW = """
import os, sys, time
from rayflow import task

@task
def first():
    return 1

@task
def slow(x, seconds: float):
    sys.stderr.write("waiting\\n")
    end = time.monotonic() + (0.0 if "QUICK" in os.environ else seconds)
    while time.monotonic() < end:
        time.sleep(0.01)
    return x

@task
def main(seconds: float = 30.0):
    return slow(first(), seconds)
"""


def _start(project: Project) -> subprocess.Popen[str]:
    project.write("slow.py", _SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "run", "--inline", "slow.py"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "[slow(" not in process.stderr.readline():
        assert process.poll() is None
    return process


def test_sigterm_and_sighup_end_a_run_as_ctrl_c_does(project: Project) -> None:
    processes = {number: _start(project) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, process in processes.items():
        process.send_signal(number)
    for number, process in processes.items():
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (128 + number, "")
        assert f"{number.name}: stopping" in err
        assert "stopped; what was finished is kept. Go on with: rayflow resume" in err
    recorded = project.sql("select status, error from executions order by error")
    error = "rayflow.errors.Cancelled: the execution was cancelled by"
    assert recorded == [("cancelled", f"{error} SIGHUP"), ("cancelled", f"{error} SIGTERM")]


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(project: Project) -> None:
    process = _start(project)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Ctrl-C again stops at once" in err
    [hint] = [line for line in err.splitlines() if "rayflow resume" in line]
    resumed = subprocess.run(
        [sys.executable, "-m", "rayflow", *hint.partition("rayflow ")[2].split(), "--json"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "QUICK": "1"},
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "1 cached" in resumed.stderr or "shared" in resumed.stderr


def test_ctrl_c_while_ray_starts_names_no_execution_of_which_there_is_no_record(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("rayflow.runtime.on_ray.cluster.cluster_for", interrupted)
    project.write("flow.py", """
        from rayflow import task

        @task
        def one():
            return 1
    """)
    loaded = config.load(str(project.path))
    flow = project.load("flow")
    assert evaluate(loaded, lambda scheduler: scheduler.run(flow.one()), stdout=sys.stdout, as_json=False) == 130
    assert "stopped; nothing had started." in capsys.readouterr().err
    assert project.sql("select count(*) from executions") == [(0,)]


def test_a_second_ctrl_c_ends_the_process_at_once(project: Project) -> None:
    project.write("stubborn.py", _SLOW.replace("time.sleep(0.01)", "hold()") + _HOLD)
    process = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "run", "--inline", "stubborn.py"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "[slow(" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    while "Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at once" in err and "rayflow resume" in err
    assert time.monotonic() - asked < 10


def test_a_signal_ends_a_script_that_runs_rayflow_and_its_programs_with_the_signals_exit_code(project: Project) -> None:
    """No dump of a stack, and what the script has to tidy up is done; in the order in which it was written."""
    project.write("own.py", """
        import signal
        from rayflow import run, script

        try:
            run(script("echo $$ > pid.new; mv pid.new pid; sleep 600", tempdir=False), inline=True)
        finally:
            print("tidied up", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """)
    process = subprocess.Popen(
        [sys.executable, "own.py"], cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (project.path / "pid").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "tidied up True\n")
    [line] = err.splitlines()
    assert line.startswith("rayflow: stopped by SIGTERM; what was finished is kept. Go on with: rayflow resume ")
    assert not Path(f"/proc/{(project.path / 'pid').read_text().strip()}").exists()


_HOLD = """

def hold():
    try:
        time.sleep(0.01)
    except KeyboardInterrupt:
        time.sleep(60)
"""


def test_a_body_stands_in_the_directory_of_the_project_wherever_it_is_run_from(
    project: Project, rayflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is one file, for a File and for Python itself."""
    rayflow.path.write_text(
        "from rayflow import File, task\n\n@task\ndef main():\n    file = File('made.txt')\n"
        "    with open(file.path, 'w') as out:\n        out.write('x')\n    return file\n"
    )
    below = project.path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    done = rayflow("run", "--inline", f"../{rayflow.file}")
    assert done.code == 0, done.err
    assert (project.path / "made.txt").read_text() == "x" and not any(below.iterdir())
    assert Path.cwd() == below
