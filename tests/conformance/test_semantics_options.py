"""Task options: the levels at which they are given, what a body knows of its job, tags, limits."""

from __future__ import annotations

import re
import subprocess

import pytest
from evaluations import Flow
from projects import Project

from rayflow import JobInfo, Scheduler, subrun
from rayflow.errors import BadOption
from rayflow.runtime.protocol import git_commit


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


# --- profiles, exports ------------------------------------------------------------------------------------------------



UNKNOWN_PROFILE = """
    from rayflow import task

    @task
    def main():
        return other()

    @task(profile="lagre")
    def other():
        return 1

    @task
    def apart():
        return 2
"""


def test_a_profile_that_does_not_exist_is_an_error_before_anything_runs(flow: Flow) -> None:
    module = flow.write(UNKNOWN_PROFILE)
    with pytest.raises(BadOption, match=r"@task of flow.other: There is no profile 'lagre'.*Did you mean 'large'\?"):
        flow.configured("[profiles.large]\nnum_cpus = 4\n", module.other())
    assert flow.project.sql("select count(*) from executions") == [(0,)]


def test_a_profile_that_does_not_exist_fails_the_call_that_needs_it(flow: Flow) -> None:
    module = flow.write(UNKNOWN_PROFILE)
    with pytest.raises(BadOption, match=r"There is no profile 'lagre'.*Did you mean 'large'\?"):
        flow.configured("[profiles.large]\nnum_cpus = 4\n", module.main())
    assert flow.project.sql("select task_name, status from jobs order by all") == [
        ("flow.main", "failed"),
        ("flow.other", "failed"),
    ]


def test_a_task_with_a_profile_that_does_not_exist_stops_no_run_that_does_not_call_it(flow: Flow) -> None:
    module = flow.write(UNKNOWN_PROFILE)
    assert flow.configured("[profiles.large]\nnum_cpus = 4\n", module.apart()) == 2


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


def test_a_call_that_needs_more_of_a_limit_than_there_is_runs_alone_and_the_run_says_so(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        @task(limits={"db": 5})
        def greedy(x):
            return x

        @task(limits={"db": 4})
        def fitting(x):
            return x

        @task
        def main():
            return [greedy(1), greedy(2), fitting(3)]
    """)
    assert flow.configured("limits = { db = 4 }\n", module.main()) == [1, 2, 3]
    (told,) = flow.watching.warnings
    assert "flow.greedy asks for 5 of the limit db, of which there are 4" in told


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


def test_job_info_has_the_options_that_were_given_and_no_others(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import JobInfo, task

        @task
        def bare(job: JobInfo = JobInfo()):
            return dict(job.options)

        @task(config_args=["level"], retries=2)
        def given(level=1, job: JobInfo = JobInfo(), also: JobInfo = JobInfo()):
            return dict(job.options)
    """)
    assert flow.call("bare") == {}
    assert flow.call("given") == {"config_args": ["level"], "retries": 2}
    assert flow.run(module.given.options(num_cpus=2)(level=2)) == {"config_args": ["level"], "retries": 2}, "cached"
    assert flow.run(module.bare.options(num_cpus=2)(), cache=False) == {"num_cpus": 2}


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
        select entity, key, value_json, coalesce(jobs.task_name, tasks.task_name) from tags
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
    assert tags["project"] == flow.project.path.name
    commit = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm x"
    subprocess.run(commit, shell=True, check=True, cwd=flow.project.path, capture_output=True)
    git_commit.forget()
    flow.call("main")
    git_commit.forget()
    tags = dict(flow.project.sql("select key, value from tags where entity = 'execution' and key like 'git%'"))
    assert (len(tags["git_commit"]), tags["git_dirty"]) == (12, "false")


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


# --- lazy options of a definition -------------------------------------------------------------------------------------

