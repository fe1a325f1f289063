"""Requests whose answer was lost and that are sent again, to the same service or to the next one; what is told of why a
run is where it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from projects import Project
from services import RunningService, ledger
from waiting import until

from rayflow.client.wire import REQUEST_ID
from rayflow.errors import NoOpenAsk, RunConflict

FLOW = """
    from rayflow import ask, effect, event, finally_, flow, seq, sleep, task, wait_for_event
    from pathlib import Path

    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"

    @flow
    def two(name: str):
        return seq([ask("first?", int), do(f"{name} between"), ask("second?", int)])

    @effect
    def fails_once(name: str):
        do.func(f"{name} tried")
        if not Path("mended").exists():
            raise ValueError(name)
        return name

    @flow
    def retried(name: str):
        return fails_once(name)

    @flow(on=event("ordered"))
    def takes(data) -> str:
        return do("took")

    @flow
    def tidies(name: str):
        return finally_(wait_for_event("never"), seq([wait_for_event("tidy"), do(f"{name} tidied")]))

    @flow
    def naps(name: str):
        return sleep("1h")
"""


def post(service: RunningService, path: str, request_id: str, **body: Any) -> tuple[int, Any]:
    """Send a request as any client may; its status and answer."""
    address = service.address
    connection = http.client.HTTPConnection(address.host, address.port or 0, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json"}
        headers[REQUEST_ID] = request_id
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def nothing(service: RunningService) -> None:
    """The same service goes on."""


def killed(service: RunningService) -> None:
    service.kill()
    service.start()


@pytest.mark.parametrize("between", [nothing, killed])
def test_a_request_that_is_sent_again_has_one_effect_and_the_same_answer(
    project: Project, service: RunningService, between: Callable[[RunningService], None]
) -> None:
    project.write("flow.py", FLOW)
    client = service.start().client
    asking, tidying = client.start("two", {"name": "a"}), client.start("tidies", {"name": "a"})
    failed = client.start("retried", {"name": "a"}, id="f")
    until(lambda: client.get(failed.id).state() == "failed")
    until(lambda: {client.get(run.id).state() for run in (asking, tidying)} == {"waiting"})
    project.write("mended", "")
    requests: list[tuple[str, dict[str, Any]]] = [
        (f"/api/runs/{asking.id}/answer", {"value": 1}),
        (f"/api/runs/{tidying.id}/cancel", {"reason": "so"}),
        (f"/api/runs/{failed.id}/retry", {}),
        ("/api/events", {"name": "ordered", "data": 1}),
        ("/api/runs", {"task": "naps", "arguments": {"name": "a"}}),
        ("/api/runs", {"task": "naps", "arguments": {"name": "b"}, "id": "b", "reuse": "reject"}),
    ]
    first = [post(service, path, f"r{place}", **body) for place, (path, body) in enumerate(requests)]
    assert [status for status, _ in first] == [200] * len(requests)
    client = service.client
    assert client.get(failed.id).result(60) == "a"
    until(lambda: [each["prompt"] for each in client.asks()] == ["second?"])
    until(lambda: ledger(project)["took"] == 1)
    between(service)

    client = service.client
    again = [post(service, path, f"r{place}", **body) for place, (path, body) in enumerate(requests)]
    for place in (0, 1, 2, 5):
        assert again[place] == first[place]
    for place, names in ((3, ("event_id",)), (4, ("run_id", "is_new"))):  # and how it is now
        assert [again[place][1][name] for name in names] == [first[place][1][name] for name in names]
    assert [each["prompt"] for each in client.asks()] == ["second?"]
    assert client.get(tidying.id).state() == "ending"  # a second cancel would have ended its clean-up
    client.emit("tidy", 1)
    until(lambda: client.get(tidying.id).state() == "cancelled")
    client.get(asking.id).answer(2)
    assert client.get(asking.id).result(60) == [1, "did a between", 2]
    assert ledger(project) == {"a between": 1, "a tried": 2, "took": 1, "a tidied": 1}
    assert len(client.runs(flow="naps")) == 2
    assert client.get(failed.id).state() == "done"

    # Others are other requests.
    for (path, body), of in ((requests[5], RunConflict), (requests[0], NoOpenAsk)):
        assert post(service, path, f"another {of.__name__}", **body)[1]["error"]["type"] == of.__name__


def test_a_run_that_goes_on_by_a_start_with_its_id_does_not_give_its_old_failure(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", FLOW)
    client = service.start().client
    with pytest.raises(ValueError, match="a"):
        client.run("retried", {"name": "a"}, id="f")
    project.write("mended", "")
    assert client.run("retried", {"name": "a"}, id="f", reuse="if_failed") == "a"


def test_a_run_says_one_cause_in_each_state_and_both_when_it_is_cancelled_without_its_code(
    project: Project, service: RunningService
) -> None:
    project.write("flow.py", FLOW)
    client = service.start().client
    later = client.start("naps", {"name": "l"}, delay="1h")
    naps = client.start("naps", {"name": "n"})
    asks = client.start("two", {"name": "a"})
    tidies = client.start("tidies", {"name": "t"})
    until(lambda: {client.get(run.id).state() for run in (naps, asks, tidies)} == {"waiting"})
    client.get(tidies.id).cancel("too late")
    until(lambda: "tidy" in client.get(tidies.id).explain())
    said = {run.id: run.explain() for run in (later, naps, asks, tidies)}
    assert said[later.id].startswith("it starts at ")
    assert said[naps.id].startswith("it waits for the time: ")
    assert said[asks.id] == "it waits for an answer to 'first?'"
    assert said[tidies.id] == "it is being ended by a cancel (too late), and waits for the event 'tidy'"
    assert {each["run_id"]: each["explanation"] for each in client.runs()} == said

    service.stop()
    project.write("flow.py", FLOW.replace("def two(", "def renamed("))
    client = service.start().client
    gone = client.get(asks.id)
    gone.answer(1)
    until(lambda: gone.state() == "queued")
    assert gone.explain() == "the loaded code lacks flow.two: load it, or cancel the run"
    gone.cancel("it was renamed")
    until(lambda: gone.state() == "cancelled")
    assert "it was renamed; its code was missing: flow.two" in gone.explain()
    rows = project.sql("SELECT reason FROM runs WHERE state = 'cancelled'")
    assert rows == [("it was renamed; its code was missing: flow.two",)]
