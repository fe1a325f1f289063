"""What is reduced, when and to what; and what a lazy value allows."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler, quote, run, task
from rayflow.errors import BadArguments, CyclicCall, LazyValueUsed, NestedRun, NotSerializable


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


@task(namespace="semantics")
def one() -> int:
    return 1


@task(namespace="semantics")
def same(x: Any) -> Any:
    return x


@task(namespace="semantics")
def added(x: int, y: int) -> int:
    return x + y


# --- 1: the root ------------------------------------------------------------------------------------------------------


def test_a_root_that_is_no_call_has_one_root_job(flow: Flow) -> None:
    assert flow.run([one(), {"two": one() + 1}]) == [1, {"two": 2}]
    roots = flow.project.sql("select task_name from jobs where parent_job_id is null")
    assert roots == [("<expression>",)]


def test_a_root_without_expressions_is_its_own_value(flow: Flow) -> None:
    assert flow.run({"a": [1, 2]}) == {"a": [1, 2]}


def test_two_executions_run_at_a_time_in_one_process(flow: Flow) -> None:
    results: dict[int, Any] = {}

    def evaluate(number: int) -> None:
        with Scheduler(store=str(flow.project.path / f"store{number}"), inline=True) as scheduler:
            results[number] = scheduler.run(added(number, one()))

    threads = [threading.Thread(target=evaluate, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 1, 1: 2}


# --- 2: containers ----------------------------------------------------------------------------------------------------

CONTAINERS = """
    import collections, dataclasses, typing
    import attrs, pydantic
    from rayflow import task

    @task
    def one():
        return 1

    class Pair(typing.NamedTuple):
        a: object
        b: object

    @dataclasses.dataclass
    class Plain:
        x: object
        y: object = 5

    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        x: object

    @dataclasses.dataclass
    class Counted:
        x: object
        times: int = dataclasses.field(default=0, init=False)

        def __post_init__(self):
            self.times += 1

    @attrs.define
    class Attrs:
        x: object

    class Model(pydantic.BaseModel):
        x: object
        y: int = 3

    CONTAINERS = {
        "list": lambda x: [x, 2],
        "tuple": lambda x: (x, 2),
        "set": lambda x: {x, 2},
        "frozenset": lambda x: frozenset([x, 2]),
        "dict value": lambda x: {"k": x},
        "dict key": lambda x: {x: "v"},
        "OrderedDict": lambda x: collections.OrderedDict(b=x, a=2),
        "defaultdict": lambda x: collections.defaultdict(list, k=x),
        "Counter": lambda x: collections.Counter(k=x),
        "deque": lambda x: collections.deque([x, 2], maxlen=3),
        "namedtuple": lambda x: Pair(x, 2),
        "dataclass": lambda x: Plain(x),
        "frozen dataclass": lambda x: Frozen(x),
        "dataclass with __post_init__": lambda x: Counted(x),
        "attrs": lambda x: Attrs(x),
        "pydantic": lambda x: Model.model_construct(x=x, y=3),
        "all inside each other": lambda x: [{"k": (Plain([x]), Pair({x}, collections.deque([Frozen(x)])))}],
    }

    @task
    def give(kind):
        return CONTAINERS[kind](one())

    @task
    def look(value):
        return repr(value)
"""

KINDS = [
    "list", "tuple", "set", "frozenset", "dict value", "dict key", "OrderedDict", "defaultdict", "Counter", "deque",
    "namedtuple", "dataclass", "frozen dataclass", "dataclass with __post_init__", "attrs", "pydantic",
    "all inside each other",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_expressions_in_a_container_become_their_values(flow: Flow, kind: str) -> None:
    module = flow.write(CONTAINERS)
    expected = module.CONTAINERS[kind](1)
    result = flow.call("give", kind)
    assert type(result) is type(expected)
    assert result == expected
    assert flow.run(module.look(module.CONTAINERS[kind](module.one()))) == repr(expected)


def test_a_dataclass_is_not_constructed_a_second_time(flow: Flow) -> None:
    flow.write(CONTAINERS)
    assert flow.call("give", "dataclass with __post_init__").times == 1


def test_a_value_that_cannot_be_a_key_fails_its_job(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def items():
            return [1]

        @task
        def main():
            return {items(): 1}
    """)
    with pytest.raises(TypeError, match="unhashable"):
        flow.call("main")


# --- 4: calls ---------------------------------------------------------------------------------------------------------


