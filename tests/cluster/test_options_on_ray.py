"""Options, context and JobInfo on a real cluster: what goes down from call to call arrives on the workers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from evaluations import Watching

from rayflow import config
from rayflow.api import Scheduler

pytestmark = pytest.mark.ray


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    project.write("rayflow.toml", "[profiles.small]\nnum_cpus = 0.25\n\n[context]\nplace = 'here'\n")
    with Scheduler(config=config.load(str(project.path), address=ray_cluster)) as made:
        yield made


def test_what_a_call_hands_down_arrives_on_the_workers(project, scheduler):
    project.write(
        "flow.py",
        """
        from rayflow import JobInfo, get_context, no_prov, task

        @task
        def given(job: JobInfo = JobInfo()):
            import ray
            cpus = ray.get_runtime_context().get_assigned_resources().get("CPU")
            return [job.options.get("profile"), cpus, job.task_name, job.job_id]

        @task
        def place(x, where=get_context("place")):
            return [x, where]

        @task
        def main():
            return [
                given.options(profile="small")(),
                [place(1), place.update_context(place="there")(2)],
                no_prov([place(3), place(3)]),
            ]
        """,
    )
    flow = project.load("flow")
    of_given, places, unrecorded = scheduler.run(flow.main.export_options(retries=1)())
    ((job_id,),) = project.sql("select job_id from jobs where task_name = 'flow.given'")
    assert of_given == ["small", 0.25, "flow.given", job_id]
    assert places == [[1, "here"], [2, "there"]]
    assert unrecorded == [[3, "here"], [3, "here"]]
    names = project.sql("select task_name, count(*) from jobs group by all order by all")
    assert names == [("flow.given", 1), ("flow.main", 1), ("flow.place", 2), ("rayflow.no_prov", 1)]


def test_a_limit_that_is_not_configured_is_told_on_a_cluster_too(project, scheduler):
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task(limits=["db"])
        def main():
            return 1
        """,
    )
    told: list[str] = []
    scheduler._driver.reporter.warned = told.append
    assert scheduler.run(project.load("flow").main()) == 1
    assert [text for text in told if "no limit db" in text]


def test_sizes_are_chosen_from_what_earlier_calls_used_and_recorded_and_do_not_count(project, ray_cluster):
    project.write(
        "flow.py",
        """
        import time
        import ray
        from rayflow import task

        @task(num_cpus="auto", memory="auto")
        def sleeps(n):
            time.sleep(0.15)
            resources = ray.get_runtime_context().get_assigned_resources()
            return resources["CPU"], resources.get("memory")
        """,
    )
    flow, watching = project.load("flow"), Watching()
    loaded = config.load(str(project.path), address=ray_cluster)
    with Scheduler(config=loaded, reporter=watching) as scheduler:
        assert scheduler.run(flow.sleeps(1)) == (1.0, None)
    assert [text for text in watching.warnings if "flow.sleeps" in text and "as by default" in text]
    with Scheduler(config=loaded) as later:
        cpus, memory = later.run(flow.sleeps(2))
        assert cpus <= 0.5 and memory % (64 << 20) == 0 and memory >= 64 << 20
        assert later.run(flow.sleeps.options(num_cpus=1)(1)) == (1.0, None), "the size does not count"
    asked = project.sql("select requested from jobs where task_name = 'flow.sleeps' and how = 'computed' order by all")
    assert [None if text is None else json.loads(text) for (text,) in asked] == [
        {"num_cpus": cpus, "memory": int(memory)}, None,
    ]  # fmt: skip
