"""A run that goes on as another call: what waits for it waits for the last run of its chain."""

from __future__ import annotations

from projects import Project
from services import RunningService
from waiting import until

CHAIN = """
    from rayflow import cond, continue_as, flow, seq, sleep

    @flow
    def count(left: int):
        return cond(left == 0, "counted", seq([sleep(0.3), continue_as(count(left - 1))])[1])
"""


def test_the_result_of_a_chain_is_that_of_its_last_run(project: Project, service: RunningService) -> None:
    project.write("flow.py", CHAIN)
    service.start()
    run = service.client.start("count", {"left": 2})
    assert run.result(60) == "counted", "asked before the chain goes on"
    assert run.result(60) == "counted", "asked when it has ended"
    service.kill()
    service.start()
    assert service.client.get(run.id).result(60) == "counted", "asked of a service that has not seen it"


def test_a_result_that_is_asked_for_while_the_chain_goes_on_is_that_of_its_last_run(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", CHAIN)
    service.start()
    run = service.client.start("count", {"left": 3})
    until(lambda: len(service.client.runs()) >= 2)
    assert run.result(60) == "counted"
