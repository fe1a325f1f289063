"""What `rayflow why` says beside the reason: of members of directories, of calls below, of what did not run."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project
from why_flow import FLOW

from rayflow import Scheduler
from rayflow.__main__ import main


def test_members_are_told_of_by_another_process(project: Project) -> None:
    """What was in a directory is recorded: of an argument, of a result, and as it was when a result was refused."""
    project.write(
        "flow.py",
        """
        from pathlib import Path

        from rayflow import Dir, task

        @task
        def look(folder: Dir):
            return len(folder.files())

        @task
        def fill():
            Path("made").mkdir(exist_ok=True)
            Path("made/a.txt").write_text("a")
            return Dir("made")

        @task
        def look_default(folder=Dir("usual")):
            return len(folder.files())

        @task
        def main():
            return [look(Dir("given")), fill(), look_default()]
        """,
    )
    for number in range(4):
        project.write(f"given/{number}.txt", "x")
        project.write(f"usual/{number}.txt", "x")
    assert project.rayflow("run", "--inline", "flow.py").returncode == 0
    project.write("given/2.txt", "longer")
    project.write("made/b.txt", "b")
    project.write("usual/3.txt", "longer")
    planned = project.rayflow("run", "--dry-run", "flow.py").stdout
    given = "(given/2.txt has changed: 6 bytes, was 1)"
    made = "made has changed: 2 files, were 1 (made/b.txt is new)"
    assert given in planned and made in planned
    assert project.rayflow("run", "--inline", "flow.py").returncode == 0
    assert given in project.rayflow("why", "look").stdout
    assert f"not as it was: {made}." in project.rayflow("why", "fill").stdout
    assert "(usual/3.txt has changed: 6 bytes, was 1)" in project.rayflow("why", "look_default").stdout
    assert len(project.sql("from listings")) == 7


def test_a_shared_job_names_the_job_that_did_the_work(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW)
    flow.run([module.leaf(1), [module.leaf(1)]])
    rows = dict(project.sql("select how, job_id from jobs where task_name = 'flow.leaf'"))
    with Scheduler(store=str(project.path / ".rayflow"), inline=True, read_only=True) as scheduler:
        twin = scheduler.history().why(rows["shared"]).twin
    assert twin is not None and twin["job_id"] == rows["computed"]


def test_a_cached_call_names_what_ran_below_it_and_the_run_that_computed_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    flow = Flow(project)
    module = flow.write(FLOW)
    flow.run(module.calls_leaf())
    [(first,)] = project.sql("select execution_id from executions")
    flow.edit("def leaf(x=1):\n    return x", "def leaf(x=1):\n    return x + 0")
    flow.call("calls_leaf")
    capsys.readouterr()
    assert main(["why", "calls_leaf"]) == 0
    told = capsys.readouterr().out
    assert f"by execution {first[:18]}. Among the calls that it made, flow.leaf ran anew." in told


def test_reasons_are_kept_with_the_job_as_they_were_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there by now says nothing of what was there then."""
    monkeypatch.chdir(project.path)
    flow = Flow(project)
    module = flow.write(FLOW)
    flow.run(module.write())
    (project.path / "out.txt").unlink()
    flow.run(module.write())
    flow.run(module.write("other"))
    [(missed,)] = project.sql(
        "select missed from jobs where missed is not null and execution_id <> "
        "(select max(execution_id) from executions)"
    )
    assert missed.startswith('[["file","out.txt",["stat",4,') and missed.endswith('["stat",null,null]]]')


@pytest.mark.parametrize("how", ["not run", "stopped", "held", "failed with its twin"])
def test_what_did_not_run_says_what_kept_it(project: Project, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    flow = Flow(project)
    module = flow.write(FLOW)
    (project.path / "broken").write_text("")
    held = module.leaf.options(limits=["a"])
    calls = {
        "not run": lambda: (module.leaf(module.fragile()), {}),
        "stopped": lambda: ([module.fragile(), module.leaf(1), module.leaf(2)], {"fail_fast": True}),
        "held": lambda: ([module.fragile(), held(1), held(2)], {"fail_fast": True}),
        "failed with its twin": lambda: ([module.fragile(), [module.fragile()]], {}),
    }
    expr, given = calls[how]()
    with pytest.raises(ValueError):
        flow.run(expr, **given)
    says = {
        "not run": ("status = 'not_run'", "It did not run, because what it needs has failed: ValueError: it is broken"),
        "stopped": (
            "status = 'cancelled' and task_name = 'flow.leaf'",
            "It was sent to a worker, and was stopped with its execution before it ended.",
        ),
        "held": (
            "status = 'cancelled' and attempts = 0",
            "It did not run: the execution was stopped before its turn came.",
        ),
        "failed with its twin": (
            "how = 'shared'",
            "It did not run. An equal call of the same execution did the work, and failed: ValueError: it is broken",
        ),
    }
    where, sentence = says[how]
    job = project.sql(f"select job_id from jobs where {where} limit 1")[0][0]
    assert project.rayflow("why", job).stdout.splitlines()[-1] == sentence


def test_of_a_resumed_execution_is_told_what_its_earlier_life_did(project: Project) -> None:
    project.write("flow.py", """
        import os
        import time
        from rayflow import task

        @task
        def ok(i):
            time.sleep(0.15)
            return i

        @task
        def bad(x):
            if os.path.exists("broken"):
                raise ValueError("no")
            return x

        @task
        def main():
            return [bad(ok(i)) for i in range(2)]
    """)
    (project.path / "broken").touch()
    assert project.rayflow("run", "--inline", "flow.py").returncode == 1
    (project.path / "broken").unlink()
    assert project.rayflow("resume", "-", "--inline").stdout == "[0, 1]\n"
    query = "select task_name, how, status, wall_seconds > 0.1 from jobs where task_name <> 'flow.main' order by all"
    rows = project.sql(query)
    assert rows == [("flow.bad", "computed", "done", False)] * 2 + [("flow.ok", "computed", "done", True)] * 2
    told = project.rayflow("why", "flow.ok").stdout
    assert "no earlier evaluation" in told and "equal call" not in told, told
    told = project.rayflow("why", "flow.main").stdout
    assert "equal call" not in told, told
    told = project.rayflow("why", "flow.bad").stdout
    assert "which failed" in told and "no earlier evaluation" not in told, told