LAZY = """
    from rayflow import JobInfo, cond, get_context, task

    @task
    def gigabytes():
        return 3

    @task({options})
    def work(x, job: JobInfo = JobInfo()):
        return {{name: job.options.get(name) for name in {names!r}}}

    @task
    def main():
        return work(1)

    @task
    def at_call(**options):
        return work.options(**options)(1)

    @task
    def under(**context):
        return work.update_context(**context)(1)
"""


def lazy(flow: Flow, options: str, *names: str) -> None:
    flow.write(LAZY.format(options=options, names=names))


@pytest.mark.parametrize(
    ("options", "context", "expected"),
    [
        ('memory=get_context("mem")', {"mem": "2GiB"}, {"memory": "2GiB"}),
        ('memory=get_context("mem", "1GiB")', {}, {"memory": "1GiB"}),
        ('memory=get_context("mem", get_context("other"))', {"other": "5GiB"}, {"memory": "5GiB"}),
        ('memory=get_context("a.b")', {"a": {"b": 5000}}, {"memory": 5000}),
        ('memory=get_context("mem") * 1024', {"mem": 8}, {"memory": 8192}),
        ('memory=gigabytes() * 2**30', {}, {"memory": 3 * 2**30}),
        ('memory=cond(get_context("big"), "9GiB", "1GiB")', {"big": True}, {"memory": "9GiB"}),
        ('limits={"db": get_context("n")}', {"n": 1}, {"limits": {"db": 1}}),
        ('limits=[get_context("which")]', {"which": "db"}, {"limits": ["db"]}),
        ('retries=get_context("again", 0), priority=gigabytes()', {"again": 2}, {"retries": 2, "priority": 3}),
        ('executor=get_context("where")', {"where": "p"}, {"profile": "p", "retry_delay": 0.5}),
        ('num_cpus=get_context("cpus"), retries=1', {"cpus": 0.5}, {"num_cpus": 0.5, "retries": 1}),
        ('memory=get_context("mem")', {}, {"memory": None}),
    ],
)
def test_an_option_of_a_definition_may_be_lazy(flow: Flow, options: str, context: dict, expected: dict) -> None:
    lazy(flow, options, *expected)
    toml = "[profiles.p]\nretry_delay = 0.5\n[limits]\ndb = 1\n"
    assert flow.configured(toml, flow.module.main(), context=context) == expected
    assert flow.configured(toml, flow.module.work(1), context=context, cache=False) == expected


def test_a_lazy_option_reads_the_calls_own_context(flow: Flow) -> None:
    lazy(flow, 'retries=get_context("again", 0)', "retries")
    assert flow.call("main") == {"retries": 0}
    assert flow.run(flow.module.main(), context={"again": 1}, cache=False) == {"retries": 1}
    assert flow.run(flow.module.under(again=2), context={"again": 1}, cache=False) == {"retries": 2}


def test_a_lazy_option_of_a_definition_gives_way_to_every_later_level(flow: Flow) -> None:
    lazy(flow, 'retries=get_context("again", 1 // gigabytes())', "retries")
    assert flow.run(flow.module.at_call(retries=4), cache=False) == {"retries": 4}
    assert flow.run(flow.module.main.export_options(retries=5)(), cache=False) == {"retries": 5}
    assert flow.run(flow.module.main(), options={"retries": 6}, cache=False) == {"retries": 6}
    assert flow.computed().get("gigabytes", 0) == 0, "what is not asked for is not reduced"
    # A mistake in it is no mistake of a call that gives the option itself.
    assert flow.run(flow.module.at_call(retries=7), context={"again": "many"}, cache=False) == {"retries": 7}


@pytest.mark.parametrize("kind", ["", 'check_valid="shallow", ', "prov=False, "])
def test_a_lazy_option_does_not_count_for_the_cache(flow: Flow, kind: str) -> None:
    lazy(flow, f'{kind}retries=get_context("again", 0) + 1', "retries")
    for again in (1, 2, 3):
        assert flow.run(flow.module.main(), context={"again": again}) == {"retries": 2}
        assert flow.computed() == ({"main": 1, "work": 1} if again == 1 else {})


