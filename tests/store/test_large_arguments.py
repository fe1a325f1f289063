"""Large plain arguments are kept as blobs, and are read there by all that asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.api import history
from rayflow.errors import NotFound
from rayflow.store.history.filters import Filter

FLOW = """
    from rayflow import task

    @task
    def one(number):
        return f"a rather long result {number}"

    @task
    def taken(many):
        return len(many)

    @task
    def main(kind):
        results = [one(number) for number in range(900)]
        named = {f"key {number}": result for number, result in enumerate(results)}
        turned = dict(reversed(named.items()))
        return taken({"list": results, "dict": named, "turned": turned, "nested": [results, {"in": named}]}[kind])
"""


def jobs(project: Project) -> list[Any]:
    return history(store=str(project.path / ".rayflow")).jobs(Filter(task="flow.taken"))


@pytest.mark.parametrize(("kind", "length"), [("list", 900), ("dict", 900), ("nested", 2)])
def test_a_call_with_them_is_made_again(project: Project, kind: str, length: int) -> None:
    flow = Flow(project)
    flow.run(flow.write(FLOW).main(kind))
    ((blobs,),) = project.sql("select count(*) from values where blob is not null")
    assert blobs == 1
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        assert scheduler.rerun(jobs(project)[0]["job_id"]) == length


def test_that_the_order_alone_differs_is_told(project: Project) -> None:
    flow = Flow(project)
    module: Any = flow.write(FLOW)
    flow.run(module.main("dict"))
    flow.run(module.main("turned"))
    (change,) = history(store=str(project.path / ".rayflow")).why(jobs(project)[0]["job_id"]).changes
    assert change.is_order_alone


def test_what_is_gone_is_told(project: Project) -> None:
    flow = Flow(project)
    flow.run(flow.write(FLOW).main("list"))
    for path in (project.path / ".rayflow").rglob("*"):
        if path.is_file() and "blobs" in path.parts:
            path.unlink()
    last = jobs(project)[0]["job_id"]
    store = str(project.path / ".rayflow")
    with Scheduler(store=store, inline=True) as scheduler, pytest.raises(NotFound, match="many"):
        scheduler.rerun(last)
