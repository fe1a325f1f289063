"""A call is bound to its task's signature, names and types: what does not fit is told where it was written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from evaluations import Flow, shown
from projects import Project

from rayflow.errors import BadArguments


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(
        """
        from rayflow import catch, task

        @task
        def train(rate: float, names: list[str]) -> float:
            return rate

        @task
        def load() -> str:
            return "fast"

        @task
        def eager() -> float:
            return train("fast", [])

        @task
        def lazy() -> list[float]:
            return [train(load(), []), train(0.5, [])]

        @task
        def caught() -> str:
            return catch(train(load(), []), TypeError, str)

        @task(check_types=False)
        def loose(rate: float) -> str:
            return f"{rate}!"

        @task
        def inner(depth: int, names: list[str]) -> list[str]:
            return names if depth == 0 else inner(depth - 1, names)
        """
    )
    return made


def test_a_wrong_argument_is_an_error_at_the_call_with_its_location(flow: Flow) -> None:
    with pytest.raises(BadArguments, match=r"train\(\) takes float for 'rate', not 'fast' of type str") as caught:
        flow.call("eager")
    assert 'return train("fast", [])' in shown(caught.value)
    assert "train" not in flow.computed()


def test_a_lazy_argument_is_checked_when_it_is_known_and_the_others_go_on(flow: Flow) -> None:
    with pytest.raises(BadArguments, match="'rate'") as caught:
        flow.call("lazy")
    assert re.search(r"flow\.lazy\(\)\s+flow\.train\(rate='fast'", "\n".join(caught.value.__notes__))
    assert flow.project.sql("select count(*) from jobs where task_name = 'flow.train' and status = 'done'") == [(1,)]
    assert flow.call("caught").startswith("train() takes float for 'rate'")


def test_a_task_may_take_what_its_annotations_do_not_say(flow: Flow) -> None:
    assert flow.call("loose", "fast") == "fast!"


@pytest.mark.parametrize(("args", "message"), [((), "missing 2 required"), ((1, [], 3), "takes 2 positional")])
def test_arguments_that_do_not_fit_the_signature_are_an_error_at_the_call(
    flow: Flow, args: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(BadArguments, match=message):
        flow.call("train", *args)


def test_a_checked_argument_may_go_down_any_number_of_calls(flow: Flow) -> None:
    assert flow.call("inner", 2_000, ["a"]) == ["a"]
