"""What README.md and the pages of the documentation say: each claim is tried with the command line, inline."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from subprocess import CompletedProcess

import pytest
from projects import REPOSITORY, Project

DOCS = REPOSITORY / "rayflow" / "docs"


def page(name: str) -> str:
    """The text of a page of the documentation."""
    return (DOCS / f"{name}.md").read_text()


TRAINING = """
    from helpers import scale
    from rayflow import task

    @task
    def load(n: int = 3) -> list[int]:
        return list(range(n))

    @task
    def train(numbers: list[int]) -> int:
        return scale(sum(numbers))

    @task
    def main(n: int = 3) -> int:
        return train(load(n)) + 1
"""
HELPERS = """
    FACTOR = 10

    def scale(number: int) -> int:
        return number * FACTOR

    def unused() -> int:
        return 1
"""
NOTHING: Counter[str] = Counter()


@pytest.fixture
def hello(project: Project) -> Project:
    """The first workflow of the README."""
    shutil.copy(REPOSITORY / "examples/01_hello_world/flow.py", project.path)
    return project


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A workflow with a helper in another module, run once."""
    project = Project(tmp_path_factory.mktemp("trained"))
    project.write("rayflow.toml", "")
    project.write("flow.py", TRAINING)
    project.write("helpers.py", HELPERS)
    assert ran(project) == Counter(load=1, train=1, main=1)
    return project


@pytest.fixture
def training(project: Project, trained: Project) -> Project:
    """The same with a folder of its own, and all that it has kept."""
    shutil.copytree(trained.path, project.path, dirs_exist_ok=True)
    return project


def rayflow(project: Project, *words: str) -> CompletedProcess[str]:
    ended = project.rayflow(*words)
    assert ended.returncode == 0, ended.stderr
    return ended


def ran(project: Project, *words: str) -> Counter[str]:
    """How many bodies of each task a run computes."""
    rayflow(project, "run", "--inline", "flow.py", *words)
    return Counter({name.removeprefix("flow."): count for name, count in project.counts("computed").items()})


# --- a first workflow -------------------------------------------------------------------------------------------------


def test_the_result_goes_to_stdout_and_everything_else_to_stderr(hello: Project) -> None:
    ended = rayflow(hello, "run", "--inline", "flow.py")
    assert ended.stdout == "'Hello, World!'\n"
    assert f"results are kept in {hello.path}/.rayflow" in ended.stderr
    assert "3 jobs, 3 computed" in ended.stderr
    assert json.loads(rayflow(hello, "run", "--inline", "--json", "flow.py").stdout) is not None
    assert "--greet" in rayflow(hello, "run", "flow.py", "main", "--help").stdout


def test_the_views_that_the_page_of_provenance_names_are_there(hello: Project) -> None:
    rayflow(hello, "run", "--inline", "flow.py")
    named = re.search(r"Some views answer.*?: (.*?)\. The functions", page("provenance-and-sql"), re.DOTALL)
    assert named
    schema = rayflow(hello, "sql", "--schema").stdout
    for view in re.findall(r"`(\w+)`", named[1]):
        hello.sql(f"select * from {view}")
        assert view in schema


