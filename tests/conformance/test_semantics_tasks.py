"""Section H, tasks as values, async tasks and decorators over tasks; section I, handles: statements 7 to 9, and 7."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def test_h7_a_task_is_a_value_that_can_be_returned_passed_and_called_later(flow: Flow) -> None:
    flow.write(
        """
        from rayflow import task

        @task
        def add(a, b, c):
            return a + b + c

        @task
        def chosen():
            return add.partial(1).partial(c=100)

        @task
        def twice(f, x):
            return f(f(x))

        @task
        def main():
            return twice(chosen(), 10)
        """
    )
    assert flow.call("main") == 212
    flow.call("main")
    assert not flow.computed()
    flow.edit("return a + b + c", "return a + b * 2 + c")
    assert flow.call("main") == 343
    assert flow.computed() == {"chosen": 1, "twice": 1, "add": 2}, "the value was valid only with the code that it had"


def test_h8_the_body_of_an_async_task_awaits_expressions_several_at_once_and_is_cached_whole(flow: Flow) -> None:
    flow.write(
        """
        import asyncio
        from rayflow import gather, task

        @task
        def measure(x):
            return x * x

        @task
        async def search(limit):
            n = 1
            while sum(await gather(measure(n), measure(n + 1))) < limit:
                n += 1
            plain = await asyncio.gather(measure(n), asyncio.sleep(0, "slept"))
            return n, plain
        """
    )
    assert flow.call("search", 30) == (4, [16, "slept"])
    assert flow.computed() == {"search": 1, "measure": 5}
    assert flow.call("search", 30) == (4, [16, "slept"])
    assert flow.counts("cached") == {"search": 1}
    flow.edit("return x * x", "return x * x * x")
    assert flow.call("search", 30) == (2, [8, "slept"])
    assert flow.computed() == {"search": 1, "measure": 3}


def test_h9_a_decorator_over_tasks_keeps_name_hash_signature_and_documentation_right(flow: Flow) -> None:
    flow.write(
        """
        from rayflow import task, wraps_task

        def plus(amount):
            @wraps_task
            def plus(inner):
                def wrapper(*args, **kwargs):
                    return inner.func(*args, **kwargs) + amount
                return wrapper
            return plus

        @plus(10)
        @task
        def inc(x, by=1):
            "Adds."
            return x + by
        """
    )
    inc = flow.module.inc
    assert (inc.fullname, inc.__doc__, str(inc.signature)) == ("flow.inc", "Adds.", "(x, by=1)")
    assert flow.call("inc", 1) == 12
    flow.edit("+ amount", "- amount")
    assert flow.call("inc", 1) == -8
    flow.edit("@plus(10)", "@plus(20)")
    assert flow.call("inc", 1) == -18
    flow.edit("return x + by", "return x - by")
    assert flow.call("inc", 1) == -20
    flow.call("inc", 1)
    assert not flow.computed()


def test_i7_a_handle_counts_while_its_state_is_current_and_goes_back_with_its_lineage(flow: Flow) -> None:
    flow.write(
        """
        from pathlib import Path
        from rayflow import Handle, task

        class Diary(Handle):
            def __init__(self, name, folder):
                self.path = Path(folder) / name

        @task
        def start(diary):
            diary.path.write_text("first ")
            return diary

        @task
        def more(diary, text):
            diary.path.write_text(diary.path.read_text() + text)
            return diary

        @task
        def read(diary):
            return diary.path.read_text()

        @task
        def main(folder):
            return read(more(more(start(Diary("a", folder)), "second "), "third"))
        """
    )
    folder = str(flow.project.path)
    assert flow.call("main", folder) == "first second third"
    flow.call("main", folder)
    assert not flow.computed()
    flow.edit('write_text("first ")', 'write_text("One " and "first ")')
    assert flow.call("main", folder) == "first second third"
    assert flow.computed() == {"start": 1, "more": 2, "read": 1}, "what came after the first state was made again"
