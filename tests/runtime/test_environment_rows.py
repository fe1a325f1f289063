"""What calls ran in is gathered once a process, and recorded once an execution."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from rayflow import Scheduler
from rayflow.runtime.worker.environment import (
    Descriptions,
    accelerators_here,
    own_environment,
    row_of,
)
from rayflow.values.process.distributions import distributions_in, normalised

FLOW = """
    from rayflow import task

    @task
    def one(n):
        return n + 1

    @task
    def total(xs):
        return sum(xs)

    @task
    def broken():
        raise ValueError("no")
"""


def test_the_distributions_are_those_that_python_itself_finds() -> None:
    found = distributions_in(sys.path)
    known = {}
    for each in importlib.metadata.distributions():
        known.setdefault(normalised(each.metadata["Name"]), each.version)
    assert found == known and "pyarrow" in found


def test_the_first_directory_wins_and_conda_adds_its_own(tmp_path: Path) -> None:
    for name in ("a/Some_Tool-1.0.dist-info", "b/some.tool-2.0.dist-info", "b/old-1.5-py3.11.egg-info", "b/x.py"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "conda-meta").mkdir()
    for name in ("bwa-0.7.17-h5bf99c6_8.json", "some-tool-3-0.json", "history"):
        (tmp_path / "conda-meta" / name).touch()
    found = distributions_in([str(tmp_path / "a"), str(tmp_path / "none.zip"), str(tmp_path / "b")], str(tmp_path))
    assert found == {"some-tool": "1.0", "old": "1.5", "bwa": "0.7.17"}


def test_equal_environments_have_one_key_and_any_difference_another() -> None:
    one = row_of("3.12.1", "linux", None, None, {"b": "1", "a": "2"})
    assert one == row_of("3.12.1", "linux", None, None, {"a": "2", "b": "1"})
    others = [
        row_of("3.12.2", "linux", None, None, {"a": "2", "b": "1"}),
        row_of("3.12.1", "mac", None, None, {"a": "2", "b": "1"}),
        row_of("3.12.1", "linux", "x", None, {"a": "2", "b": "1"}),
        row_of("3.12.1", "linux", None, "x", {"a": "2", "b": "1"}),
        row_of("3.12.1", "linux", None, None, {"a": "2", "b": "2"}),
    ]
    assert len({one.environment, *(each.environment for each in others)}) == 6


def test_accelerators_are_counted_by_model(tmp_path: Path) -> None:
    for number, model in enumerate(("NVIDIA L4", "NVIDIA L4", "Tesla T4")):
        (tmp_path / f"0000:{number}").mkdir()
        (tmp_path / f"0000:{number}" / "information").write_text(f"Model: \t\t {model}\nIRQ:   1\n")
    assert accelerators_here(tmp_path) == "2 x NVIDIA L4, 1 x Tesla T4"
    assert accelerators_here(tmp_path / "none") is None


def test_an_environment_is_recorded_once_an_execution_also_when_its_row_came_for_another_one() -> None:
    row = row_of("3.12.1", "linux", None, None, {})
    known = Descriptions()
    assert known.new("a", None, None) == [] and known.new("a", row.environment, None) == []
    assert known.new("a", row.environment, row) == [row] and known.new("a", row.environment, row) == []
    assert known.new("b", row.environment, None) == [row]
    known.forget("a")
    assert known.new("a", row.environment, None) == [row]


def test_jobs_and_failed_attempts_name_what_they_ran_in_and_cached_ones_do_not(project) -> None:
    flow = project.write("flow.py", FLOW) and project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        assert scheduler.run(flow.total([flow.one(n) for n in range(100)])) == 5050
        scheduler.run([flow.one(1), flow.one(2)])
        try:
            scheduler.run(flow.broken.options(retries=0)())
        except ValueError:
            pass
    here = own_environment()
    asked = "select how, environment, count(*) from jobs where task_name like 'flow.%' group by all order by all"
    assert project.sql(asked) == [
        ("cached", None, 2), ("computed", here.environment.hex(), 102),
    ]  # fmt: skip
    assert project.sql("select environment from attempts") == [(here.environment.hex(),)]
    assert project.sql("select python, platform, distributions from environments") == [
        (here.python, here.platform, here.distributions)
    ]
    assert project.sql("select version from distributions where name = 'pyarrow'") == [
        (importlib.metadata.version("pyarrow"),)
    ]


@pytest.mark.slow
def test_a_job_is_shown_with_what_it_ran_in(project) -> None:
    flow = project.write("flow.py", FLOW) and project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        scheduler.run(flow.one(3))
    ((job,),) = project.sql("select job_id from jobs")
    shown = project.rayflow("log", job).stdout
    here = own_environment()
    count = len(json.loads(here.distributions))
    assert f"Python {here.python}, {here.platform}, {count} distributions" in shown
    said = json.loads(project.rayflow("log", job, "--json").stdout)["environment"]
    assert said["distributions"] == json.loads(here.distributions) and said["environment"] == here.environment.hex()
