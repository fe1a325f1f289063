"""Tasks of modules that only a body imports: what calls them is cached like everything else."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

BODIES = """
    import importlib
    from rayflow import task

    @task
    def plain():
        import late
        return late.first(1)
    @task(check_valid="shallow")
    def shallow():
        from late import first
        return first(1)
    @task
    async def awaiting():
        import late
        return await late.first(1)
    @task
    def dynamic():
        return importlib.import_module("hidden").third(1)
    @task(check_valid="shallow")
    def dynamic_shallow():
        return importlib.import_module("hidden").third(1)
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    late = "from rayflow import task\n@task\ndef first(x):\n    import later\n    return later.second(x)\n"
    project.write("late.py", late)
    project.write("later.py", "from rayflow import task\n@task\ndef second(x):\n    return x + 1\n")
    project.write("hidden.py", "from rayflow import task\n@task\ndef third(x):\n    return x + 1\n")
    made.write(BODIES)
    return made


@pytest.mark.parametrize("name", ["plain", "shallow", "awaiting"])
def test_a_call_of_a_task_whose_module_the_body_imports_is_cached(flow: Flow, name: str) -> None:
    assert flow.call(name) == 2
    flow.write(BODIES)  # as a fresh process: nothing but this module is imported
    assert flow.call(name) == 2
    assert flow.computed() == {}
    flow.project.edit("later.py", "x + 1", "x + 2")
    flow.write(BODIES)
    assert flow.call(name) == 3


@pytest.mark.parametrize("name", ["dynamic", "dynamic_shallow"])
def test_a_call_of_a_task_that_nothing_names_before_is_told_that_it_runs_in_every_run(flow: Flow, name: str) -> None:
    assert flow.call(name) == 2
    (unseen,) = flow.watching.warnings
    assert 'importlib.import_module("hidden")' in unseen.replace("'", '"')
    flow.write(BODIES)
    assert flow.call(name) == 2
    assert flow.computed() == {name: 1}
    (told,) = [text for text in flow.watching.warnings if text != unseen]
    assert told.startswith(f"flow.{name} runs in every run: it calls hidden.third, and no module imports hidden ")