def test_values_have_the_json_form_that_the_page_of_running_names(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from collections import namedtuple
        from datetime import date
        from rayflow import task

        Point = namedtuple("Point", "x y")

        @task
        def main():
            return [Point(1, 2), {3, 1}, date(2026, 1, 2), b"a", float("nan"), float("inf"), object]
        """,
    )
    shown = json.loads(rayflow(project, "run", "--inline", "--json", "flow.py").stdout)
    assert shown[:4] == [{"x": 1, "y": 2}, [1, 3], "2026-01-02", {"$bytes": "YQ=="}]
    assert shown[4:6] == ["NaN", "Infinity"] and set(shown[6]) == {"$type", "$repr"}


# --- what runs again --------------------------------------------------------------------------------------------------


def test_nothing_runs_when_nothing_changed(training: Project) -> None:
    assert ran(training) == NOTHING


def test_an_argument_that_changes_runs_the_calls_that_it_changes(training: Project) -> None:
    assert ran(training, "--n", "4") == Counter(main=1, load=1, train=1)
    assert ran(training, "--n", "3") == NOTHING


def test_an_edited_task_runs_and_what_depends_on_it_but_not_what_called_it(training: Project) -> None:
    training.edit("flow.py", "range(n)", "range(n + 1)")
    assert ran(training) == Counter(load=1, train=1)


@pytest.mark.parametrize(("old", "new"), [("number * FACTOR", "FACTOR - number"), ("FACTOR = 10", "FACTOR = 11")])
def test_an_edited_helper_or_constant_runs_the_calls_of_the_tasks_that_use_it(
    training: Project, old: str, new: str
) -> None:
    training.edit("helpers.py", old, new)
    assert ran(training) == Counter(train=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR = 10", "# ten\nFACTOR  =  10"),
        ("return number * FACTOR", '"""Scaled."""\n    return (number * FACTOR)'),
        ("number: int) -> int", "number) -> float"),
        ("return 1", "return 2"),
    ],
)
def test_a_comment_a_docstring_an_annotation_or_what_no_task_uses_runs_nothing(
    training: Project, old: str, new: str
) -> None:
    training.edit("helpers.py", old, new)
    assert ran(training) == NOTHING


def test_dicts_in_another_order_are_other_values_and_why_says_so(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def keys(of: dict[str, list[dict[str, int]]]) -> str:
            return ",".join(of["all"][0])

        @task
        def main(turned: bool = False) -> str:
            return keys({"all": [{"b": 2, "a": 1} if turned else {"a": 1, "b": 2}]})
        """,
    )
    assert ran(project, "main") == Counter(keys=1, main=1)
    assert ran(project, "main", "--turned") == Counter(keys=1, main=1)
    told = project.rayflow("why", "keys").stdout
    assert "{'all': [{'b': 2, 'a': 1}]}: the order of the keys differs" in told, told


def test_an_edited_class_of_an_annotation_and_a_module_imported_inside_a_body_run_the_task(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from rayflow import task
        from shapes import Shape

        @task
        def main(side: int = 2, shape: Shape | None = None) -> int:
            import areas

            return areas.area(side)
        """,
    )
    project.write("shapes.py", "class Shape:\n    sides = 4\n")
    project.write("areas.py", "def area(side):\n    return side * side\n")
    assert ran(project) == Counter(main=1)
    project.edit("shapes.py", "sides = 4", "sides = 5")
    assert ran(project) == Counter(main=1)
    project.edit("areas.py", "side * side", "side * 4")
    assert ran(project) == Counter(main=1)
    assert ran(project) == NOTHING


def test_a_run_keeps_the_code_that_it_started_with(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from pathlib import Path
        from rayflow import task

        @task
        def answer() -> int:
            return 1

        @task(cache=False)
        def main() -> int:
            here = Path("flow.py")
            here.write_text(here.read_text().replace("return 1", "return 2"))
            return answer()
        """,
    )
    assert rayflow(project, "run", "--inline", "flow.py", "main").stdout == "1\n"
    assert rayflow(project, "run", "--inline", "flow.py", "main").stdout == "2\n"


def test_a_failed_call_runs_again_and_what_finished_does_not(training: Project) -> None:
    training.edit("helpers.py", "return number * FACTOR", "raise ValueError(number)")
    for _ in range(2):
        ended = training.rayflow("run", "--inline", "flow.py")
        assert ended.returncode == 1
        assert "flow.train failed: ValueError: 3" in ended.stderr
        assert 'File "helpers.py", line 4, in scale' in ended.stderr
        assert "flow.main" in ended.stderr.split("Traceback")[0]
        assert training.counts("cached") == Counter({"flow.main": 1, "flow.load": 1})
    training.edit("helpers.py", "raise ValueError(number)", "return number * FACTOR")
    assert ran(training) == NOTHING  # the code is as it was at first


def test_what_is_forgotten_runs_once(training: Project) -> None:
    rayflow(training, "forget", "flow.train")
    assert ran(training) == Counter(train=1)
    [(job,)] = training.sql("select job_id from jobs where task_name = 'flow.load' and how = 'computed'")
    rayflow(training, "forget", job)
    assert ran(training) == Counter(load=1)
    assert ran(training) == NOTHING


def test_without_the_cache_everything_runs_once(training: Project) -> None:
    assert ran(training, "--no-cache") == Counter(main=1, load=1, train=1)
    assert ran(training) == NOTHING


@pytest.mark.parametrize("option", ["cache=False", 'cache_scope="NONE"', "cache_for=0.0"])
def test_an_uncached_task_runs_every_time(training: Project, option: str) -> None:
    training.edit("flow.py", "@task\ndef load", f"@task({option})\ndef load")
    assert ran(training) == Counter(load=1)
    assert ran(training) == Counter(load=1)


