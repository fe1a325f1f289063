"""Task options: the levels at which they are given, what a body knows of its job, tags, limits."""

from __future__ import annotations

import subprocess

import pytest
from evaluations import Flow
from projects import Project

from rayflow import JobInfo
from rayflow.errors import BadOption
from rayflow.runtime import circumstances


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


# --- profiles, exports ------------------------------------------------------------------------------------------------



def test_a_profile_that_does_not_exist_is_an_error_before_anything_runs(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        @task
        def main():
            return other()

        @task(profile="lagre")
        def other():
            return 1
    """)
    with pytest.raises(BadOption, match=r"@task of flow.other: There is no profile 'lagre'.*Did you mean 'large'\?"):
        flow.configured("[profiles.large]\nnum_cpus = 4\n", module.main())
    assert flow.project.sql("select count(*) from executions") == [(0,)]


WHO = """
    from rayflow import JobInfo, task

    @task({options})
    def child(job: JobInfo = JobInfo()):
        return dict(job.options)

    @task({main_options})
    def main():
        return child()

    @task(cache_scope="NONE")
    def calling():
        return child.options(retries=3)()
"""


def test_a_later_level_of_options_counts_over_an_earlier_one(flow: Flow) -> None:
    levels = [
        ("", "", None, None, None),
        ('profile="p"', "", None, None, 1),
        ('profile="p", retries=2', "", None, None, 2),
        ('profile="p", retries=2', 'export_options={"retries": 3}', None, None, 3),
        ('profile="p", retries=2', 'export_options={"retries": 3}', 4, None, 4),
        ('profile="p", retries=2', 'export_options={"retries": 3}', 4, 5, 5),
    ]
    for definition, exports, call, run, expected in levels:
        module = flow.write(WHO.format(options=definition, main_options=exports))
        task = module.main
        if call is not None:
            flow.edit("return child()", f"return child.options(retries={call})()")
            task = flow.module.main
        options = {"retries": run} if run is not None else {}
        found = flow.configured("[profiles.p]\nretries = 1\n", task(), options=options, cache=False)
        assert found.get("retries") == expected, (definition, exports, call, run)


def test_exported_options_go_to_every_call_below_and_not_to_the_call_itself(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task
        def leaf(job: JobInfo = JobInfo()):
            return job.options.get("priority")

        @task
        def middle(job: JobInfo = JobInfo()):
            return [job.options.get("priority"), leaf(), leaf.options(priority=9)()]

        @task
        def main(job: JobInfo = JobInfo()):
            return [job.options.get("priority"), middle()]
    """)
    assert flow.run(module.main.export_options(priority=2)(), cache=False) == [None, [2, 2, 2]]


def test_exports_add_up_and_the_nearer_one_counts(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task(cache=False)
        def leaf(job: JobInfo = JobInfo()):
            return [job.options.get("priority"), job.options.get("retries")]

        @task
        def middle():
            return leaf()

        @task(export_options={"priority": 1, "retries": 1})
        def main():
            return middle.export_options(retries=5)()
    """)
    assert flow.call("main") == [1, 5]
    task = module.main.export_options(priority=2).export_options(priority=3)
    assert flow.run(task(), cache=False) == [3, 5]


def test_options_and_partial_lose_nothing(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        @task(hash_includes=["data-7"], tags={"team": "x"})
        def main(x, y):
            return x + y
    """)
    changed = module.main.options(retries=1).export_options(retries=2).update_context(a=1)
    changed = changed.partial(1).options(priority=2)
    assert changed.hash == module.main.hash
    call = changed(2)
    assert call._options == {"retries": 1, "export_options": {"retries": 2}, "context": {"a": 1}, "priority": 2}
    assert flow.run(call) == 3


def test_options_may_be_expressions_exports_and_profiles_too(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task
        def number():
            return 3

        @task
        def name():
            return "small"

        @task
        def leaf(job: JobInfo = JobInfo()):
            return [job.options.get("priority"), job.options.get("retries"), job.options.get("tags")]

        @task
        def middle():
            return leaf.options(profile=name(), tags={"k": number()})()

        @task
        def main():
            return middle.export_options(priority=number())()
    """)
    assert flow.configured("[profiles.small]\nretries = 7\n", module.main()) == [3, 7, {"k": 3}]


def test_a_profile_that_a_call_names_lazily_and_is_not_there_fails_that_call(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import catch, task

        @task
        def name():
            return "smal"

        @task
        def leaf():
            return 1

        @task
        def told(error):
            return str(error)

        @task
        def main():
            return catch(leaf.options(profile=name())(), Exception, told)
    """)
    found = flow.configured("[profiles.small]\nretries = 7\n", module.main())
    assert "There is no profile 'smal'" in found
    assert "Did you mean 'small'?" in found


def test_a_run_may_name_a_profile(flow: Flow) -> None:
    module = flow.write(WHO.format(options="priority=1", main_options=""))
    found = flow.configured("[profiles.p]\nretries = 1\npriority = 5\n", module.main(), options={"profile": "p"})
    assert (found["retries"], found["priority"]) == (1, 1)
    with pytest.raises(BadOption, match="the run's options: There is no profile 'q'"):
        flow.configured("[profiles.p]\nretries = 1\n", module.main(), options={"profile": "q"})


