"""What a body does to its process: forks, directories, the environment; and runs that begin where a module is imported.
"""

from __future__ import annotations

import os
import traceback

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.errors import NestedRun
from rayflow.runtime.worker.process_state import own_process

FORKS = """
    import asyncio, multiprocessing, os, pty, sys
    from rayflow import File, task

    multiprocessing.set_start_method("fork", force=True)

    def leave(how):
        print("from the child")
        sys.stderr.write("child's stderr\\n")
        if how == "raise":
            raise RuntimeError("of the child")
        if how == "exit":
            sys.exit(3)
        if how == "exit with words":
            sys.exit("words of the child")
        if how == "os._exit":
            os._exit(4)
        if how == "interrupt":
            raise KeyboardInterrupt
        return "from the child"

    def code_of(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @task
    def os_fork(how: str):
        print("before")
        pid = os.fork()
        if pid == 0:
            return leave(how)
        print("after")
        return code_of(pid)

    @task
    def in_pty(how: str):
        pid, fd = pty.fork()
        if pid == 0:
            return leave(how)
        try:
            while os.read(fd, 1000):
                pass
        except OSError:
            pass
        return code_of(pid)

    @task
    def in_multiprocessing(how: str):
        child = multiprocessing.Process(target=leave, args=(how,))
        child.start()
        child.join()
        return child.exitcode

    @task
    async def awaiting(how: str):
        await os_fork("return")
        pid = os.fork()
        if pid == 0:
            await asyncio.sleep(0)
            return leave(how)
        await asyncio.sleep(0)
        return code_of(pid)

    @task(retries=2)
    def with_file(how: str):
        pid = os.fork()
        if pid == 0:
            return leave(how)
        code_of(pid)
        made = File(f"made {how}.txt")
        made.write("by the parent")
        return made

    class Odd:
        def __init__(self, how):
            self.how = how
        def forks(self):
            pid = os.fork()
            return leave(self.how) if pid == 0 else code_of(pid)

    @task
    def odd(how: str):
        return Odd(how)

    @task
    def main(how: str):
        forked = [os_fork(how), in_pty(how), in_multiprocessing(how), awaiting(how), odd(how).forks()]
        return [*forked, with_file(how).size()]
"""

CODES = {"return": 0, "raise": 1, "exit": 3, "exit with words": 1, "os._exit": 4, "interrupt": 1}


def check_forks(flow: Flow, how: str, value: list[object]) -> None:
    code = CODES[how]
    assert value == [code, code, code, code, code, len("by the parent")]
    assert flow.project.sql("select count(*), count(distinct job_id) from raw.jobs where status <> 'open'") == [(8, 8)]
    logs = "".join(str(text) for (text,) in flow.project.sql("select text from logs"))
    assert "before" in logs and "after" in logs and "child" not in logs, "a child writes to its parent's log"
    assert flow.project.sql("select distinct status from jobs") == [("done",)]


@pytest.mark.parametrize("how", CODES)
def test_a_child_that_leaves_a_body_is_no_answer_for_it(flow: Flow, how: str) -> None:
    flow.write(FORKS)
    check_forks(flow, how, flow.call("main", how))
    assert "child" not in "".join(flow.watching.lines)


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


PLACES = """
    import os
    from pathlib import Path
    from rayflow import seq, task

    @task
    def move(n: int, fails: bool = False):
        before = os.getcwd(), os.environ.get("MADE"), os.environ.get("KEPT"), os.environ.get("GONE")
        os.environ["MADE"] = str(n)
        os.environ["KEPT"] = "changed"
        os.environ.pop("GONE", None)
        os.makedirs(f"away{n}", exist_ok=True)
        os.chdir(f"away{n}")
        if n == 2:
            os.rmdir(os.getcwd())
        if fails:
            raise ValueError("on the way")
        return before

    @task
    async def waits():
        os.chdir("away1")
        os.environ["MADE"] = "by the one that waits"
        await move(3)
        return os.path.basename(os.getcwd()), os.environ["MADE"]

    @task
    def look():
        return os.getcwd(), os.environ.get("MADE"), os.environ.get("KEPT"), os.environ.get("GONE")

    @task
    def main():
        from rayflow import catch
        return seq([move(1), move(2), catch(move(4, True), ValueError, lambda error: None), waits(), look()])
"""


