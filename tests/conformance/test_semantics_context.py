"""Context: where it comes from, who reads it, and who depends on what of it."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.errors import BadOption

READING = """
    from rayflow import get_context, task

    @task({options})
    def read(x):
        return [x, get_context("who.name", "nobody")]

    @task({main_options})
    def main(x):
        return read(x)

    @task
    def both(x):
        return [read.update_context(who={{"name": "Ann"}})(x), read.update_context(who={{"name": "Bo"}})(x), read(x)]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def text(options: str = "", main_options: str = "") -> str:
    return READING.format(options=options, main_options=main_options)


# --- context ----------------------------------------------------------------------------------------------------------


def test_a_path_that_is_in_no_context_gives_its_default(flow: Flow) -> None:
    flow.write(text())
    assert flow.call("main", 1) == [1, "nobody"]


def test_the_runs_context_is_read_far_below(flow: Flow) -> None:
    module = flow.write(text())
    assert flow.run(module.main(1), context={"who": {"name": "Ann"}}) == [1, "Ann"]


def test_the_runs_context_counts_over_that_of_the_configuration_name_by_name(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def main():
            return [get_context("where"), get_context("who")]
    """)
    toml = '[context]\nwhere = "lab"\nwho = { name = "Ann", age = 3 }\n'
    found = flow.configured(toml, module.main(), context={"who": {"age": 4}})
    assert found == ["lab", {"name": "Ann", "age": 4}]


def test_a_body_runs_once_under_several_contexts_and_its_term_is_reduced_under_each(flow: Flow) -> None:
    flow.write(text())
    assert flow.call("both", 1) == [[1, "Ann"], [1, "Bo"], [1, "nobody"]]
    assert flow.computed() == {"both": 1, "read": 1}
    assert flow.counts("shared") == {"read": 2}


def test_another_context_runs_no_body_again(flow: Flow) -> None:
    module = flow.write(text())
    assert flow.run(module.main(1), context={"who": {"name": "Ann"}}) == [1, "Ann"]
    assert flow.run(module.main(1), context={"who": {"name": "Bo"}}) == [1, "Bo"]
    assert flow.computed() == {}


def test_a_value_of_the_context_in_an_argument_counts_as_any_argument(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def child(name):
            return name.upper()

        @task
        def main():
            return child(get_context("name"))
    """)
    for name in ("ann", "bo"):
        assert flow.run(module.main(), context={"name": name}) == name.upper()
        assert flow.computed().get("child") == 1
    assert flow.run(module.main(), context={"name": "ann", "other": 1}) == "ANN"
    assert flow.computed() == {}


def test_a_default_reads_the_calls_own_context_and_an_argument_the_callers(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def echo(x):
            return x

        @task
        def child(given, name=get_context("name"), deep=echo(get_context("name"))):
            return [given, name, deep]

        @task
        def main():
            return child.update_context(name="inner")(get_context("name"))
    """)
    assert flow.run(module.main(), context={"name": "outer"}) == ["outer", "inner", "inner"]


def test_a_shallow_answer_counts_only_where_what_was_read_is_alike(flow: Flow) -> None:
    module = flow.write(text(main_options='check_valid="shallow"'))
    ann, bo = {"who": {"name": "Ann"}}, {"who": {"name": "Bo"}}
    assert flow.run(module.main(1), context=ann) == [1, "Ann"]
    assert flow.run(module.main(1), context={**ann, "unread": 1}) == [1, "Ann"]
    assert flow.counts("cached") == {"main": 1}, "a whole subtree is one hit: what it has read is alike"
    assert flow.run(module.main(1), context=bo) == [1, "Bo"]
    assert flow.counts("cached") == {"main": 1, "read": 1}
    assert flow.run(module.main(1)) == [1, "nobody"]
    assert flow.run(module.main(1), context=ann) == [1, "Ann"]
    assert flow.counts("cached") == {"main": 1}


def test_a_shallow_answer_does_not_depend_on_what_a_call_below_settles_itself(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def read():
            return get_context("name")

        @task(check_valid="shallow")
        def main():
            return read.update_context(name="fixed")()
    """)
    assert flow.run(module.main(), context={"name": "Ann"}) == "fixed"
    assert flow.run(module.main(), context={"name": "Bo"}) == "fixed"
    assert flow.counts("cached") == {"main": 1}


