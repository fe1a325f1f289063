"""Expressions on a real cluster: results, tasks of every origin, bundles, several executions at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rayflow.api import Scheduler
from rayflow.config import load

pytestmark = pytest.mark.ray

ARITHMETIC = """
    import os
    from rayflow import task

    @task
    def add(a, b):
        return a + b

    @task
    def fib(n):
        return n if n < 2 else add(fib(n - 1), fib(n - 2))

    @task
    def pid(n):
        return os.getpid()
"""


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as made:
        yield made


def test_a_recursive_workflow_of_a_module_is_computed_once_and_then_found(project, scheduler):
    flow = project.write("flow.py", ARITHMETIC) and project.load("flow")
    assert scheduler.run(flow.fib(10)) == 55
    assert project.counts("computed")["flow.fib"] == 11
    assert scheduler.run(flow.fib(10)) == 55
    assert not project.counts("computed")


def test_a_command_has_left_ray_before_its_process_ends_and_a_run_of_a_program_has_not(project, ray_cluster):
    project.write("flow.py", ARITHMETIC)
    project.write(
        "program.py",
        """
        import sys
        from rayflow import run
        from rayflow.__main__ import main
        import flow

        if __name__ == "__main__":
            sys.argv[1:] = ["run", "flow.py", "add", "--a", "1", "--b", "2"]
            code = main()
            import ray
            print(code, ray.is_initialized())
            print(run(flow.add(1, 3)), ray.is_initialized())
        """,
    )
    done = project.python("program.py", RAYFLOW_ADDRESS=ray_cluster)
    assert done.stdout == "3\n0 False\n4 True\n", done.stderr


def test_small_calls_share_ray_tasks_and_keep_their_own_rows(project, scheduler):
    flow = project.write("flow.py", ARITHMETIC) and project.load("flow")
    assert scheduler.run([flow.add(n, 1) for n in range(2000)]) == list(range(1, 2001))
    assert project.counts("computed")["flow.add"] == 2000
    assert project.sql("select count(distinct job_id) from jobs where attempts = 1 and node is not null") == [(2000,)]


def test_two_executions_at_once_do_not_wait_for_each_other(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os, time
        from rayflow import task

        @task
        def wait_for(path):
            while not os.path.exists(path):
                time.sleep(0.01)
            return path

        @task
        def touch(path):
            open(path, "w").close()
            return path
        """,
    ) and project.load("flow")
    mark = str(project.path / "mark")
    first = scheduler.submit(flow.wait_for(mark))
    second = scheduler.submit(flow.touch(mark))
    assert second.result(timeout=30) == mark
    assert first.result(timeout=30) == mark
    assert first.execution_id != second.execution_id


def test_a_run_works_from_a_thread_that_is_not_the_main_one(project, scheduler):
    flow = project.write("flow.py", ARITHMETIC) and project.load("flow")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(scheduler.run(flow.add(1, 2))))
    thread.start()
    thread.join(60)
    assert answers == [3]


def test_a_task_that_only_a_worker_has_met_runs_on_any_worker_and_knows_its_neighbours(project, scheduler):
    project.write(
        "more.py",
        """
        from rayflow import task

        @task
        def twice(n):
            return n * 2

        def times(factor):
            @task
            def inner(n):
                return twice(n * factor)
            return inner
        """,
    )
    flow = project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def main(count):
            import more
            return [more.times(factor)(1) for factor in range(count)]
        """,
    ) and project.load("flow")
    assert scheduler.run(flow.main(40)) == [factor * 2 for factor in range(40)]


def test_an_edited_module_is_run_as_it_is_now_by_workers_that_had_imported_it_before(project, scheduler):
    text = "from helper import number\nfrom rayflow import task\n\n@task\ndef one():\n    return number()\n"
    project.write("flow.py", text)
    project.write("helper.py", "def number():\n    return 1\n")
    assert scheduler.run(project.load("flow").one()) == 1
    project.edit("helper.py", "return 1", "return 10 + 1")
    assert scheduler.run(project.load("flow").one()) == 11
    project.edit("flow.py", "@task", "\n\n@task")
    project.edit("flow.py", "return number()", "return number() + 1")
    assert scheduler.run(project.load("flow").one()) == 12
    project.write("flow.py", (project.path / "flow.py").read_text() + "\n@task\ndef two():\n    return one()\n")
    assert scheduler.run(project.load("flow").two()) == 12


def test_two_projects_with_modules_of_one_name_do_not_see_each_other(project, scheduler, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "rayflow.toml").write_text("")
    (other / "flow.py").write_text("from rayflow import task\n\n@task\ndef which():\n    return 'other'\n")
    flow = project.write("flow.py", "from rayflow import task\n\n@task\ndef which():\n    return 'own'\n")
    assert scheduler.run(project.load("flow").which()) == "own"
    from rayflow.lang import modules, tasks

    tasks.forget_tasks(["flow"])
    module = modules.load_file(other / "flow.py")
    assert scheduler.run(module.which()) == "other"
    assert flow.exists()


def test_operations_on_large_values_run_where_the_values_are(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def table():
            return {"rows": [str(n) * 20 for n in range(5000)], "count": 5000}
        """,
    ) and project.load("flow")
    assert scheduler.run(flow.table()["count"] + 1) == 5001
    assert scheduler.run(flow.table()["rows"][17]) == "17" * 20


