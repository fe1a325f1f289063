"""What a Task tells about itself: each attribute."""

from __future__ import annotations

import inspect

import pytest
from projects import Project

from rayflow import Task

CODE = '''
    from rayflow import task

    @task(nout=2, retries=1, version=None)
    def split(x: int, /, at: int = 3, *rest: str, sep: str = ",") -> list[int]:
        """Says what."""
        return [x, at]

    @task
    async def later(x):
        return x

    @task
    def pair() -> tuple[int, str]:
        return 1, "a"
'''


@pytest.fixture
def flow(project: Project):
    project.write("flow.py", CODE)
    return project.load("flow")


def test_func_is_the_plain_function(flow) -> None:
    assert flow.split.func(1) == [1, 3]
    assert inspect.isfunction(flow.split.func)


def test_fullname_and_name_say_which_task_it_is(flow) -> None:
    assert (flow.split.fullname, flow.split.name) == ("flow.split", "split")


def test_hash_is_of_the_code_and_not_of_options_or_arguments(flow) -> None:
    assert len(flow.split.hash) == 20
    assert flow.split.options(retries=3).hash == flow.split.partial(1).hash == flow.split.hash != flow.later.hash


def test_signature_is_the_function_s(flow) -> None:
    assert str(flow.split.signature) == "(x: int, /, at: int = 3, *rest: str, sep: str = ',') -> list[int]"


def test_source_is_the_text_of_the_function(flow) -> None:
    assert flow.later.source == "@task\nasync def later(x):\n    return x"


def test_is_async_tells_coroutine_functions(flow) -> None:
    assert flow.later.is_async and not flow.split.is_async


def test_nout_is_the_number_of_items_where_it_is_known(flow) -> None:
    assert (flow.split.nout, flow.pair.nout, flow.later.nout) == (2, 2, None)
    first, second = flow.pair()
    assert (repr(first), repr(second)) == ("pair()[0]", "pair()[1]")


def test_options_and_partial_give_other_tasks_and_leave_the_first_alone(flow) -> None:
    made = flow.split.options(retries=3).partial(1)
    assert isinstance(made, Task)
    assert made.fullname == flow.split.fullname
    assert repr(made(4)) == "split(1, 4)"
    assert repr(flow.split(1)) == "split(1)"


@pytest.mark.parametrize(
    "name",
    ["fullname", "hash", "name", "is_async", "nout", "signature", "source", "options", "partial", "export_options",
     "update_context", "place", "code", "origin"],
)  # fmt: skip
def test_each_attribute_is_documented(name: str) -> None:
    assert inspect.getdoc(inspect.getattr_static(Task, name))
