"""`rayflow run --dry-run` and `Scheduler.dry_run`: what would run, why, and for how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluations import Flow
from projects import Project

from rayflow import Scheduler

FLOW = '''
from rayflow import catch, task

@task
def leaf(i):
    return i

@task(limits=["door"])
def total(xs):
    return sum(xs)

@task
def wide(n, k=1):
    return total([leaf(i) for i in range(n)])

@task
def after(x):
    return x

@task
def main(n=3):
    return after(wide(n))
'''


def lines(rayflow: Any, *words: str) -> list[str]:
    """What a dry run says, without the module's name and the times."""
    done = rayflow("run", "--dry-run", rayflow.file, *words)
    assert done.code == 0, done.err
    found = []
    for line in done.out.replace(f"{rayflow.namespace}.", "").splitlines():
        said = [part for part in line.split("  ") if part and "last time" not in part]
        found.append(" ".join(part.strip() for part in said) if not line.startswith("dry run") else line.split(";")[0])
    return found


def test_what_was_never_evaluated_runs(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    assert lines(rayflow) == ["runs main(n=3) it was never evaluated here", "dry run: 1 would run, 0 cached"]
    assert not (rayflow.project.path / ".rayflow").exists()


def test_what_is_cached_does_not(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run()
    assert lines(rayflow) == ["nothing would run: 7 calls are cached"]
    assert lines(rayflow, "--no-cache")[0].startswith("runs main(n=3) the run was told not to use the cache")


def test_an_edit_below_is_found_through_all_that_is_cached(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run()
    edit(rayflow, "return i\n", "return i + 1\n")
    assert lines(rayflow) == [
        "waits after(x=wide(3)) its argument x comes from calls that run",
        "waits total(xs=[leaf(0), leaf(1), leaf(2)]) its argument xs comes from calls that run",
        "runs leaf(i=0) its code has changed (leaf)",
        "runs leaf(i=1) its code has changed (leaf)",
        "runs leaf(i=2) its code has changed (leaf)",
        "dry run: 3 would run, 2 wait for them, 2 cached",
    ]


def edit(rayflow: Any, old: str, new: str) -> None:
    """Change the file; the next command loads it again."""
    rayflow.project.edit(rayflow.file, old, new)
    rayflow.project.forget()


def test_beyond_the_first_miss_stands_what_was_called_before(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run()
    edit(rayflow, "return i\n", "return i + 1\n")
    edit(rayflow, "return after(wide(n))", "return [after(wide(n))]")
    assert lines(rayflow) == [
        "runs main(n=3) its code has changed (main)",
        "perhaps? after(x=3) its argument x comes from wide, which may differ",
        "cached? wide(n=3, k=1) if it is called like this again",
        "perhaps? total(xs=[0, 1, 2]) its argument xs comes from leaf, which may differ",
        "runs? leaf(i=0) its code has changed",
        "runs? leaf(i=1) its code has changed",
        "runs? leaf(i=2) its code has changed",
        "dry run: 1 would run, 0 cached, 6 predicted beyond (?): 3 run, 2 may run, 1 cached",
    ]


def test_another_argument_is_carried_on_to_what_took_it(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run()
    found = lines(rayflow, "--n", "4")
    assert found[0] == "runs main(n=4) n was 3 and is 4"
    assert "perhaps? wide(n=3, k=1) its argument n was given to the call above, and is another now" in found
    assert "cached? leaf(i=0) if it is called like this again" in found


def test_many_calls_alike_are_counted_and_their_time_summed_up(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run("--n", "50")
    edit(rayflow, "return i\n", "return i + 1\n")
    found = lines(rayflow, "--n", "50")
    assert found[-1] == "dry run: 50 would run, 2 wait for them, 2 cached"
    assert "... and 47 more leaf alike" in found and len(found) == 7
    edit(rayflow, "return after(wide(n))", "return [after(wide(n))]")
    assert "... and 47 more leaf alike" in lines(rayflow, "--n", "50")


def test_as_json(rayflow: Any) -> None:
    rayflow.path.write_text(FLOW)
    rayflow.run()
    edit(rayflow, "return x\n", "return x + 1\n")
    found = json.loads(rayflow("run", rayflow.file, "--dry-run", "--json").out)
    [call] = found["calls"]
    assert (found["would_run"], found["is_cached"], found["is_cut"]) == (1, False, False)
    assert call["task_name"] == f"{rayflow.namespace}.after" and call["verdict"] == "runs"
    [job] = rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.after'")
    assert call["earlier_job_id"] == job and found["seconds"] == call["seconds"] > 0


def test_the_store_is_left_as_it_is_and_ray_is_not_imported(project: Project) -> None:
    project.write("flow.py", FLOW)
    assert project.rayflow("run", "--inline", "flow.py").returncode == 0
    project.edit("flow.py", "return x\n", "return x + 1\n")
    before = _content(project.path / ".rayflow")
    script = (
        "import sys; from rayflow.__main__ import main; code = main(['run', '--dry-run', 'flow.py', '--n', '3']); "
        "print('ray' in sys.modules); sys.exit(code)"
    )
    done = project.python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs     flow.after(x=3)") and done.stdout.endswith("\nFalse\n")
    assert _content(project.path / ".rayflow") == before


def _content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_calls_that_wait_for_a_limit_would_run_too(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW)
    with Scheduler(inline=True, read_only=True) as scheduler:
        found = scheduler.dry_run([module.total([1]), module.total([2]), module.total([1])])
    assert found.would_run == 2 and not found.is_cached
    assert [call.call for call in found.calls] == ["flow.total(xs=[1])", "flow.total(xs=[2])"]


def test_a_failure_that_is_certain_is_told(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW + "\n@task\ndef wrong():\n    return leaf.options(retries=leaf('x'))(1)\n")
    flow.call("leaf", "x")
    with Scheduler(inline=True) as scheduler:
        found = scheduler.dry_run(module.leaf.options(retries=module.leaf("x"))(1))
    assert not found.is_cached and "retries" in found.failures[0] and found.would_run == 0


def test_what_ran_in_this_very_scheduler_counts(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW)
    with Scheduler(store=":memory:", inline=True, reporter=flow.watching) as scheduler:
        scheduler.run(module.main())
        assert scheduler.dry_run(module.main()).is_cached
        assert scheduler.dry_run(module.main(), cache=False).would_run == 1
        assert scheduler.run(module.main(4)) == 6


def test_operations_on_what_is_the_users_are_not_carried_out_either(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from pathlib import Path
        from rayflow import task

        class Loaded:
            def push(self):
                Path("pushed").touch()
                return 1

        @task
        def load():
            return Loaded()

        @task
        def main():
            return load().push()
        """,
    )
    assert project.rayflow("run", "flow.py", "load", "--inline").returncode == 0
    flow = project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        told = scheduler.dry_run(flow.load().push())
        assert not (project.path / "pushed").exists()
        assert (told.would_run, told.is_cached) == (1, False)
        assert "push" in told.calls[0].call
        assert scheduler.run(flow.load().push()) == 1
        assert scheduler.dry_run(flow.load().push()).is_cached