def test_a_version_stands_for_the_code(training: Project) -> None:
    training.edit("flow.py", "@task\ndef train", '@task(version="3")\ndef train')
    assert ran(training) == Counter(train=1)
    training.edit("helpers.py", "number * FACTOR", "FACTOR - number")
    assert ran(training) == NOTHING
    training.edit("flow.py", 'version="3"', 'version="4"')
    assert ran(training) == Counter(train=1)


# --- asking -----------------------------------------------------------------------------------------------------------


def test_log_and_why_tell_what_happened(hello: Project) -> None:
    rayflow(hello, "run", "--inline", "flow.py")
    hello.edit("flow.py", '"World"', '"Venus"')
    rayflow(hello, "run", "--inline", "flow.py")
    executions = rayflow(hello, "log").stdout
    assert executions.index("2 computed, 1 cached") < executions.index("3 computed")
    tree = rayflow(hello, "log", "-").stdout
    assert re.search(r"cached .* flow\.main\(greet='Hello'\) = 'Hello, Venus!'", tree)
    assert "flow.get_planet() = 'World'" in rayflow(hello, "log", "~1").stdout
    greeter = re.search(r"flow\.greeter\(.* ([0-9a-f]{12})$", tree, re.MULTILINE)
    assert greeter
    assert "thing = 'Venus'" in rayflow(hello, "log", greeter[1][:6]).stdout
    why = rayflow(hello, "why", greeter[1]).stdout
    assert "It ran because its arguments differ." in why
    assert "thing was 'World' and is 'Venus'  (from flow.get_planet)" in why
    assert "versions, the latest first" in rayflow(hello, "log", "greeter").stdout
    assert rayflow(hello, "why", "greeter").stdout == why
    assert "function flow.greeter" in rayflow(hello, "why", "--code", "flow.py", "greeter").stdout


def test_the_store_can_be_checked_and_compacted(training: Project) -> None:
    assert "in order" in rayflow(training, "store", "check").stdout
    rayflow(training, "store", "compact")
    assert ran(training) == NOTHING


# --- configuration and errors -----------------------------------------------------------------------------------------


def test_the_configuration_that_its_page_shows_is_accepted(training: Project) -> None:
    shown = page("configuration").split("```toml\n")[1].split("```")[0]
    shown = shown.replace("s3://bucket/results", "elsewhere").replace("inline = false", "inline = true")
    training.write("context.json", "{}")
    training.write("settings.py", "def prepare(): pass\n")
    training.write("rayflow.toml", shown)
    rayflow(training, "run", "flow.py")
    assert (training.path / "elsewhere").is_dir()
    ended = training.rayflow("run", "flow.py", RAYFLOW_STORE="third")
    assert ended.returncode == 0
    assert (training.path / "third").is_dir()


def test_the_exit_code_says_whose_fault_it_was(training: Project) -> None:
    assert training.rayflow("run", "--inline", "flow.py", "trian").returncode == 1
    ended = training.rayflow("run", "flow.py", "--n", "7", RAYFLOW_ADDRESS="ray://127.0.0.1:10001")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_an_option_can_be_given_for_a_run(training: Project) -> None:
    assert ran(training, "--option", "cache_scope=NONE") == Counter(main=1, load=1, train=1)
    ended = training.rayflow("run", "--inline", "--option", "retires=2", "flow.py")
    assert ended.returncode == 1
    assert "'retries'" in ended.stderr


# --- testing ----------------------------------------------------------------------------------------------------------


def test_the_test_that_the_page_of_testing_shows_passes(project: Project) -> None:
    project.write("conftest.py", 'pytest_plugins = ["rayflow.testing.fixtures"]')
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def download(url: str) -> str:
            raise OSError("no network here")

        @task(retries=1)
        def parse(text: str) -> int:
            return sum(map(int, text.split()[1].split(",")))

        @task
        def main() -> int:
            return parse(download("https://example.org"))
        """,
    )
    shown = page("testing").split("```python fragment\ndef test_only_what_changed_runs")[1].split("```")[0]
    (project.path / "test_flow.py").write_text(
        f"from flow import download, main, parse\n\ndef test_only_what_changed_runs{shown}"
    )
    ended = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", ".")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_tests_of_durable_runs_that_the_page_of_testing_shows_pass(project: Project) -> None:
    shutil.copy(REPOSITORY / "examples/30_order/flow.py", project.path)
    project.write("conftest.py", 'pytest_plugins = ["rayflow.testing.fixtures"]')
    shown = page("testing").split("```python fragment\nimport pytest\n")[1].split("```")[0]
    (project.path / "test_flow.py").write_text(f"import pytest\n{shown}")
    ended = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", ".")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout
    assert not (project.path / "ledger.txt").exists()
