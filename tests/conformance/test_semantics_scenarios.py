"""The scenarios that users know from the documents, told by what ran: counted in the store, by SQL."""

from __future__ import annotations

import pytest
from projects import Project

from rayflow import Scheduler

HELLO = """
    from rayflow import task

    @task
    def get_planet():
        return "World"

    @task
    def greeter(greet: str, thing: str):
        return f"{greet}, {thing}!"

    @task
    def main(greet: str = "Hello"):
        return greeter(greet, get_planet())
"""


def evaluate(project: Project, module: str, task: str = "main", *args: object, **kwargs: object) -> object:
    """Load the project as it is now and run one call, as a fresh process would."""
    loaded = project.load(module)
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        return scheduler.run(getattr(loaded, task)(*args, **kwargs))


class TestHelloWorld:
    def test_the_first_run_computes_three_tasks(self, project: Project) -> None:
        project.write("hello.py", HELLO)
        assert evaluate(project, "hello") == "Hello, World!"
        assert project.counts("computed") == {"hello.main": 1, "hello.greeter": 1, "hello.get_planet": 1}

    def test_the_second_run_computes_nothing(self, project: Project) -> None:
        project.write("hello.py", HELLO)
        evaluate(project, "hello")
        assert evaluate(project, "hello") == "Hello, World!"
        assert project.counts("computed") == {}
        assert project.counts("cached") == {"hello.main": 1, "hello.greeter": 1, "hello.get_planet": 1}

    def test_another_greeting_computes_main_and_greeter_only(self, project: Project) -> None:
        project.write("hello.py", HELLO)
        evaluate(project, "hello")
        assert evaluate(project, "hello", "main", "Hi") == "Hi, World!"
        assert project.counts("computed") == {"hello.main": 1, "hello.greeter": 1}

    def test_another_planet_computes_get_planet_and_greeter_but_not_main(self, project: Project) -> None:
        project.write("hello.py", HELLO)
        evaluate(project, "hello")
        project.edit("hello.py", '"World"', '"Venus"')
        assert evaluate(project, "hello") == "Hello, Venus!"
        assert project.counts("computed") == {"hello.get_planet": 1, "hello.greeter": 1}

    def test_one_task_can_be_called_by_itself(self, project: Project) -> None:
        project.write("hello.py", HELLO)
        assert evaluate(project, "hello", "greeter", "Hello", thing="Mars") == "Hello, Mars!"


def test_a_changed_first_step_computes_both_steps_and_leaves_main_alone(project: Project) -> None:
    project.write(
        "steps.py",
        """
        from rayflow import task

        @task
        def step1(x):
            return x + 1

        @task
        def step2(x):
            return x * 2

        @task
        def main(x):
            return step2(step1(x))
        """,
    )
    assert evaluate(project, "steps", "main", 10) == 22
    project.edit("steps.py", "x + 1", "x + 2")
    assert evaluate(project, "steps", "main", 10) == 24
    assert project.counts("computed") == {"steps.step1": 1, "steps.step2": 1}
    assert project.counts("cached") == {"steps.main": 1}


def test_a_diamond_computes_its_first_step_once_and_both_sides_without_waiting_for_each_other(project: Project) -> None:
    project.write(
        "diamond.py",
        """
        from rayflow import task

        @task
        def step1(x):
            return x + 1

        @task
        def step2a(x, n, colour):
            return [x] * n + [colour]

        @task
        def step2b(x, flag):
            return (x, flag)

        @task
        def step3(a, b):
            return len(a), b

        @task
        def main(x):
            result1 = step1(x)
            result2a = step2a(result1, 10, "red")
            result2b = step2b(result1, True)
            return step3(result2a, result2b)
        """,
    )
    assert evaluate(project, "diamond", "main", 1) == (11, (2, True))
    assert project.counts("computed")["diamond.step1"] == 1
    # Each side depends on step1 alone: neither names the other among the calls that its arguments came from.
    rows = project.sql("""
        select consumer.task_name, producer.task_name
        from arguments join calls consumer using (call_hash)
        join calls producer on producer.call_hash = arguments.source_call_hash
        where consumer.task_name like '%step2%'
    """)
    assert set(rows) == {("diamond.step2a", "diamond.step1"), ("diamond.step2b", "diamond.step1")}


class TestHelpers:
    FILES = {
        "flow.py": """
            from rayflow import task
            from helpers import double

            def increment(x):
                return x + 1

            def unrelated(x):
                return x - 1

            @task
            def main(x):
                '''Says what it does.'''
                return double(increment(x))  # a remark
        """,
        "helpers.py": """
            def double(x):
                return 2 * x
        """,
    }

    @pytest.fixture
    def ran(self, project: Project) -> Project:
        for name, text in self.FILES.items():
            project.write(name, text)
        assert evaluate(project, "flow", "main", 1) == 4
        return project

    @pytest.mark.parametrize(
        ("file", "old", "new", "value"),
        [("flow.py", "x + 1", "x + 2", 6), ("helpers.py", "2 * x", "3 * x", 6)],
        ids=["a helper in the file", "a helper in another module"],
    )
    def test_a_changed_helper_computes_the_task_again(
        self, ran: Project, file: str, old: str, new: str, value: int
    ) -> None:
        ran.edit(file, old, new)
        assert evaluate(ran, "flow", "main", 1) == value
        assert ran.counts("computed") == {"flow.main": 1}

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("# a remark", "# another remark"),
            ("Says what it does.", "Says it in other words."),
            ("double(increment(x))", "double(\n        increment( x )\n    )"),
            ("x - 1", "x - 2"),
        ],
        ids=["a comment", "a docstring", "formatting", "an unrelated function"],
    )
    def test_what_means_the_same_computes_nothing(self, ran: Project, old: str, new: str) -> None:
        ran.edit("flow.py", old, new)
        assert evaluate(ran, "flow", "main", 1) == 4
        assert ran.counts("computed") == {}
