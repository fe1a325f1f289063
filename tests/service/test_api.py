"""The API as its description says it: every operation, its fields, its errors, lists, and requests that come twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from api_services import TOKEN, ApiService
from hypothesis import HealthCheck, given, settings, strategies
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from projects import project_in
from services import ledger
from waiting import until

from rayflow.service.api_operations import OPERATIONS
from rayflow.service.api_table import ApiOperation

FLOW = """
    from dataclasses import dataclass
    from typing import Literal

    from pydantic import BaseModel
    from rayflow import ask, effect, event, finally_, flow, stream, wait_for_event

    @dataclass
    class Line:
        price: float
        count: int = 1

    class Customer(BaseModel):
        name: str
        country: Literal["no", "se"] = "no"

    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"

    @effect
    def breaks(what: str) -> str:
        do.func(what)
        raise LookupError(f"no {what}")

    @flow(on=event("ordered", where=event.data["count"] > 1), timeout="2h")
    def takes(line: Line, customer: Customer | None = None) -> float:
        "What a line costs."
        return line.price * line.count

    @flow
    def does(what: str):
        return do(what)

    @flow
    def fails(what: str):
        return breaks(what)

    @flow
    def waits(key: str):
        return wait_for_event("news", key=key).data

    @flow
    def cleans(key: str):
        return finally_(wait_for_event("news", key=key), wait_for_event("clean", key=key))

    @flow
    def tells(what: str):
        stream(what).write(what)
        return what

    @flow
    def asks(what: str):
        return ask(f"is {what} fine?", bool)
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """One service for the tests of this module."""
    project = project_in(tmp_path_factory.mktemp("api"), FLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path)
        made = ApiService(project)
        yield made
        made.close()


def document(api: ApiService) -> dict[str, Any]:
    found: dict[str, Any] = api.ask("GET", "/api/openapi.json")
    return found


def check(api: ApiService, name: str, answer: Any) -> Any:
    """Fail unless an answer is as the description of its operation says."""
    operation = next(each for each in OPERATIONS if each.name == name)
    schemas = document(api)["components"]
    Draft202012Validator({"$ref": f"#/components/schemas/{operation.answer}", "components": schemas}).validate(answer)
    return answer


# --- the description --------------------------------------------------------------------------------------------------


def test_the_description_is_a_valid_document_with_every_operation(api: ApiService) -> None:
    found = document(api)
    validate(found)
    assert found["openapi"].startswith("3.1")
    described = {
        (method.upper(), path): each["operationId"]
        for path, methods in found["paths"].items()
        for method, each in methods.items()
    }
    assert described == {(each.method, each.path): each.name for each in OPERATIONS}


def test_every_operation_is_served_and_asks_for_the_token_unless_it_says_otherwise(api: ApiService) -> None:
    for each in OPERATIONS:
        path = each.path.replace("{digest}", "0" * 40).replace("{", "no-").replace("}", "")
        response = api.web.request(each.method, path)
        if each.access == "token":
            assert response.status_code == 401, each.name
        assert api.answer(each.method, path)[0] in (200, 400, 404, 409), each.name


def test_the_inputs_of_flows_are_described_by_schemas_that_take_what_the_flow_takes(api: ApiService) -> None:
    listed = check(api, "flows", api.ask("GET", "/api/flows"))["flows"]
    flows = {each["name"]: each for each in listed}
    takes = flows["flow.takes"]
    assert takes["documentation"] == "What a line costs."
    assert takes["timeout_seconds"] == 7200
    assert takes["events"][0]["name"] == "ordered"
    assert "count" in takes["events"][0]["where"]
    schema = Draft202012Validator(takes["input"])
    for fits in ({"line": {"price": 2}}, {"line": {"price": 2, "count": 3}, "customer": {"name": "ada"}}):
        assert schema.is_valid(fits)
        assert api.result(api.start("takes", arguments=fits))["state"] == "done"
    for wrong in ({}, {"line": 3}, {"line": {"price": "a lot"}}, {"line": {"price": 2}, "customer": {"name": "a", "country": "dk"}}, {"line": {"price": 2}, "other": 1}):  # fmt: skip # noqa: E501
        assert not schema.is_valid(wrong)
        assert api.answer("POST", "/api/runs", {"task": "takes", "arguments": wrong})[0] == 400
    whole = document(api)["components"]
    Draft202012Validator({"$ref": "#/components/schemas/input.flow.takes", "components": whole}).validate(fits)


