"""A fork begins with what its run has done, does anew what is released, and leaves the run as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from api_services import ApiService
from projects import project_in
from services import ledger
from waiting import until

FLOW = """
    from rayflow import effect, flow, gather, now, task, uuid, wait_for_event

    @effect
    def do(what: str):
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"{what} {open('round.txt').read()}" if what.startswith("changing") else f"did {what}"

    @effect
    def pack(order: str, payment: str):
        return do.func(f"pack {order} {payment}")

    @effect
    def bill(order: str):
        return do.func(f"changing bill {order}")

    @task
    def prepare(order: str):
        return [do(f"prepare {order}"), do(f"stamp {order}")]

    @flow
    def ships(order: str, to: str = "here"):
        return [prepare(order), pack(order, bill(order)), do(f"tell {to}"), uuid()]

    @flow
    async def steps(order: str, to: str = "here"):
        first = await prepare(order)
        paid = await bill(order)
        token = await uuid()
        packed = await pack(order, paid)
        told = await do(f"tell {to}")
        return [first, packed, told, token]

    @flow
    def hears(order: str):
        return [do(f"hear {order}"), wait_for_event("news", key=order).data, wait_for_event("more", key=order).data]

    @flow
    def fails(order: str):
        return [do(f"before {order}"), breaks(order)]

    @effect
    def breaks(order: str):
        if open("round.txt").read() == "1":
            raise LookupError(order)
        return do.func(f"mended {order}")
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """One service for the tests of this module."""
    project = project_in(tmp_path_factory.mktemp("forks"), FLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path)
        made = ApiService(project)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def _first_round(api: ApiService) -> None:
    change_round(api, 1)


def change_round(api: ApiService, number: int) -> None:
    (api.project.path / "round.txt").write_text(str(number))


def done(api: ApiService, order: str) -> dict[str, int]:
    """How often each thing was done for an order, by its first words."""
    return {
        what.replace(f" {order}", "").strip(): count
        for what, count in ledger(api.project).items()
        if order in what.split()
    }


def fork(api: ApiService, run: str, **body: Any) -> str:
    return str(api.ask("POST", f"/api/runs/{run}/fork", body)["run_id"])


def value(api: ApiService, run: str) -> Any:
    ended = api.result(run)
    assert ended["state"] == "done", ended
    return ended["value"]


@pytest.mark.parametrize("flow", ["ships", "steps"])
def test_what_is_released_is_done_anew_and_so_is_what_gets_another_value(api: ApiService, flow: str) -> None:
    order = f"{flow}-1"
    run = api.start(flow, arguments={"order": order})
    before = value(api, run)
    change_round(api, 2)
    forked = fork(api, run, at=["bill"])
    after = value(api, forked)
    assert after[0] == before[0]
    assert after[1] == f"did pack {order} changing bill {order} 2"
    assert after[3] == before[3], "the text that no other place has was made before"
    assert done(api, order) == {
        "prepare": 1, "stamp": 1, "changing bill": 2, f"pack changing bill {order} 1".replace(f" {order}", ""): 1,
        "pack changing bill 2": 1,
    }  # fmt: skip
    assert value(api, run) == before
    told = api.ask("GET", f"/api/runs/{forked}")
    assert (told["forked_run_id"], told["cause"]) == (run, "end")


@pytest.mark.parametrize("flow", ["ships", "steps"])
def test_what_is_released_and_comes_to_the_same_value_changes_nothing_else(api: ApiService, flow: str) -> None:
    order = f"{flow}-2"
    run = api.start(flow, arguments={"order": order})
    before = value(api, run)
    assert value(api, fork(api, run, at=["bill"])) == before
    assert done(api, order)["changing bill"] == 2
    assert done(api, order)["pack changing bill 1"] == 1


@pytest.mark.parametrize("flow", ["ships", "steps"])
def test_all_that_stands_below_a_released_place_is_released(api: ApiService, flow: str) -> None:
    order = f"{flow}-3"
    run = api.start(flow, arguments={"order": order})
    value(api, run)
    value(api, fork(api, run, at=["flow.prepare"]))
    assert (done(api, order)["prepare"], done(api, order)["stamp"], done(api, order)["changing bill"]) == (2, 2, 1)


@pytest.mark.parametrize("flow", ["ships", "steps"])
def test_with_other_arguments_only_what_gets_them_is_done_anew(api: ApiService, flow: str) -> None:
    order = f"{flow}-4"
    run = api.start(flow, arguments={"order": order, "to": f"{order}-here"})
    value(api, run)
    after = value(api, fork(api, run, arguments={"to": f"{order}-there"}))
    assert after[2] == f"did tell {order}-there"
    assert done(api, order) == {"prepare": 1, "stamp": 1, "changing bill": 1, "pack changing bill 1": 1}
    assert ledger(api.project)[f"tell {order}-here"] == ledger(api.project)[f"tell {order}-there"] == 1
    words = value(api, fork(api, run, words=["--to", f"{order}-there"]))
    assert words == after


