"""An evaluation of its own inside one call: what it gives, what is recorded, what is kept."""

from __future__ import annotations

from functools import partial

import pytest
from evaluations import Flow
from projects import Project

from rayflow import catch, const, fork_thread, join_thread, seq, subrun
from rayflow.errors import BadArguments, BadOption, NestedRun, TaskTimeout
from rayflow.evaluator import opening_rows
from rayflow.evaluator.nested_executions import MOST_DEEP
from rayflow.runtime.driver import driver
from rayflow.runtime.worker.worker import Worker

TASKS = """
    import pathlib
    import time
    from rayflow import catch, const, get_context, subrun, task

    @task
    def tiny(x):
        return x + 1

    @task
    def sleeps(x):
        time.sleep(0.2)

    @task
    def wide(n):
        return [tiny(i) for i in range(n)]

    @task
    def total(xs):
        return sum(xs)

    @task
    def deep(n):
        return deep(n - 1) if n else tiny(n)

    @task
    def fail(x):
        with open("tried", "a") as log:
            log.write(f"{x} ")
        if not pathlib.Path("mended").exists():
            raise ValueError(f"no {x}")
        return x

    @task
    def cautious(x):
        return catch(fail(x), ValueError, const.partial("caught"))

    @task
    def after(x):
        return fail(x[0])

    @task
    def asks():
        return get_context("name", "nobody")

    @task
    def inward(n):
        return subrun(inward(n - 1)) if n else 7

    @task(limits=["db"])
    def limited(x):
        return x

    @task
    def named(names):
        return names

    @task
    def within():
        return subrun([asks()])

    @task(version="1", cache_scope="NONE")
    def noted(x):
        with open("tried", "a") as log:
            log.write(f"{x} ")
        return x
"""


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    made = Flow(project)
    made.write(TASKS)
    return made


def test_a_subrun_gives_the_value_of_its_expression(flow: Flow) -> None:
    m = flow.module
    assert flow.run(m.total(subrun(m.wide(5)))) == 15
    assert flow.run([subrun([m.tiny(1), {"a": m.tiny(2)}]), subrun(7), subrun(subrun(m.tiny(3)))]) == [
        [2, {"a": 3}], 7, 4,
    ]  # fmt: skip
    assert flow.run(subrun(m.deep(2_000))) == 1


@pytest.mark.parametrize(
    ("args", "options"), [(("large",), {}), ((), {"executor": "large"}), ((), {"profile": "large"})]
)
def test_a_subrun_takes_a_profile_by_its_name(flow: Flow, project: Project, args, options) -> None:
    toml = "[profiles.large]\ntags = {size = 'large'}\n"
    assert flow.configured(toml, subrun(flow.module.tiny(1), *args, **options)) == 2
    assert project.sql("select count(*) from current_tags where key = 'size'") == [(1,)]
    with pytest.raises(BadOption, match="There is no profile 'lagre'"):
        flow.configured(toml, subrun(flow.module.tiny(1), "lagre"))
    with pytest.raises(BadArguments, match="the profile is given twice, also as executor="):
        subrun(flow.module.tiny(1), "large", executor="large")


def test_its_jobs_are_recorded_in_the_same_execution_below_it(flow: Flow, project: Project) -> None:
    m = flow.module
    flow.run(subrun(m.wide(3)))
    above = """
        select j.task_name, p.task_name, count(*) from jobs j join jobs p on p.job_id = j.parent_job_id
        where j.execution_id = p.execution_id and j.status = 'done' group by all order by all
    """
    assert project.sql(above) == [("flow.tiny", "flow.wide", 3), ("flow.wide", "rayflow.subrun", 1)]
    (summary,) = flow.watching.summaries
    assert summary.counts["jobs"] == 5 and summary.by_task["flow.tiny"]["computed"] == 3
    assert project.sql("select jobs from executions where status = 'done'") == [(5,)]


def test_equal_calls_inside_and_outside_are_jobs_of_their_own(flow: Flow, project: Project) -> None:
    m = flow.module
    assert flow.run([m.wide(2), subrun(m.wide(2)), subrun([m.wide(2)])]) == [[1, 2], [1, 2], [[1, 2]]]
    assert project.sql("select count(*) from jobs where task_name = 'flow.tiny'") == [(6,)]


