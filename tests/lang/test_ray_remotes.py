"""Ray's remote functions and actor classes in the code of a task: the user's code in them counts, nothing of Ray's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project
from source_projects import Projects

from rayflow.lang.code.ray_remotes import UNREADABLE

FUNCTION = """
import ray
def helper(n): return n + {added}
@ray.remote(num_cpus={cpus})
def step(n): return helper(n)
def main(x): return ray.get(step.remote(x))
"""

ACTOR = """
import ray
@ray.remote(num_cpus={cpus})
class Counter:
    def step(self, n): return n + {added}
def main(x): return ray.get(Counter.remote().step.remote(x))
"""


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[Projects]:
    made = Projects(tmp_path)
    yield made
    made.forget()


@pytest.mark.parametrize("text", [FUNCTION, ACTOR], ids=["function", "actor"])
def test_the_code_and_the_options_of_what_ray_runs_count_and_are_the_same_in_each_process(
    text: str, projects: Projects
) -> None:
    pytest.importorskip("ray")
    first = projects.identity({"flow.py": text.format(added=1, cpus=1)})
    assert first.unresolved == ()
    again, edited, larger = (
        projects.identity({"flow.py": text.format(added=added, cpus=cpus)}).digest
        for added, cpus in ((1, 1), (2, 1), (1, 2))
    )
    assert first.digest == again
    assert len({first.digest, edited, larger}) == 3


INSIDE = """
import dataclasses
from rayflow import task
import ray
def helper(n): return n + {added}
@ray.remote
def step(n): return helper(n)
@ray.remote
class Counter:
    def step(self, n): return helper(n)
@dataclasses.dataclass
class Steps:
    first: object
def made(inner):
    def outer(x): return inner[0].remote(x)
    return outer
held = {value}
@task
def main(x): return held
"""

SHOWN = """
import flow
from rayflow.lang.code.identity import code_identity
found = code_identity(flow.main.func, project_dir=".", is_task=lambda value: None)
print(found.digest.hex(), found.unresolved)
"""

PLACES = [
    "[step]", "(1, [Counter])", "{{'a': step}}", "{{step: 1}}", "Steps(step)", "made([step])", "step.remote",
    "{{step, Counter, step.options(num_cpus={cpus})}}", "step.options(num_cpus={cpus})",
    "step.options(num_cpus={cpus}).remote", "Counter.options(num_cpus={cpus})", "[Counter.options(num_cpus={cpus})]",
    "{{'a': step.options(num_cpus={cpus}, runtime_env={{'env_vars': {{'A': '1'}}}})}}",
]  # fmt: skip


@pytest.mark.parametrize("value", PLACES)
def test_the_code_and_the_options_of_a_remote_count_wherever_a_value_holds_it(value: str, projects: Projects) -> None:
    pytest.importorskip("ray")

    def identity(added: int = 1, cpus: int = 1) -> bytes:
        text = INSIDE.replace("{value}", value.replace("{{", "{").replace("}}", "}").replace("{cpus}", str(cpus)))
        found = projects.identity({"flow.py": text.replace("{added}", str(added))})
        assert found.unresolved == ()
        return found.digest

    first = identity()
    assert first == identity() and first != identity(added=2)
    assert (first != identity(cpus=2)) is ("cpus" in value)


@pytest.mark.slow
def test_a_remote_in_a_value_has_one_identity_in_all_processes(project: Project) -> None:
    pytest.importorskip("ray")
    values = ", ".join(PLACES).replace("{{", "{").replace("}}", "}").replace("{cpus}", "2")
    project.write("flow.py", INSIDE.replace("{added}", "1").replace("{value}", f"[{values}]"))
    first, second = (project.python("-c", SHOWN, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first.stdout == second.stdout and first.stdout.endswith(" ()\n"), first.stderr


def test_a_remote_whose_code_ray_does_not_show_is_a_doubt(
    projects: Projects, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    captured = {("ray.remote_function", "FuncWrapper"): "other"}
    monkeypatch.setattr("rayflow.lang.code.ray_remotes.WITH_OPTIONS", captured)
    for value, where in (("[step.options(num_cpus=2)]", "held[0]"), ("step.options(num_cpus=2)", "held")):
        found = projects.identity({"flow.py": INSIDE.replace("{added}", "1").replace("{value}", value)})
        assert found.unresolved == (f"flow.main: {where} is {UNREADABLE}, so only the statement that makes it counts",)
