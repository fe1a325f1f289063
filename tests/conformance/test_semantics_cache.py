"""What is taken from the cache, from a twin, and what is computed again."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

CALLS = """
    from rayflow import task

    @task({options})
    def child(x):
        return x + 1

    @task({main_options})
    def main(x):
        return [child(x), child(x)]
"""


def text(options: str = "", main_options: str = "") -> str:
    return CALLS.format(options=options, main_options=main_options)


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


# --- the three levels -------------------------------------------------------------------------------------------------


def test_equal_calls_of_one_execution_are_computed_once(flow: Flow) -> None:
    flow.write(text())
    assert flow.call("main", 1) == [2, 2]
    assert (flow.computed(), flow.counts("shared")) == ({"main": 1, "child": 1}, {"child": 1})


def test_a_failed_call_fails_its_twins(flow: Flow) -> None:
    flow.write("""
        from rayflow import task, catch

        @task
        def fail(x):
            open("tries", "a").write("x")
            raise KeyError(x)

        @task
        def recover(error):
            return "caught"

        @task
        def main():
            return [catch(fail(1), KeyError, recover), catch(fail(1), KeyError, recover)]
    """)
    assert flow.call("main") == ["caught", "caught"]
    assert (flow.project.path / "tries").read_text() == "x"


def test_a_single_reduction_is_reduced_child_by_child(flow: Flow) -> None:
    flow.write(text())
    flow.call("main", 1)
    flow.edit("x + 1", "x + 2")
    assert flow.call("main", 1) == [3, 3]
    assert flow.computed() == {"child": 1}


def test_a_full_reduction_is_taken_whole_while_all_tasks_below_are_current(flow: Flow) -> None:
    flow.write(text(main_options='check_valid="shallow"'))
    flow.call("main", 1)
    assert flow.call("main", 1) == [2, 2]
    assert flow.counts("cached") == {"main": 1}
    assert flow.counts("shared") == {}


def test_a_full_reduction_does_not_hold_when_a_task_below_has_changed(flow: Flow) -> None:
    flow.write(text(main_options='check_valid="shallow"'))
    flow.call("main", 1)
    flow.edit("x + 1", "x + 2")
    assert flow.call("main", 1) == [3, 3]


# --- 1: scopes --------------------------------------------------------------------------------------------------------


def test_scope_none_runs_every_call_always(flow: Flow) -> None:
    flow.write(text(options='cache_scope="NONE"'))
    for _ in range(2):
        flow.call("main", 1)
        assert flow.computed().get("child") == 2


@pytest.mark.parametrize("options", ['cache_scope="CSE"', "cache=False"])
def test_scope_cse_shares_within_an_execution_only(flow: Flow, options: str) -> None:
    flow.write(text(options=options))
    for _ in range(2):
        flow.call("main", 1)
        assert (flow.computed()["child"], flow.counts("shared")) == (1, {"child": 1})


def test_run_without_cache_computes_all_anew_and_still_shares(flow: Flow) -> None:
    module = flow.write(text())
    flow.run(module.main(1))
    flow.run(module.main(1), cache=False)
    assert (flow.computed(), flow.counts("shared")) == ({"main": 1, "child": 1}, {"child": 1})


def test_what_ran_without_cache_is_recorded_for_those_that_use_it(flow: Flow) -> None:
    module = flow.write(text())
    flow.run(module.main(1), cache=False)
    flow.run(module.main(1))
    assert flow.computed() == {}


def test_one_expression_object_in_two_places_is_one_call_whatever_its_scope(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task(cache_scope="NONE")
        def child():
            return 1

        @task
        def main():
            once = child()
            return [once, [once], once + 1]
    """)
    assert flow.call("main") == [1, [1], 2]
    assert flow.computed() == {"main": 1, "child": 1}


# --- 2: what lies below -----------------------------------------------------------------------------------------------