def test_answers_are_as_they_are_described(api: ApiService) -> None:
    started = check(api, "start", api.ask("POST", "/api/runs", {"task": "does", "arguments": {"what": "described"}}))
    run = started["run_id"]
    ended = check(api, "result", api.result(run))
    assert ended["value"] == "did described"
    check(api, "run", api.ask("GET", f"/api/runs/{run}"))
    check(api, "history", api.ask("GET", f"/api/runs/{run}/history"))
    check(api, "runs", api.ask("GET", "/api/runs"))
    asking = api.start("asks", arguments={"what": "it"}, tags={"n": 1})
    until(lambda: api.ask("GET", "/api/asks")["asks"])
    check(api, "asks", api.ask("GET", "/api/asks"))
    check(api, "run", api.ask("GET", f"/api/runs/{asking}"))
    check(api, "answer", api.ask("POST", f"/api/runs/{asking}/answer", {"value": True}))
    assert api.result(asking)["value"] is True
    event = check(api, "emit", api.ask("POST", "/api/events", {"name": "ordered", "data": {"price": 1, "count": 2}}))
    until(lambda: api.ask("GET", f"/api/events/{event['event_id']}")["status"] == "delivered")
    check(api, "event", api.ask("GET", f"/api/events/{event['event_id']}"))
    check(api, "events", api.ask("GET", "/api/events"))
    failed = api.start("fails", arguments={"what": "luck"})
    assert api.result(failed)["error"] == "LookupError: no luck"
    check(api, "result", api.result(failed))
    check(api, "retry", api.ask("POST", f"/api/runs/{failed}/retry", {}))
    api.result(failed)
    check(api, "cancel", api.ask("POST", f"/api/runs/{failed}/cancel"))
    check(api, "stats", api.ask("GET", "/api/stats"))
    check(api, "health", api.ask("GET", "/healthz"))
    check(api, "schedules", api.ask("GET", "/api/schedules"))
    check(api, "cancel_many", api.ask("POST", "/api/runs/cancel", {"state": ["waiting"], "dry": True}))
    check(api, "retry_many", api.ask("POST", "/api/runs/retry", {"state": ["failed"], "dry": True}))


# --- lists ------------------------------------------------------------------------------------------------------------


