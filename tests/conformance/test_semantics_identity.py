"""What counts as the same call, and the same task."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow.errors import BadArguments, DuplicateTask, NoSuchTask


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


# --- 1: arguments -----------------------------------------------------------------------------------------------------

DEFAULTED = """
    from rayflow import task

    @task
    def f(x=1, *, y=2):
        return x + y
"""


def test_positional_named_and_default_arguments_are_one_call(flow: Flow) -> None:
    f = flow.write(DEFAULTED).f
    assert flow.run([f(), f(1), f(x=1), f(1, y=2)]) == [3, 3, 3, 3]
    assert flow.computed() == {"f": 1}
    assert flow.counts("shared") == {"f": 3}


def test_a_changed_default_is_a_new_call(flow: Flow) -> None:
    flow.write(DEFAULTED)
    flow.call("f")
    flow.edit("x=1", "x=5")
    assert flow.call("f") == 7
    assert flow.computed() == {"f": 1}


def test_config_args_do_not_count(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task(config_args=["threads"])
        def f(x, threads=1):
            return x
    """)
    assert flow.call("f", 1, threads=1) == 1
    assert flow.call("f", 1, threads=8) == 1
    assert flow.computed() == {}


# --- 2: names in cached terms -----------------------------------------------------------------------------------------

CALLS = """
    from rayflow import task

    @task
    def child(x):
        return x + 1

    @task
    def main(x):
        return child(x)
"""


def test_a_cached_term_runs_the_current_code_of_the_task_that_it_names(flow: Flow) -> None:
    flow.write(CALLS)
    assert flow.call("main", 1) == 2
    flow.edit("x + 1", "x + 10")
    assert flow.call("main", 1) == 11
    assert flow.computed() == {"child": 1}


def test_a_name_that_no_longer_exists_makes_its_producer_run_again(flow: Flow) -> None:
    text = CALLS.replace("@task\n    def main", "@task(version=1)\n    def main")
    flow.write(text)
    flow.call("main", 1)
    flow.write(text.replace("child", "renamed"))
    assert flow.call("main", 1) == 2
    assert flow.computed() == {"main": 1, "renamed": 1}


def test_a_task_that_no_longer_takes_the_recorded_arguments_makes_its_producer_run_again(flow: Flow) -> None:
    flow.write(CALLS)
    flow.call("main", 1)
    flow.edit("def child(x):", "def child(x, *, y):")
    with pytest.raises(BadArguments, match="missing 1 required argument: 'y'"):
        flow.call("main", 1)


# --- 3: two tasks of one name -----------------------------------------------------------------------------------------


def test_two_functions_of_one_name_in_a_file_are_an_error_that_names_both_places(flow: Flow) -> None:
    with pytest.raises(DuplicateTask, match=r"(?s)flow\.py:3.*flow\.py:7"):
        flow.write("""
            from rayflow import task

            @task
            def f(x):
                return x

            @task
            def f(x):
                return x + 1
        """)


def test_two_modules_may_both_have_a_task_of_one_short_name(flow: Flow) -> None:
    flow.project.write("a/flow.py", DEFAULTED)
    flow.project.write("b/flow.py", DEFAULTED)
    first, second = flow.project.load("a/flow"), flow.project.load("b/flow")
    assert (first.f.fullname, second.f.fullname) == ("a.flow.f", "b.flow.f")


def test_a_reload_of_an_edited_module_replaces_its_tasks(flow: Flow) -> None:
    import importlib

    module = flow.write(DEFAULTED)
    flow.project.write("flow.py", "# two\n# more lines\n" + (flow.project.path / "flow.py").read_text())
    importlib.reload(module)
    assert flow.call("f") == 3


def test_the_namespace_of_a_module_overrides_its_path(flow: Flow) -> None:
    module = flow.write('rayflow_namespace = "lab"\n' + "from rayflow import task\n@task\ndef f():\n    return 1\n")
    assert module.f.fullname == "lab.f"


# --- 4: local functions -----------------------------------------------------------------------------------------------