def test_a_shallow_answer_is_not_stale_after_its_child_was_shared(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def leaf(x):
            return x + 1

        @task(check_valid="shallow")
        def shallow(x):
            return leaf(x)

        @task
        def main(x):
            return [leaf(x), shallow(x)]
    """)
    assert flow.call("main", 1) == [2, 2]
    flow.edit("x + 1", "x + 5")
    assert flow.call("shallow", 1) == 6
    assert flow.call("main", 1) == [6, 6]


def test_a_newer_failure_does_not_hide_an_older_answer(flow: Flow) -> None:
    flow.write("""
        import pathlib
        from rayflow import task

        @task
        def child(x):
            if pathlib.Path("broken").exists():
                raise RuntimeError("broken")
            return x
    """)
    module = flow.module
    assert module is not None
    assert flow.run(module.child(1)) == 1
    (flow.project.path / "broken").write_text("")
    with pytest.raises(RuntimeError):
        flow.run(module.child(1), cache=False)
    assert flow.run(module.child(1)) == 1


# --- 3: errors --------------------------------------------------------------------------------------------------------


def test_errors_are_never_taken_from_another_execution(flow: Flow) -> None:
    flow.write("""
        import pathlib
        from rayflow import task

        @task
        def child(x):
            if not pathlib.Path("mended").exists():
                raise RuntimeError("not yet")
            return x
    """)
    with pytest.raises(RuntimeError):
        flow.call("child", 1)
    (flow.project.path / "mended").write_text("")
    assert flow.call("child", 1) == 1


# --- 4: what cannot be read any more ----------------------------------------------------------------------------------


def test_a_missing_blob_is_a_miss(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def big():
            return "x" * 100_000

        @task
        def main():
            return [big()]
    """)
    assert flow.call("main") == ["x" * 100_000]
    for blob in (flow.project.path / ".rayflow" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    assert flow.call("main") == ["x" * 100_000]
    assert flow.computed() == {"big": 1}
    assert any("bytes are gone" in text for text in flow.watching.warnings)


def test_a_value_whose_class_is_gone_is_a_miss_with_a_warning(flow: Flow) -> None:
    flow.project.write("shapes.py", """
        class Point:
            x = 1
    """)
    flow.write("""
        import importlib
        from rayflow import task

        @task
        def make():
            shapes = importlib.import_module("shapes")
            return [getattr(shapes, "Point", None) or shapes.Place]

        @task
        def place():
            return make()[0]()

        @task
        def read(point):
            return point.x

        @task
        def main():
            return read(place())
    """)
    assert flow.call("main") == 1
    assert flow.call("main") == 1
    assert flow.computed() == {}
    flow.project.edit("shapes.py", "Point", "Place")
    flow.module = flow.project.load("flow")
    assert flow.call("main") == 1
    assert flow.computed()["make"] == 1
    told = [text for text in flow.watching.warnings if "importlib.import_module" not in text]
    assert told == ["shapes.Point is gone: cached values that name it cannot be read; what made them runs again."]


# --- options ----------------------------------------------------------------------------------------------------------


def test_an_answer_older_than_cache_for_is_computed_again(flow: Flow) -> None:
    module = flow.write(text(options="cache_for=0"))
    flow.run(module.main(1))
    flow.run(module.main(1))
    assert flow.computed() == {"child": 1}
    assert flow.run(module.child.options(cache_for="1d")(1)) == 2
    assert flow.computed() == {}


def test_a_call_that_shares_takes_the_call_node_of_its_twin(flow: Flow) -> None:
    flow.write(text())
    flow.call("main", 1)
    rows = flow.project.sql("select how, call_hash from jobs where task_name = 'flow.child'")
    assert sorted(how for how, _ in rows) == ["computed", "shared"]
    assert len({call_hash for _, call_hash in rows}) == 1


# --- C: tasks as values -----------------------------------------------------------------------------------------------


def test_a_result_that_holds_a_task_is_computed_again_when_that_task_has_changed(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        class Plan:
            def __init__(self, step):
                self.step = step

        @task
        def step(x):
            return x + 1

        @task
        def choose(how):
            return {"task": step, "partial": step.partial(1), "object": Plan(step)}[how]

        @task
        def apply(chosen):
            if isinstance(chosen, Plan):
                chosen = chosen.step.partial(1)
            return chosen() if "partial" in repr(chosen) or chosen._args else chosen(1)

        @task
        def main(how):
            return apply(choose(how))
    """)
    for how in ("task", "partial", "object"):
        assert flow.call("main", how) == 2
        assert flow.call("main", how) == 2
        assert flow.computed() == {}
    flow.edit("x + 1", "x + 2")
    for how in ("task", "partial", "object"):
        assert flow.call("main", how) == 3
        assert flow.computed().get("choose") == 1, how
