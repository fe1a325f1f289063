"""A store in a bucket: two machines share it, and what goes wrong there is told clearly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from projects import Project

pytestmark = pytest.mark.slow

FLOW = """
    import numpy
    from rayflow import task

    @task
    def table(n: int):
        print("made")
        return numpy.arange(n)

    @task
    def total(values):
        print("summed")
        return int(values.sum())

    @task
    def main(n: int = 100_000):
        return total(table(n))
"""


@pytest.fixture
def machines(project: Project, tmp_path: Path, bucket: str) -> tuple[Project, Project, str]:
    """Two projects of equal code in two folders, each with a cache directory of its own; and a store for both."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name / "flows"
        folder.mkdir(parents=True)
        each = Project(folder, {"RAYFLOW_CACHE_DIR": str(tmp_path / name / "cache")})
        each.write("rayflow.toml", f'store = "{bucket}/results"\n')
        each.write("flow.py", FLOW)
        made.append(each)
    return made[0], made[1], f"{bucket}/results"


def test_what_one_machine_has_computed_the_other_does_not(machines):
    one, two, _ = machines
    first = one.rayflow("run", "flow.py", "main", "--inline")
    assert (first.returncode, first.stdout.strip()) == (0, "4999950000"), first.stderr
    second = two.rayflow("run", "flow.py", "main")
    assert (second.returncode, second.stdout.strip()) == (0, "4999950000"), second.stderr
    assert "made" not in second.stderr
    assert "3 cached" in second.stderr
    counted = two.rayflow("sql", "select count(*), count(distinct host) from executions", "--csv")
    assert counted.stdout.splitlines()[1].startswith("2,"), counted.stderr

    # What stands in the mirror is read there, and the mirror may go at any time.
    shutil.rmtree(Path(two.environment["RAYFLOW_CACHE_DIR"]))
    again = two.rayflow("log")
    assert again.returncode == 0 and again.stdout.count("main()") == 2, again.stdout + again.stderr
    checked = one.rayflow("store", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.ray
def test_workers_on_ray_keep_large_values_in_the_bucket(machines):
    one, two, _ = machines
    done = one.rayflow("run", "flow.py", "main", RAYFLOW_NUM_CPUS="2")  # on a Ray that knows where the bucket is
    assert (done.returncode, done.stdout.strip()) == (0, "4999950000"), done.stderr
    again = two.rayflow("run", "flow.py", "table", "--n", "100000")
    assert again.returncode == 0, again.stderr
    assert "1 cached" in again.stderr
    assert again.stdout.startswith("array([")


def test_a_bucket_that_does_not_exist_is_one_clear_error(machines):
    one, _, _ = machines
    told = one.rayflow("run", "flow.py", "main", "--inline", "--store", "s3://no-such-bucket/results")
    assert told.returncode == 2, told.stderr
    assert "no-such-bucket" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_place_that_does_not_answer_is_one_clear_error(machines):
    one, _, _ = machines
    told = one.rayflow("run", "flow.py", "main", "--inline", AWS_ENDPOINT_URL="http://127.0.0.1:9", timeout=60)
    assert told.returncode == 2, told.stderr
    assert "s3://" in told.stderr
    assert "Traceback" not in told.stderr


def test_missing_credentials_are_one_clear_error(machines, monkeypatch):
    one, _, _ = machines
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    told = one.rayflow(
        "run", "flow.py", "main", "--inline", AWS_EC2_METADATA_DISABLED="true", HOME=str(one.path), timeout=60
    )
    assert told.returncode == 2, told.stderr
    assert "credentials" in told.stderr.lower()
    assert "Traceback" not in told.stderr
