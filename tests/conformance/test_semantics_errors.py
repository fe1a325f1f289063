"""How failures rise, what they stop, and how they are caught."""

from __future__ import annotations

import os

import pytest
from evaluations import Flow, shown
from projects import Project

import rayflow
from rayflow import catch, cond, seq
from rayflow.errors import BadArguments, LazyValueUsed, TaskFailed


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


# --- F1: what goes on -------------------------------------------------------------------------------------------------

SEVERAL = """
    import pathlib
    from rayflow import task

    class OwnError(Exception):
        pass

    @task
    def fail(x):
        if not pathlib.Path("mended").exists():
            raise OwnError(f"no {x}")
        return x

    @task
    def fine(x):
        return x

    @task
    def needs(x):
        return [x]

    @task
    def main():
        return [fine(1), fail(1), needs(fail(2)), fine(2)]
"""


def test_the_first_error_is_raised_as_its_own_type_with_the_way_to_it(flow: Flow) -> None:
    module = flow.write(SEVERAL)
    with pytest.raises(module.OwnError, match="no 1") as raised:
        flow.call("main")
    notes = "\n".join(raised.value.__notes__)
    assert "main()" in notes and "fail(x=1)" in notes
    told = shown(raised.value)
    assert 'raise OwnError(f"no {x}")' in told and os.path.dirname(rayflow.__file__) not in told


def test_all_failures_are_listed_and_what_depends_on_them_is_not_run(flow: Flow) -> None:
    module = flow.write(SEVERAL)
    with pytest.raises(module.OwnError):
        flow.call("main")
    (summary,) = flow.watching.summaries
    assert [(name, failure.message) for _, name, failure in summary.failures] == [
        ("flow.fail", "no 1"),
        ("flow.fail", "no 2"),
    ]
    assert flow.project.sql("select count(*) from attempts where job_id in (select job_id from jobs where "
                            "task_name = 'flow.needs')") == [(0,)]  # fmt: skip


def test_results_of_finished_siblings_are_kept(flow: Flow) -> None:
    module = flow.write(SEVERAL)
    with pytest.raises(module.OwnError):
        flow.call("main")
    (flow.project.path / "mended").write_text("")
    assert flow.call("main") == [1, 1, [2], 2]
    assert flow.computed() == {"fail": 2, "needs": 1}


def test_a_failed_run_leaves_no_job_open(flow: Flow) -> None:
    module = flow.write(SEVERAL)
    with pytest.raises(module.OwnError):
        flow.call("main")
    assert set(flow.project.sql("select distinct status from jobs")) == {("done",), ("failed",), ("not_run",)}


# --- F2: across processes ---------------------------------------------------------------------------------------------


def test_a_part_of_an_exception_that_cannot_be_pickled_does_not_cost_the_rest(flow: Flow) -> None:
    module = flow.write("""
        import threading
        from rayflow import task

        class Locked(Exception):
            def __init__(self, text):
                super().__init__(text)
                self.lock = threading.Lock()

        @task
        def main():
            raise Locked("held")
    """)
    with pytest.raises(module.Locked, match="held") as raised:
        flow.call("main")
    assert 'raise Locked("held")' in shown(raised.value)
    assert "lock" in repr(raised.value.lock)


def test_an_exception_that_cannot_be_pickled_keeps_type_message_and_traceback(flow: Flow) -> None:
    flow.write("""
        import threading
        from rayflow import task

        class Locked(Exception):
            def __init__(self, text):
                super().__init__()
                self.text, self.lock = text, threading.Lock()

            def __str__(self):
                return f"{self.text} {self.lock.locked()}"

        @task
        def main():
            raise Locked("held")
    """)
    with pytest.raises(TaskFailed, match=r"flow\.Locked: held") as raised:
        flow.call("main")
    assert 'raise Locked("held")' in shown(raised.value)


def test_what_recovers_is_told_which_error_it_was(flow: Flow) -> None:
    """A class whose constructor takes something else than its arguments, and what OSError keeps beside them."""
    flow.write("""
        from rayflow import catch, task

        class Diverged(Exception):
            def __init__(self, rate, step):
                super().__init__(f"diverged with {rate} at step {step}")
                self.rate = rate

        @task
        def train(rate):
            raise Diverged(rate, 3)

        @task
        def read(path):
            return open(path).read()

        @task
        def rate_of(error):
            return error.rate

        @task
        def name_of(error):
            return error.filename

        @task
        def main():
            trained = [catch(train(rate), Diverged, rate_of) for rate in (0.1, 0.2)]
            return trained + [catch(read(path), OSError, name_of) for path in ("no/a", "no/b")]
    """)
    assert flow.call("main") == [0.1, 0.2, "no/a", "no/b"]


def test_the_error_survives_in_the_store(flow: Flow) -> None:
    module = flow.write(SEVERAL)
    with pytest.raises(module.OwnError):
        flow.call("main")
    ((error,),) = flow.project.sql("select error from executions")
    assert error == "flow.OwnError: no 1"


# --- F3: attempts -----------------------------------------------------------------------------------------------------

FLAKY = """
    import pathlib
    from rayflow import task

    @task({options})
    def flaky(x):
        with open("tries", "a") as tries:
            tries.write("x")
        if len(pathlib.Path("tries").read_text()) < 3:
            raise OSError("busy")
        return x
"""


