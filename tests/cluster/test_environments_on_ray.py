"""Environments on a real cluster: one that cannot be made fails its call soon, and says why."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rayflow.api import Scheduler
from rayflow.errors import ClusterUnavailable, WorkerLost

pytestmark = pytest.mark.ray

FLOW = """
    from rayflow import task

    @task
    def add(a, b):
        return a + b
"""


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as made:
        yield made


def ends(scheduler: Scheduler, project: Any, environment: dict[str, Any], says: str) -> None:
    """Check that a call in this environment fails so, and that the next call without it runs."""
    flow = project.write("flow.py", FLOW) and project.load("flow")
    with pytest.raises(WorkerLost, match=f"(?s){says}"):
        scheduler.run(flow.add.options(runtime_env=environment)(1, 2))
    assert scheduler.run(flow.add(1, 2)) == 3


@pytest.mark.parametrize(
    ("environment", "says"),
    [({"conda": "nowhere"}, "Conda executable"), ({"image_uri": "no/such:1"}, "podman"),
     ({"working_dir": "file:///no/such.zip"}, "/no/such.zip")],
)  # fmt: skip
def test_an_environment_whose_tool_or_package_is_missing_fails_its_call_at_once(
    project: Any, scheduler: Scheduler, environment: dict[str, Any], says: str
) -> None:
    began = time.monotonic()
    ends(scheduler, project, environment, f"environment cannot be (made|set up): .*{says}")
    assert time.monotonic() - began < 60


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("environment", "says"),
    [({"py_executable": "/no/python"}, "No such file"), ({"py_executable": "false"}, "ends with 1"),
     ({"pip": ["no-such-dist-zzz==9"]}, "No matching distribution found for no-such-dist-zzz==9"),
     ({"uv": ["no-such-dist-zzz==9"]}, "no-such-dist-zzz was not found")],
)  # fmt: skip
def test_an_environment_that_ray_tries_to_make_for_minutes_fails_its_call_before_ray_gives_up(
    project: Any, scheduler: Scheduler, environment: dict[str, Any], says: str
) -> None:
    ends(scheduler, project, environment, f"cannot be made: .*{says}")  # Ray's own end is "cannot be set up"


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write a package of one module, as a wheel."""
    folder.mkdir()
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


@pytest.mark.campaign
def test_a_task_has_packages_of_a_folder_of_wheels_without_a_network_and_one_that_is_not_there_fails_it_in_a_minute(
    project: Any, scheduler: Scheduler
) -> None:
    wheels = project.path / "wheels"
    write_wheel(wheels, "rf_thing", "1.0")
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def version(wanted):
            import rf_thing
            return rf_thing.VERSION

        @task
        def warm():
            return 1
        """,
    )
    flow = project.load("flow")
    assert scheduler.run(flow.warm()) == 1

    def of(wanted: str) -> Any:
        packages = ["--no-index", f"--find-links={wheels}", f"rf-thing=={wanted}"]
        return flow.version.options(runtime_env={"pip": packages})(wanted)

    assert scheduler.run(of("1.0")) == "1.0"
    began = time.monotonic()
    with pytest.raises(WorkerLost, match=r"(?s)cannot be made: .*No matching distribution found for rf-thing==2.0"):
        scheduler.run(of("2.0"))
    assert time.monotonic() - began < 60


@pytest.mark.campaign
def test_an_environment_of_all_tasks_that_cannot_be_made_ends_the_run_before_ray_gives_up(
    project: Any, tmp_path: Path
) -> None:
    script = f"""
        from rayflow import Scheduler
        import flow
        with Scheduler(store={str(tmp_path / "store")!r}, address="local") as one:
            one.run(flow.add(1, 2))
    """
    project.write("flow.py", FLOW)
    project.write("rayflow.toml", '[environment]\npip = ["no-such-dist-zzz==9"]\n')
    project.write("main.py", script)
    ended = project.python("main.py", timeout=400)
    assert "cannot be made" in ended.stderr
    assert ClusterUnavailable.__name__ in ended.stderr and "[environment]" in ended.stderr
    assert "No matching distribution found for no-such-dist-zzz==9" in ended.stderr


def test_calls_on_workers_name_what_they_ran_in_and_it_is_recorded_once(project: Any, scheduler: Scheduler) -> None:
    """Calls that go as columns, others, and one in another environment of Ray's that has the same distributions."""
    from importlib.metadata import version

    flow = project.write("flow.py", FLOW) and project.load("flow")
    alone = flow.add.options(runtime_env={"env_vars": {"PLANT": "rose"}}, bundle=False)
    scheduler.run([[flow.add(n, 1) for n in range(300)], alone(-1, 1)])
    asked = "select how, count(*), count(environment), count(distinct environment) from jobs"
    assert project.sql(f"{asked} where task_name = 'flow.add' group by all") == [("computed", 301, 301, 1)]
    assert project.sql("select count(*) from raw.environments") == [(1,)]
    assert project.sql("select version from distributions where name = 'ray'") == [(version("ray"),)]