def test_a_subrun_is_answered_from_the_cache_while_the_tasks_below_are_current(flow: Flow) -> None:
    flow.run(subrun(flow.module.wide(3)))
    assert flow.run(subrun(flow.module.wide(3))) == [1, 2, 3]
    assert flow.counts("cached") == {"subrun": 1}
    flow.edit("return x + 1", "return x + 2")
    assert flow.run(subrun(flow.module.wide(3))) == [2, 3, 4]
    assert (flow.computed(), flow.counts("cached")) == ({"subrun": 1, "tiny": 3}, {"wide": 1})


def test_what_is_in_the_arguments_of_its_expression_counts_like_all_below(flow: Flow, project: Project) -> None:
    m = flow.module
    assert flow.run(subrun(m.total(m.wide(3)))) == 6
    flow.edit("return x + 1", "return x + 2")
    assert flow.run(subrun(flow.module.total(flow.module.wide(3)))) == 9
    assert flow.counts("cached") == {"wide": 1}
    caught = catch(flow.module.fail(1), ValueError, const.partial(5))
    assert flow.run(subrun(flow.module.total([caught, 1]))) == 6
    project.write("mended", "")
    assert flow.run(subrun(flow.module.total([caught, 1]))) == 2
    asked = subrun(flow.module.named([flow.module.asks()]))
    assert [flow.run(asked, context={"name": name}) for name in ("ada", "bob")] == [["ada"], ["bob"]]


def test_a_thread_in_the_arguments_of_its_expression_is_begun_each_time(flow: Flow) -> None:
    m = flow.module
    for _ in range(2):
        assert flow.run(subrun(join_thread(fork_thread(m.tiny(1))))) == 2
        assert flow.computed()["subrun"] == 1, "an equal call does the work, and has begun no thread"


def test_a_context_that_its_expression_settles_does_not_count(flow: Flow) -> None:
    for name in ("ada", "bob"):
        told = flow.module.asks.update_context(name="eve")()
        assert flow.run(subrun(told), context={"name": name}) == "eve"
    assert flow.counts("cached") == {"subrun": 1}


def test_what_a_subrun_has_computed_is_in_the_cache_for_others(flow: Flow) -> None:
    m = flow.module
    flow.run(subrun(m.wide(3)))
    flow.run(m.wide(3))
    assert flow.counts("cached") == {"wide": 1, "tiny": 3}


