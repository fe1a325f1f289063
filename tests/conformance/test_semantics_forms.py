"""Forms: what each reduces, in which order, and what is kept of it."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import (
    all_,
    and_,
    any_,
    apply_func,
    as_task,
    catch,
    catch_all,
    compose,
    cond,
    const,
    delay,
    flat_map,
    flatten,
    force,
    identity,
    map_,
    or_,
    quote,
    seq,
    starmap,
    throw,
    zip_,
)
from rayflow.errors import BadArguments

TASKS = """
    from rayflow import task

    @task
    def double(x):
        return 2 * x

    @task
    def add(x, y=100):
        return x + y

    @task
    def fail(x):
        raise ValueError(f"no {x}")

    @task
    def miss(x):
        raise KeyError(x)

    @task
    def numbers(n):
        return list(range(n))

    @task
    def pairs():
        return [(1, 2), {"x": 3}, [5]]

    @task
    def described(structure):
        return [repr(each) for each in structure]

    @task
    def mend(error):
        return f"mended {error}"

    @task
    def thunk(x):
        from rayflow import delay
        return delay(double(x))

    @task
    def gives(name):
        return {"double": double, "plain": plain}[name]

    def plain(x):
        return x * 10
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(TASKS)
    return made


# --- cond, catch, seq -------------------------------------------------------------------------------------------------


def test_cond_reduces_predicates_in_order_and_only_the_chosen_arm(flow: Flow) -> None:
    m = flow.module
    expr = cond(m.double(0), m.fail(1), m.double(1) > 1, m.add(1), m.fail(2))
    assert flow.run(expr) == 101
    assert flow.computed() == {"double": 2, "add": 1}


def test_catch_calls_the_first_recover_that_fits_with_the_error(flow: Flow) -> None:
    m = flow.module
    assert flow.run(catch(m.fail(1), KeyError, m.double, (OSError, ValueError), m.mend)) == "mended no 1"
    assert flow.run(catch(m.double(1), ValueError, m.mend)) == 2
    with pytest.raises(KeyError):
        flow.run(catch(m.miss(1), ValueError, m.mend))


def test_a_caught_error_can_be_thrown_on(flow: Flow) -> None:
    with pytest.raises(ValueError, match="no 1"):
        flow.run(catch(flow.module.fail(1), ValueError, throw))


def test_seq_reduces_one_after_the_other_and_stops_at_an_error(flow: Flow) -> None:
    m = flow.module
    assert flow.run(seq([m.double(1), 5, m.double(2)])) == [2, 5, 4]
    with pytest.raises(ValueError):
        flow.run(seq([m.double(3), m.fail(1), m.double(4)]))
    assert flow.computed() == {"double": 1, "fail": 1}


# --- catch_all --------------------------------------------------------------------------------------------------------


def test_catch_all_gives_the_values_in_their_structure(flow: Flow) -> None:
    m = flow.module
    assert flow.run(catch_all({"a": [m.double(1)], "b": (m.double(2), 3)}, ValueError, m.mend)) == {
        "a": [2],
        "b": (4, 3),
    }
    assert flow.run(catch_all(m.double(4), ValueError, m.mend)) == 8
    assert flow.run(catch_all([1, 2], ValueError, m.mend)) == [1, 2]


def test_catch_all_settles_all_and_recovers_with_the_errors_in_their_places(flow: Flow) -> None:
    m = flow.module
    terms = [m.double(1), m.fail(1), m.double(2), m.miss(2)]
    assert flow.run(catch_all(terms, (ValueError, KeyError), m.described)) == [
        "2", "ValueError('no 1')", "4", "KeyError(2)"
    ]  # fmt: skip
    assert flow.computed() == {"double": 2, "fail": 1, "miss": 1, "described": 1}


def test_catch_all_recovers_as_the_first_error_by_position_says(flow: Flow) -> None:
    m = flow.module
    handlers = (KeyError, m.double, ValueError, m.described)
    assert flow.run(catch_all([m.fail(1), m.miss(2)], *handlers)) == ["ValueError('no 1')", "KeyError(2)"]