@pytest.mark.parametrize(
    ("value", "context", "told"),
    [
        ('get_context("n")', {"n": "many"}, r"flow\.work: option 'retries' takes int, not 'many'"),
        ('get_context("n")', {}, r"flow\.work: option 'retries' takes int, not None"),
        ('gigabytes() - 5', {}, r"flow\.work: option 'retries' cannot be negative, but is -2"),
        ('1 // (gigabytes() - 3)', {}, r"(?s)ZeroDivisionError.*the option 'retries' of flow\.work"),
        ('get_context("n.x.y") // 0', {"n": {"x": {"y": 1}}}, r"(?s)ZeroDivision.*the option 'retries' of flow\.work"),
    ],
)
def test_an_error_of_a_lazy_option_names_it(flow: Flow, value: str, context: dict, told: str) -> None:
    lazy(flow, f"retries={value}", "retries")
    with pytest.raises(Exception) as caught:
        flow.run(flow.module.main(), context=context)
    text = "\n".join([f"{type(caught.value).__name__}: {caught.value}", *getattr(caught.value, "__notes__", ())])
    assert re.search(told, text), text
    assert flow.computed().get("work", 0) == 0


def test_a_profile_that_only_the_context_names_and_nobody_has_is_an_error(flow: Flow) -> None:
    lazy(flow, 'profile=get_context("where")', "retries")
    with pytest.raises(BadOption, match=r"There is no profile 'lagre'.*Did you mean 'large'\?"):
        flow.configured("[profiles.large]\nretries = 4\n", flow.module.main(), context={"where": "lagre"})


def test_lazy_options_that_a_definition_exports_are_known_below(flow: Flow) -> None:
    flow.write(LAZY.format(options="", names=["retries", "priority"]).replace(
        "    @task\n    def main",
        '    @task(export_options={"retries": get_context("again"), "priority": gigabytes() + 1})\n    def main',
    ))
    expected = {"retries": 2, "priority": 4}
    assert flow.run(flow.module.main(), context={"again": 2}) == expected
    assert flow.run(subrun(flow.module.main()), context={"again": 2}, cache=False) == expected


def test_lazy_options_that_a_call_exports_are_none_of_the_calls_that_make_them_known(flow: Flow) -> None:
    lazy(flow, "", "priority")
    exporting = flow.module.main.export_options(priority=flow.module.gigabytes() + 1)
    assert flow.run(exporting()) == {"priority": 4}


def test_a_decorator_over_a_task_keeps_its_lazy_options_and_adds_some(flow: Flow) -> None:
    flow.write("""
        from rayflow import JobInfo, get_context, task, wraps_task

        @wraps_task(priority=get_context("p"))
        def outside(inner):
            def wrapper(*args, **kwargs):
                return inner.func(*args, **kwargs)
            return wrapper

        @outside
        @task(retries=get_context("r"))
        def work(job: JobInfo = JobInfo()):
            return job.options["retries"], job.options["priority"]
    """)
    assert flow.run(flow.module.work(), context={"p": 3, "r": 2}) == (2, 3)


@pytest.mark.ray
def test_lazy_options_reach_ray(flow: Flow, ray_cluster: str) -> None:
    flow.write("""
        import ray
        from rayflow import get_context, task

        @task(num_cpus=get_context("cpus"), runtime_env={"env_vars": {"KIND": get_context("kind")}})
        def work(x):
            import os
            return os.environ.get("KIND"), ray.get_runtime_context().get_assigned_resources().get("CPU")

        @task
        def main():
            return work(1)
    """)
    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        context = {"cpus": 0.5, "kind": "lazy"}
        assert scheduler.run(flow.module.main(), context=context) == ("lazy", 0.5)
