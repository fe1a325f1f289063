"""Tasks: names, identity, options, calls, and the entries that travel."""

from __future__ import annotations

import importlib
import inspect
import linecache
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from projects import REPOSITORY, Project

from rayflow import task
from rayflow.errors import BadArguments, BadOption, DuplicateTask, NoSuchTask, NotSerializable
from rayflow.lang.tasks import Task, find_task, registered
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Operation, TaskCall

SIMPLE = "from rayflow import task\n@task\ndef f(x, y=2):\n    '''Says what.'''\n    return x + y\n"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("flow", "flow.f"), ("etl/load", "etl.load.f"), ("src/pkg/mod", "pkg.mod.f"), ("pkg/src/mod", "pkg.src.mod.f"),
        ("pkg/__init__", "pkg.f"),
    ],
)  # fmt: skip
def test_a_task_is_named_by_its_modules_path_in_the_project(project: Project, file: str, name: str) -> None:
    project.write(f"{file}.py", SIMPLE)
    assert project.load(file).f.fullname == name


@pytest.mark.slow
def test_a_script_that_is_run_goes_by_its_file(project: Project) -> None:
    project.write("flow.py", SIMPLE + "print(f.fullname, f.project_dir)\n")
    assert project.python("flow.py", is_warm=False).stdout.split() == ["flow.f", str(project.path)]


def test_name_and_namespace_can_be_given() -> None:
    @task(name="lab.step", namespace="tests")
    def anything() -> int:
        return 1

    assert (anything.fullname, anything.name) == ("tests.lab.step", "step")
    with pytest.raises(BadOption, match="is not a valid name"):
        task(name="not a name")(lambda: 1)


def test_a_decorator_between_function_and_task_does_not_give_it_its_own_name(project: Project) -> None:
    project.write(
        "lib/timing.py",
        """
        import functools
        def timed(function):
            @functools.wraps(function)
            def inner(*args, **kwargs):
                return function(*args, **kwargs)
            return inner
        """,
    )
    text = "from rayflow import task\nfrom lib.timing import timed\n@task\n@timed\ndef f(x, y=2):\n    return x\n"
    project.write("a.py", text)
    project.write("b.py", text)
    first, second = project.load("a").f, None
    assert first.fullname == "a.f" and first.place.endswith("a.py:3")
    second = project.load("b").f
    assert second.fullname == "b.f" and first.hash != second.hash
    assert second(1)._args == (1,)


