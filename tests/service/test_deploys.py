"""Code that comes and goes, and the command line's cancel, for runs that a service keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from projects import Project
from services import RunningService, ledger
from waiting import until

from rayflow.errors import Cancelled

FLOW = """
    from rayflow import effect, finally_, flow, seq, task, wait_for_event

    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"

    @flow
    def hears(name: str):
        return finally_(seq([do(name), wait_for_event("go", key=name).data, do(f"{name} end")]), do(f"{name} left"))

    @flow
    def outer(name: str):
        return seq([do(name), wait_for_event("go", key=name).data, inner(name)])

    @task
    def inner(name: str):
        return do(f"{name} inner")
"""

OTHER = """
    from rayflow import flow

    @flow
    def other(name: str):
        return name

    @flow
    def outer(name: str):
        return name
"""


def started(service: RunningService, name: str, flow: str = "hears") -> Any:
    run = service.client.start(flow, {"name": name}, id=f"run of {name}")
    until(lambda: run.state() == "waiting")
    return run


def test_a_run_whose_code_is_gone_waits_for_it_and_goes_on_when_it_is_back(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", FLOW)
    service.start()
    run, below = started(service, "a"), started(service, "b", "outer")
    service.stop()
    project.write("flow.py", OTHER)
    service.start()
    for key in ("a", "b"):
        service.client.emit("go", "now", key=key)
    for each, lacks in ((run, "flow.hears"), (below, "flow.inner")):
        until(lambda: service.client.get(each.id).state() == "queued")  # noqa: B023  # called at once
        assert lacks in service.client.get(each.id).explain()
    assert service.client.run("other", {"name": "b"}) == "b"
    service.stop()
    project.write("flow.py", FLOW)
    service.start()
    assert service.client.get(run.id).result(60) == ["did a", "now", "did a end"]
    assert service.client.get(below.id).result(60) == ["did b", "now", "did b inner"]
    assert ledger(project) == {"a": 1, "a end": 1, "a left": 1, "b": 1, "b inner": 1}


def test_a_run_whose_code_is_gone_can_be_cancelled(project: Project, service: RunningService) -> None:
    project.write("flow.py", FLOW)
    service.start()
    run = started(service, "a")
    service.stop()
    project.write("flow.py", OTHER)
    service.start()
    assert service.client.get(run.id).cancel("not needed")
    with pytest.raises(Cancelled, match=r"not needed; the code of its clean-up was missing: flow\.hears"):
        service.client.get(run.id).result(60)


def test_rayflow_cancel_ends_a_run_of_a_service_by_each_of_its_names(project: Project, service: RunningService) -> None:
    project.write("flow.py", FLOW)
    service.start()
    project.environment["RAYFLOW_HOME"] = str(service.home)
    for name, named in (("a", lambda run: run.id), ("b", lambda run: run.id[:13]), ("c", lambda run: "run of c")):
        run = started(service, name)
        done = project.rayflow("cancel", named(run), "--reason", "ordered twice", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["execution_id"], told["status"], told["was"]) == (run.id, "cancelled", "running")
        with pytest.raises(Cancelled, match="ordered twice"):
            run.result(60)
    again = project.rayflow("cancel", "run of c")
    assert (again.returncode, "cancelled already" in again.stdout) == (0, True), again.stdout
    assert ledger(project) == {**dict.fromkeys("abc", 1), **{f"{name} left": 1 for name in "abc"}}


def test_rayflow_cancel_of_a_run_without_a_service_says_that_one_is_needed(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", FLOW)
    service.start()
    project.environment["RAYFLOW_HOME"] = str(service.home)
    run = started(service, "a")
    service.stop()
    refused = project.rayflow("cancel", run.id)
    assert refused.returncode == 2
    assert "rayflow serve" in refused.stderr