def test_executor_is_the_same_word_as_profile(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task(executor="p")
        def main(job: JobInfo = JobInfo()):
            return [job.options["profile"], job.options["retries"]]
    """)
    assert flow.configured("[profiles.p]\nretries = 2\n", module.main()) == ["p", 2]


# --- JobInfo ----------------------------------------------------------------------------------------------------------


def test_job_info_is_filled_in_and_does_not_count(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task
        def child(x, job: JobInfo = JobInfo(), y=2):
            return [x, job.execution_id, job.job_id, job.eval_hash, job.attempt, job.task_name, y]

        @task
        def main():
            return [child(1), child(1, JobInfo(job_id="mine")), child.partial(y=2)(1)]
    """)
    found = flow.call("main")
    ((execution_id, job_id, eval_hash),) = flow.project.sql(
        "select execution_id, job_id, eval_hash from jobs where task_name = 'flow.child' and how = 'computed'"
    )
    assert found == [[1, execution_id, job_id, eval_hash, 1, "flow.child", 2]] * 3
    assert flow.computed() == {"main": 1, "child": 1}, "who asks does not count, also where it is given"
    assert flow.run(module.child(1, JobInfo(job_id="mine")), cache=False)[2] == "mine"


def test_job_info_knows_the_attempt(flow: Flow) -> None:
    flow.write("""
        from rayflow import JobInfo, task

        @task(retries=2)
        def main(job: JobInfo = JobInfo()):
            if job.attempt < 3:
                raise ValueError(job.attempt)
            return job.attempt
    """)
    assert flow.call("main") == 3


# --- tags -------------------------------------------------------------------------------------------------------------


def test_tags_are_recorded_with_the_task_the_job_and_the_execution(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        @task(tags={"team": "lab"})
        def child():
            return 1

        @task
        def main():
            return child.options(tags={"step": 2})()
    """)
    flow.run(module.main.export_options(tags={"batch": "b"})(), tags={"reason": "test"})
    rows = flow.project.sql("""
        select entity, key, value, coalesce(jobs.task_name, tasks.task_name) from tags
        left join jobs on jobs.job_id = entity_id left join tasks on tasks.task_hash = entity_id
        where key in ('team', 'step', 'batch', 'reason') order by entity, key
    """)
    assert rows == [
        ("execution", "reason", '"test"', None),
        ("job", "batch", '"b"', "flow.child"),
        ("job", "step", "2", "flow.child"),
        ("task", "team", '"lab"', "flow.child"),
    ]


def test_an_execution_carries_the_tags_that_every_one_has_also_without_git(flow: Flow) -> None:
    flow.write(LIMITED)
    flow.call("main")
    tags = dict(flow.project.sql("select key, value from tags where entity = 'execution'"))
    assert tags.keys() == {"user", "project"}
    assert tags["project"] == f'"{flow.project.path.name}"'
    commit = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm x"
    subprocess.run(commit, shell=True, check=True, cwd=flow.project.path, capture_output=True)
    circumstances.git_commit.cache_clear()
    flow.call("main")
    circumstances.git_commit.cache_clear()
    tags = dict(flow.project.sql("select key, value from tags where entity = 'execution' and key like 'git%'"))
    assert (len(tags["git_commit"]), tags["git_dirty"]) == (14, "false")


# --- limits -----------------------------------------------------------------------------------------------------------

LIMITED = """
    from rayflow import task

    @task(limits=["db", "api"])
    def child(x):
        return x

    @task
    def main():
        return [child(1), child(2)]
"""


def test_a_limit_that_is_not_configured_has_capacity_1_and_is_named_once(flow: Flow) -> None:
    module = flow.write(LIMITED)
    assert flow.configured("[limits]\napi = 2\n", module.main()) == [1, 2]
    (warning,) = flow.watching.warnings
    assert "no limit db. It has capacity 1" in warning


def test_a_cached_call_takes_no_limit(flow: Flow) -> None:
    flow.write(LIMITED)
    flow.call("main")
    flow.watching.warnings.clear()
    flow.call("main")
    assert flow.watching.warnings == []


# --- what says who a task is ------------------------------------------------------------------------------------------


def test_a_given_source_counts_as_the_code(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task(source="the first")
        def main():
            return 1
    """)
    assert flow.call("main") == 1
    assert flow.module is not None
    assert flow.module.main.source == "the first"
    flow.edit("return 1", "return 2")
    assert flow.call("main") == 1
    flow.edit("the first", "the second")
    assert flow.call("main") == 2
    assert flow.project.sql("select source from tasks order by source") == [("the first",), ("the second",)]


def test_a_worker_imports_the_module_that_a_task_names(flow: Flow) -> None:
    made = """
        from rayflow import task

        def make():
            @task(name="made", namespace="lab", load_module="user")
            def made(x):
                return x + 1
            return made
    """
    flow.write(made, "maker")
    module = flow.write("from maker import make\nmade = make()\n", "user")
    entry = module.made.entry()
    assert (entry.module, entry.code) == ("user", None)
    assert flow.run(module.made(1)) == 2
