"""`rayflow resume` of an execution whose project is elsewhere than it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from projects import Project

FLOW = "from rayflow import task\n\n@task\ndef main(n: int):\n    return {}\n"


@pytest.mark.slow
def test_what_a_job_began_in_its_copy_of_the_project_is_taken_up_in_the_project_with_its_code_of_now(
    project: Project, tmp_path: Path
) -> None:
    """The copy of another machine is not there, that of this one has the code of then."""
    store = str(tmp_path / "results")
    copy = Project(tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1")
    copy.path.mkdir(parents=True)
    copy.write("flow.py", FLOW.format("1 // n"))
    assert copy.rayflow("run", "--inline", "flow.py", "main", "--n", "0", "--store", store).returncode == 1
    resume = ("resume", "-", "--inline", "--store", store)
    lacking = project.rayflow(*resume)
    assert lacking.returncode == 1 and "Type the command in the directory of its project" in lacking.stderr
    project.write("flow.py", FLOW.format("'mended'"))
    for _ in range(2):
        done = project.rayflow(*resume)
        assert (done.returncode, done.stdout) == (0, "'mended'\n"), done.stderr
        shutil.rmtree(copy.path, ignore_errors=True)