def test_a_task_that_raised_is_tried_again_and_each_attempt_is_recorded(flow: Flow) -> None:
    flow.write(FLAKY.format(options="retries=2"))
    assert flow.call("flaky", 1) == 1
    assert flow.project.sql("select attempts from jobs") == [(3,)]
    assert flow.project.sql("select count(*) from attempts where error like '%busy%'") == [(2,)]


def test_retry_on_other_errors_does_not_try_again(flow: Flow) -> None:
    flow.write(FLAKY.format(options="retries=5, retry_on=[KeyError]"))
    with pytest.raises(OSError, match="busy"):
        flow.call("flaky", 1)
    assert (flow.project.path / "tries").read_text() == "x"


def test_retries_given_at_the_call_count(flow: Flow) -> None:
    module = flow.write(FLAKY.format(options=""))
    assert flow.run(module.flaky.options(retries=2, retry_on=OSError)(1)) == 1


# --- G: cond ----------------------------------------------------------------------------------------------------------

ARMS = """
    from rayflow import task, cond

    @task
    def told(x):
        return x

    @task
    def fail():
        raise ValueError("no")

    @task
    def main(a, b):
        return cond(told(a), told("first"), told(b), told("second"), told("else"))
"""


@pytest.mark.parametrize(
    ("a", "b", "value", "calls"), [(1, 0, "first", 2), (0, 1, "second", 3), (0, 0, "else", 2)]
)
def test_cond_reduces_conditions_in_order_and_the_chosen_arm_only(
    flow: Flow, a: int, b: int, value: str, calls: int
) -> None:
    flow.write(ARMS)
    assert flow.call("main", a, b) == value
    assert flow.computed()["told"] == calls


def test_an_arm_that_is_not_chosen_may_fail(flow: Flow) -> None:
    module = flow.write(ARMS)
    assert flow.run(cond(module.told(False), module.fail())) is None


def test_a_condition_of_numpy_is_asked_where_its_value_is(flow: Flow) -> None:
    flow.write("""
        import numpy
        from rayflow import task

        @task
        def flag(x):
            return numpy.bool_(x)
    """)
    module = flow.module
    assert module is not None
    assert flow.run([cond(module.flag(0), "yes", "no"), cond(module.flag(1), "yes", "no")]) == ["no", "yes"]


# --- G: catch ---------------------------------------------------------------------------------------------------------

CATCHES = """
    import pathlib
    from rayflow import task, catch

    @task
    def deep(n):
        if n:
            return deep(n - 1)
        if not pathlib.Path("mended").exists():
            raise KeyError("deep")
        return "mended"

    @task
    def recover(error):
        return f"{type(error).__name__} {error.args}"

    @task
    def fail_too(error):
        raise RuntimeError("recovery failed")

    @task
    def main():
        return catch(deep(3), OSError, fail_too, (ValueError, LookupError), recover, Exception, fail_too)
"""


def test_the_first_class_that_fits_recovers_from_an_error_deep_below(flow: Flow) -> None:
    flow.write(CATCHES)
    assert flow.call("main") == "KeyError ('deep',)"


def test_a_caught_failure_is_tried_again_in_every_new_execution(flow: Flow) -> None:
    flow.write(CATCHES)
    flow.call("main")
    (flow.project.path / "mended").write_text("")
    assert flow.call("main") == "mended"


def test_an_error_that_no_class_fits_passes_and_one_in_the_recovery_rises(flow: Flow) -> None:
    module = flow.write(CATCHES)
    with pytest.raises(KeyError):
        flow.run(catch(module.deep(0), OSError, module.recover))
    with pytest.raises(RuntimeError, match="recovery failed"):
        flow.run(catch(module.deep(0), KeyError, module.fail_too))


def test_a_plain_function_may_recover(flow: Flow) -> None:
    module = flow.write(CATCHES)
    assert flow.run(catch(module.deep(0), KeyError, lambda error: ["plain", error.args[0]])) == ["plain", "deep"]


def test_a_handler_that_makes_no_sense_is_an_error_where_it_is_written(flow: Flow) -> None:
    module = flow.write(CATCHES)
    with pytest.raises(BadArguments, match="not an exception class"):
        catch(module.deep(0), 3, module.recover)
    with pytest.raises(BadArguments, match="cannot be called"):
        catch(module.deep(0), KeyError, "value")
    with pytest.raises(BadArguments, match="pairs"):
        catch(module.deep(0), KeyError)


# --- G: seq -----------------------------------------------------------------------------------------------------------

STEPS = """
    from rayflow import task

    @task(cache=False)
    def step(name):
        with open("order", "a") as order:
            order.write(name)
        if name == "x":
            raise ValueError(name)
        return name
"""


def test_seq_reduces_one_after_the_other_and_an_error_stops_it(flow: Flow) -> None:
    module = flow.write(STEPS)
    assert flow.run(seq(module.step(name) for name in "cab")) == ["c", "a", "b"]
    assert (flow.project.path / "order").read_text() == "cab"
    with pytest.raises(ValueError, match="x"):
        flow.run(seq([module.step("d"), module.step("x"), module.step("e")]))
    assert (flow.project.path / "order").read_text() == "cabdx"


def test_seq_of_a_lazy_list_is_an_error_where_it_is_written(flow: Flow) -> None:
    module = flow.write(STEPS)
    with pytest.raises((BadArguments, LazyValueUsed)):
        seq(module.step("a"))