def test_what_a_body_changes_of_directory_and_environment_is_put_back(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("GONE", "there")
    monkeypatch.delenv("MADE", raising=False)
    flow.write(PLACES)
    found = (str(flow.project.path), None, "kept", "there")
    before = dict(os.environ)
    assert flow.call("main") == [found, found, None, ("away1", "by the one that waits"), found]
    assert os.getcwd() == str(flow.project.path) and dict(os.environ) == before


SETTINGS = {
    "settings": """
        import os
        os.environ.setdefault("ADDED", "by settings")
        os.environ["CHANGED"] = os.environ.get("CHANGED", "first") + " by settings"
        os.environ.pop("REMOVED", None)
        import below_settings
    """,
    "below_settings": "import os\nos.environ['BELOW'] = 'by below_settings'\n",
    "moving": "import os\nos.makedirs('moved', exist_ok=True)\nos.chdir('moved')\n",
    "failing": "import os\nos.environ['FAILED'] = 'on the way'\nraise ValueError('as it was imported')\n",
}

IMPORTS = """
    import asyncio, importlib, os
    from rayflow import seq, task

    def seen():
        names = ("OWN", "ADDED", "CHANGED", "REMOVED", "BELOW", "FAILED")
        return [os.path.basename(os.getcwd()), *map(os.environ.get, names)]

    @task
    def call(n: int):
        os.environ["OWN"] = f"by {n}"
        import settings, moving
        try:
            import failing
        except ValueError:
            pass
        found = seen()
        os.environ["ADDED"] = os.environ["OWN"] = "at the end"
        os.environ["REMOVED"] = "again"
        os.chdir("/")
        return found

    @task
    async def waits():
        os.environ["OWN"] = "by the one that waits"
        await call(3)
        await call(4)
        return seen()

    @task
    def look():
        return seen()

    @task
    def main():
        return seq([waits(), call(1), call(2), look()])

    @task
    def calls():
        return [call(n) for n in range(6)]
"""

IMPORTED = ["moved", "by settings", "first by settings", None, "by below_settings", "on the way"]


def check_imports(value: list[list[str | None]]) -> None:
    waited, *calls, look = [[each[0], *each[2:]] for each in value]
    assert waited == calls[0] == calls[1] == look == IMPORTED, "all find what was imported, as in one program"
    assert [each[1] for each in value] == ["by the one that waits", "by 1", "by 2", None], "what is a body's own is not"


def write_imports(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANGED", "first")
    monkeypatch.setenv("REMOVED", "there")
    for name in ("OWN", "ADDED", "BELOW", "FAILED"):
        monkeypatch.delenv(name, raising=False)
    for name, text in SETTINGS.items():
        flow.project.write(f"{name}.py", text)
    flow.write(IMPORTS)


def test_what_a_module_sets_as_a_body_imports_it_stays(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imports(flow, monkeypatch)
    check_imports(flow.call("main"))


def test_a_traceback_of_an_import_has_no_frames_but_the_modules(flow: Flow) -> None:
    flow.project.write("broken.py", "import not_there\n")
    with own_process():
        for name in ("broken", "not_there", "failing"):
            flow.project.write("failing.py", SETTINGS["failing"])
            with pytest.raises((ImportError, ValueError)) as caught:
                exec(f"import {name}", {})
            files = {os.path.basename(frame.filename) for frame in traceback.extract_tb(caught.value.__traceback__)}
            assert files <= {os.path.basename(__file__), "<string>", f"{name}.py"}


def test_variables_of_ray_and_rayflow_are_no_bodys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAYFLOW_WORKER_IMPORTS"):
        monkeypatch.setenv(name, "before")
        with own_process():
            os.environ[name] = "set by another thread meanwhile"
        assert os.environ[name] == "set by another thread meanwhile"
        with own_process():
            del os.environ[name]
        assert name not in os.environ


UNGUARDED = """
    from rayflow import Scheduler, run, task

    @task
    def inner(n: int):
        return n + 1

    @task
    def main(n: int = 1):
        return [inner(n), inner(n + 1)]

    {starts}
"""

STARTS = [
    "print(run(main()))",
    "print(run(main(), inline=True))",
    "Scheduler(inline=True).run(main())",
    "Scheduler().submit(main())",
    "Scheduler().dry_run(main())",
    "print([run(each) for each in [main()]])",
]


@pytest.mark.parametrize("starts", STARTS)
def test_a_run_that_a_module_starts_while_it_is_loaded_is_refused_with_its_line(flow: Flow, starts: str) -> None:
    with pytest.raises(NestedRun) as caught:
        flow.write(UNGUARDED.format(starts=starts))
    line = 11
    told = str(caught.value)
    assert f"{flow.project.path / 'flow.py'}:{line} starts a run" in told
    assert starts in told and '`if __name__ == "__main__":`' in told
    guarded = 'if __name__ == "__main__": ' + starts
    flow.write(UNGUARDED.format(starts=guarded))
    assert flow.call("main") == [2, 3]


def test_on_the_command_line_it_is_told_once(project: Project) -> None:
    project.write("flow.py", UNGUARDED.format(starts="print(run(main()))"))
    done = project.rayflow("run", "--inline", "flow.py")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("flow.py:11 starts a run") == 1 and "Traceback" not in done.stderr
    assert not (project.path / ".rayflow").exists()


def test_a_module_that_a_body_imports_starts_no_run_either(flow: Flow) -> None:
    flow.project.write("late.py", UNGUARDED.format(starts="print(run(main()))"))
    flow.write("""
        from rayflow import task

        @task
        def main():
            import late
            return late
    """)
    with pytest.raises(NestedRun, match=r"late.py:11 starts a run when the module is imported"):
        flow.call("main")


def test_a_program_that_a_worker_starts_by_an_import_starts_no_run(project: Project) -> None:
    from rayflow.runtime.worker.nested_runs import imported_by_worker, refuse_nested

    program = "from rayflow import run\nrun([1], inline=True)"
    with imported_by_worker("flow"):
        refuse_nested()
        done = project.python("-c", program)
    assert done.returncode == 1 and "was started by the module flow while a worker imported it" in done.stderr
    assert "RAYFLOW_WORKER_IMPORTS" not in os.environ


@pytest.mark.ray
def test_on_ray_children_places_and_imports_are_as_inline(
    flow: Flow, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.write(FORKS)
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert flow.module is not None
        for how in ("return", "raise", "exit"):
            code = CODES[how]
            assert scheduler.run(flow.module.main(how)) == [code, code, code, code, code, len("by the parent")]
        logs = "".join(str(text) for (text,) in flow.project.sql("select text from logs"))
        assert "before" in logs and "child" not in logs
        flow.write(PLACES)
        value = scheduler.run(flow.module.main())
        assert {each[:2] for each in (value[0], value[1], value[4])} == {(str(flow.project.path), None)}
        write_imports(flow, monkeypatch)
        value = scheduler.run(flow.module.calls())
        assert [each[2:] for each in value] == [IMPORTED[1:]] * 6
        # This process imports the module without starting a run, as one with other settings does; workers start one.
        monkeypatch.setenv("QUIET", "1")
        starts = "print('QUIET' in __import__('os').environ or run(main()))"
        flow.project.write("first.py", UNGUARDED.format(starts=starts))
        module = flow.project.load("first")
        with pytest.raises(NestedRun, match=r"first.py:11 starts a run when the module is imported"):
            scheduler.run(module.main())
        assert flow.project.sql("select count(*) from executions where task_name like 'first%'") == [(1,)]
