"""Section F, what a traceback shows: the user's lines, wherever the error goes, and none of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from evaluations import Flow, shown
from projects import Project

import rayflow
from rayflow import Scheduler
from rayflow.errors import RayflowError

OURS = os.path.dirname(rayflow.__file__) + os.sep

FLOW = '''
    import asyncio
    import json
    import sys

    from rayflow import apply_func, catch, cond, gather, map_, run, seq, subrun, task

    def helper(n):
        if n:
            return helper(n - 1)
        raise ValueError("deep")  # the helper raises

    @task
    def plain(x=0):
        return helper(0)

    @task
    def caused(x=0):
        try:
            helper(1)
        except ValueError as error:
            raise RuntimeError("caused") from error  # with a cause

    @task
    def handling(x=0):
        try:
            helper(1)
        except ValueError:
            {}["key"]  # with a context

    @task
    def from_none(x=0):
        try:
            helper(1)
        except ValueError:
            raise RuntimeError("alone") from None  # from none

    @task
    def grouped(x=0):
        errors = []
        for number in range(2):
            try:
                helper(number)
            except ValueError as error:
                error.add_note(f"note {number}")
                errors.append(error)
        raise ExceptionGroup("outer", [*errors, ExceptionGroup("inner", [KeyError("innermost")])])  # a group

    @task
    def library(x=0):
        return json.loads("{oops")  # calls a library

    @task
    def recursion(x=0):
        return helper(10**6)  # recurses

    @task
    def ring(x=0):
        return there(10**6)

    def there(n):
        return back(n)  # there

    def back(n):
        return there(n)  # and back

    @task
    def syntax(x=0):
        import broken

    @task
    async def waiting(x=0):
        await asyncio.sleep(0)
        helper(0)

    @task
    async def awaiting(x=0):
        return await gather(plain(1))

    @task
    def recover(error):
        raise KeyError("recovered")  # recovers

    FORMS = {
        "cond": lambda: cond(plain(1), 1, 2),
        "catch": lambda: catch(plain(1), ValueError, recover),
        "map_": lambda: map_(plain, [1, 2]),
        "seq": lambda: seq([plain(1)]),
        "subrun": lambda: subrun(plain(1)),
        "apply_func": lambda: apply_func(helper, 0),
    }

    @task
    def main(name, x=0):
        return FORMS[name]() if name in FORMS else globals()[name](x)

    if __name__ == "__main__":
        run(main(sys.argv[1]), inline=sys.argv[2] == "inline", address=None if sys.argv[2] == "inline" else sys.argv[2])
'''

HELPER = 'raise ValueError("deep")  # the helper raises'

LINES = {
    "plain": [HELPER],
    "caused": [HELPER, 'raise RuntimeError("caused") from error  # with a cause', "direct cause"],
    "handling": [HELPER, '{}["key"]  # with a context', "During handling"],
    "from_none": ["# from none"],
    "grouped": ["# a group", HELPER, "note 0", "note 1", "inner (1 sub-exception)", "KeyError: 'innermost'"],
    "library": ['json.loads("{oops")  # calls a library', "decoder.py", "JSONDecodeError: Expecting property name"],
    "recursion": ["helper(10**6)  # recurses", "[Previous line repeated ", "RecursionError"],
    "ring": ["# there", "# and back", "[Previous 2 frames repeated ", "RecursionError"],
    "syntax": ["import broken", "x = = 1", "^", "SyntaxError: invalid syntax"],
    "waiting": [HELPER],
    "awaiting": [HELPER],
    "cond": [HELPER],
    "catch": [HELPER, "# recovers", "During handling"],
    "map_": [HELPER],
    "seq": [HELPER],
    "subrun": [HELPER],
    "apply_func": [HELPER],
}
"""What fails -> what its traceback shows."""

ABSENT = {"from_none": ["deep", "During handling"]}


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    project.write("broken.py", "def f():\n    x = = 1\n")
    made.write(FLOW)
    return made


def check(name: str, told: str) -> None:
    for line in LINES[name]:
        assert line in told, f"{line!r} is not in\n{told}"
    for line in ABSENT.get(name, []):
        assert line not in told
    assert OURS not in told and f"ray{os.sep}_private" not in told and "asyncio" not in told
    assert told.count("\n") < 80, "it is long"


@pytest.mark.parametrize("name", LINES)
def test_an_exception_that_reaches_the_users_code_shows_the_users_lines_alone(flow: Flow, name: str) -> None:
    assert flow.module is not None
    with pytest.raises(Exception) as raised:
        flow.run(flow.module.main(name))
    told = shown(raised.value)
    check(name, told)
    assert f"flow.main(name='{name}'" in told


@pytest.mark.parametrize("name", LINES)
def test_the_command_line_shows_the_users_lines_alone(flow: Flow, name: str) -> None:
    done = flow.project.rayflow("run", "--inline", "flow.py", "main", "--name", name)
    assert done.returncode == 1
    check(name, done.stderr.partition("error: ")[2].partition("  rayflow log ")[0])
    ids = [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("  rayflow log ")]
    logged = flow.project.rayflow("log", ids[0])
    if name != "catch":  # a job knows nothing of what its failure was to recover from
        check(name, logged.stdout.partition("traceback")[2])


@pytest.mark.ray
def test_on_workers_the_lines_are_the_same(flow: Flow, ray_cluster: str) -> None:
    assert flow.module is not None
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        for name in LINES:
            with pytest.raises(Exception) as raised:
                scheduler.run(flow.module.main(name))
            check(name, shown(raised.value))


def test_an_exception_of_workers_that_nothing_catches_ends_a_script_with_the_users_lines(flow: Flow) -> None:
    done = flow.project.python("-W", "ignore", "flow.py", "caused", "inline")
    told = done.stderr[done.stderr.index("Traceback") :]
    check("caused", told)
    files = [line for line in told.splitlines() if line.startswith("  File ")]
    assert all(str(flow.project.path) in file for file in files), "a path that an editor finds"
    assert "run(main(sys.argv[1])" in told


def test_causes_contexts_and_members_come_as_the_exceptions_that_they_were(flow: Flow) -> None:
    assert flow.module is not None
    errors = {}
    for name in ("caused", "handling", "from_none", "grouped", "catch"):
        with pytest.raises(Exception) as raised:
            flow.run(flow.module.main(name))
        errors[name] = raised.value
    assert isinstance(errors["caused"].__cause__, ValueError)
    assert isinstance(errors["handling"].__context__, ValueError) and errors["handling"].__cause__ is None
    assert errors["from_none"].__context__ is None
    assert [member.__notes__ for member in errors["grouped"].exceptions[:2]] == [["note 0"], ["note 1"]]
    assert isinstance(errors["catch"].__context__, ValueError)
    assert "flow.plain(x=1)" in errors["catch"].__context__.__notes__[0]


def test_the_innermost_frame_is_the_users_so_that_a_debugger_lands_there(flow: Flow) -> None:
    assert flow.module is not None
    with pytest.raises(ValueError, match="deep") as raised:
        flow.run(flow.module.main("plain"))
    last = list(traceback.walk_tb(raised.value.__traceback__))[-1]
    frame, line = last
    assert (frame.f_code.co_filename, frame.f_code.co_name) == (str(flow.project.path / "flow.py"), "helper")
    assert HELPER in (flow.project.path / "flow.py").read_text().splitlines()[line - 1]


def test_every_frame_is_shown_where_that_is_asked_for(flow: Flow) -> None:
    words = ["-W", "ignore", "flow.py", "plain", "inline"]
    assert OURS in flow.project.python(*words, RAYFLOW_FULL_TRACEBACKS="1").stderr
    assert OURS not in flow.project.python(*words, RAYFLOW_FULL_TRACEBACKS="0").stderr
    words = ["run", "--inline", "flow.py", "plain"]
    assert OURS in flow.project.rayflow(*words, RAYFLOW_FULL_TRACEBACKS="1").stderr


def test_a_huge_message_is_shortened_on_the_command_line_and_whole_in_the_log(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def main():
            raise ValueError("first\\n" + "\\n".join(f"{i} " + 50 * "x" for i in range(9_000)) + "\\nlast")
    """)
    done = flow.project.rayflow("run", "--inline", "flow.py")
    assert len(done.stderr) < 5_000 and "first" in done.stderr and "last" in done.stderr
    hint = done.stderr.partition("more characters: `")[2].partition("`")[0].split()
    assert hint[:2] == ["rayflow", "log"]
    assert len(flow.project.rayflow(*hint[1:]).stdout) > 9_000 * 50


