"""Arguments are shown in the order in which the task's author has written them."""

from __future__ import annotations

import pytest

from rayflow.store.history.parameter_order import in_order, parameters_in


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("@task(retries=2)\ndef f(z, /, y=1, *rest, b, a=2, **more):\n    return z", "z y rest b a more"),
        ("    @task\n    async def f(b, a):\n        return b", "b a"),
        ("def f():\n    pass", ""),
        ("mul = task(lambda b, a: b)", ""),
        ("lambda b, a: b),", ""),
        ("class A:\n    pass", ""),
        ("", ""),
        ("x = '\0'", ""),
    ],
)
def test_parameters_are_read_from_the_source(source: str, names: str) -> None:
    assert parameters_in(source) == names.split()


def test_what_the_source_does_not_name_comes_last() -> None:
    assert in_order({"a": 1, "b": 2, "extra": 3}, ["b", "a", "gone"]) == (2, 1, 3)
    assert in_order({"a": 1, "b": 2}, []) == (1, 2)