def test_calls_that_read_nothing_are_shared_and_cached_whatever_the_context(flow: Flow) -> None:
    flow.write("""
        from rayflow import seq, task

        @task
        def leaf(x):
            return x + 1

        @task
        def middle(x):
            return leaf(x)

        @task
        def main():
            return seq([middle.update_context(a=1)(1), middle.update_context(a=2)(1)])
    """)
    assert flow.call("main") == [2, 2]
    assert flow.computed() == {"main": 1, "middle": 1, "leaf": 1}
    assert flow.counts("shared") == {"middle": 1}, "the second call has nothing to reduce anew"


def test_updates_of_the_context_add_up(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def main():
            return [get_context("a.b"), get_context("a.c"), get_context("d", 0)]
    """)
    task = module.main.update_context({"a": {"b": 1}}).update_context(a={"c": 2})
    assert flow.run(task(), context={"a": {"b": 0}, "d": 3}) == [1, 2, 3]


def test_the_context_is_recorded_with_the_execution(flow: Flow) -> None:
    module = flow.write(text())
    flow.run(module.main(1), context={"who": {"name": "Ann"}})
    assert flow.project.sql("select context from executions") == [('{"who": {"name": "Ann"}}',)]


def test_a_context_holds_plain_values_under_names(flow: Flow) -> None:
    module = flow.write(text())
    with pytest.raises(BadOption, match="is lazy"):
        module.main.update_context(a={"b": [module.read(1)]})
    with pytest.raises(BadOption, match="without dots"):
        flow.run(module.main(1), context={"a.b": 1})
    with pytest.raises(BadOption, match="belongs to a call"):
        flow.run(module.main(1), options={"context": {"a": 1}})


def test_a_large_value_of_a_context_travels_by_reference(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def length(values):
            return len(values)

        @task
        def main():
            return length(get_context("many.numbers"))
    """)
    assert flow.run(module.main(), context={"many": {"numbers": list(range(10_000))}}) == 10_000


def test_a_shallow_answer_is_not_stale_when_a_default_under_its_own_context_changes(flow: Flow) -> None:
    flow.write("""
        from rayflow import get_context, task

        @task
        def echo(x):
            return x

        @task
        def child(name=echo(get_context("name"))):
            return name

        @task(check_valid="shallow")
        def main():
            return child.update_context(name="inner")()
    """)
    assert flow.call("main") == "inner"
    flow.edit("return x", 'return x + "!"')
    assert flow.call("main") == "inner!"


def test_a_body_that_awaits_runs_once_for_each_context_that_it_reads_otherwise(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        async def child():
            return [await get_context("who", "nobody")]

        @task
        def main():
            given = [child.update_context(who=1)(), child.update_context(who=2)()]
            return [*given, child.update_context(other=1)(), child()]
    """)
    assert flow.run(module.main()) == [[1], [2], ["nobody"], ["nobody"]]
    assert flow.run(module.main()) == [[1], [2], ["nobody"], ["nobody"]]
    assert flow.computed() == {}
    assert flow.run(module.child(), context={"who": 3}) == [3]


def test_a_change_of_the_values_after_the_update_is_not_seen(flow: Flow) -> None:
    module = flow.write(text())
    values = {"name": ["Ann"]}
    task = module.main.update_context(who=values)
    values["name"].append("Bo")
    assert flow.run(task(1)) == [1, ["Ann"]]


def test_a_context_that_is_too_large_for_a_call_is_refused_with_advice(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task
        def child():
            return get_context("many")

        @task
        def main():
            return child.update_context(many=list(range(10_000)))()
    """)
    with pytest.raises(BadOption, match=r"too large.*pass large values as arguments"):
        flow.run(module.main())


def test_a_context_goes_on_with_an_execution_that_is_taken_up_again(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import get_context, task

        @task(cache_scope="NONE")
        def main():
            return get_context("who")
    """)
    flow.run(module.main(), context={"who": {"name": "Ann"}})
    ((execution_id,),) = flow.project.sql("select execution_id from executions")
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, inline=True, reporter=flow.watching) as scheduler:
        assert scheduler.resume(execution_id) == {"name": "Ann"}
