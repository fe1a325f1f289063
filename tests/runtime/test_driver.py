"""The driver without Ray: inline runs, the fast path, executions that are taken up again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest

from rayflow.api import Scheduler, run
from rayflow.lang.terms.expressions import TaskRef
from rayflow.records import JobRow
from rayflow.runtime.inline import is_light
from rayflow.store.open import open_store
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_DEFINITION

SCRIPT = """
    import os
    import sys
    from rayflow import Scheduler, task

    @task
    def one():
        print("one runs")
        return 1

    @task
    def gate(n):
        if "GO" not in os.environ:
            raise RuntimeError("closed")
        return helper(n)

    def helper(n):
        return n + 10

    @task
    def main():
        return [one(), gate(one())]

    if __name__ == "__main__":
        with Scheduler(inline=True) as scheduler:
            submission = scheduler.submit(main())
            print(submission.execution_id)
            submission.result()
"""


def test_an_execution_of_a_script_can_be_taken_up_by_a_process_that_has_not_loaded_it(project):
    project.write("script.py", SCRIPT)
    failed = project.python("script.py")
    assert "RuntimeError: closed" in failed.stderr
    (project.path / "script.py").unlink()
    execution_id = failed.stdout.split()[0]
    code = f"from rayflow import Scheduler; print(Scheduler(inline=True).resume({execution_id!r}))"
    done = project.python("-c", code, GO="1")
    assert done.stdout.strip() == "[1, 11]", done.stderr
    assert project.sql("select life, status from executions") == [(1, "done")]


@pytest.mark.parametrize("is_inline", [True, False], ids=["inline", "from the cache"])
def test_jobs_that_an_earlier_life_has_left_open_are_closed_when_the_execution_ends(project, is_inline):
    project.write("script.py", SCRIPT)
    failed = project.python("script.py", **({} if is_inline else {"GO": "1"}))
    execution_id = failed.stdout.split()[0]
    left = JobRow(*[None] * len(JobRow._fields))._replace(
        job_id=b"o" * 16, execution_id=execution_id, task_name="flow.gone", status="open", attempts=1, queued_at=1
    )
    with contextlib.closing(open_store(str(project.path / ".rayflow"))) as store:
        store.append([left])
    code = f"from rayflow import Scheduler; print(Scheduler(inline={is_inline}).resume({execution_id!r}))"
    done = project.python("-c", code, GO="1")
    assert done.stdout.splitlines()[-1] == "[1, 11]", done.stderr
    assert project.sql("select status, finished_at is not null from jobs where task_name = 'flow.gone'") == [
        ("cancelled", True)
    ]
    assert project.sql("select count(*) from jobs where status = 'open'") == [(0,)]


def test_a_run_that_is_answered_by_the_cache_alone_imports_neither_ray_nor_duckdb(project):
    project.write(
        "script.py",
        """
        import sys
        from rayflow import run, task

        @task
        def one():
            return 1

        if __name__ == "__main__":
            print(run(one(), inline=len(sys.argv) > 1), {"ray", "duckdb"} & set(sys.modules))
        """,
    )
    assert project.python("script.py", "inline", is_warm=False).stdout == "1 set()\n"
    assert project.python("script.py", is_warm=False).stdout == "1 set()\n"


def test_an_async_task_runs_inline_also_under_a_running_event_loop(project):
    flow = project.write(
        "flow.py",
        """
        import asyncio
        from rayflow import task

        @task
        async def later(n):
            await asyncio.sleep(0)
            if n < 0:
                raise ValueError("negative")
            return n + 1
        """,
    ) and project.load("flow")
    store = str(project.path / ".rayflow")

    async def inside(n: int) -> int:
        return run(flow.later(n), inline=True, store=store)

    assert asyncio.run(inside(1)) == 2
    with pytest.raises(ValueError, match="negative"):
        asyncio.run(inside(-1))


def test_a_timeout_is_kept_inline_also_in_a_thread(project):
    from rayflow.errors import TaskTimeout

    flow = project.write(
        "flow.py",
        """
        from rayflow import task

        @task(timeout=0.05)
        def endless(n):
            while True:
                n += 1
        """,
    ) and project.load("flow")
    store = str(project.path / ".rayflow")
    caught: list[BaseException] = []

    def attempt(n: int) -> None:
        try:
            run(flow.endless(n), inline=True, store=store)
        except TaskTimeout as error:
            caught.append(error)

    attempt(1)
    thread = threading.Thread(target=attempt, args=(2,))
    thread.start()
    thread.join(20)
    assert len(caught) == 2
    assert all("longer than its timeout of 0.05 s" in str(error) for error in caught)


def test_the_opening_row_says_what_was_asked_for(project):
    project.write("flow.py", "from rayflow import task\n\n@task\ndef f(n):\n    return n\n")
    flow = project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        assert scheduler.run(flow.f(3), options={"tags": {"a": "b"}}) == 3
    ((name, arguments, options),) = project.sql("select task_name, arguments, options from executions")
    assert (name, arguments) == ("flow.f", "f(3)")
    assert json.loads(options) == {"tags": {"a": "b"}}


def test_an_option_that_is_no_plain_data_is_named_and_not_taken_for_its_text():
    from rayflow.runtime.protocol.requests import options_again, written

    kept = written({"max_retries": 2, "scheduling_strategy": object(), "runtime_env": {"deep": [{1, 2}]}})
    assert options_again(kept) == ({"max_retries": 2}, ["scheduling_strategy", "runtime_env"])


def test_a_script_in_a_folder_called_bin_is_still_the_users(tmp_path):
    import sys

    from rayflow.runtime.protocol.execution_row import _is_our_command

    assert not _is_our_command(str(tmp_path / "bin" / "flow.py"))
    assert _is_our_command(f"{sys.prefix}/bin/anything")


def test_the_fast_path_leaves_operations_on_what_is_the_users_to_workers() -> None:
    own = ValueRef(b"d" * 20, "flow.Point", 10, "pickle5", b"x", ((OF_DEFINITION, ("flow:Point",)),), "Point()")
    known = ValueRef(b"k" * 20, "numpy.ndarray", 10, "numpy", b"x", (), "array")
    large = ValueRef(b"l" * 20, "numpy.ndarray", 10**6, "numpy", None, (), "array")
    assert is_light((known, "sum", (), {}))
    assert is_light(([1, "a", {"k": known}], 2))
    for heavy in (own, large, TaggedTree("dataclass", ("flow:Point",), ()), TaskRef("flow.f", b"h" * 20)):
        assert not is_light((heavy, "x"))
        assert not is_light(([{"k": heavy}],))


def test_an_execution_that_is_taken_up_again_keeps_what_was_said_of_the_cache_and_of_failures(project):
    flow = project.write(
        "flow.py",
        """
        from pathlib import Path
        from rayflow import task

        @task
        def one():
            return 1

        @task
        def bad():
            raise ValueError("bad")

        @task(cache_scope="NONE")
        def late(n):
            Path(f"late{n}").touch()
            return n + 1

        @task(cache_scope="NONE")
        def main():
            return [bad(), late(late(late(0)))]
        """,
    ) and project.load("flow")
    store = str(project.path / ".rayflow")
    with Scheduler(store=store, inline=True) as scheduler:
        scheduler.run(flow.one())
        # Opened and recorded, and never turned: as after a crash.
        anew = scheduler.submit(flow.one(), cache=False).execution_id
        fast = scheduler.submit(flow.main(), fail_fast=True).execution_id
        scheduler._driver.store.commit()
        with Scheduler(store=store, inline=True) as other:
            assert other.resume(anew) == 1
            with pytest.raises(ValueError, match="bad"):
                other.resume(fast)
    assert project.sql(f"select how from jobs where execution_id = '{anew}'") == [("computed",)]
    assert project.sql(f"select cache, fail_fast from executions where execution_id = '{fast}'") == [(True, True)]
    assert not (project.path / "late2").exists()


@pytest.mark.slow
def test_a_run_that_the_cache_answers_loads_neither_ray_nor_the_keeper_of_durable_runs(project):
    project.write("flow.py", SCRIPT)
    program = (
        "import sys; from rayflow.api import Scheduler; from flow import one; "
        "scheduler = Scheduler(inline={}); scheduler.run(one()); print(*sys.modules)"
    )
    assert project.python("-c", program.format(True), is_warm=False).returncode == 0
    cached = project.python("-c", program.format(False), is_warm=False)
    assert cached.returncode == 0, cached.stderr
    loaded = set(cached.stdout.split())
    assert "rayflow.runtime.inline" in loaded
    assert loaded.isdisjoint({"ray", "rayflow.keeper.requests", "rayflow.keeper.keeper", "rayflow.client.client"})