def test_a_place_is_named_by_its_id_too_and_one_of_several_is_released_alone(api: ApiService) -> None:
    run = api.start("ships", arguments={"order": "one"})
    value(api, run)
    [place] = [
        each["place"]
        for each in api.ask("GET", f"/api/runs/{run}/history")["history"]
        if "stamp one" in str(each["about"]) and each["state"] == "started"
    ]
    value(api, fork(api, run, at=[place[:16]]))
    assert (done(api, "one")["stamp"], done(api, "one")["prepare"]) == (2, 1)


def test_waits_that_have_an_outcome_keep_it_and_released_ones_wait_again(api: ApiService) -> None:
    run = api.start("hears", arguments={"order": "w"})
    until(lambda: len(api.ask("GET", f"/api/runs/{run}")["waits"]) == 2)
    api.ask("POST", "/api/events", {"name": "news", "key": "w", "data": 1})
    api.ask("POST", "/api/events", {"name": "more", "key": "w", "data": 2})
    assert value(api, run) == ["did hear w", 1, 2]
    waits = {
        each["about"]: each["place"]
        for each in api.ask("GET", f"/api/runs/{run}/history")["history"]
        if each["what"] == "event" and each["about"]
    }
    forked = fork(api, run, at=[waits["more"]])
    until(lambda: api.state(forked) == "waiting")
    [wait] = api.ask("GET", f"/api/runs/{forked}")["waits"]
    assert wait["name"] == "more"
    api.ask("POST", "/api/events", {"name": "more", "key": "w", "data": 3})
    assert value(api, forked) == ["did hear w", 1, 3]
    assert done(api, "w") == {"hear": 1}


def test_a_fork_of_a_failed_run_goes_on_from_what_was_done(api: ApiService) -> None:
    run = api.start("fails", arguments={"order": "f"})
    assert api.result(run)["state"] == "failed"
    change_round(api, 2)
    forked = fork(api, run, at=["breaks"])
    assert value(api, forked) == ["did before f", "did mended f"]
    assert done(api, "f") == {"before": 1, "mended": 1}
    assert api.result(run)["state"] == "failed"


def test_a_fork_of_a_run_that_was_retried_can_be_retried_itself(api: ApiService) -> None:
    run = api.start("fails", arguments={"order": "r"})
    api.result(run)
    api.ask("POST", f"/api/runs/{run}/retry")
    assert api.result(run)["state"] == "failed"
    forked = fork(api, run, at=["breaks"])
    assert api.result(forked)["state"] == "failed"
    change_round(api, 2)
    api.ask("POST", f"/api/runs/{forked}/retry")
    assert value(api, forked) == ["did before r", "did mended r"]
    assert done(api, "r") == {"before": 1, "mended": 1}


def test_a_fork_can_be_forked_and_its_request_comes_twice(api: ApiService) -> None:
    run = api.start("ships", arguments={"order": "twice"}, tags={"a": 1})
    value(api, run)
    body = {"at": ["bill"], "id": "the fork"}
    first = api.ask("POST", f"/api/runs/{run}/fork", body)
    again = api.ask("POST", f"/api/runs/{run}/fork", body)
    assert (first["is_new"], again["is_new"], again["run_id"]) == (True, False, first["run_id"])
    value(api, "the%20fork")
    assert api.ask("GET", "/api/runs/the%20fork")["tags"] == {"a": 1}
    status, answer = api.answer("POST", f"/api/runs/{run}/fork", {"at": ["pack"], "id": "the fork"})
    assert (status, answer["error"]["type"]) == (409, "RunConflict")
    value(api, fork(api, "the%20fork", at=["bill"]))
    assert done(api, "twice")["changing bill"] == 3
    assert done(api, "twice")["prepare"] == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "from where on"), ({"at": []}, 400, "from where on"), ({"at": ["nothing"]}, 404, "flow.bill"),
        ({"at": [""]}, 404, "no place"), ({"at": "bill"}, 400, "list"), ({"arguments": {"other": 1}}, 400, "other"),
        ({"arguments": {"order": 3}}, 400, "order"), ({"words": ["--to"]}, 400, "to"),
    ],
)  # fmt: skip
def test_a_fork_that_cannot_be_is_refused_with_what_there_is(
    api: ApiService, body: dict[str, Any], status: int, said: str
) -> None:
    run = api.start("ships", arguments={"order": "refused"}, id="refused")
    value(api, run)
    found, answer = api.answer("POST", f"/api/runs/{run}/fork", body)
    assert (found, said in answer["error"]["message"]) == (status, True), answer
