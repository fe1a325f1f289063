"""Every example: it prints what its README shows, a second run computes nothing, an edit runs what it touches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from example_projects import Told, copy_of, ran, run, skip_without, told_by_command
from projects import REPOSITORY

TESTED = "09_testing"
"""The example that is run by its own tests, since it reaches for the network."""

KEPT = frozenset({"30_order", "31_approval", "32_agent", "33_backfill", "34_digest", "35_tenants", "40_web_shop"})
"""Examples of runs that a service keeps: tests/service has their tests."""

EXAMPLES = sorted(
    path.name
    for path in (REPOSITORY / "examples").iterdir()
    if path.is_dir() and path.name != TESTED and path.name not in KEPT
)


@dataclass(frozen=True)
class Expected:
    """What an example does.

    prints: lines of its output, which stand in its README too. computed: how many jobs of each task run at first; tasks
    that are not named may run as often as they like. always: those that run every time. edit: file, old text, new text.
    touched: what runs after the edit, beside `always`. then_prints: lines of the output after the edit. programs: what
    the machine must have; else the example is skipped.
    """

    prints: tuple[str, ...]
    computed: dict[str, int]
    edit: tuple[str, str, str]
    touched: dict[str, int]
    then_prints: tuple[str, ...]
    always: dict[str, int] = field(default_factory=dict)
    programs: tuple[str, ...] = ()


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
    "06_higher_order": Expected(
        prints=("{'celsius': [20.0, 10.0, 30.0, 25.0], 'hottest': 30.0, 'coldest': 10.0}",),
        computed={"main": 1, "converter": 1, "compose": 4, "scale": 4, "shift": 4, "larger": 3, "fold": 14},
        edit=("flow.py", "return max(a, b)", "return a + b"),
        touched={"main": 1, "fold": 7, "larger": 3},
        then_prints=("{'celsius': [20.0, 10.0, 30.0, 25.0], 'hottest': 85.0, 'coldest': 10.0}",),
    ),
    "07_context": Expected(
        prints=("{'title': 'Laboratory Basel', 'total': 30.0}", "{'title': 'Laboratory Basel', 'total': 200.0}"),
        computed={"main": 1, "report": 1, "measure": 4, "total": 2, "title": 1},
        edit=("rayflow.toml", "gain = 1.5", "gain = 2.0"),
        touched={"measure": 2, "total": 1},
        then_prints=("{'title': 'Laboratory Basel', 'total': 40.0}", "{'title': 'Laboratory Basel', 'total': 200.0}"),
    ),
    "08_limits_and_tags": Expected(
        prints=("0.5",),
        computed={"main": 1, "measure": 3, "download": 3, "gc_content": 3, "mean": 1},
        edit=("flow.py", '"GGGC"', '"GGGA"'),
        touched={"download": 3, "gc_content": 1, "mean": 1},
        then_prints=("0.417",),
    ),
    "10_own_value": Expected(
        prints=("{'forward': [9], 'backward': [6]}",),
        computed={"main": 1, "reverse_complement": 1, "genes": 2, "length": 2},
        edit=("flow.py", "return len(gene.bases)", "return len(gene.bases) // 3"),
        touched={"length": 2},
        then_prints=("{'forward': [3], 'backward': [2]}",),
    ),
    "11_own_form": Expected(
        prints=("{'values': [3, 1, 2], 'total': 6}",),
        computed={"main": 1, "fetch": 3, "total": 1, "guess": 0},
        always={"fetch": 2},
        edit=("flow.py", 'UP = {"archive"}', 'UP = {"archive", "mirror"}'),
        touched={"fetch": 2},
        then_prints=("{'values': [3, 1, 2], 'total': 6}",),
    ),
    "12_async": Expected(
        prints=("{'near': {'x': 2.135, 'steps': 5}, 'far': {'x': 1.944, 'steps': 6}, 'cost': 1.018225}",),
        computed={"main": 1, "lowest": 2},
        edit=("flow.py", "(x - 2.0)", "(x - 3.0)"),
        touched={"main": 1, "lowest": 2, "cost": 18},
        then_prints=(),
    ),
    "13_database": Expected(
        prints=("330.0",),
        computed={"main": 1, "create": 1, "count_stock": 1, "set_prices": 1, "worth": 1},
        edit=("flow.py", '("nut", 0.1)', '("nut", 0.2)'),
        touched={"set_prices": 1, "worth": 1},
        then_prints=("410.0",),
    ),
    "20_files": Expected(
        prints=("basel    2026-06-04  22.5", "bern     2026-06-04  17.5", "davos    2026-06-03  12.5"),
        computed={"main": 1, "clean": 3, "warmest": 1},
        edit=("stations/bern.csv", "2026-06-02,15.5", "2026-06-02,19.5"),
        touched={"main": 1, "clean": 1, "warmest": 1},
        then_prints=("bern     2026-06-02  19.5",),
    ),
    "21_grep": Expected(
        prints=("gate.log: ['2:06:12:44 ERROR card reader: no answer']", "roof light.log: []"),
        computed={"main": 1, "grep_files": 1, "grep": 3},
        edit=("logs/pump.log", "WARNING", "ERROR"),
        touched={"main": 1, "grep_files": 1, "grep": 1},
        then_prints=(
            "pump.log: ['2:09:31:10 ERROR pressure 5.8 bar', '3:09:31:40 ERROR pressure 6.4 bar', "
            "'4:09:31:41 ERROR stopped']",
        ),
    ),
    "22_c_project": Expected(
        prints=("calc 1.0: 14",),
        computed={"main": 1, "included_by": 6, "build": 1, "compile_c": 3, "link": 1, "calculate": 1, "script": 4},
        edit=("src/operators.c", "left * right", "left * right * 10"),
        touched={"main": 1, "included_by": 1, "build": 1, "compile_c": 1, "link": 1, "calculate": 1, "script": 2},
        then_prints=("calc 1.0: 140",),
        programs=("gcc",),
    ),
    "23_variants": Expected(
        prints=("ann: {'found': 40, 'missed': 0, 'wrong': 0}", "bob: {'found': 40, 'missed': 0, 'wrong': 0}"),
        computed={"main": 1, "make_genome": 1, "sequence_sample": 2, "align": 2, "call": 2, "compare": 2},
        edit=("wheels.py", "LEAST_DEPTH = 6", "LEAST_DEPTH = 100"),
        touched={"call": 2, "compare": 2},
        then_prints=("ann: {'found': 0, 'missed': 40, 'wrong': 0}",),
    ),
    "24_report": Expected(
        prints=("| 2026-01 | 3 | 775.0 |", "| 2026-02 | 2 | 440.0 |", "| 2026-03 | 2 | 433.0 |"),
        computed={"main": 1, "clean": 3, "load": 1, "ask": 2, "write_report": 1},
        edit=("sales/2026-02.csv", "104,2026-02-02,3,4", "104,2026-02-02,3,5"),
        touched={"main": 1, "clean": 1, "load": 1, "ask": 2, "write_report": 1},
        then_prints=("| 2026-02 | 2 | 520.0 |", "| compass | 8 | 640.0 |"),
    ),
    "porting_from_redun": Expected(
        prints=("greeting: Hello, World!", "branches: 21 red and -11", "caught: mended 10", "mapped: [2, 3, 4]"),
        computed={"main": 1, "get_planet": 1, "greeter": 1, "step1": 6, "step2": 1, "step2a": 1, "both": 1},
        edit=("flow.py", "return x + 1\n", "return x + 2\n"),
        touched={"step1": 6, "step2": 1, "step2a": 1, "step3": 1},
        then_prints=("chain: 24", "branches: 22 red and -12", "mapped: [3, 4, 5]"),
        always={"step2b": 1, "broken": 1},
    ),
}


@pytest.fixture(scope="module", params=EXAMPLES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Told]]:
    """An example's name and its three runs: the first, the second, and one after the edit."""
    name = request.param
    skip_without(*EXPECTED[name].programs)
    project, first = ran(name, tmp_path_factory.mktemp("examples"))
    runs = [first, run(project)]
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
    assert third.computed == {**EXPECTED[name].always, **EXPECTED[name].touched}
    for line in EXPECTED[name].then_prints:
        assert line in third.output


