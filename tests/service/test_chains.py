"""A run that goes on as another call: what waits for it waits for the last run of its chain."""

from __future__ import annotations

import json
import urllib.request

import pytest
from projects import Project
from services import RunningService, ledger
from waiting import until

from rayflow.client.wire import REQUEST_ID
from rayflow.errors import Cancelled

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
    project.write("flow.py", CHAIN.replace("sleep(0.3)", "sleep(2)"))
    service.start()
    run = service.client.start("count", {"left": 2})
    until(lambda: [(each["state"], "goes_on_as" in each) for each in [run.describe()]] == [("waiting", True)])
    assert run.result(60) == "counted"
    assert (run.state(), run.describe()["run_id"]) == ("done", run.id)


CLEANING = """
    from rayflow import effect, finally_, flow, seq, sleep

    @effect
    def release():
        with open("ledger.txt", "a") as file:
            file.write("released\\n")

    @flow
    def used():
        return finally_(sleep(60), seq([sleep(1), release()]))
"""


def test_a_cancel_that_is_sent_again_is_no_second_one_and_leaves_the_clean_up(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", CLEANING)
    service.start()
    run = service.client.start("used")
    until(lambda: run.state() == "waiting")
    address = service.address
    body, headers = json.dumps({"reason": "enough"}).encode(), {"Authorization": f"Bearer {address.token}"}
    for _ in range(2):
        asked = urllib.request.Request(f"{address.url}/api/runs/{run.id}/cancel", body, headers, method="POST")
        asked.add_header(REQUEST_ID, "the same")
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["cancelled"] is True
        until(lambda: run.state() == "ending")
    with pytest.raises(Cancelled, match="enough"):
        run.result(60)
    assert ledger(project) == {"released": 1}