def test_a_failure_comes_out_as_it_is_with_the_way_to_it(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(ValueError, match="no 3") as raised:
        flow.run(m.total(subrun(m.after([m.fail(3)]))))
    notes = "\n".join(raised.value.__notes__)
    assert notes.index("subrun(") < notes.index("fail(x=3)")
    assert flow.run(catch(subrun(m.fail(4)), ValueError, const.partial("caught"))) == "caught"


def test_a_failure_that_was_caught_inside_is_tried_again(flow: Flow, project: Project) -> None:
    m = flow.module
    assert flow.run(subrun(m.cautious(1))) == "caught"
    project.write("mended", "")
    assert flow.run(subrun(m.cautious(1))) == 1
    assert flow.run(subrun(m.cautious(1))) == 1
    assert flow.counts("cached") == {"subrun": 1}


def test_one_that_is_tried_again_finds_what_it_had_done(flow: Flow, project: Project) -> None:
    m = flow.module
    with pytest.raises(ValueError):
        flow.run(subrun([m.noted("n"), m.tiny(1), m.fail("f")], retries=2))
    assert project.sql("select count(*) from jobs where task_name = 'flow.noted'") == [(1,)]
    assert sorted((project.path / "tried").read_text().split()) == ["f", "f", "f", "n"]


def test_the_context_goes_along_and_counts(flow: Flow) -> None:
    m = flow.module
    assert flow.run(m.within()) == ["nobody"]
    asked = [m.within.update_context(name=name)() for name in ("ada", "bob", "ada")]
    assert flow.run(asked) == [["ada"], ["bob"], ["ada"]]
    assert flow.computed() == {"subrun": 2}
    assert flow.run(asked[1]) == ["bob"]
    assert flow.run(m.within.update_context(name="bob", other=1)()) == ["bob"]
    assert flow.computed() == {}, "what was not read does not count"


def test_a_subrun_ends_with_its_threads(flow: Flow, project: Project) -> None:
    m = flow.module
    assert flow.run(subrun([join_thread(fork_thread(m.tiny(1))), 3])) == [2, 3]
    thread = flow.run(subrun(fork_thread(m.tiny(5))))
    assert flow.computed() == {"subrun": 1, "join_thread": 1, "tiny": 1}
    assert flow.run(join_thread(thread)) == 6


def test_its_timeout_ends_all_of_it_and_what_was_done_is_kept(flow: Flow, project: Project) -> None:
    m = flow.module
    with pytest.raises(TaskTimeout, match="than its timeout"):
        flow.run(subrun([m.tiny(1), *map(m.sleeps, range(20))], timeout=0.5))
    assert project.sql("select count(*) from jobs where task_name = 'flow.tiny' and status = 'done'") == [(1,)]
    assert project.sql("select count(*) < 20 from jobs where task_name = 'flow.sleeps'") == [(True,)]


def test_what_it_leaves_open_when_it_is_ended_is_closed(
    flow: Flow, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_rows, "OPENING_SECONDS", 0.01)
    m = flow.module
    ended = subrun([m.tiny(1), *map(m.sleeps, range(20))], timeout=0.5)
    assert flow.run(catch(ended, TaskTimeout, const.partial("ended"))) == "ended"
    assert project.sql("select count(*) from jobs where status = 'open' or finished_at is null") == [(0,)]
    left = "select distinct error from jobs where task_name = 'flow.sleeps' and status = 'cancelled'"
    assert project.sql(left) == [
        ("the scheduler or worker that it was open in was lost, and nothing needed it any more",)
    ]


def test_subruns_in_each_other_may_be_a_hundred_and_then_say_what_to_write_instead(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(NestedRun, match=r"(?s)in 100 others.*return the call itself") as raised:
        flow.run(m.inward(MOST_DEEP + 1))
    assert "inward" in "\n".join(raised.value.__notes__)
    assert flow.run(m.inward(MOST_DEEP)) == 7


def test_a_limit_that_a_subrun_does_not_hold_is_warned_of_once(flow: Flow) -> None:
    m = flow.module
    asked = [subrun([m.limited(1), m.limited(2)]), subrun([m.limited(3)])]
    assert flow.configured("[limits]\ndb = 1", asked) == [[1, 2], [3]]
    (told,) = flow.watching.warnings
    assert "flow.limited" in told and "limits={'db': 1}" in told
    flow.watching.warnings.clear()
    asked = [subrun([m.limited(4)], limits=["db"]), subrun(subrun([m.limited(5)]), limits=["db"]), m.limited(6)]
    assert flow.configured("[limits]\ndb = 1", asked) == [[4], [5], 6]
    assert flow.watching.warnings == []


def test_warnings_of_a_subrun_that_is_ended_are_told_too(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(TaskTimeout):
        flow.run(subrun(seq([subrun(m.limited(1)), [*map(m.sleeps, range(20))]]), timeout=0.5))
    assert [text for text in flow.watching.warnings if "flow.limited" in text]


def test_options_go_to_the_one_call_and_are_checked(flow: Flow, project: Project) -> None:
    with pytest.raises(BadOption, match="num_cpus"):
        subrun(flow.module.tiny(1), num_cpu=3)
    flow.run(subrun(flow.module.tiny(1), tags={"kind": "wide"}))
    tagged = "select task_name from tags join jobs on lower(hex(job_id)) = entity_id or job_id = entity_id"
    assert project.sql(tagged) == [("rayflow.subrun",)]


def test_the_jobs_of_a_subrun_that_failed_are_counted_once(flow: Flow, project: Project) -> None:
    m = flow.module
    with pytest.raises(ValueError):
        flow.run(subrun([m.tiny(1), m.fail(3)], retries=1))
    assert project.sql("select jobs, failed from executions") == [(4, 3)]
    assert project.sql("select count(*) from jobs") == [(4,)]


def test_calls_with_a_timeout_below_are_not_noted_as_ones_that_began(
    flow: Flow, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(driver, "Worker", partial(Worker, began=lambda call: noted.append(call.task)))
    m = flow.module
    timed = m.tiny.options(timeout=60)
    assert flow.run([subrun([timed(1), timed(2)], timeout=60), timed(3)]) == [[2, 3], 4]
    assert sorted(noted) == ["flow.tiny", "rayflow.subrun"]
