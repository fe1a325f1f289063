"""Runs are brought to their ends, whatever dies meanwhile: real processes, and kill -9."""

from __future__ import annotations

import pytest
from projects import Project
from services import RunningService, ledger
from waiting import until

TWO_EFFECTS = """
    from pathlib import Path

    from rayflow import effect, flow, seq, sleep


    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"


    @flow
    def both(first: str, second: str, seconds: float = 1.0):
        return seq([do(first), sleep(seconds), do(second)])
"""


def test_a_run_with_two_effects_and_a_sleep_survives_the_death_of_its_service(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", TWO_EFFECTS)
    service.start()
    run = service.client.start("both", {"first": "a", "second": "b", "seconds": 3})
    until(lambda: ledger(project)["a"])
    until(lambda: service.client.get(run.id).state() == "waiting")
    service.kill()

    service.start()
    assert service.client.get(run.id).result(timeout=60) == ["did a", None, "did b"]
    assert ledger(project) == {"a": 1, "b": 1}


def test_a_sleep_that_ended_while_no_service_was_there_ends_at_once(project: Project, service: RunningService) -> None:
    project.write("flow.py", TWO_EFFECTS)
    service.start()
    run = service.client.start("both", {"first": "a", "second": "b", "seconds": 1})
    until(lambda: service.client.get(run.id).state() == "waiting")
    service.kill()
    import time

    time.sleep(1.2)
    service.start()
    assert service.client.get(run.id).result(timeout=60) == ["did a", None, "did b"]


def test_sigterm_leaves_every_run_where_it_is(project: Project, service: RunningService) -> None:
    project.write("flow.py", TWO_EFFECTS)
    service.start()
    run = service.client.start("both", {"first": "a", "second": "b", "seconds": 2})
    until(lambda: service.client.get(run.id).state() == "waiting")
    assert service.stop() == 0
    service.start()
    assert service.client.get(run.id).result(timeout=60) == ["did a", None, "did b"]
    assert ledger(project) == {"a": 1, "b": 1}


def test_a_result_raises_what_the_task_has_raised(project: Project, service: RunningService) -> None:
    project.write(
        "flow.py",
        """
        from rayflow import flow

        @flow
        def fails(x: int):
            raise ValueError(f"not {x}")
        """,
    )
    service.start()
    with pytest.raises(ValueError, match="not 3"):
        service.client.run("fails", {"x": 3})
