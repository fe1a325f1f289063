"""A script that runs itself: values of its classes are instances of them, whoever has made them and whenever."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

SCRIPT = """
    import enum
    import sys
    from collections import namedtuple
    from dataclasses import dataclass

    import rayflow
    from rayflow import task

    class Colour(enum.Enum):
        RED = 1

    Pair = namedtuple("Pair", "left right")

    class TooFar(Exception):
        pass

    @dataclass
    class Planet:
        name: str
        @dataclass
        class Moon:
            name: str
        def shout(self):
            return self.name.upper()

    class Plain:
        def __init__(self, inner):
            self.inner = inner

    @task
    def planet():
        return Planet("mars")

    @task
    def box():
        return Plain({"a": [Planet("venus"), Planet.Moon("phobos"), Colour.RED, Pair(1, Planet)]})

    @task
    def shout(thing):
        return thing.shout()

    @task
    def shout_all(box):
        return [box.inner["a"][0].shout(), isinstance(box, Plain), isinstance(box.inner["a"][0], Planet)]

    @task
    def fail(planet):
        raise TooFar(planet.name)

    @task
    def main():
        return [planet(), box(), shout(planet()), shout_all(box())]

    def check():
        made, box, *rest = rayflow.run(main())
        assert type(made) is Planet and type(box) is Plain, (made, box)
        venus, phobos, red, pair = box.inner["a"]
        assert type(venus) is Planet and type(phobos) is Planet.Moon and red is Colour.RED
        assert type(pair) is Pair and pair.right is Planet
        print(rest, type(made).__module__)

    if __name__ == "__main__":
        check()
        try:
            rayflow.run(fail(Planet("pluto")))
        except TooFar as error:
            print(error)
