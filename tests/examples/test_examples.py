"""Every example: it prints what its README shows, a second run computes nothing, an edit runs what it touches."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").glob("[0-9][0-9]_*"))


@dataclass(frozen=True)
class Expected:
    """What an example does.

    prints: lines of its output, which stand in its README too. computed: how many jobs of each task run at first; tasks
    that are not named may run as often as they like. always: those that run every time. edit: file, old text, new text.
    touched: what runs after the edit, beside `always`. then_prints: lines of the output after the edit.
    """

    prints: tuple[str, ...]
    computed: dict[str, int]
    edit: tuple[str, str, str]
    touched: dict[str, int]
    then_prints: tuple[str, ...]
    always: dict[str, int] = field(default_factory=dict)


EXPECTED = {
    "01_hello_world": Expected(
        prints=("Hello, World!",),
        computed={"main": 1, "greeter": 1, "get_planet": 1},
        edit=("flow.py", 'return "World"', 'return "Venus"'),
        touched={"get_planet": 1, "greeter": 1},
        then_prints=("Hello, Venus!",),
    ),
    "02_control_flow": Expected(
        prints=("{'booked': True, 'amounts': [1100.92, 1000.0, 607.36, 59.17], 'total': 2767.45}",),
        computed={"main": 1, "fetch": 2, "convert": 4, "book": 1, "total": 1, "refuse": 0, "fall_back": 0},
        edit=("rates.py", '"GBP": 0.85', '"GBP": 0.80'),
        # The quotations differ by more than the tolerance now: the other arm is chosen.
        touched={"fetch": 2, "agree": 1, "refuse": 1},
        then_prints=(
            "{'booked': False, 'quotations': [{'USD': 1.09, 'GBP': 0.8, 'JPY': 163.0}, "
            "{'USD': 1.08, 'GBP': 0.86, 'JPY': 162.0}]}",
        ),
    ),
    "03_recursion": Expected(
        prints=(
            "{'fib(30)': 832040, 'smallest': [0, 25, 29, 54, 58], '6 queens': 4, 'collatz(27)': 111, "
            "'power of two above 1000': 1024}",
        ),
        computed={"fib": 31, "collatz": 112, "merge_sort": 15, "merge": 7, "queens": 153},
        edit=("board.py", "other == column or abs(other - column) == row - at", "other == column"),
        # Without the diagonals they are rooks: 6! = 720 ways. Each board is new; one sum of the first run comes again.
        touched={"queens": 1957, "total": 5},
        then_prints=(
            "{'fib(30)': 832040, 'smallest': [0, 25, 29, 54, 58], '6 queens': 720, 'collatz(27)': 111, "
            "'power of two above 1000': 1024}",
        ),
    ),
    "04_tpch_etl": Expected(
        prints=(
            "           A            F 380456.0    5.323482e+08    5.058224e+08 5.261659e+08 25.575155 35785.709307"
            "  0.050081        14876",
            "      47714 267010.5894  1995-03-11               0",
        ),
        computed={"pricing_sums": 4, "open_orders": 4, "unshipped_revenue": 4, "add_up": 1, "largest": 1, "survey": 1},
        edit=("flow.py", 'SHIPPED_UNTIL = "1998-09-02"', 'SHIPPED_UNTIL = "1994-12-31"'),
        touched={"pricing_sums": 4, "add_up": 1},
        then_prints=("      47714 267010.5894  1995-03-11               0",),
        always={"survey": 1},
    ),
    "05_sweep": Expected(
        prints=(
            "best: {'model': 'svm', 'C': 10.0, 'gamma': 0.01}",
            "verdict: accepted: svm with 98.0% of the test images right",
        ),
        computed={"main": 1, "digits": 1, "evaluate": 15, "tabulate": 1, "final_accuracy": 1, "accept": 1},
        edit=("flow.py", "GRID = [\n", 'GRID = [\n    {"model": "svm", "C": 0.1, "gamma": 0.01},\n'),
        touched={"main": 1, "evaluate": 3, "tabulate": 1, "best_of": 1},
        then_prints=("best: {'model': 'svm', 'C': 10.0, 'gamma': 0.01}",),
    ),
}


@dataclass(frozen=True)
class Told:
    """What was seen of one run: its output, and how many jobs of each task were computed."""

    output: list[str]
    computed: Counter[str]


def copy_of(name: str, folder: Path) -> Project:
    """An example as it would be after a fresh checkout."""
    ignored = shutil.ignore_patterns(".rayflow", "data", "__pycache__")
    return Project(Path(shutil.copytree(REPOSITORY / "examples" / name, folder / name, ignore=ignored)))


def run(project: Project) -> Told:
    ended = project.python("flow.py", RAYFLOW_INLINE="1")
    assert ended.returncode == 0, ended.stderr
    computed = Counter({name.rpartition(".")[2]: count for name, count in project.counts("computed").items()})
    return Told(ended.stdout.splitlines(), computed)


@pytest.fixture(scope="module", params=EXAMPLES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Told]]:
    """An example's name and its three runs: the first, the second, and one after the edit."""
    name = request.param
    project = copy_of(name, tmp_path_factory.mktemp("examples"))
    runs = [run(project), run(project)]
    project.edit(*EXPECTED[name].edit)
    return name, [*runs, run(project)]


def test_every_example_has_its_expectations() -> None:
    assert list(EXPECTED) == EXAMPLES


def test_an_example_prints_what_its_readme_shows(story: tuple[str, list[Told]]) -> None:
    name, (first, _, _) = story
    shown = (REPOSITORY / "examples" / name / "README.md").read_text().splitlines()
    for line in EXPECTED[name].prints:
        assert line in first.output
        assert line in shown


def test_the_first_run_computes_each_call_once(story: tuple[str, list[Told]]) -> None:
    name, (first, _, _) = story
    assert {task: first.computed[task] for task in EXPECTED[name].computed} == EXPECTED[name].computed


def test_the_second_run_prints_the_same_and_computes_nothing(story: tuple[str, list[Told]]) -> None:
    name, (first, second, _) = story
    assert second.output == first.output
    assert second.computed == EXPECTED[name].always


def test_after_an_edit_only_what_it_touches_is_computed(story: tuple[str, list[Told]]) -> None:
    name, (_, _, third) = story
    assert third.computed == {**EXPECTED[name].touched, **EXPECTED[name].always}
    for line in EXPECTED[name].then_prints:
        assert line in third.output