def test_an_error_that_no_class_of_a_catch_all_fits_fails_it_once_all_have_settled(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(KeyError):
        flow.run(catch_all([m.fail(1), m.miss(2), m.double(3)], ValueError, m.described))
    assert flow.computed() == {"double": 1, "fail": 1, "miss": 1}
    with pytest.raises(ValueError, match="no 1"):
        flow.run(catch_all([m.double(4), m.fail(1), m.miss(2)]))


def test_a_failure_that_a_catch_all_has_caught_is_tried_again_in_every_execution(flow: Flow) -> None:
    m = flow.module
    for _ in range(2):
        assert flow.run(catch_all([m.fail(1)], Exception, const.partial("caught"))) == "caught"
        assert [summary.counts["failed"] for summary in flow.watching.summaries][-1] == 1


# --- throw ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), ValueError])
def test_throw_fails_with_an_error_or_a_class_of_errors(flow: Flow, error) -> None:
    with pytest.raises(ValueError):
        flow.run(throw(error))
    assert flow.run(catch(throw(error), ValueError, flow.module.mend)).startswith("mended")


def test_throw_refuses_what_is_no_error(flow: Flow) -> None:
    with pytest.raises(BadArguments, match="an exception"):
        flow.run(throw("no"))


# --- map_ and its family ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[1, 2, 3], (1, 2, 3), range(1, 4), {1: "a", 2: "b", 3: "c"}])
def test_map_makes_one_call_for_each_item(flow: Flow, values) -> None:
    assert flow.run(map_(flow.module.double, values)) == [2, 4, 6]
    assert flow.computed() == {"double": 3}
    assert flow.run(map_(flow.module.double, [3, 4])) == [6, 8]
    assert flow.computed() == {"double": 1}


def test_map_takes_arrays_and_series_by_their_items(flow: Flow) -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    assert flow.run(map_(flow.module.double, numpy.array([1, 2]))) == [2, 4]
    assert flow.run(map_(flow.module.double, pandas.Series([1, 2, 3]))) == [2, 4, 6]
    assert flow.computed() == {"double": 1}, "items of an array are the numbers that they look like"
    rows = flow.run(map_(flow.module.double, numpy.array([[1, 2], [3, 4]])))
    assert [row.tolist() for row in rows] == [[2, 4], [6, 8]]


def test_map_over_a_lazy_list_waits_for_it_and_over_lazy_items_does_not(flow: Flow) -> None:
    m = flow.module
    assert flow.run(map_(m.double, m.numbers(4))) == [0, 2, 4, 6]
    assert flow.run(map_(m.double, m.numbers(5_000))) == [2 * n for n in range(5_000)]
    with pytest.raises(ValueError):
        flow.run(map_(m.add, [m.fail(1), 2, m.double(9_999)]))
    assert flow.computed() == {"fail": 1, "double": 1, "add": 2}


def test_map_takes_partials_plain_functions_and_lazy_tasks(flow: Flow) -> None:
    m = flow.module
    assert flow.run(map_(m.add.partial(y=1), [1, 2])) == [2, 3]
    assert flow.run(map_(m.plain, [1, 2])) == [10, 20]
    assert flow.computed() == {"apply_func": 2}
    assert flow.run(map_(m.plain, m.numbers(3_000)))[-1] == 29_990
    assert flow.run(map_(m.gives("double"), [1, 2])) == [2, 4]
    assert flow.run(map_(m.gives("plain"), m.numbers(2))) == [0, 10]
    with pytest.raises(BadArguments, match="cannot be called"):
        map_(3, [1])


def test_map_refuses_what_has_no_order_or_no_items(flow: Flow) -> None:
    for values in ({1, 2}, 5):
        with pytest.raises(BadArguments):
            map_(flow.module.double, values)
    with pytest.raises(TypeError, match="not iterable"):
        flow.run(map_(flow.module.double, flow.module.double(1)))


def test_starmap_spreads_tuples_lists_and_dicts(flow: Flow) -> None:
    m = flow.module
    assert flow.run(starmap(m.add, [(1, 2), {"x": 3}, [5, m.double(1)]])) == [3, 103, 7]
    assert flow.run(starmap(m.add, m.pairs())) == [3, 103, 105]
    with pytest.raises(TypeError, match="starmap"):
        flow.run(starmap(m.add, [1]))


def test_flat_map_flatten_and_zip(flow: Flow) -> None:
    m = flow.module
    assert flow.run(flat_map(m.numbers, [1, 3])) == [0, 0, 1, 2]
    assert flow.run(flatten([[1], (m.double(1), 3), m.numbers(2)])) == [1, 2, 3, 0, 1]
    assert flow.run(zip_([1, 2], m.numbers(5))) == [(1, 0), (2, 1)]
    assert flow.run(zip_()) == []
    assert len(flow.run(flat_map(m.numbers, [500, 600]))) == 1_100


def test_all_any_and_or_not(flow: Flow) -> None:
    m = flow.module
    assert flow.run([all_([m.double(1), 1]), all_(m.numbers(2)), any_([0, m.double(0)]), any_(m.numbers(2))]) == [
        True, False, False, True,
    ]  # fmt: skip
    assert flow.run([and_(m.double(0), m.fail(1)), and_(1, m.double(1)), or_(0, m.double(1), m.fail(2))]) == [
        False, True, True,
    ]  # fmt: skip
    assert flow.run([and_(), or_(), or_(m.double(0), 0)]) == [True, False, False]
    with pytest.raises(ValueError):
        flow.run(or_(m.fail(3), True))


# --- thunks -----------------------------------------------------------------------------------------------------------


def test_a_delayed_expression_is_reduced_when_it_is_forced(flow: Flow) -> None:
    m = flow.module
    assert flow.run([cond(False, force(delay(m.fail(1))), 1), force(delay(m.double(2)))]) == [1, 4]
    assert flow.run(force(m.thunk(7))) == 14
    assert flow.computed() == {"thunk": 1, "double": 1}
    assert flow.run(force(force(delay(delay(m.double(3)))))) == 6
    assert flow.run(m.thunk(8).eval()) == 16


def test_a_task_that_needs_no_more_arguments_is_a_thunk(flow: Flow) -> None:
    m = flow.module
    bound = m.double.partial(4)
    assert flow.run([force(bound), force(identity(bound)), force(cond(True, bound, None))]) == [8, 8, 8]
    assert flow.run(force(identity(m.double.partial(m.double(1))))) == 4
    for lacking in (lambda: force(m.double), lambda: flow.run(force(identity(m.double)))):
        with pytest.raises(BadArguments, match="double"):
            lacking()


def test_force_refuses_what_is_no_thunk(flow: Flow) -> None:
    with pytest.raises(BadArguments, match="delay"):
        force(3)
    with pytest.raises(TypeError, match="delay"):
        flow.run(force(flow.module.double(1)))


def test_an_operation_on_a_thunk_says_to_force_it(flow: Flow) -> None:
    m = flow.module
    thunk = m.thunk(1)
    for expr in (thunk + 1, 1 + thunk, thunk["x"], thunk.x, thunk(3), thunk.go(), -thunk, thunk == thunk):
        with pytest.raises(TypeError, match="force"):
            flow.run(expr)
    with pytest.raises(TypeError, match="force"):
        flow.run(cond(m.thunk(1), 1, 2))


def test_equal_thunks_are_one_value(flow: Flow) -> None:
    m = flow.module
    assert flow.run([identity(delay(m.double(1))), identity(quote(m.double(1)))])
    assert flow.computed() == {"identity": 1}


# --- plumbing ---------------------------------------------------------------------------------------------------------


def test_compose_identity_and_const(flow: Flow) -> None:
    m = flow.module
    assert flow.run(compose(m.double, m.add)(1, y=2)) == 6
    assert flow.run(compose(m.plain, m.double, m.gives("plain"))(1)) == 200
    assert flow.run([identity([m.double(1)]), const(1, m.double(2), also=m.double(3))]) == [[2], 1]
    assert flow.computed()["double"] == 2, "what const ignores is computed all the same"
    with pytest.raises(BadArguments):
        compose()


def test_a_composition_runs_again_when_a_function_of_it_changes(flow: Flow) -> None:
    assert flow.run(compose(flow.module.double, flow.module.plain)(1)) == 20
    module = flow.edit("return x * 10", "return x * 11")
    assert flow.run(compose(module.double, module.plain)(1)) == 22


def test_a_plain_function_becomes_a_call_of_its_own(flow: Flow) -> None:
    m = flow.module
    for _ in range(2):
        assert flow.run([apply_func(m.plain, m.double(1)), as_task(m.plain)(3), as_task(m.double)(4)]) == [20, 30, 8]
    assert flow.counts("cached") == {"apply_func": 2, "double": 2}
    module = flow.edit("return x * 10", "return x * 11")
    assert flow.run(apply_func(module.plain, 2)) == 22
    assert flow.run(apply_func(dict, [("a", 1)], b=2)) == {"a": 1, "b": 2}
    with pytest.raises(BadArguments):
        as_task(3)


MAPPED = """
    from rayflow import catch, map_, task

    @task
    def double(n):
        return 2 * n

    @task
    def recovered(error):
        return "recovered"

    @task
    def fails():
        raise ValueError("no")

    @task
    def main():
        return [map_(double, [1, 2]), map_(double.options(retries=1), [3]), catch(fails(), ValueError, recovered)]
"""


def test_a_task_that_a_form_calls_is_known_by_its_name_so_that_its_edit_runs_its_calls_and_not_what_called_it(
    flow: Flow,
) -> None:
    flow.write(MAPPED)
    assert flow.call("main") == [[2, 4], [6], "recovered"]
    flow.edit("2 * n", "3 * n")
    flow.edit('"recovered"', '"mended"')
    assert flow.call("main") == [[3, 6], [9], "mended"]
    assert flow.computed() == {"double": 3, "recovered": 1, "fails": 1}