# --- the front doors --------------------------------------------------------------------------------------------------


def doors() -> Iterator[Any]:
    @rayflow.task
    def some(x: int) -> int:
        return x

    yield lambda: rayflow.run(some(1), options={"nonsense": 1}, inline=True)
    yield lambda: rayflow.history("nowhere/at/all")
    yield lambda: Scheduler(inline=False, debug=True)
    yield lambda: Scheduler(inline=True).rerun("nonsense")
    yield lambda: Scheduler(inline=True).resume("nonsense")
    yield lambda: Scheduler(inline=True).sql("nonsense")
    yield lambda: Scheduler(inline=True).dry_run(some(1), options={"nonsense": 1})
    yield lambda: Scheduler(inline=True).submit(some(1), options={"nonsense": 1})
    yield lambda: Scheduler(inline=True).submit(rayflow.throw(ValueError("x"))).result()


@pytest.mark.parametrize("door", list(doors()))
def test_an_error_of_a_front_door_has_no_frames_of_ours(project: Project, door: Any) -> None:
    with pytest.raises((RayflowError, ValueError)) as raised:
        door()
    assert OURS not in shown(raised.value)
    assert traceback.extract_tb(raised.value.__traceback__)[-1].filename in (__file__, str(__file__))


def test_a_mistake_of_ours_keeps_its_frames(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow.runtime.driver import driver

    def broken(*_: object, **__: object) -> None:
        exec(compile("{}['a mistake']", driver.__file__, "exec"))

    monkeypatch.setattr(driver.Driver, "submit", broken)
    with pytest.raises(KeyError, match="a mistake") as raised:
        rayflow.run(1, inline=True)
    assert f"{OURS}api.py" in shown(raised.value)


def test_in_a_notebook_a_cell_shows_the_users_lines_alone(flow: Flow) -> None:
    pytest.importorskip("IPython", reason="IPython is not installed")
    script = "from IPython.terminal.interactiveshell import TerminalInteractiveShell as S; import sys\n"
    script += "s = S.instance(colors='nocolor'); s.run_cell(sys.stdin.read()); "
    cell = "from rayflow import run\nimport flow\nrun(flow.main('caused'), inline=True)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=flow.project.path, input=cell, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    check("caused", done.stdout)


@pytest.mark.parametrize("given", ["(n for n in [1])", "open('x', 'w')", "[{'a': [__import__('threading').Lock()]}]"])
def test_what_rayflow_says_of_a_mistake_comes_without_lines_of_libraries(project: Project, given: str) -> None:
    project.write("flow.py", f"from rayflow import task\n@task\ndef main():\n    return {given}\n")
    told = project.rayflow("run", "--inline", "flow.py").stderr
    assert "cannot be kept" in told
    assert "Traceback" not in told and ".py" not in told.replace("flow.py", ""), told


def test_a_script_that_takes_too_long_is_told_without_lines_of_libraries(project: Project) -> None:
    text = "from rayflow import script, task\n@task\ndef main():\n    return script('sleep 5', timeout=0.3)\n"
    project.write("flow.py", text)
    told = project.rayflow("run", "--inline", "flow.py").stderr
    assert "longer than" in told and "selectors" not in told, told


def test_a_question_of_history_that_has_no_answer_shows_the_users_line_alone(project: Project) -> None:
    project.write("flow.py", "from rayflow import task\n@task\ndef main():\n    return 1\n")
    project.rayflow("run", "--inline", "flow.py")
    project.write("ask.py", "from rayflow import history\nhistory().value('zzzz')\n")
    told = project.python("ask.py").stderr
    assert told.count("File ") == 1 and "ask.py" in told, told
