"""The option `hash_distributions`: distributions whose versions are part of a task's identity."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow import Scheduler, task
from rayflow.errors import BadOption, VersionMismatch
from rayflow.lang.code import counted_distributions
from rayflow.lang.code.counted_distributions import counted_versions, differing, python_version
from rayflow.store.history.why.reasons import reason_of
from rayflow.store.open import open_store

FLOW = """
    import json
    from rayflow import task
    import helpers

    @task(hash_distributions={option})
    def f(n):
        return helpers.g(n)

    @task
    def plain(n):
        return n
"""
HELPERS = """
    def g(n):
        from pydantic import BaseModel
        return n + 1
"""


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The installed distributions, as this test says."""
    found = {"numpy": "2.0", "pydantic": "3.1", "bwa": "0.7"}
    monkeypatch.setattr(counted_distributions, "installed", lambda: found)
    return found


def test_names_count_by_the_versions_that_are_here_and_a_table_by_its_own(versions: dict[str, str]) -> None:
    assert counted_versions(["NumPy", "bwa", "python"], [], "f") == {
        "bwa": "0.7", "numpy": "2.0", "python": python_version(),
    }  # fmt: skip
    assert counted_versions({"B_w.a": "9"}, [], "f") == {"b-w-a": "9"}
    assert counted_versions(None, [], "f") == counted_versions(False, [], "f") == {}
    with pytest.raises(BadOption, match=r"'lost', which is not installed here.*hash_distributions=\{'lost': '1.0'\}"):
        counted_versions(["lost"], [], "f")
    assert differing({"numpy": "2.0", "bwa": "1", "lost": "3"}) == ["bwa 1 (0.7 here)", "lost 3 (not installed here)"]


@pytest.mark.parametrize("option", ["True", '["pydantic"]', '("Pydantic",)'])
def test_another_version_of_what_counts_runs_the_task_again_and_why_names_it(
    project: Any, versions: dict[str, str], option: str
) -> None:
    project.write("helpers.py", HELPERS)
    project.write("flow.py", FLOW.format(option=option))
    for version, count in (("3.1", 1), ("3.1", 0), ("4.0", 1)):
        versions["pydantic"], versions["numpy"] = version, f"another {version}"
        project.forget()
        flow = project.load("flow")
        with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
            assert scheduler.run([flow.f(1), flow.plain(1)]) == [2, 1]
        assert project.counts("computed")["flow.f"] == count, version
    assert project.counts("computed")["flow.plain"] == 0
    told = project.sql("select distinct name, source from definitions where kind = 'distribution' order by source")
    assert told == [("pydantic", "pydantic 3.1"), ("pydantic", "pydantic 4.0")]
    ran = "task_name = 'flow.f' and how = 'computed'"
    ((job,),) = project.sql(f"select arg_max(job_id, queued_at) from jobs where {ran}")
    found = open_store(str(project.path / ".rayflow"), create=False, read_only=True).history().why(job)
    assert reason_of(found) == "its code has changed (pydantic)"


def test_without_the_option_no_version_counts(versions: dict[str, str]) -> None:
    def made() -> bytes:
        @task(namespace="t", name="f")
        def f(n: int) -> int:
            return n

        return f.hash

    before = made()
    versions["numpy"] = "9"
    assert made() == before


def test_a_process_with_other_versions_than_those_that_count_does_not_run_the_task(
    project: Any, versions: dict[str, str]
) -> None:
    project.write("helpers.py", HELPERS)
    project.write("flow.py", FLOW.format(option='{"numpy": "1.26", "bwa": "0.7"}'))
    flow = project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        with pytest.raises(VersionMismatch, match=r"flow.f counts distributions.*numpy 1.26 \(2.0 here\)\. Install"):
            scheduler.run(flow.f(1))
        versions["numpy"] = "1.26"
        assert scheduler.run(flow.f(1)) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [("numpy", r"True for all .*, a list of names"), ({"pip": ["numpy"]}, "is the option runtime_env"),
     ({"numpy": 2}, "a version as a"), ({"a": " "}, "a version as a"), ([3], "not empty"), ([""], "not empty")],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_where_it_is_said(given: Any, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        task(hash_distributions=given)(lambda n: n)
    with pytest.raises(BadOption, match="Did you mean 'runtime_env'"):
        task(environment=given)(lambda n: n)
    with pytest.raises(BadOption, match="belongs to the task's definition"):
        task(namespace="t", name="g")(lambda n: n).options(hash_distributions=given)