def test_the_products_of_a_factory_are_named_by_what_they_captured(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from rayflow import task

        def pair(n):
            @task
            def even(x):
                return True if x == n else odd(x - 1)

            @task
            def odd(x):
                return False if x == n else even(x - 1)

            return even, odd

        def countdown():
            @task
            def down(x):
                return x and down(x - 1)
            return down
        """,
    )
    module = project.load("flow")
    names = {each.fullname for n in (0, 1) for each in module.pair(n)}
    assert len(names) == 4 and all("flow.pair.<locals>." in name and name.endswith("]") for name in names)
    odd_first = module.pair(0)
    assert [odd_first[1].fullname, odd_first[0].fullname] == [each.fullname for each in reversed(module.pair(0))]
    down = module.countdown()
    assert down.options(retries=1).fullname == down.fullname == "flow.countdown.<locals>.down"


def test_a_captured_value_that_cannot_be_kept_is_named_with_the_task() -> None:
    lock = threading.Lock()

    @task
    def locked() -> bool:
        return lock.locked()

    with pytest.raises(NotSerializable, match=r"locked at .*test_tasks.py"):
        _ = locked.fullname
    with pytest.raises(NotSerializable):
        registered()
    registered()


# --- two of one name --------------------------------------------------------------------------------------------------


def test_a_second_function_of_one_name_is_an_error_at_its_definition(project: Project) -> None:
    project.write("flow.py", SIMPLE + "\n@task\ndef f(x):\n    return x\n")
    with pytest.raises(DuplicateTask, match=r"flow.py:2, one at .*flow.py:7"):
        project.load("flow")


def test_two_files_of_one_namespace_and_name_are_an_error(project: Project) -> None:
    project.write("a.py", 'rayflow_namespace = "lab"\n' + SIMPLE)
    project.write("b.py", 'rayflow_namespace = "lab"\nimport a\n' + SIMPLE)
    with pytest.raises(DuplicateTask, match=r"a.py:3, one at .*b.py:4"):
        project.load("b")


@pytest.mark.parametrize("before", ["", "# one line\n", "# many\n" * 30])
def test_an_edited_module_can_be_reloaded(project: Project, before: str) -> None:
    project.write("flow.py", SIMPLE)
    module = project.load("flow")
    old = module.f.hash
    project.write("flow.py", before + SIMPLE.replace("x + y", "x - y"))
    linecache.checkcache()
    importlib.reload(module)
    assert registered()["flow.f"] is module.f
    assert module.f.hash != old


def test_a_renamed_function_that_keeps_its_task_name_can_be_reloaded(project: Project) -> None:
    project.write("flow.py", "from rayflow import task\n@task(name='step')\ndef first():\n    return 1\n")
    module = project.load("flow")
    project.write("flow.py", "from rayflow import task\n\n@task(name='step')\ndef second():\n    return 2\n")
    importlib.reload(module)
    assert find_task("flow.step").func.__name__ == "second"


def test_a_notebook_cell_that_is_run_again_replaces_its_tasks() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, value in enumerate((1, 2)):
        cell = f"<ipython-input-{number}>"
        text = f"from rayflow import task\n@task(namespace='cells')\ndef f():\n    return {value}\n"
        linecache.cache[cell] = (len(text), None, text.splitlines(True), cell)
        exec(compile(text, cell, "exec"), space)
    assert find_task("cells.f").func() == 2


def test_lambdas_on_one_line_are_not_mixed_up(project: Project) -> None:
    project.write("flow.py", "from rayflow import task\na, b = task(lambda x: x), task(lambda x: x + 1)\n")
    with pytest.raises(DuplicateTask):
        project.load("flow")
    project.write("flow.py", "from rayflow import task\na = task(name='a')(lambda x: x)\nb = task(lambda x: x)\n")
    module = project.load("flow")
    assert (module.a.fullname, module.b.fullname) == ("flow.a", "flow.<lambda>")


# --- what may be a task -----------------------------------------------------------------------------------------------


def test_what_is_no_plain_function_is_refused_with_advice() -> None:
    def generate() -> Any:
        yield 1

    async def stream() -> Any:
        yield 1

    for wrong, says in ((generate, "Return a list"), (stream, "Return a list"), (len, "plain function")):
        with pytest.raises(TypeError, match=says):
            task(wrong)
    with pytest.raises(TypeError, match="only once"):
        task(task(lambda: 1))


def test_a_static_method_is_called_on_objects_and_a_method_says_what_to_do() -> None:
    class Steps:
        @staticmethod
        @task(namespace="tests")
        def outer(x: int) -> int:
            return x

        @task(namespace="tests")
        @staticmethod
        def inner(x: int) -> int:
            return x

        @task(namespace="tests")
        def method(self, x: int) -> int:
            return x

    steps: Any = Steps()
    assert steps.outer(1)._args == steps.inner(1)._args == Steps.inner(1)._args == (1,)  # type: ignore[attr-defined]
    with pytest.raises(BadArguments, match="staticmethod"):
        steps.method(1)


# --- calls ------------------------------------------------------------------------------------------------------------


@task(namespace="tests", retries=1)
def join(first: Any, *rest: Any, last: Any = None, **named: Any) -> Any:
    """Join things.

    And more.
    """
    return first, rest, last, named


def test_a_call_is_bound_at_once_and_kept_as_given() -> None:
    call: Any = join.options(num_cpus=2)(1, 2, last=3, other=4)
    assert type(call) is TaskCall
    assert (call._task, call._args, call._kwargs) == ("tests.join", (1, 2), {"last": 3, "other": 4})
    assert call._options == {"num_cpus": 2}
    with pytest.raises(BadArguments, match=r"join\(\) missing 1 required argument: 'first'"):
        join()  # type: ignore[call-arg]


def test_a_call_that_fits_says_nothing_about_one_with_other_types_counts_or_names() -> None:
    @task
    def told(x: int, way: Literal["up", "down"] = "up", **more: str) -> int:
        return x

    for _ in range(2):
        assert told(1)._args == (1,) and told(x=1)._kwargs == {"x": 1}
        assert told(1, "down")._args == (1, "down") and told(1, "down", z="a")._kwargs == {"z": "a"}
        for args, kwargs in [
            (("a",), {}), ((1, 2), {}), ((1, "left"), {}), ((1, "up", 3), {}), ((), {"z": "a"}), ((1,), {"x": 1}),
            ((1,), {"z": 1}), ((), {"z": 1}), ((), {}),
        ]:  # fmt: skip
            with pytest.raises(BadArguments):
                told(*args, **kwargs)
        with pytest.raises(BadArguments):
            told.partial("a")()
        with pytest.raises(BadArguments):
            told.partial(1)(2)
    assert told.partial("a")._args == ("a",) and told.options(retries=1)(1)._options == {"retries": 1}


def test_a_container_is_copied_at_the_call_also_after_plain_calls() -> None:
    @task
    def kept(x: Any, y: Any = None) -> Any:
        return x

    given = [1]
    calls = [kept(1), kept(given), kept(1, y=given), kept(given)]
    given.append(2)
    assert [call._args[0] for call in calls] == [1, [1], 1, [1]] and calls[2]._kwargs == {"y": [1]}


def test_other_options_of_a_task_leave_it_as_it_was() -> None:
    @task
    def plain(x: int) -> int:
        return x

    other = plain.options(retries=1).partial(1)
    assert (other._call_options, other._args) == ({"retries": 1}, (1,))
    assert (plain._call_options, plain._args) == ({}, ()) and plain(2)._args == (2,)
    assert other.parameters is plain.parameters and other.func is plain.func and other.hash == plain.hash


def test_partials_add_up_and_are_checked() -> None:
    partial = join.partial(1).partial(2, last=3).options(retries=2)
    call: Any = partial(4, other=5)
    assert (call._args, call._kwargs, call._options) == ((1, 2, 4), {"last": 3, "other": 5}, {"retries": 2})
    with pytest.raises(BadArguments):
        find_task("tests.join").partial(1, first=2)


def test_lengths_come_from_nout_or_from_a_tuple_annotation() -> None:
    def pair() -> tuple[int, str]:
        return 1, ""

    def many() -> tuple[int, ...]:
        return (1,)

    def one() -> int:
        return 1

    made = [task(namespace="tests")(each) for each in (pair, many, one)]
    assert [each.nout for each in made] == [2, None, None]
    assert task(namespace="tests", nout=3, name="three")(one).nout == 3
    assert [type(item) for item in made[0]()] == [Operation, Operation]


def test_lazy_options_travel_apart_from_those_that_are_known() -> None:
    def heavy() -> int:
        return 1

    entry = task(memory=join(1), retries=2, limits={"db": join(2)}, namespace="tests")(heavy).entry()
    assert entry.options == {"retries": 2}
    assert entry.lazy_options is not None
    assert loads(entry.lazy_options)["limits"]["db"]._task == "tests.join"
    assert join.options(memory=join(1))._call_options["memory"]._task == "tests.join"


def test_config_args_must_be_parameters() -> None:
    with pytest.raises(BadOption, match="'thread', which is not a parameter"):
        task(config_args=["thread"])(lambda threads: threads)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_only_what_changes_the_meaning_changes_the_hash(project: Project) -> None:
    def hash_with(options: str, body: str = "x") -> bytes:
        project.write("flow.py", f"from rayflow import task\n@task({options})\ndef f(x):\n    return {body}\n")
        found: bytes = project.load("flow").f.hash
        return found

    plain = hash_with("")
    for options in ("retries=2", "num_gpus=1", "tags={'a': 1}", "cache=False", "priority=3", "limits=['db']"):
        assert hash_with(options) == plain
    different = [hash_with("", "x + 1"), hash_with("version=1"), hash_with("version=2"), hash_with("hash_includes=[1]")]
    assert len({plain, *different}) == 5
    assert hash_with("version=1", "x + 1") == hash_with("version=1")


def test_a_task_keeps_what_its_function_shows() -> None:
    assert join.__name__ == "join" and join.__doc__ is not None and join.__doc__.startswith("Join things.")
    assert list(inspect.signature(join).parameters) == ["first", "rest", "last", "named"]
    assert repr(join.partial(1)) == "<task tests.join with (1)>"


def test_a_task_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(join)) is join
    again = pickle.loads(pickle.dumps(join.partial(1, last=2)))
    assert (again._args, again._kwargs) == ((1,), {"last": 2})


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(NoSuchTask, match=r"tests\.join|join"):
        find_task("tests.jion")


# --- entries ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_entry_is_read_where_user_code_is_not(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import dataclasses
        from rayflow import task

        @dataclasses.dataclass
        class Own:
            x: int

        class OwnError(Exception):
            pass

        @task(hash_includes=[Own(1)], retry_on=OwnError, retries=1)
        def f(x, y=Own(2), z=[1, {"a": Own(3)}]):
            "What it does."
            return x
        """,
    )
    entry = project.load("flow").f.entry()
    code = "import pickle, sys\nentry = pickle.load(sys.stdin.buffer)\nprint(entry.name, entry.doc, entry.options)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(entry), capture_output=True, cwd="/",
        env={"PYTHONPATH": str(REPOSITORY)}, timeout=60,
    )  # fmt: skip
    assert done.stdout.decode().strip() == (
        "flow.f What it does. {'retry_on': ('flow.OwnError',), 'retries': 1}"
    ), done.stderr.decode()  # fmt: skip
    assert (entry.module, entry.qualname, Path(str(entry.file)).name) == ("flow", "f", "flow.py")


def test_a_function_that_cannot_be_imported_travels_by_value(project: Project) -> None:
    project.write("flow.py", SIMPLE + "def make():\n    @task\n    def local():\n        return 1\n    return local\n")
    module = project.load("flow")
    assert module.f.entry().code is None
    assert module.make().entry().code is not None
    module.f, kept = None, module.f
    assert kept.entry().code is not None


def test_a_large_default_is_refused(project: Project) -> None:
    project.write("flow.py", "from rayflow import task\n@task\ndef f(x=list(range(10000))):\n    return x\n")
    with pytest.raises(BadOption, match="too large for a definition"):
        project.load("flow").f.entry()


def test_a_task_is_a_task() -> None:
    assert isinstance(join, Task) and not join.is_async
