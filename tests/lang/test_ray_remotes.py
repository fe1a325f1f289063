"""Ray's remote functions and actor classes in the code of a task: the user's code in them counts, nothing of Ray's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from source_projects import Projects

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
