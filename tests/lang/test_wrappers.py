"""Decorators over tasks: what the new task takes over, what its hash is made of, how it runs."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Task, task, wraps_task
from rayflow.errors import BadOption, DuplicateTask
from rayflow.lang.registry import registered

CODE = """
    from rayflow import task, wraps_task

    def helper(x):
        return x + 1

    @wraps_task
    def doubled(inner):
        def wrapper(*args, **kwargs):
            return 2 * inner.func(*args, **kwargs)
        return wrapper

    def plus(amount):
        @wraps_task
        def plus(inner):
            def wrapper(*args, **kwargs):
                return inner(*args, **kwargs) + amount
            return wrapper
        return plus

    @doubled
    @task(retries=2, config_args=["verbose"])
    def own(x: int, *, verbose: bool = False) -> int:
        "Adds one."
        return helper(x)

    @plus(100)
    @task
    def lazily(x):
        return x + 1

    @plus(1000)
    @plus(100)
    @doubled
    @task
    def stacked(x):
        return x + 1

    @wraps_task
    def shouting(inner):
        def wrapper(text: str, times: int = 1) -> str:
            return inner.func(text).upper() * times
        return wrapper

    @shouting
    @task
    def said(word):
        return word

    def make(n):
        @plus(n)
        @task
        def made(x):
            return x
        return made

    @task
    def main():
        return [made(1) for made in (make(1), make(2))]

    @doubled
    @task
    def factorial(n):
        return 1 if n == 0 else factorial(n - 1) * n

    @wraps_task(num_cpus=2, hash_includes=["more"])
    def heavier(inner):
        def wrapper(*args):
            return inner.func(*args)
        return wrapper

    @heavier
    @task(num_gpus=1, hash_includes=["some"])
    def heavy(x):
        return x
"""


WRAPPED = {"stacked", "stacked.inner3"}


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


def test_a_wrapped_task_keeps_name_signature_documentation_and_options(flow: Flow) -> None:
    own = flow.module.own
    assert isinstance(own, Task)
    assert (own.fullname, own.name, own.__doc__) == ("flow.own", "own", "Adds one.")
    assert str(own.signature) == "(x: int, *, verbose: bool = False) -> int"
    assert own.definition_options == {"retries": 2, "config_args": ["verbose"]}
    assert own.source is not None and own.source.startswith("@doubled")
    assert own.place.endswith("flow.py:20")
    with pytest.raises(TypeError, match="missing 1 required argument: 'x'"):
        own(verbose=True)
    with pytest.raises(TypeError, match="x"):
        own("text")


def test_the_body_below_runs_as_part_of_the_wrapper_or_as_a_task_of_its_own(flow: Flow) -> None:
    assert flow.call("own", 1) == 4
    assert flow.project.counts("computed") == {"flow.own": 1}
    assert flow.call("lazily", 1) == 102
    assert flow.project.counts("computed") == {"flow.lazily": 1, "flow.lazily.inner": 1}


def test_decorators_over_tasks_may_be_stacked(flow: Flow) -> None:
    assert flow.call("stacked", 1) == 1104
    assert flow.project.counts("computed") == {"flow.stacked": 1, "flow.stacked.inner3": 1, "flow.stacked.inner2": 1}
    assert [name for name in registered() if name.startswith("flow.stacked")] == [
        "flow.stacked.inner", "flow.stacked.inner2", "flow.stacked.inner3", "flow.stacked"
    ]  # fmt: skip


def test_a_wrapper_with_a_signature_of_its_own_gives_the_task_that_one(flow: Flow) -> None:
    assert list(flow.module.said.parameters.names) == ["text", "times"]
    assert flow.call("said", "ho", times=2) == "HOHO"


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("return 2 * inner.func", "return 3 * inner.func", {"own", "factorial", "stacked.inner2", *WRAPPED}),
        ("return helper(x)", "return helper(x) * 1", {"own", "own.inner"}),
        ("return x + 1\n\n@wraps_task\ndef doubled", "return x + 2\n\n@wraps_task\ndef doubled", {"own", "own.inner"}),
        ("@plus(1000)", "@plus(2000)", {"stacked"}),
        ("return inner(*args, **kwargs) + amount", "return amount + inner(*args)", {"lazily", "main", *WRAPPED}),
    ],
    ids=["the wrapper", "the body below", "a helper of the body below", "an argument of the decorator", "a lazy one"],
)
def test_the_hash_is_made_of_the_wrapper_its_arguments_and_the_code_below(flow: Flow, old, new, changed) -> None:
    before = {name: each.hash for name, each in registered().items() if name.startswith("flow.")}
    flow.edit(old, new)
    after = {name: each.hash for name, each in registered().items() if name.startswith("flow.")}
    found = {name.removeprefix("flow.") for name in before if before[name] != after[name]}
    assert found == changed


def test_products_of_a_factory_that_differ_by_the_decorator_s_argument_are_two_tasks(flow: Flow) -> None:
    assert flow.call("main") == [2, 3]


def test_a_wrapped_task_may_call_itself(flow: Flow) -> None:
    assert flow.call("factorial", 3) == 2**4 * 6


def test_an_async_task_can_be_wrapped(project: Project) -> None:
    flow = Flow(project)
    flow.write(
        """
        from rayflow import task, wraps_task

        @wraps_task
        def passed_on(inner):
            def wrapper(*args):
                return inner.func(*args)
            return wrapper

        @wraps_task
        def awaited(inner):
            async def wrapper(*args):
                return await inner.func(*args) + await inner(*args)
            return wrapper

        @task
        def one():
            return 1

        @awaited
        @passed_on
        @task
        async def plus_one(x):
            return x + await one()
        """
    )
    assert flow.module.plus_one.is_async
    assert flow.call("plus_one", 10) == 22


def test_options_of_the_decorator_come_on_top(flow: Flow) -> None:
    options = flow.module.heavy.definition_options
    assert options == {"num_cpus": 2, "num_gpus": 1, "hash_includes": ["some", "more"]}
    with pytest.raises(BadOption, match="Did you mean 'retries'"):
        wraps_task(retires=2)


def test_partials_and_options_of_a_wrapped_task_are_its_own(flow: Flow) -> None:
    assert flow.run(flow.module.lazily.partial(1).options(retries=1)()) == 102
    assert flow.module.lazily._inner.options(retries=1).fullname == "flow.lazily.inner"


def test_only_a_task_or_a_function_can_be_wrapped_and_only_once(flow: Flow) -> None:
    doubled = flow.module.doubled
    for other in (3, len, int, "flow.own", print):
        with pytest.raises(TypeError, match=r"@doubled stands above a task or a plain function, and .* is neither"):
            doubled(other)
    with pytest.raises(TypeError, match="Write @task only once"):
        task(doubled(flow.module.helper))
    with pytest.raises(TypeError, match="before arguments or options are given"):
        doubled(flow.module.said.partial("x"))
    with pytest.raises(TypeError, match="is wrapped already"):
        doubled(flow.module.lazily._inner)
    with pytest.raises(TypeError, match="has to return a function of its own"):
        wraps_task(lambda inner: inner.func)(flow.module.heavy)


PLAIN = """
    from rayflow import get_context, task, wraps_task

    def times(factor, **options):
        @wraps_task(**options)
        def _times(inner):
            def wrapper(*args, **kwargs):
                return factor * inner.func(*args, **kwargs)
            return wrapper
        return _times

    {decorators}
    def number(x: int, *, more: int = 0) -> int:
        "Adds some."
        return x + more

    @task
    def main():
        return [number(1), number(2, more=3)]