@pytest.mark.parametrize("name", [TESTED, "30_order", "34_digest"])
def test_the_tests_of_an_example_pass(name: str, tmp_path: Path) -> None:
    project = copy_of(name, tmp_path)
    ended = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", ".")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_porting_script_renames_what_it_should_and_names_what_needs_a_look(tmp_path: Path) -> None:
    project = copy_of("porting_from_redun", tmp_path)
    ported = (project.path / "flow.py").read_text()
    project.edit(
        "flow.py", "from rayflow import catch, cond, map_, seq, task", "from redun import catch, cond, map_, seq, task"
    )
    project.edit("flow.py", 'rayflow_namespace = "ported"', 'redun_namespace = "ported"')
    project.edit("flow.py", "from rayflow import Scheduler", "from redun import Scheduler")
    project.write(
        "other.py",
        """
        import redun
        from redun.scheduler import scheduler_task, subrun
        from redun.functools import flat_map as over

        @redun.task(tags={"ä": "redun"})
        def f(x):
            return "redun ä", redun.nothing
        """,
    )
    ended = project.python("port.py", "flow.py", "other.py")
    assert ended.returncode == 0, ended.stderr
    assert (project.path / "flow.py").read_text() == ported
    assert (project.path / "other.py").read_text() == (
        "import rayflow\nfrom rayflow import scheduler_task, subrun\nfrom rayflow import flat_map as over\n\n"
        '@rayflow.task(tags={"ä": "redun"})\ndef f(x):\n    return "redun ä", rayflow.nothing\n'
    )
    assert ended.stdout.splitlines() == [
        "flow.py: ported",
        "other.py:2: scheduler_task: write a rule with @form instead: see examples/11_own_form (nothing here uses it)",
        "    from redun.scheduler import scheduler_task, subrun",
        "other.py:7: nothing: rayflow has no such name",
        '    return "redun ä", redun.nothing',
    ]