def test_environment_variables_and_names_of_options_reach_the_worker(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os
        import ray
        from rayflow import task

        @task
        def variable(name):
            return os.environ.get(name)

        @task
        def cpus():
            return ray.get_runtime_context().get_assigned_resources()
        """,
    ) and project.load("flow")
    with_environment = flow.variable.options(runtime_env={"env_vars": {"PLANT": "rose"}})
    assert scheduler.run([with_environment("PLANT"), flow.variable("HOME") == ""])[0] == "rose"
    assert scheduler.run(flow.cpus.options(num_cpus=2)())["CPU"] == 2.0
    assert scheduler.run(flow.cpus.options(num_cpus=0)(), cache=False)["CPU"] == pytest.approx(0.01)
    assert scheduler.run(flow.cpus.options(memory="10MiB")(), cache=False)["memory"] == 10 * 1024 * 1024


def test_what_is_resumed_or_run_again_has_the_values_of_variables_that_are_configured_now(project, ray_cluster):
    flow = project.write(
        "flow.py",
        """
        import os
        from pathlib import Path
        from rayflow import task

        @task
        def variable(path):
            Path(path).read_text()
            return os.environ.get("TOKEN")
        """,
    ) and project.load("flow")

    def scheduler(value: str) -> Scheduler:
        options = {"runtime_env": {"env_vars": {"TOKEN": value}}}
        return Scheduler(config=load(str(project.path), address=ray_cluster, options=options))

    with scheduler("first") as first, pytest.raises(FileNotFoundError):
        first.run(flow.variable(str(project.path / "there")))
    (project.path / "there").touch()
    ((execution_id, options),) = project.sql("select execution_id, options from executions")
    assert options == '{"runtime_env": {"env_vars": ["TOKEN"]}}'
    with scheduler("second") as second:
        assert second.resume(execution_id) == "second"
    with scheduler("third") as third:
        assert third.rerun(execution_id, cache=False) == "third"


def test_a_scheduling_strategy_object_is_passed_on(project, scheduler):
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    flow = project.write("flow.py", ARITHMETIC) and project.load("flow")
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    gone = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
    assert scheduler.run(flow.add.options(scheduling_strategy=here)(1, 2)) == 3
    from rayflow.errors import WorkerLost

    with pytest.raises(WorkerLost, match="no node can run it"):
        scheduler.run(flow.add.options(scheduling_strategy=gone)(2, 2))


def test_options_that_ray_refuses_fail_their_call_alone(project, scheduler):
    from rayflow.errors import BadOption

    flow = project.write("flow.py", ARITHMETIC) and project.load("flow")
    with pytest.raises(BadOption, match="Ray refuses"):
        scheduler.run([flow.add(1, 2), flow.add.options(label_selector={"a zone": "b"})(3, 4)])
    assert project.sql("select task_name, status from jobs where status = 'done'") == [("flow.add", "done")]
    with pytest.raises(BadOption, match="not plain data"):
        scheduler.run(flow.add.options(runtime_env={"config": {"deep": object}})(5, 4))


def test_a_body_that_raises_what_would_end_a_process_fails_once_and_loses_no_worker(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import sys
        from rayflow import task

        @task
        def ends(how):
            raise {"interrupt": KeyboardInterrupt, "exit": SystemExit}[how]
        """,
    ) and project.load("flow")
    from rayflow.errors import TaskFailed

    for how, message in (("interrupt", "raised KeyboardInterrupt"), ("exit", r"called sys\.exit\(\)")):
        with pytest.raises(TaskFailed, match=message):
            scheduler.run(flow.ends(how))
    assert project.sql("select distinct attempts from jobs where task_name = 'flow.ends'") == [(1,)]