def test_defaults_may_be_expressions_and_keyword_only_ones_are_reduced_too(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def two():
            return 2

        @task
        def main(a, *rest, b=two() + 1, c=[two()]):
            return a, rest, b, c
    """)
    assert flow.call("main", 1, 9) == (1, (9,), 3, [2])


def test_a_wrong_argument_is_an_error_where_the_call_is_written() -> None:
    with pytest.raises(BadArguments, match=r"added\(\) got an unexpected keyword argument 'z'"):
        added(1, z=2)  # type: ignore[call-arg]


# --- 5: results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["None", "0", "''", "[]", "False"])
def test_falsy_results_are_cached_and_passed_like_others(flow: Flow, value: str) -> None:
    flow.write(f"""
        from rayflow import task

        @task
        def falsy():
            return {value}

        @task
        def main():
            return [falsy()]
    """)
    assert flow.call("main") == [eval(value)]
    assert flow.call("main") == [eval(value)]
    assert flow.computed() == {}


@pytest.mark.parametrize("value", ["(x for x in [1])", "threading.Lock()", "open(__file__)"])
def test_what_cannot_be_kept_is_a_failed_job_that_can_be_caught(flow: Flow, value: str) -> None:
    flow.write(f"""
        import threading
        from rayflow import task, catch

        @task
        def broken():
            return {value}

        @task
        def recover(error):
            return type(error).__name__

        @task
        def main():
            return catch(broken(), TypeError, recover)
    """)
    with pytest.raises(NotSerializable, match="cannot be kept"):
        flow.call("broken")
    assert flow.call("main") == "NotSerializable"


# --- 6: the lazy surface ----------------------------------------------------------------------------------------------


def test_operators_methods_items_and_attributes_of_lazy_values_give_their_values(flow: Flow) -> None:
    numbers, text = same([1, 2, 3, 4]), same("abc")
    assert flow.run((numbers[1:3], numbers[one() :: one() + 1], text.upper(), text.split("b")[1])) == (
        [2, 3], [2, 4], "ABC", "c"
    )  # fmt: skip
    assert flow.run((2 * one() + 1, -one(), 1 / (one() + 1), one() == 1, (one() > 0) & (one() < 2))) == (
        3, -1, 0.5, True, True
    )  # fmt: skip
    assert flow.run((same({"a": {"b": 5}})["a"]["b"], same(3 + 4j).imag)) == (5, 4.0)


def test_a_result_of_known_length_can_be_unpacked(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task(nout=2)
        def halves(x):
            return x // 2, x - x // 2

        @task
        def both(x) -> tuple[int, str]:
            return x, str(x)

        @task
        def main(x):
            low, high = halves(x)
            number, text = both(high)
            return [text, number, low]
    """)
    assert flow.call("main", 5) == ["3", 3, 2]


# --- 7: forgotten calls -----------------------------------------------------------------------------------------------


def test_a_call_that_was_made_and_not_returned_is_reported_once(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def notify(x):
            return x

        @task
        def main():
            notify(1)
            kept = notify(2)
            return [kept.real]
    """)
    assert flow.call("main") == [2]
    told = [line for line in flow.watching.lines if "created and not returned" in line]
    assert len(told) == 1
    assert "notify(1)" in told[0] and "notify(2)" not in told[0]


# --- 8: quote, print, run inside run ----------------------------------------------------------------------------------


def test_print_shows_the_call_as_lazy_and_says_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    print(added(1, one()))
    shown = capsys.readouterr().out
    assert shown.startswith("added(1, one())") and "lazy" in shown and "run(" in shown


def test_run_inside_a_body_says_to_return_the_expression(flow: Flow) -> None:
    flow.write("""
        from rayflow import task, run

        @task
        def inner():
            return 1

        @task
        def main():
            return run(inner())
    """)
    with pytest.raises(NestedRun, match="Return the expression"):
        flow.call("main")


def test_run_works_under_a_running_event_loop_also_for_async_bodies(flow: Flow) -> None:
    flow.write("""
        import asyncio
        from rayflow import task

        @task
        async def later(x):
            await asyncio.sleep(0)
            return x + 1
    """)
    expr = flow.module.later(1)  # type: ignore[union-attr]

    async def main() -> Any:
        return run(expr, store=str(flow.project.path / "other"), inline=True)

    assert asyncio.run(main()) == 2
    assert flow.call("later", 2) == 3


# --- 9: depth ---------------------------------------------------------------------------------------------------------


def test_ten_thousand_nested_containers_are_reduced(flow: Flow) -> None:
    term: Any = one()
    for _ in range(10_000):
        term = [term]
    result = flow.run(term)
    depth = 0
    while type(result) is list:
        (result,) = result
        depth += 1
    assert (depth, result) == (10_000, 1)


def test_a_hundred_thousand_chained_operators_are_reduced(flow: Flow) -> None:
    term: Any = one()
    for _ in range(100_000):
        term = term + 1
    assert flow.run(term) == 100_001


@pytest.mark.parametrize(
    "count",
    [
        5_000,
        pytest.param(100_000, marks=pytest.mark.campaign),
        pytest.param(1_000_000, marks=[pytest.mark.campaign, pytest.mark.timeout(7200)]),
    ],
)
def test_many_thousand_chained_calls_are_reduced(flow: Flow, count: int) -> None:
    term: Any = 0
    for _ in range(count):
        term = added(term, 1)
    assert flow.run(term) == count


def test_a_task_recurses_ten_thousand_deep(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def down(n):
            return n if n == 0 else down(n - 1)
    """)
    assert flow.call("down", 10_000) == 0


# --- 10: cycles -------------------------------------------------------------------------------------------------------


def test_a_call_that_needs_its_own_result_names_the_cycle(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def ping(x):
            return pong(x)

        @task
        def pong(x):
            return ping(x)
    """)
    with pytest.raises(CyclicCall, match=r"ping.*pong"):
        flow.call("ping", 1)


# --- G: quote ---------------------------------------------------------------------------------------------------------


def test_a_quoted_expression_is_data_until_it_is_released(flow: Flow) -> None:
    flow.write("""
        from rayflow import task, quote

        @task
        def costly(x):
            return x * 10

        @task
        def maybe(expr, wanted):
            return expr.eval() if wanted else "left"

        @task
        def main(wanted):
            return maybe(quote([costly(1), costly(costly(2))]), wanted)
    """)
    assert flow.call("main", False) == "left"
    assert flow.computed() == {"main": 1, "maybe": 1}
    assert flow.call("main", True) == [10, 200]
    assert flow.run(quote(added(1, 2)).eval()) == 3


def test_a_lazy_value_in_a_branch_says_to_write_cond() -> None:
    with pytest.raises(LazyValueUsed, match="cond"):
        assert one()