"""

ANSWER = "['MARS', ['VENUS', True, True]] __main__\npluto\n"


def ran(project: Project, **environment: str) -> str:
    ended = project.python("flow.py", is_warm=False, **environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def computed(project: Project) -> dict[str, int]:
    """What the run before the last one has computed: the last one is the failing one."""
    return {name.removeprefix("flow."): count for name, count in project.counts("computed", ago=1).items()}


def test_a_script_run_again_gets_instances_of_its_own_classes(project: Project) -> None:
    project.write("flow.py", SCRIPT)
    assert ran(project, RAYFLOW_INLINE="1") == ANSWER
    assert ran(project, RAYFLOW_INLINE="1") == ANSWER
    assert computed(project) == {}


def test_a_script_shares_its_values_with_the_command_line_and_with_modules_that_import_it(project: Project) -> None:
    project.write("flow.py", SCRIPT)
    told = project.rayflow("run", "flow.py", RAYFLOW_INLINE="1")
    assert "'MARS', ['VENUS', True, True]" in told.stdout, told.stderr
    assert ran(project, RAYFLOW_INLINE="1") == ANSWER
    assert computed(project) == {}
    project.write("other.py", "import flow\nflow.check()\n")
    told = project.python("other.py", RAYFLOW_INLINE="1")
    assert told.stdout == ANSWER.replace("__main__", "flow").removesuffix("pluto\n"), told.stderr
    assert project.counts("computed") == {}


def test_an_edited_method_of_a_script_s_class_counts_wherever_its_instances_are_given(project: Project) -> None:
    project.write("flow.py", SCRIPT)
    ran(project, RAYFLOW_INLINE="1")
    project.edit("flow.py", "self.name.upper()", "self.name.title()")
    assert ran(project, RAYFLOW_INLINE="1") == ANSWER.replace("MARS", "Mars").replace("VENUS", "Venus")
    assert "shout" in computed(project)
    assert "planet" in computed(project)  # names the class
    project.edit("flow.py", "return thing.shout()", "return thing.shout()  # in its own way")
    told = project.rayflow("run", "flow.py", RAYFLOW_INLINE="1")
    assert "'Mars', ['Venus', True, True]" in told.stdout, told.stderr
    assert project.counts("computed") == {}


@pytest.mark.parametrize("name", ["wave.py", "pkg/flow.py", "pkg/inner.py"])
def test_a_script_may_have_any_name_and_stand_in_a_package(project: Project, name: str) -> None:
    if name == "pkg/flow.py":
        project.write("pkg/__init__.py", "")
    project.write(name, SCRIPT)
    for _ in range(2):
        ended = project.python(name, is_warm=False, RAYFLOW_INLINE="1")
        assert ended.stdout == ANSWER, ended.stderr
    assert computed(project) == {}
    told = project.rayflow("run", name, RAYFLOW_INLINE="1")
    assert "'MARS', ['VENUS', True, True]" in told.stdout, told.stderr
    assert project.counts("computed") == {}


def test_a_program_without_a_file_gets_instances_of_its_own_classes(project: Project) -> None:
    import textwrap

    text = textwrap.dedent(SCRIPT)
    for _ in range(2):
        ended = project.python("-c", text, is_warm=False, RAYFLOW_INLINE="1")
        assert ended.stdout == ANSWER, ended.stderr
    assert computed(project) == {}


def test_workers_have_the_classes_of_the_script_that_runs(project: Project, ray_cluster: str) -> None:
    text = SCRIPT.replace('if __name__ == "__main__":', "if True:")  # a worker that imported it would run it
    project.write("flow.py", text)
    ran(project, RAYFLOW_INLINE="1")
    project.edit("flow.py", "self.name.upper()", "self.name.title()")
    project.edit("flow.py", "isinstance(box, Plain), ", "type(box) is Plain, ")
    now = ANSWER.replace("MARS", "Mars").replace("VENUS", "Venus")
    assert ran(project, RAYFLOW_ADDRESS=ray_cluster) == now
    assert ran(project, RAYFLOW_ADDRESS=ray_cluster) == now
    assert computed(project) == {}
    assert ran(project, RAYFLOW_INLINE="1") == now
    assert computed(project) == {}


def test_a_script_s_class_that_cannot_travel_is_one_clear_error(project: Project, ray_cluster: str) -> None:
    project.write(
        "flow.py",
        """
        import threading
        import rayflow
        from rayflow import task

        class Locked:
            lock = threading.Lock()

        @task
        def given(x):
            return 1

        if __name__ == "__main__":
            rayflow.run(given(Locked()))
        """,
    )
    ended = project.python("flow.py", is_warm=False, RAYFLOW_ADDRESS=ray_cluster)
    assert "Locked of the script flow is not known to workers" in ended.stderr
    assert "Put it into a module of its own" in ended.stderr


# --- classes that functions make ------------------------------------------------------------------------------------

LOCAL = """
    from dataclasses import dataclass
    from rayflow import task

    SCALE = 2

    def scaled(x):
        return SCALE * x

    def made(x):
        @dataclass
        class Point:
            x: int
            def norm(self):
                return scaled(self.x) + 1
        return Point(x)

    def kind(n):
        class Kind:
            size = n
            def get(self):
                return self.size
        return Kind()

    @task
    def point():
        return made(1)

    @task
    def kinds():
        return [kind(3), kind(4), kind(3)]

    @task
    def norm(p):
        return p.norm()

    @task
    def get(k):
        return k.get()

    @task
    def main():
        return norm(point())

    @task
    def sizes():
        found = kinds()
        return [get(found[0]), get(found[1]), get(found[2])]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(LOCAL)
    return made


def test_the_code_of_a_class_that_a_function_makes_is_a_part_of_its_instances(flow: Flow) -> None:
    assert flow.call("main") == 3
    assert flow.call("main") == 3
    assert flow.computed() == {}
    flow.edit("+ 1", "+ 10")
    assert flow.call("main") == 12
    assert flow.computed() == {"point": 1, "norm": 1}
    flow.edit("SCALE = 2", "SCALE = 3")
    assert flow.call("main") == 13
    flow.edit("def norm(self):", "def norm(self):  # of one dimension")
    assert flow.call("main") == 13
    assert flow.computed() == {}


def test_instances_of_classes_that_differ_by_what_they_hold_are_not_equal(flow: Flow) -> None:
    assert flow.call("sizes") == [3, 4, 3]
    assert flow.computed()["get"] == 2
    assert flow.counts("shared")["get"] == 1


def test_instances_of_a_class_that_a_function_makes_are_equal_on_all_workers(flow: Flow, ray_cluster: str) -> None:
    from rayflow import Scheduler

    assert flow.module is not None
    assert (flow.call("main"), flow.call("sizes")) == (3, [3, 4, 3])
    flow.run(flow.module.main(), cache=False)
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert scheduler.run(flow.module.sizes(), cache=False) == [3, 4, 3]
    assert flow.call("sizes") == [3, 4, 3]
    assert flow.computed() == {}