# --- what else the READMEs say ----------------------------------------------------------------------------------------


def test_other_arguments_run_only_the_calls_that_they_change(tmp_path: Path) -> None:
    project, _ = ran("01_hello_world", tmp_path)
    assert told_by_command(project, "--greet", "Hi") == Told(["'Hi, World!'"], Counter(main=1, greeter=1))
    told = told_by_command(project, "greeter", "--greet", "Hello", "--thing", "Mars")
    assert told == Told(["'Hello, Mars!'"], Counter(greeter=1))


def test_a_comment_or_a_docstring_changes_nothing(tmp_path: Path) -> None:
    project, _ = ran("01_hello_world", tmp_path)
    project.edit("flow.py", 'return "World"', '"""Which one?"""\n\n    return ("World")  # the third')
    assert run(project).computed == {}


def test_the_command_and_the_script_share_what_they_computed(tmp_path: Path) -> None:
    project, _ = ran("11_own_form", tmp_path)
    assert told_by_command(project).computed == EXPECTED["11_own_form"].always


def test_a_failure_that_was_caught_is_tried_again_and_nothing_else(tmp_path: Path) -> None:
    project = copy_of("02_control_flow", tmp_path)
    first = told_by_command(project, "--source", "radio")
    assert first.computed["fall_back"] == 1
    assert told_by_command(project, "--source", "radio") == Told(first.output, Counter(fetch=1))
    assert [name for name, _ in project.sql("select task_name, error from failures")] == ["flow.fetch", "flow.fetch"]
    project.edit("rates.py", '"newspaper": NEWSPAPER', '"newspaper": NEWSPAPER, "radio": CENTRAL_BANK')
    again = told_by_command(project, "--source", "radio")
    assert again.output == list(EXPECTED["02_control_flow"].prints)
    assert again.computed["fall_back"] == 0


def test_the_reports_agree_with_duckdb_and_a_changed_partition_runs_alone(tmp_path: Path) -> None:
    project = copy_of("04_tpch_etl", tmp_path)
    assert told_by_command(project, "check").output == ["[]"]
    [partition] = project.path.glob("data/*/lineitem/*.2.parquet")
    pd.read_parquet(partition)[:-100].to_parquet(partition)
    told = told_by_command(project, "check")
    assert told.output == ["[]"]
    assert told.computed["pricing_sums"] == told.computed["unshipped_revenue"] == 1
    assert told.computed["open_orders"] == 0


def test_a_grid_of_known_settings_needs_only_the_final_training(tmp_path: Path) -> None:
    project, _ = ran("05_sweep", tmp_path)
    told = told_by_command(project, "--grid", '[{"model": "forest", "n_estimators": 60}]')
    assert told.computed["evaluate"] == 0
    assert told.computed["final_accuracy"] == 1


# --- on Ray -----------------------------------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.parametrize("name", ["02_control_flow", "04_tpch_etl", "22_c_project", "23_variants"])
def test_an_example_runs_on_a_cluster_and_is_then_answered_without_it(
    name: str, tmp_path: Path, ray_cluster: str
) -> None:
    skip_without(*EXPECTED[name].programs)
    project = copy_of(name, tmp_path)
    ended = project.python("flow.py", RAYFLOW_ADDRESS=ray_cluster)
    assert ended.returncode == 0, ended.stderr
    for line in EXPECTED[name].prints:
        assert line in ended.stdout.splitlines()
    # Inline and on a cluster, calls have the same identity.
    assert run(project) == Told(ended.stdout.splitlines(), Counter(EXPECTED[name].always))


@pytest.mark.ray
def test_the_first_command_of_the_readme_starts_a_ray_of_its_own(tmp_path: Path) -> None:
    project = copy_of("01_hello_world", tmp_path)
    ended = project.rayflow("run", "flow.py")
    assert (ended.returncode, ended.stdout) == (0, "'Hello, World!'\n"), ended.stderr
    assert "3 computed" in ended.stderr
    again = project.rayflow("run", "flow.py", RAYFLOW_ADDRESS="203.0.113.1:6379")  # an address where nobody answers
    assert (again.returncode, again.stdout) == (0, "'Hello, World!'\n"), again.stderr
    assert "3 cached" in again.stderr
