"""Forms whose work is done on workers: mapping where the items are, a user's own rules, evaluations inside a call."""

from __future__ import annotations

import pytest

from rayflow import Scheduler, fork_thread, join_thread, map_, seq, subrun

pytestmark = pytest.mark.ray

TASKS = """
    import os
    import pathlib
    from rayflow import Become, Failed, Need, form, task

    @task
    def numbers(n):
        return list(range(n))

    @task
    def tiny(x):
        return x + 1

    def plain(x):
        return x * 10

    @task
    def text(n):
        return "x" * n

    @task(version="1")
    def killer(mark):
        if not pathlib.Path(mark).exists():
            pathlib.Path(mark).touch()
            os.kill(os.getpid(), 9)
        return "survived"

    @task(version="1", cache=False)
    def once(log):
        with open(log, "a") as file:
            file.write("once ")
        return 1

    @form
    def first_good(args, seen):
        if seen and not isinstance(seen[-1], Failed):
            return Become([seen[-1], local(len(seen))])
        return Need([args[len(seen)]])

    @task
    def local(x):
        return -x

    @task
    def fail(x):
        raise ValueError(x)
"""


def test_forms_on_workers(project, ray_cluster: str) -> None:
    project.write("flow.py", TASKS)
    module = project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(map_(module.tiny, module.numbers(3_000))) == list(range(1, 3_001))
        assert scheduler.run(map_(module.plain, module.numbers(1_500)))[-1] == 14_990
        assert scheduler.run(module.first_good(module.fail(1), module.tiny(1))) == [2, -2]
        thread = fork_thread(module.text(10_000))
        assert len(scheduler.run(join_thread(thread))) == 10_000
        assert scheduler.run(subrun(map_(module.tiny, module.numbers(2_000)), num_cpus=1))[-1] == 2_000
        assert len(scheduler.run(subrun([module.text(20_000), module.tiny(5)]))[0]) == 20_000


def test_a_subrun_that_loses_its_worker_goes_on_from_what_was_recorded(project, ray_cluster: str) -> None:
    project.write("flow.py", TASKS)
    module = project.load("flow")
    log, mark = project.path / "log", project.path / "mark"
    # The subrun inside commits when it ends: what was before it is known to who goes on.
    terms = seq([module.once(str(log)), subrun(module.tiny(1)), module.killer(str(mark))])
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(subrun(terms)) == [1, 2, "survived"]
    assert log.read_text() == "once "
    ended = "select status, attempts from jobs where task_name = 'rayflow.subrun' order by all"
    assert project.sql(ended) == [("done", 1), ("done", 2)]
    assert project.sql("select count(*) from jobs where status = 'open'") == [(0,)]