def pages(api: ApiService, path: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = api.ask("GET", f"{path}&limit=2{cursor}")
        found += page[name]
        if page["next"] is None:
            return found
        assert len(page[name]) == 2
        cursor = f"&cursor={page['next']}"


def test_pages_of_a_list_have_each_item_once_whatever_begins_meanwhile(api: ApiService) -> None:
    made = [api.start("does", arguments={"what": f"page {number}"}, tags={"of": "pages"}) for number in range(5)]
    first = api.ask("GET", "/api/runs?tag=of%3Dpages&limit=2")
    later = api.start("does", arguments={"what": "later"}, tags={"of": "pages"})
    second = api.ask("GET", f"/api/runs?tag=of%3Dpages&limit=2&cursor={first['next']}")
    third = api.ask("GET", f"/api/runs?tag=of%3Dpages&limit=2&cursor={second['next']}")
    listed = [each["run_id"] for page in (first, second, third) for each in page["runs"]]
    assert listed == made[::-1]
    assert third["next"] is None
    assert [each["run_id"] for each in pages(api, "/api/runs?tag=of%3Dpages", "runs")] == [later, *made[::-1]]


def test_events_and_asks_have_pages_too(api: ApiService) -> None:
    for number in range(5):
        api.ask("POST", "/api/events", {"name": "paged", "id": f"paged {number}"})
    assert [each["event_id"] for each in pages(api, "/api/events?name=paged", "events")] == [
        f"paged {number}" for number in (4, 3, 2, 1, 0)
    ]
    asking = [api.start("asks", arguments={"what": f"ask {number}"}) for number in range(5)]
    until(lambda: len(api.ask("GET", "/api/asks")["asks"]) == 5)
    assert {each["run_id"] for each in pages(api, "/api/asks?", "asks")} == set(asking)
    for run in asking:
        api.ask("POST", f"/api/runs/{run}/answer", {"value": False})


def test_filters_choose_by_state_flow_tag_text_time_and_id(api: ApiService) -> None:
    before = api.ask("GET", "/api/stats")["at"]
    odd = "it's 100%_odd"
    done = api.start("does", arguments={"what": odd}, tags={"a.b/c~d": "x=y", "n": 3}, id="filter-1")
    api.result(done)
    waiting = api.start("waits", arguments={"key": "filters"}, tags={"n": 4}, id="filter-2")
    failed = api.start("fails", arguments={"what": "sought"}, id="filter-3")
    api.result(failed)
    until(lambda: api.state(waiting) == "waiting")
    after = api.ask("GET", "/api/stats")["at"] + 1

    def chosen(**query: Any) -> list[str]:
        response = api.web.get(
            "/api/runs", params={"id_prefix": "filter-", **query}, headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert response.status_code == 200, response.text
        return [each["run_id"] for each in response.json()["runs"]]

    assert chosen() == [failed, waiting, done]
    assert chosen(state="waiting") == [waiting]
    assert chosen(state=["done", "failed"]) == [failed, done]
    assert chosen(flow="does") == chosen(flow="flow.does") == [done]
    assert chosen(flow=["oes", "waits"]) == [waiting]
    assert chosen(tag="n=3") == chosen(tag=["n=3", "a.b/c~d=x=y"]) == [done]
    assert chosen(tag=["n=3", "n=4"]) == []
    assert chosen(text=odd.upper()) == [done]  # in the arguments, and in the result
    assert chosen(text="no sought") == [failed]
    assert chosen(text="100__odd") == []
    assert chosen(since=before, until=after) == [failed, waiting, done]
    assert chosen(until=before) == chosen(since=after) == []
    assert chosen(since="2020-01-01T00:00:00Z") == [failed, waiting, done]
    assert chosen(id_prefix=done[:20]) == [done]
    assert chosen(id_prefix="%") == []
    api.ask("POST", f"/api/runs/{waiting}/cancel")


# --- many at once -----------------------------------------------------------------------------------------------------


def test_many_runs_are_cancelled_by_a_filter_once_and_a_clean_up_is_left_alone(api: ApiService) -> None:
    made = [api.start("cleans", arguments={"key": "many"}, tags={"of": "many"}) for _ in range(3)]
    until(lambda: all(api.state(run) == "waiting" for run in made))
    wanted = {"tag": ["of=many"], "flow": ["cleans"]}
    dry = api.ask("POST", "/api/runs/cancel", {**wanted, "dry": True})
    assert (dry["count"], dry["dry"], set(dry["run_ids"])) == (3, True, set(made))
    assert {api.state(run) for run in made} == {"waiting"}
    later = api.start("cleans", arguments={"key": "many"}, tags={"of": "many"})
    until(lambda: api.state(later) == "waiting")
    for _ in range(2):
        told = api.ask("POST", "/api/runs/cancel", {**wanted, "latest": dry["latest"], "reason": "enough"})
        assert told["refused"] == []
        assert {api.state(run) for run in made} == {"ending"}  # their clean-up waits, and goes on waiting
    assert api.state(later) == "waiting"
    api.ask("POST", "/api/runs/cancel", wanted)
    api.ask("POST", "/api/events", {"name": "clean", "key": "many"})
    assert {api.result(run)["state"] for run in (*made, later)} == {"cancelled"}
    assert api.ask("POST", "/api/runs/cancel", wanted)["count"] == 0


def test_many_failed_runs_are_retried_by_a_filter(api: ApiService) -> None:
    made = [api.start("fails", arguments={"what": f"retried {number}"}, tags={"of": "retries"}) for number in range(2)]
    for run in made:
        api.result(run)
    told = api.ask("POST", "/api/runs/retry", {"tag": ["of=retries"], "state": ["failed", "running"]})
    assert (told["count"], set(told["run_ids"])) == (2, set(made))
    for run in made:
        assert api.result(run)["state"] == "failed"
    assert ledger(api.project)["retried 0"] == 2


@pytest.mark.parametrize("body", [{}, {"state": []}, {"text": ""}, {"dry": True, "latest": 7}])
def test_a_request_that_chooses_no_runs_is_refused_and_does_not_mean_all(api: ApiService, body: Any) -> None:
    status, answer = api.answer("POST", "/api/runs/cancel", body)
    assert (status, answer["error"]["type"]) == (400, "BadArguments")
    assert "which runs" in answer["error"]["message"]


# --- requests that come twice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["idempotency_key", "x_request_id"])
def test_a_request_with_the_same_id_is_done_once_and_gets_the_same_answer(api: ApiService, header: str) -> None:
    def twice(path: str, body: Any) -> Any:
        first = api.answer("POST", path, body, **{header: f"{header} {path}"})
        assert api.answer("POST", path, body, **{header: f"{header} {path}"}) == first
        return first[1]

    what = f"once by {header}"
    started = twice("/api/runs", {"task": "does", "arguments": {"what": what}})
    assert started["is_new"]
    api.result(started["run_id"])
    assert ledger(api.project)[what] == 1
    event = twice("/api/events", {"name": what})
    assert [each["event_id"] for each in api.ask("GET", f"/api/events?name={what}")["events"]] == [event["event_id"]]
    run = api.start("cleans", arguments={"key": what})
    until(lambda: api.state(run) == "waiting")
    twice(f"/api/runs/{run}/cancel", {})
    assert api.state(run) == "ending"  # two requests would have ended its clean-up
    api.ask("POST", f"/api/runs/{run}/cancel")
    assert api.result(run)["state"] == "cancelled"
    asking = api.start("asks", arguments={"what": what})
    until(lambda: api.state(asking) == "waiting")
    assert "place" in twice(f"/api/runs/{asking}/answer", {"value": True})
    assert twice(f"/api/runs/{asking}/retry", {})["error"]["type"]


def test_an_id_of_a_request_belongs_to_one_request(api: ApiService) -> None:
    api.ask("POST", "/api/events", {"name": "first"}, idempotency_key="only one")
    status, answer = api.answer("POST", "/api/events", {"name": "second"}, idempotency_key="only one")
    assert (status, "another request" in answer["error"]["message"]) == (400, True)
    for wrong in ("x" * 201, "\x7f"):
        assert api.answer("POST", "/api/events", {"name": "a"}, idempotency_key=wrong)[0] == 400


def test_the_service_counts_and_measures_what_it_does(api: ApiService) -> None:
    run = api.start("waits", arguments={"key": "measured"}, tags={"of": "measures"})
    until(lambda: api.state(run) == "waiting")
    stats = api.ask("GET", "/api/stats")
    assert stats["states"]["waiting"] == 1
    assert stats["oldest"]["waiting"]["run_id"] == run
    assert {"flow": "flow.waits", "states": {"waiting": 1, "cancelled": 1}} in stats["flows"]
    assert stats["rates"][-1]["started"] >= stats["rates"][-1]["done"] > 0
    assert stats["queue_seconds"]["count"] > 0
    assert stats["waits"] == {"event": 1}
    lines = dict(
        line.rsplit(" ", 1) for line in api.ask("GET", "/metrics").splitlines() if not line.startswith("#")
    )
    assert lines['rayflow_runs{state="waiting"}'] == "1.0"
    assert lines["rayflow_open_waits"] == "1.0"
    assert float(lines['rayflow_runs_ended_total{state="failed"}']) > 0
    assert float(lines["rayflow_commit_seconds_count"]) > 0
    assert float(lines['rayflow_http_requests_total{operation="start",status="200"}']) > 0
    assert "rayflow_tick_lag_seconds" in lines
    api.ask("POST", f"/api/runs/{run}/cancel")


def test_json_that_is_deep_or_odd_comes_back_as_it_was(api: ApiService) -> None:
    data = json.loads("[" * 100 + "]" * 100)
    event = api.ask("POST", "/api/events", {"name": "odd", "data": {"": data, "\u2028": 1e300}})
    assert api.ask("GET", f"/api/events/{event['event_id']}")["data"] == {"": data, "\u2028": 1e300}


def test_ids_may_have_slashes_and_any_other_character(api: ApiService) -> None:
    for id in ("order/7", "a%2Fb", "../x", "a b?c=d#e", "ø/∆", "cancel", "cancel/cancel", "."):
        run = api.start("does", arguments={"what": f"slash {id}"}, id=id)
        api.result(run)
        assert api.ask("GET", f"/api/runs/{quote(id, safe='').replace('.', '%2E')}")["run_id"] == run
        assert api.ask("GET", f"/api/runs/{quote(id, safe='').replace('.', '%2E')}/history")["history"]
        told = api.start("tells", arguments={"what": id})
        api.result(told)
        [item] = api.ask("GET", f"/api/runs/{told}/streams/{quote(id, safe='').replace('.', '%2E')}")["items"]
        assert item["value"] == id
        api.ask("POST", "/api/events", {"name": "slashed", "id": id})
        assert api.ask("GET", f"/api/events/{quote(id, safe='').replace('.', '%2E')}")["event_id"] == id


_JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)
_TEXTS = strategies.text(max_size=12) | strategies.sampled_from(
    ["-1", "0", "1", "nan", "1e400", "9" * 30, "true", "\x00", "%", "'", '"', "\\", "2026-01-01T00:00:00Z", "a=b"]
)


@settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chance=strategies.data())
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_whatever_a_request_says_the_fault_is_told_and_is_not_the_services(
    api: ApiService, operation: ApiOperation, chance: strategies.DataObject
) -> None:
    path = operation.path
    for part in ("{run}", "{event}", "{digest}", "{schedule}", "{stream}"):
        if part in path:
            path = path.replace(part, quote(chance.draw(strategies.text(min_size=1, max_size=12)), safe=""))
    fields = operation.query if chance.draw(strategies.booleans()) else (*operation.query, *(operation.body or ()))
    query = {each.name: chance.draw(_TEXTS) for each in fields if chance.draw(strategies.booleans())}
    query.pop("wait", None)
    body = {each.name: chance.draw(_JSON) for each in operation.body or () if chance.draw(strategies.booleans())}
    if operation.name in ("cancel_many", "retry_many"):
        body["dry"] = True
    content = json.dumps(body).encode() if operation.body is not None else chance.draw(strategies.binary(max_size=20))
    headers = {"authorization": f"Bearer {TOKEN}"}
    response = api.web.request(operation.method, path, params=query, content=content, headers=headers)
    assert response.status_code in (200, 400, 401, 404, 405, 409), response.text
    assert not api.service.has_ended.is_set()