"""


@pytest.mark.parametrize(
    ("above", "factor", "options"),
    [
        (["times(2)"], 2, {}),
        (["times(2, retries=3)"], 2, {"retries": 3}),
        (["times(3)", "times(2)"], 6, {}),
        (["times(2)", "times(2)", "times(2)"], 8, {}),
        (["times(3, retries=1, memory='1GB')", "times(2, retries=2, num_cpus=0.5)"], 6,
         {"retries": 1, "num_cpus": 0.5, "memory": "1GB"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("innermost", ["", "task", "task(priority=4)"])
def test_a_decorator_over_a_plain_function_makes_a_task_of_it(flow: Flow, above, factor, options, innermost) -> None:
    lines = [f"@{each}" for each in [*above, innermost] if each]
    module = flow.write(PLAIN.replace("{decorators}", "\n    ".join(lines)))
    assert module.number.fullname == "flow.number"
    assert str(module.number.signature) == "(x: int, *, more: int = 0) -> int"
    assert module.number.__doc__ == "Adds some."
    assert module.number.definition_options == {**options, **({"priority": 4} if "priority" in innermost else {})}
    assert flow.call("main") == [factor, 5 * factor]
    assert flow.call("main") == [factor, 5 * factor]
    assert flow.computed() == {}
    flow.edit("return x + more", "return x + more + 1")
    assert flow.call("main") == [2 * factor, 6 * factor]


def test_a_decorator_over_a_static_function_makes_a_static_task() -> None:
    @wraps_task
    def same(inner):
        def wrapper(*args):
            return inner.func(*args)

        return wrapper

    class Crate:
        @same
        @staticmethod
        def packed(x):
            return x

    assert Crate().packed(1)._task.endswith("Crate.packed")


def test_two_wrapped_tasks_of_one_function_are_told_apart_or_refused(flow: Flow) -> None:
    plain = flow.module.helper
    flow.module.plus(1)(task(name="plain", namespace="twice")(plain))
    with pytest.raises(DuplicateTask, match=r"twice\.plain"):
        task(name="plain", namespace="twice")(plain)


def test_a_wrapped_static_task_stays_static() -> None:
    @wraps_task
    def same(inner):
        def wrapper(*args):
            return inner.func(*args)

        return wrapper

    class Box:
        @same
        @task
        @staticmethod
        def packed(x):
            return x

    assert Box().packed(1)._task.endswith("Box.packed")


@pytest.mark.slow
def test_a_wrapped_task_of_a_script_runs_in_other_processes(project: Project) -> None:
    run = 'if __name__ == "__main__":\n        import rayflow\n        print(rayflow.run(lazily(1)))\n'
    project.write("flow.py", f"{CODE}\n    {run}")
    ended = project.python("flow.py", RAYFLOW_INLINE="1")
    assert ended.stdout.strip() == "102", ended.stderr


@pytest.mark.ray
def test_a_wrapped_task_runs_on_ray(flow: Flow, ray_cluster: str) -> None:
    from rayflow import Scheduler

    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run([flow.module.stacked(1), flow.module.main(), flow.module.own(1)]) == [1104, [2, 3], 4]


def test_brackets_behind_a_decorator_that_takes_none_are_told() -> None:
    @wraps_task
    def doubled(inner):
        return lambda: 2 * inner.func()

    with pytest.raises(TypeError, match="@doubled is a decorator already: write it without brackets"):

        @doubled()  # type: ignore[call-arg]
        @task
        def three() -> int:
            return 3