def test_the_products_of_a_factory_differ_by_what_they_captured(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        def adder(n):
            @task
            def add(x):
                return x + n
            return add

        @task
        def main():
            return [adder(1)(10), adder(2)(10)]

        one, two = adder(1), adder(2)
    """)
    assert flow.module is not None
    assert flow.run([flow.module.one(10), flow.module.two(10)]) == [11, 12]
    assert flow.call("main") == [11, 12]


# --- 5: options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["retries=3", "num_cpus=2", "tags={'a': 1}", "priority=2", "timeout=60"])
def test_options_that_do_not_change_meaning_do_not_change_the_hash(flow: Flow, option: str) -> None:
    flow.write("from rayflow import task\n@task\ndef f():\n    return 1\n")
    assert flow.call("f") == 1
    flow.write(f"from rayflow import task\n@task({option})\ndef f():\n    return 1\n")
    assert flow.call("f") == 1
    assert flow.computed() == {}


@pytest.mark.parametrize("option", ["version=2", "hash_includes=['model 2']"])
def test_options_that_are_meant_to_count_do_change_it(flow: Flow, option: str) -> None:
    flow.write("from rayflow import task\n@task\ndef f():\n    return 1\n")
    flow.call("f")
    flow.write(f"from rayflow import task\n@task({option})\ndef f():\n    return 1\n")
    flow.call("f")
    assert flow.computed() == {"f": 1}


# --- 6: errors --------------------------------------------------------------------------------------------------------


def test_an_error_is_known_by_type_and_arguments_and_not_by_where_it_was_raised(flow: Flow) -> None:
    text = """
        from rayflow import task, catch

        @task(cache=False)
        def fail():
            raise ValueError("no", 3)

        @task
        def recover(error):
            return repr(error.args)

        @task(cache=False)
        def main():
            return catch(fail(), ValueError, recover)
    """
    flow.write(text)
    assert flow.call("main") == "('no', 3)"
    flow.write("# a line\n# more\n" + flow.project.path.joinpath("flow.py").read_text())
    assert flow.call("main") == "('no', 3)"
    assert flow.computed() == {"main": 1, "fail": 1}  # recover of an equal error is taken from the cache


# --- H1: lazy options -------------------------------------------------------------------------------------------------


def test_an_option_may_be_lazy_and_does_not_count_for_the_cache(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def sizes(x):
            return {"bytes": 1000 * x, "wrong": "many"}

        @task
        def work(x):
            return x

        @task
        def main(x, key="bytes"):
            return work.options(memory=sizes(x)[key])(1)
    """)
    assert flow.call("main", 1) == 1
    assert flow.call("main", 2) == 1
    assert flow.counts("cached") == {"work": 1}
    with pytest.raises(Exception, match="'many' is not a size"):
        flow.call("main", 1, key="wrong")


def test_a_task_that_nobody_defines_is_named_with_the_nearest(flow: Flow) -> None:
    from rayflow.lang.terms.expressions import TaskCall

    flow.write(CALLS)
    with pytest.raises(NoSuchTask, match=r"flow\.child"):
        flow.run(TaskCall("flow.chidl", (1,)))


@pytest.mark.parametrize(
    ("held", "used", "old", "new", "before", "after"),
    [
        ("bound = add.partial(y=1)", "bound(1)", "y=1", "y=2", 2, 3),
        ("bound = add", "bound(1)", "bound = add", "bound = add.partial(y=5)", 1, 6),
        ("bound = [add.partial(y=1)]", "map_(bound[0], [1])", "y=1", "y=2", [2], [3]),
        ("bound = ask.update_context(k=1)", "bound()", "k=1", "k=2", 1, 2),
        ("bound = compose(add.partial(y=1), add)", "bound(1)", "y=1", "y=2", 2, 3),
        ("bound = as_task(lambda x: x + 1)", "bound(1)", "x + 1", "x + 2", 2, 3),
    ],
)
def test_what_a_task_held_in_a_global_has_bound_counts(flow, held, used, old, new, before, after) -> None:
    flow.write(f"""
        from rayflow import as_task, compose, get_context, map_, task

        @task
        def add(x, y=0):
            return x + y

        @task
        def ask(k=get_context("k")):
            return k

        {held}

        @task
        def main():
            return {used}
    """)
    assert flow.call("main") == before
    flow.edit(old, new)
    assert flow.call("main") == after


def test_the_plain_function_of_a_task_counts_where_a_body_calls_it(flow) -> None:
    flow.write("""
        from rayflow import task

        def helper(x):
            return x + 1

        @task
        def add(x):
            return helper(x)

        def through(x):
            return add.func(x)

        @task
        def main():
            return [add.func(1), through(1)]

        @task
        def calls():
            return add(1)
    """)
    assert (flow.call("main"), flow.call("calls")) == ([2, 2], 2)
    flow.edit("x + 1", "x + 2")
    assert flow.call("main") == [3, 3]
    assert flow.call("calls") == 3
    assert flow.computed() == {"add": 1}


def test_classes_that_a_function_makes_are_told_apart_by_what_they_hold(flow) -> None:
    flow.write("""
        from rayflow import task

        def made(n):
            class Made:
                k = n
            return Made

        @task
        def show(of):
            return of.k

        @task
        def main():
            return [show(made(n)) for n in range(4)]
    """)
    assert flow.call("main") == [0, 1, 2, 3]
